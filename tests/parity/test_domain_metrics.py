"""TVSum's and YouTube Highlights' metrics against a naive twin, and on the published files.

The twin follows UMT's evaluation video by video and annotator by annotator, with torch's median.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hlclip.evaluation import Setting, ground_truth, measure, pad, query_precision, references
from hlclip.formats import Annotation

RULE = Setting("consensus", 2.0)


def naive_precision(positive: list[bool], scores: list[float], top: int | None) -> float:
    ranked = sorted(range(len(scores)), key=lambda clip: (-scores[clip], clip))[:top]
    total = sum(positive[clip] for clip in ranked)
    area, hits, recall, precision = 0.0, 0, 0.0, 1.0
    for rank, clip in enumerate(ranked, start=1):
        hits += positive[clip]
        now = hits / total if total else 0.0, hits / rank
        area += (now[0] - recall) * (precision + now[1]) / 2
        recall, precision = now
    return area


def naive(rows: list[Annotation], scores: list[list[float]]) -> dict[str, float]:
    """Domain -> percent, `mean` over domains."""
    by_domain: dict[str, list[float]] = {}
    for row, line in zip(rows, scores, strict=True):
        ratings = torch.tensor(row.ratings(), dtype=torch.float32)
        tvsum = row.dataset == "tvsum"
        precisions = [
            naive_precision(
                [bool(r > (each.median() if tvsum else 0)) for r in each],
                line,
                5 if tvsum else None,
            )
            for each in ratings.T
        ]
        by_domain.setdefault(row.domain or "", []).append(100 * float(np.mean(precisions)))
    figures = {domain: float(np.mean(values)) for domain, values in by_domain.items()}
    return figures | {"mean": float(np.mean(list(figures.values())))}


def row(qid: int, dataset: str, domain: str, ratings: list[list[int]]) -> Annotation:
    return Annotation.model_validate(
        {
            "qid": qid,
            "query": "a title",
            "vid": f"v{qid}",
            "dataset": dataset,
            "domain": domain,
            "rating_scale": [1, 5] if dataset == "tvsum" else [-1, 1],
            "duration": 2 * len(ratings),
            "relevant_clip_ids": list(range(len(ratings))),
            "saliency_scores": ratings,
        }
    )


@pytest.mark.parametrize(
    ("dataset", "low", "high", "annotators"),
    [("tvsum", 1, 5, 3), ("youtube-highlights", -1, 1, 1)],
)
@given(data=st.data())
def test_figures_are_those_of_the_naive_twin(
    dataset: str, low: int, high: int, annotators: int, data: st.DataObject
):
    ratings = st.lists(st.integers(low, high), min_size=annotators, max_size=annotators)
    videos = data.draw(
        st.lists(
            st.lists(st.tuples(ratings, st.integers(-4, 4)), min_size=1, max_size=12),
            min_size=1,
            max_size=6,
        )
    )
    rows = [
        row(qid, dataset, "ABC"[qid % 3], [rated for rated, _ in video])
        for qid, video in enumerate(videos)
    ]
    scores = [[score / 4 for _, score in video] for video in videos]
    truth = ground_truth(rows)
    figures = {name: dict(each) for name, each in measure(truth, pad(scores)[0]).items()}
    metric = truth.benchmark.metric
    expected = naive(rows, scores)
    assert figures.pop("all domains") == {metric: pytest.approx(expected.pop("mean"), abs=0.0051)}
    assert figures == {name: {metric: pytest.approx(f, abs=0.0051)} for name, f in expected.items()}


def published(path: Path, dataset: str) -> list[Annotation]:
    """Rows of a published file in Lighthouse's form."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        row(n, dataset, line["domain"], [[int(r) for r in each] for each in line["label"]])
        for n, line in enumerate(lines)
    ]


@pytest.mark.parametrize(
    ("path", "dataset", "random", "sd", "best"),
    [
        ("tvsum/tvsum_val_release.jsonl", "tvsum", 42.7, 5.3, 84.3),
        (
            "youtube_highlight/youtube_highlight_val_release.jsonl",
            "youtube-highlights",
            50.5,
            1.3,
            100.0,
        ),
    ],
)
def test_reference_rows_of_the_published_files(
    path: str, dataset: str, random: float, sd: float, best: float, other_benchmarks_dir: Path
):
    rows = published(other_benchmarks_dir / path, dataset)
    truth = ground_truth(rows)
    found = references(rows, truth, RULE)
    metric = truth.benchmark.metric
    figures = found["random"]["all domains"]
    # Over 100 rankings the mean is known to sd / 10, and the deviation to 7 %.
    assert figures[metric] == pytest.approx(random, abs=3 * sd / 10)
    assert figures[f"{metric} sd"] == pytest.approx(sd, rel=0.25)
    assert found["annotators' mean"]["all domains"][metric] == pytest.approx(best, abs=0.05)
    assert found == references(rows, truth, RULE)


def test_the_best_of_500_random_rankings_beats_the_annotators(other_benchmarks_dir: Path):
    """What choosing the epoch on the one val video of a domain can give (docs/benchmarks.md)."""
    rows = published(other_benchmarks_dir / "tvsum/tvsum_val_release.jsonl", "tvsum")
    truth = ground_truth(rows)
    shape = len(rows), int(truth.clips.max())
    best = np.max(
        [query_precision(truth, np.random.default_rng(n).random(shape)) for n in range(500)], axis=0
    )
    assert 100 * best.mean() == pytest.approx(85.1, abs=0.05)
    votes = truth.labels[:, 0].sum(axis=1).astype(float)  # annotators with a highlight, by clip
    assert 100 * query_precision(truth, votes).mean() == pytest.approx(87.3, abs=0.05)
