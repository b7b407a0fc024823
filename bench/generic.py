"""Rules for highlights without a query, on the test split of a finished run: docs/own-video.md.

    python -m bench.generic              prints the table; half a minute on the sample
    python -m bench.generic --update     also renews docs/own-video.md

No rule sees the query; their scores are measured like those of the query. `dvc repro` in this
folder makes the run. The clips of the data set must have one length.
"""

import os
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from tabulate import tabulate
from tqdm import tqdm

from bench.pages import machine, replace_table
from hlclip import Scorer, load_scorer
from hlclip.evaluation import WINDOW, GroundTruth, complete, ground_truth, measure, pool
from hlclip.formats import Annotation, read_index
from hlclip.highlights.generic import consistency
from hlclip.params import load_params

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/own-video.md"
SEEDS = 20

PROMPTS = (
    *("a highlight of the video", "the best moment of the video", "an exciting moment"),
    *("an interesting moment", "something remarkable happens", "a memorable scene"),
)

Features = NDArray[np.float32]
"""[clips, embedding], unit length."""

Scores = NDArray[np.floating]
"""[clips]."""


def unlike_the_rest(features: Features) -> Scores:
    """What a clip has that its video does not have on average."""
    return -consistency(features)


def changes(features: Features) -> Scores:
    """Mean distance to the clips before and after."""
    steps = 1 - (features[1:] * features[:-1]).sum(-1)  # [clips - 1]
    padded = np.pad(steps, 1, mode="edge") if len(steps) else np.zeros(2)
    return (padded[1:] + padded[:-1]) / 2


def dissimilar_and_consistent(features: Features) -> Scores:
    """Pang et al., WACV 2023, without training: local dissimilarity times global consistency."""
    cosines = features @ features.T  # [clips, clips]
    squares = 2 - 2 * cosines
    nearest = max(1, len(features) // 10)
    near = np.sort(squares, axis=1)[:, 1 : nearest + 1]
    local = near.mean(1) if near.size else np.zeros(len(features))
    return _to_one(local) * _to_one(np.log(np.exp(-2 * squares).mean(1)))


def _to_one(scores: Scores) -> Scores:
    span = np.ptp(scores)
    return (scores - scores.min()) / span if span else np.zeros(len(scores))


RULES: dict[str, Callable[[Features], Scores]] = {
    "unlike the rest: minus the mean cosine": unlike_the_rest,
    "change between clips": changes,
    "local dissimilarity times global consistency": dissimilar_and_consistent,
    "**`--generic`: mean cosine with all clips**": consistency,
}


def main(
    update: Annotated[bool, typer.Option("--update", help="Renew docs/own-video.md.")] = False,
) -> None:
    """Measure every rule with the checkpoint of the run in this folder."""
    index, params = read_index(Path("outputs/index.json")), load_params()
    rows = [row for row in index.queries["test"] if row.vid in index.videos and not row.clips_apart]
    scorer = load_scorer("outputs/train.safetensors")
    videos = [Path(params.data.root) / index.videos[row.vid].path for row in rows]
    table = measure_rules(scorer, rows, videos)
    heads = ("rule", *table["random"])
    lines = [(name, *figures.values()) for name, figures in table.items()]
    text = f"{machine('open_clip_torch')}. {len(rows)} queries.\n\n"
    text += tabulate(lines, heads, tablefmt="github", disable_numparse=True) + "\n"
    typer.echo(text)
    if update:
        replace_table(PAGE, "bench.generic", text)


def measure_rules(
    scorer: Scorer, rows: list[Annotation], videos: list[Path]
) -> dict[str, dict[str, str]]:
    """Rule -> figure -> percent; random rankings with their standard deviation.

    Args:
        videos: of each row.
    """
    truth = ground_truth(rows)
    scores: dict[str, list[Scores]] = {name: [] for name in RULES}
    prompts, own, lengths = list[Scores](), list[Scores](), list[int]()
    for row, video in tqdm(list(zip(rows, videos, strict=True)), unit="query", disable=None):
        features = scorer.features(video)
        lengths.append(len(features))
        for name, rule in RULES.items():
            scores[name].append(rule(features))
        *generic, query = scorer.score(video, [*PROMPTS, row.query])
        prompts.append(np.mean([curve.saliency for curve in generic], axis=0))
        own.append(query.saliency)
    numbers = np.random.default_rng(0)
    chance = [_figures(truth, [numbers.random(n) for n in lengths]) for _ in range(SEEDS)]
    runs = {name: [run[name] for run in chance] for name in chance[0]}
    table = {"random": {name: f"{mean(got):.2f} ± {stdev(got):.2f}" for name, got in runs.items()}}
    measured = {f"mean cosine with {len(PROMPTS)} prompts": prompts, **scores}
    for name, lines in {**measured, "the annotated query": own}.items():
        table[name] = {key: f"{value:.2f}" for key, value in _figures(truth, lines).items()}
    return table


def _figures(truth: GroundTruth, lines: list[Scores]) -> dict[str, float]:
    """Name -> figure of pooled scores."""
    lengths = np.array([len(line) for line in lines])
    padded = np.zeros((len(lines), max(lengths.max(), truth.clips.max())), np.float32)
    for row, line in zip(padded, lines, strict=True):
        row[: len(line)] = pool(line, WINDOW)
    groups = measure(truth, complete(padded, lengths, truth.clips))
    return {
        f"{group} {name}": value for group, kinds in groups.items() for name, value in kinds.items()
    }


if __name__ == "__main__":
    os.chdir(ROOT)
    typer.run(main)
