"""Example queries: which they are, and what stands in the rows of their plot."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlclip.evaluation import ground_truth, pool_padded, query_precision
from hlclip.formats import Annotation, SplitScores, pack
from hlclip.params import MomentsParams, PoolParams
from hlclip.pipeline.evaluate import evaluate_splits
from hlclip.pipeline.examples import COLUMNS, EXAMPLES, example_rows
from tests.runs import ORIGIN

CLIPS = 8


def row(qid: int | str, query: str = "a cat", *, very_good: bool = True) -> Annotation:
    ratings = np.random.default_rng(qid if isinstance(qid, int) else 0).integers(
        0, 4 + very_good, (3, 3)
    )
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
        both[f"{name} (SP)"] = pool_padded(matrix, scores.lengths, 3)
    return both


def by_column(scores: SplitScores) -> list[dict[str, Any]]:
    rows = example_rows(scores, ground_truth(scores.rows), variants(scores))
    return [dict(zip(COLUMNS, values, strict=True)) for values in rows]


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


def write(folder: Path, scores: SplitScores) -> Path:
    evaluate_splits(
        {"val": scores},
        PoolParams(window=3, mode="mean", sigma=1, border="neighbours"),
        MomentsParams(rule="consensus", focus=2),
        metrics=folder / "metrics.json",
        outputs=folder,
        origin=ORIGIN,
    )
    return folder / "saliency.csv"


def test_a_blind_split_leaves_the_header(tmp_path: Path):
    blind = Annotation(qid=1, query="q", vid="v", duration=16, relevant_clip_ids=None)
    assert write(tmp_path, split([blind])).read_text() == ",".join(COLUMNS) + "\n"


def test_no_text_can_end_the_script_that_dvc_puts_it_into(tmp_path: Path):
    hostile = '</script><script>alert(1)</script>, "quoted"'
    scores = split([row(hostile, f"=cmd {hostile}")])
    content = write(tmp_path, scores).read_text(encoding="utf-8")
    assert "<" not in content
    for line in csv.DictReader(io.StringIO(content)):
        assert line["qid"] == hostile.replace("<", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}")
        assert line["query"].startswith("'=cmd ")
        assert line["query"].endswith(', "quoted"')
