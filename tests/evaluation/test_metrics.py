"""The metrics on cases small enough to work out by hand, and their invariances."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlclip.evaluation.metrics import (
    GROUPS,
    GroundTruth,
    average_precision,
    evaluate,
    ground_truth,
    highlight_metrics,
    pad,
    query_precision,
)
from hlclip.evaluation.moment_retrieval import moment_metrics, query_moments
from hlclip.formats.annotations import LEVELS, Annotation


def annotation(
    ratings: list[list[int]], *, windows: list[list[float]] | None = None, qid: int = 1
) -> Annotation:
    """A row whose every clip is rated; with a list of windows."""
    return Annotation.model_validate(
        {
            "qid": qid,
            "query": "q",
            "vid": "v",
            "duration": 2 * len(ratings),
            "relevant_clip_ids": list(range(len(ratings))),
            "saliency_scores": ratings,
            "relevant_windows": windows,
        }
    )


def ap(labels: list[int], scores: list[float]) -> float:
    """Average precision of one ranking."""
    matrix = np.array(scores, dtype=np.float64)[None]
    return average_precision(
        np.array(labels, dtype=bool)[None, None, None], matrix, np.array([len(labels)])
    ).item()


def very_good(truth: GroundTruth, scores: list[list[float]]) -> dict[str, float]:
    return highlight_metrics(truth, *pad(scores))["HL-min-VeryGood"]


def test_groups_are_the_levels() -> None:
    assert {name.removeprefix("HL-min-"): rating for name, rating in GROUPS.items()} == LEVELS


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        ([1, 0, 1, 0], [4, 3, 2, 1], (1 + 2 / 3) / 2),
        ([0, 0, 1], [3, 2, 1], 1 / 3),
        ([1, 0], [5, 5], 1 / 2),  # a tie is one threshold
        ([1, 0, 1, 1], [3, 2, 1, 1], (1 + 3 / 4) / 2),  # so two highlights count once here
        ([0, 1, 1], [3, 2, 1], (2 / 3 + 2 / 3) / 2),  # the best precision at or below counts
        ([0, 0], [1, 2], 0),
        ([1, 1], [1, 2], 1),
        ([1], [0], 1),
    ],
)
def test_average_precision(labels: list[int], scores: list[float], expected: float) -> None:
    assert ap(labels, scores) == pytest.approx(expected)


@given(clips=st.lists(st.tuples(st.integers(0, 1), st.integers(-50, 50)), min_size=1, max_size=20))
def test_only_the_order_of_scores_counts(clips: list[tuple[int, int]]) -> None:
    labels, scores = zip(*clips, strict=True)
    value = ap(list(labels), list(scores))
    assert 0 <= value <= 1
    assert value == ap(list(labels), [score**3 / 7 + 2 for score in scores])
    assert value == ap(list(labels[::-1]), list(scores[::-1]))


def test_hit_is_any_annotators() -> None:
    truth = ground_truth([annotation([[0, 0, 0], [0, 4, 0]])])
    assert very_good(truth, [[0, 1]])["HL-Hit1"] == 100
    assert very_good(truth, [[1, 0]])["HL-Hit1"] == 0


def test_the_first_of_equal_scores_is_the_hit() -> None:
    truth = ground_truth([annotation([[0, 0, 0], [4, 4, 4]])])
    assert very_good(truth, [[1, 1]])["HL-Hit1"] == 0


def test_a_best_score_past_the_end_is_a_miss_but_cut_for_precision() -> None:
    truth = ground_truth([annotation([[4, 4, 4], [0, 0, 0]])])
    assert very_good(truth, [[1, 0, 9]]) == {"HL-mAP": 100, "HL-Hit1": 0}


def test_scores_past_the_end_stay_a_miss_beside_longer_videos() -> None:
    short = annotation([[4, 4, 4], [0, 0, 0]], qid=1)
    long = annotation([[4, 4, 4], [0, 0, 0], [0, 0, 0], [0, 0, 0]], qid=2)
    assert very_good(ground_truth([short, long]), [[1, 0, 9], [1, 0]])["HL-Hit1"] == 50


def test_missing_scores_are_zeros_that_may_rank_first() -> None:
    truth = ground_truth([annotation([[4, 4, 4], [0, 0, 0], [0, 0, 0]])])
    assert very_good(truth, [[1]])["HL-mAP"] == 100
    assert very_good(truth, [[-1]]) == {"HL-mAP": 33.33, "HL-Hit1": 100}


def test_queries_without_highlights_count_as_zero() -> None:
    rows = [annotation([[4, 4, 4], [0, 0, 0]]), annotation([[3, 3, 3], [0, 0, 0]], qid=2)]
    figures = highlight_metrics(ground_truth(rows), *pad([[1, 0], [1, 0]]))
    assert figures["HL-min-Good"] == {"HL-mAP": 100, "HL-Hit1": 100}
    assert figures["HL-min-VeryGood"] == {"HL-mAP": 50, "HL-Hit1": 50}


def test_what_stands_in_the_padding_does_not_count() -> None:
    rows = [
        annotation([[4, 0, 2], [0, 3, 3]]),
        annotation([[0, 2, 3], [4, 4, 0], [1, 1, 1]], qid=2),
    ]
    truth = ground_truth(rows)
    scores, lengths = pad([[0.25, 0.5], [0.5, 0.25, 0.75]])
    clean = highlight_metrics(truth, scores, lengths)
    scores[0, 2] = np.nan
    assert highlight_metrics(truth, scores, lengths) == clean
    # A padded clip is no clip, though its score of zero would tie with the others.
    assert ap([1, 0], [0, -1]) == 1


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([[1.0, 2.0], [1.0]], "got scores of 2 queries, expected 1"),
        ([[]], "qid 1 has no scores"),
        ([[1.0, np.nan]], "must be finite"),
        ([[np.inf, 1.0]], "must be finite"),
    ],
)
def test_scores_that_cannot_be_ranked_are_refused(scores: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(ground_truth([annotation([[4, 4, 4], [0, 0, 0]])]), scores=scores)


def test_ground_truth_needs_ratings() -> None:
    blind = Annotation.model_validate({"qid": 5, "query": "q", "vid": "v", "duration": 4})
    with pytest.raises(ValueError, match=r"1 of 1 annotations have no saliency_scores .* qid 5"):
        ground_truth([blind])
    with pytest.raises(ValueError, match="no annotations"):
        ground_truth([])


def moments(truth: list[Any], predictions: list[Any]) -> dict[str, Any]:
    return moment_metrics([np.array(w, dtype=np.float64) for w in truth], predictions)


def test_moments_are_ranked_by_confidence_but_the_first_is_recalled() -> None:
    figures = moments([[[0, 20]]], [[[50, 70, 0.1], [0, 20, 0.9]]])["full"]
    assert figures["MR-mAP"]["average"] == 100
    assert figures["MR-R1"]["0.5"] == 0


def test_a_moment_is_found_once() -> None:
    figures = moments([[[0, 20], [40, 60]]], [[[0, 20, 0.9], [0, 20, 0.8], [40, 60, 0.7]]])
    assert figures["full"]["MR-mAP"]["0.95"] == pytest.approx(100 * (1 + 2 / 3) / 2, abs=0.01)


def test_the_threshold_itself_is_a_match() -> None:
    figures = moments([[[0, 20]]], [[[0, 10, 1]]])["full"]
    assert figures["MR-R1"] == {"0.5": 100.0} | dict.fromkeys(list(figures["MR-R1"])[1:], 0.0)


def test_the_figures_of_queries_have_the_official_means() -> None:
    random = np.random.default_rng(0)
    truth = [np.sort(random.uniform(0, 150, (1 + q % 3, 2)), axis=1) for q in range(40)]
    predictions = [
        np.column_stack([np.sort(random.uniform(0, 150, (1 + q % 12, 2))), np.ones(1 + q % 12)])
        for q in range(40)
    ]
    predictions[7][0, :2] = truth[7][0]
    windows = [each.tolist() for each in predictions]
    precision, iou = query_moments(truth, windows)
    full = moment_metrics(truth, windows)["full"]
    assert full["MR-mAP"]["average"] == pytest.approx(100 * precision.mean(), abs=0.005)
    assert full["MR-R1"]["0.5"] == pytest.approx(100 * (iou >= 0.5).mean(), abs=0.005)
    assert iou[7] == 1
    # The first of two windows is half of the moment; of the ten thresholds it reaches 0.5 alone.
    precision, iou = query_moments([np.array([[0.0, 20]])], [[[0, 10, 0.9], [50, 60, 0.8]]])
    assert (precision.tolist(), iou.tolist()) == ([0.1], [0.5])


def test_ten_windows_count() -> None:
    misses = [[100, 110, 1 - i / 100] for i in range(10)]
    assert moments([[[0, 20]]], [[*misses[:9], [0, 20, 0.1]]])["full"]["MR-mAP"]["0.5"] == 10
    assert moments([[[0, 20]]], [[*misses, [0, 20, 0.1]]])["full"]["MR-mAP"]["0.5"] == 0


def test_lengths_are_open_below_and_closed_above() -> None:
    figures = moments(
        [[[0, 10]], [[0, 30]], [[0, 150]], [[0, 151]]],
        [[[0, 10, 1]], [[0, 1, 1]], [[0, 150, 1]], [[0, 1, 1]]],
    )
    averages = {name: figure["MR-mAP"]["average"] for name, figure in figures.items()}
    assert averages == {"full": 50, "long": 100, "middle": 0, "short": 100}


def test_a_range_without_moments_has_no_figures() -> None:
    row = annotation([[4, 4, 4], [0, 0, 0]], windows=[[0, 2]])
    report = evaluate(ground_truth([row]), windows=[[[0, 2, 1]]])
    assert list(report) == ["brief", "full", "short"]
    assert list(report["brief"]) == [
        "MR-full-R1@0.5",
        "MR-full-R1@0.7",
        "MR-full-mAP",
        "MR-full-mAP@0.5",
        "MR-full-mAP@0.75",
        "MR-short-mAP",
    ]


def test_windows_that_end_before_they_start_match_nothing() -> None:
    figures = moments([[[0, 20]], [[0, 20]]], [[[9, 9, 1]], [[15, 5, 1]]])["full"]
    assert figures["MR-R1"]["0.5"] == figures["MR-mAP"]["0.5"] == 0


@pytest.mark.parametrize(
    ("truth", "predictions", "message"),
    [
        ([[[0, 2]]], [], "got windows of 0 queries, expected 1"),
        ([np.zeros((0, 2))], [[[0, 2, 1]]], "1 of 1 queries have no relevant_windows"),
        ([[[0, 2]]], [[]], "1 of 1 queries have no pred_relevant_windows"),
    ],
)
def test_queries_without_moments_are_refused(
    truth: list[Any], predictions: list[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        moments(truth, predictions)


def test_the_mean_over_the_queries_is_the_official_map() -> None:
    random = np.random.default_rng(0)
    rows = [annotation(random.integers(0, 5, (8, 3)).tolist(), qid=qid) for qid in range(20)]
    truth = ground_truth(rows)
    scores = random.normal(size=(20, 8))
    official = highlight_metrics(truth, scores, truth.clips)["HL-min-VeryGood"]["HL-mAP"]
    assert query_precision(truth, scores).mean() * 100 == pytest.approx(official, abs=0.005)


def test_importing_the_metrics_imports_numpy_alone() -> None:
    heavy = ("torch", "sklearn", "h5py", "pandas", "pydantic")
    code = f"import sys, hlclip.evaluation.metrics; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
