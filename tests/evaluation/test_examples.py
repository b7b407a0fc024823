"""One query at a time: its AP is the official one, its peaks are peaks, its rows can be plotted."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from hlclip.evaluation.examples import (
    COLUMNS,
    EXAMPLES,
    example_rows,
    peaks,
    query_precision,
    write_examples,
)
from hlclip.evaluation.metrics import ground_truth, highlight_metrics
from hlclip.evaluation.pooling import pool_padded
from hlclip.formats.annotations import Annotation
from hlclip.formats.scores import SplitScores, pack

CLIPS = 8


def row(qid: int, query: str = "a cat", *, very_good: bool = True) -> Annotation:
    ratings = np.random.default_rng(qid).integers(0, 4 + very_good, (3, 3))
    ratings[0, 0] = 3 + very_good
    facts: dict[str, Any] = {"qid": qid, "query": query, "vid": f"v{qid}", "duration": 2 * CLIPS}
    return Annotation.model_validate(
        facts | {"relevant_clip_ids": [1, 2, 5], "saliency_scores": ratings.tolist()}
    )


def split(rows: list[Annotation], *, without_video: tuple[int, ...] = ()) -> SplitScores:
    random = np.random.default_rng(7)
    cosines = {
        name: {
            r.qid: random.normal(0, 0.3, CLIPS).astype(np.float32)
            for r in rows
            if r.qid not in without_video
        }
        for name in ("zero-shot", "HL-CLIP-2")
    }
    return pack(rows, cosines)


def variants(scores: SplitScores) -> dict[str, NDArray[np.float32]]:
    both = {}
    for name, matrix in scores.cosines.items():
        both[name] = matrix
        both[f"{name} (SP)"] = pool_padded(matrix, scores.lengths, window=3)
    return both


def by_column(scores: SplitScores) -> list[dict[str, Any]]:
    rows = example_rows(scores, variants(scores))
    return [dict(zip(COLUMNS, values, strict=True)) for values in rows]


def test_the_mean_of_the_queries_is_the_official_map():
    scores = split([row(qid) for qid in range(20)])
    truth = ground_truth(scores.rows)
    matrix = scores.cosines["zero-shot"]
    official = highlight_metrics(truth, matrix, truth.clips)["HL-min-VeryGood"]["HL-mAP"]
    assert query_precision(truth, matrix).mean() * 100 == pytest.approx(official, abs=0.005)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([0, 1, 0, 0, 3, 0, 0, 2, 0], [4, 7, 1]),
        ([5, 4, 3, 2, 1], [0]),
        ([1, 1, 1, 1], [0, 2]),
        ([2], [0]),
    ],
)
def test_peaks_by_hand(curve: list[float], expected: list[int]):
    assert peaks(np.array(curve, np.float32), count=3, apart=1) == expected


@given(arrays(np.float32, st.integers(1, 30), elements=st.floats(-1, 1, width=32)))
def test_peaks_stand_out(curve: NDArray[np.float32]):
    found = peaks(curve, count=4, apart=2)
    assert curve[found[0]] == curve.max()
    assert len(found) <= 4
    for clip in found:
        assert curve[clip] == curve[max(clip - 2, 0) : clip + 3].max()
    assert all(abs(a - b) > 2 for a in found for b in found if a != b)


def test_examples_are_queries_that_zero_shot_clip_finds_hard_and_easy():
    scores = split([row(qid) for qid in range(30)])
    precision = query_precision(ground_truth(scores.rows), scores.cosines["zero-shot"])
    rows = by_column(scores)
    chosen = {r["example"]: r["qid"] for r in rows}
    assert list(chosen) == list(EXAMPLES)
    ranks = {name: int((precision < precision[qid]).sum()) for name, qid in chosen.items()}
    assert ranks["hard"] <= 3 < ranks["middling"] < 26 <= ranks["easy"]

    other = SplitScores(
        scores.rows, scores.lengths, scores.cosines | {"HL-CLIP-2": -scores.cosines["HL-CLIP-2"]}
    )
    assert {r["example"]: r["qid"] for r in by_column(other)} == chosen


def test_every_series_has_every_clip():
    rows = by_column(split([row(qid) for qid in range(3)]))
    series = {(r["example"], r["series"], r["pooled"]) for r in rows}
    assert len(series) == 3 * (3 + 4)
    assert len(rows) == len(series) * CLIPS
    assert {r["seconds"] for r in rows} == set(range(1, 2 * CLIPS, 2))
    assert all(0 <= r["saliency"] <= 1 for r in rows)


def test_ratings_and_unpooled_scores_are_what_was_given():
    scores = split([row(0)])
    rows = [r for r in by_column(scores) if r["example"] == "hard" and r["pooled"] == "no"]
    for annotator, ratings in enumerate(scores.rows[0].ratings().T, 1):
        written = [r["saliency"] for r in rows if r["series"] == f"annotator {annotator}"]
        np.testing.assert_array_equal(written, ratings / 4)
    curve = np.array([r["saliency"] for r in rows if r["series"] == "zero-shot"])
    assert (curve.min(), curve.max()) == (0, 1)
    np.testing.assert_array_equal(curve.argsort(), scores.cosines["zero-shot"][0].argsort())


def test_queries_without_video_or_very_good_clips_are_no_example():
    rows = [row(0), row(1), row(2, very_good=False)]
    written = by_column(split(rows, without_video=(0,)))
    assert {r["qid"] for r in written} == {1}
    assert by_column(split([row(2, very_good=False)])) == []


def test_a_blind_split_leaves_the_header(tmp_path: Path):
    blind = Annotation(qid=1, query="q", vid="v", duration=16, relevant_clip_ids=None)
    scores = split([blind])
    write_examples(tmp_path / "s.csv", scores, variants(scores))
    assert (tmp_path / "s.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_a_query_cannot_end_the_script_that_dvc_puts_it_into(tmp_path: Path):
    scores = split([row(1, '</script><script>alert(1)</script>, "quoted"')])
    write_examples(tmp_path / "s.csv", scores, variants(scores))
    with (tmp_path / "s.csv").open(newline="", encoding="utf-8") as file:
        queries = {line["query"] for line in csv.DictReader(file)}
    (written,) = queries
    assert "<" not in written
    assert written.endswith(', "quoted"')
