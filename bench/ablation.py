"""What losses and parameters do on the sample: the tables of docs/qvhighlights.md.

    python -m bench.ablation                       both tables, three seeds: hours on two cores
    python -m bench.ablation losses --seeds 1      one of them
    python -m bench.ablation --update              also renews docs/qvhighlights.md

The stages' own functions run with the parameters of `params.yaml` and one change a row. Frames,
activations and trainings stay in the store, so an interrupted run continues where it was.
`dvc repro sample/dvc.yaml` makes the data and the second model.
"""

import contextlib
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any

import typer
from tabulate import tabulate
from tqdm import tqdm

from bench.pages import machine, replace_table
from hlclip.formats import ZERO_SHOT, Origin, pooled
from hlclip.params import Params, load_params
from hlclip.pipeline.activations import make_activations
from hlclip.pipeline.evaluate import Metrics, evaluate_splits
from hlclip.pipeline.frames import make_frames
from hlclip.pipeline.index import build_index
from hlclip.pipeline.inputs import Activations
from hlclip.pipeline.score import score_splits
from hlclip.pipeline.train import train_tail
from hlclip.store import holding, store_root
from hlclip.system import replacing
from hlclip.video import HASHES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/qvhighlights.md"
MODELS = ("local-dir:sample/model", "local-dir:sample/model-gap")

Change = Mapping[str, Any]
"""Parameter -> value, as in `dvc exp run -S`."""

LOSSES: list[Change] = [
    {},
    {"train.lr": 0.001},
    {"train.scale": "learned"},
    {"train.scale": "fixed", "train.scale_init": 5.0, "train.bias_init": -0.75},
    {"train.scale": "learned", "train.scale_init": "fit"},
    {"train.loss": "centred"},
    {"train.loss": "centred", "train.scale": "fixed", "train.scale_init": 5.0},
    {"train.loss": "correlation"},
    {"train.loss": "mse+contrastive"},
    {"train.temporal": "conv"},
    {"train.temporal": "conv", "train.loss": "correlation"},
]
PARAMETERS: list[Change] = [
    {},
    {"train.blocks": 1},
    *({"train.heads": heads} for heads in ("frozen", "norm", "projection")),
    *({"train.target": target} for target in ("median", "max", "min")),
    {"train.schedule": "constant"},
    {"train.warmup": 0.1},
    {"train.layer_decay": 0.7},
    {"train.ema": 0.99},
    {"train.select": "last"},
]
TABLES: dict[str, tuple[list[Change], tuple[str, ...]]] = {
    "losses": (LOSSES, MODELS),
    "parameters": (PARAMETERS, MODELS[:1]),
}
"""Name -> its rows, and the models that they are measured on."""


Figures = dict[str, dict[str, list[dict[str, float]]]]
"""Label of a row -> head of a column -> `mAP` and `HIT@1` of each seed, in percent."""


def main(
    tables: Annotated[
        list[str] | None, typer.Argument(help=f"Any of {', '.join(TABLES)}; all by default.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of a row, with seeds from 0.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Also write the Markdown to this file.")] = None,
    update: Annotated[bool, typer.Option("--update", help="Renew docs/qvhighlights.md.")] = False,
) -> None:
    """Train each row with each seed; print VeryGood mAP / HIT@1 after saliency pooling."""
    chosen = tables or list(TABLES)
    for name in chosen:
        if name not in TABLES:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(TABLES)}")
    texts = {}
    with contextlib.chdir(ROOT), holding(store_root()) as store:
        for name in chosen:
            rows, models = TABLES[name]
            figures = measure_rows(load_params(), rows, models, seeds=range(seeds), store=store)
            texts[name] = markdown(figures, seeds)
    text = "\n".join(texts.values())
    typer.echo(text)
    if out is not None:
        with replacing(out) as path:
            path.write_text(text, encoding="utf-8")
    if update:
        for name, table in texts.items():
            replace_table(PAGE, name, table)


def measure_rows(
    base: Params,
    rows: Sequence[Change],
    models: Sequence[str],
    *,
    seeds: Sequence[int],
    store: Path,
) -> Figures:
    """Train and evaluate each row with each seed on each model, and zero-shot.

    Args:
        base: parameters that a row changes; paths start at the working folder.
    """
    figures: Figures = defaultdict(lambda: defaultdict(list))
    with tqdm(total=len(models) * len(rows) * len(seeds), unit="training", disable=None) as bar:
        for model in models:
            params = changed(base, {"encoder.model": model})
            inputs = make_inputs(params, store)
            for row in rows:
                for seed in seeds:
                    run = changed(params, {**row, "train.seed": seed})
                    for split, variants in measure_run(run, inputs, store).items():
                        head = f"`{Path(model.partition(':')[2]).name}`, {split}"
                        tuned = list(variants)[-1]
                        figures["zero-shot"][head] = [variants[pooled(ZERO_SHOT)]["VeryGood"]]
                        figures[label(row)][head].append(variants[tuned]["VeryGood"])
                    bar.update()
    return figures


def make_inputs(params: Params, store: Path) -> Activations:
    """Index, frames and activations, as the stages of these names make them."""
    index = build_index(params.data, cache=store / HASHES, needed=params.needed_splits)
    frames = make_frames(
        index,
        params.frames,
        data_root=Path(params.data.root),
        store=store,
        max_missing=params.data.max_missing,
        needed=params.needed_splits,
    )
    device = params.train.device
    images, texts = make_activations(index, frames, params.encoder, store=store, device=device)
    return {"index": index, "images": images, "texts": texts}


def measure_run(params: Params, inputs: Activations, store: Path) -> dict[str, Metrics]:
    """Train, score and evaluate, as the stages of these names do: split -> figures."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder)
        checkpoint = outputs / "train.safetensors"
        shared = {**inputs, "encoder": params.encoder, "params": params.train, "store": store}
        train_tail(**shared, checkpoint=checkpoint, history=outputs / "train.csv")
        splits: Any = params.evaluate.splits
        scores = score_splits(**shared, splits=splits, checkpoint=checkpoint)
        return evaluate_splits(
            scores,
            params.pool,
            params.moments,
            metrics=outputs / "metrics.json",
            outputs=outputs,
            origin=Origin("", "", 2.0),
        )


def changed(params: Params, change: Change) -> Params:
    """The parameters with other values, validated."""
    content = params.model_dump()
    for key, value in change.items():
        section, _, name = key.partition(".")
        content[section][name] = value
    return Params.model_validate(content)


def label(row: Change) -> str:
    """A row's parameters as in `dvc exp run -S`."""
    return (
        ", ".join(
            f"`{key}={value:g}`" if isinstance(value, float) else f"`{key}={value}`"
            for key, value in row.items()
        )
        or "none"
    )


def markdown(figures: Figures, seeds: int) -> str:
    """The table, and on what it was measured."""
    heads = ["changed parameter", *next(iter(figures.values()))]
    table = [[name, *map(cell, columns.values())] for name, columns in figures.items()]
    return (
        f"{machine()}. {seeds} seeds.\n\n"
        + tabulate(table, heads, tablefmt="github", disable_numparse=True)
        + "\n"
    )


def cell(runs: Sequence[Mapping[str, float]]) -> str:
    """`mAP / HIT@1`: mean ± standard deviation where there are several runs."""
    shown = []
    for metric in ("mAP", "HIT@1"):
        values = [run[metric] for run in runs]
        spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
        shown.append(f"{mean(values):.2f}{spread}")
    return " / ".join(shown)


if __name__ == "__main__":
    typer.run(main)
