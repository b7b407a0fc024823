"""The vectorised metrics against a naive twin of the official script, and against its own output.

The twin follows Moment-DETR's `standalone_eval` query by query, with scikit-learn's
precision-recall curve, and shares no code with `hlclip`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from hlclip.evaluation.metrics import evaluate, ground_truth
from hlclip.formats.annotations import Annotation, read_annotations
from hlclip.formats.submissions import read_answers

THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
BRIEF = {
    "MR-full-R1@0.5": ("full", "MR-R1", "0.5"),
    "MR-full-R1@0.7": ("full", "MR-R1", "0.7"),
    "MR-full-mAP": ("full", "MR-mAP", "average"),
    "MR-full-mAP@0.5": ("full", "MR-mAP", "0.5"),
    "MR-full-mAP@0.75": ("full", "MR-mAP", "0.75"),
    "MR-long-mAP": ("long", "MR-mAP", "average"),
    "MR-middle-mAP": ("middle", "MR-mAP", "average"),
    "MR-short-mAP": ("short", "MR-mAP", "average"),
}


def official(rows: list[Annotation], predictions: list[dict[str, Any]]) -> dict[str, Any]:
    """The report on predictions in the order of `rows`."""
    report: dict[str, Any] = {}
    brief: dict[str, float] = {}
    if "pred_relevant_windows" in predictions[0]:
        report |= official_moments(rows, [p["pred_relevant_windows"] for p in predictions])
        for name, (group, metric, threshold) in BRIEF.items():
            if group in report:
                brief[name] = report[group][metric][threshold]
    if "pred_saliency_scores" in predictions[0]:
        scores = [p["pred_saliency_scores"] for p in predictions]
        for level, lowest in {"Fair": 2, "Good": 3, "VeryGood": 4}.items():
            figures = official_highlights(rows, scores, lowest)
            report[f"HL-min-{level}"] = figures
            brief[f"HL-min-{level}-mAP"] = figures["HL-mAP"]
            brief[f"HL-min-{level}-Hit1"] = figures["HL-Hit1"]
    return {"brief": brief} | {group: report[group] for group in sorted(report)}


def official_highlights(
    rows: list[Annotation], scores: list[list[float]], lowest: int
) -> dict[str, float]:
    precisions: list[float] = []
    hits: list[float] = []
    for row, given_scores in zip(rows, scores, strict=True):
        clips = int(row.duration / 2)
        labels = np.zeros((clips, 3))
        for clip, ratings in zip(
            row.relevant_clip_ids or (), row.saliency_scores or (), strict=True
        ):
            labels[clip] = [rating >= lowest for rating in ratings]
        best = given_scores.index(max(given_scores))
        hits.append(max(labels[best]) if best < clips else 0.0)
        fitted = np.array((given_scores + [0.0] * clips)[:clips], dtype=np.float64)
        precisions += [official_average_precision(labels[:, i], fitted) for i in range(3)]
    return {
        "HL-mAP": float(f"{100 * np.mean(precisions):.2f}"),
        "HL-Hit1": float(f"{100 * np.mean(hits):.2f}"),
    }


def official_average_precision(labels: Any, scores: Any) -> float:
    if len(set(labels)) == 1:
        return float(labels[0])
    precision, recall, _ = precision_recall_curve(labels, scores)
    recall = recall.astype(np.float32)
    best_so_far = 0.0
    counted: list[float] = []
    for i in range(len(precision) - 1):
        best_so_far = max(best_so_far, precision[i])
        if recall[i + 1] != recall[i]:
            counted.append(best_so_far)
    return float(np.mean(counted))


def official_moments(
    rows: list[Annotation], predictions: list[Any], *, retrieval: bool = False
) -> dict[str, Any]:
    """With `retrieval` as UniVTG and R2-Tuning extended the script for other data sets."""
    report: dict[str, Any] = {}
    longest = float("inf") if retrieval else 150
    ranges = {"short": (0, 10), "middle": (10, 30), "long": (30, longest), "full": None}
    thresholds = [0.3, *THRESHOLDS] if retrieval else THRESHOLDS
    for name, limits in ranges.items():
        precisions: list[list[float]] = []
        ious: list[float] = []
        for row, windows in zip(rows, predictions, strict=True):
            moments = [
                (start, end)
                for start, end in row.relevant_windows or ()
                if limits is None or limits[0] < end - start <= limits[1]
            ]
            if moments:
                ranked = sorted(windows[:10], key=lambda w: -w[2])
                precisions.append([detection_precision(ranked, moments, t) for t in THRESHOLDS])
                ious.append(max(intersection_over_union(windows[0], m) for m in moments))
        if precisions:
            means = np.mean(precisions, axis=0)
            figures = dict(zip(map(str, THRESHOLDS), means, strict=True)) | {
                "average": means.mean()
            }
            report[name] = {
                "MR-mAP": {key: float(f"{100 * value:.2f}") for key, value in figures.items()},
                "MR-R1": {
                    str(t): float(f"{100 * np.mean([iou >= t for iou in ious]):.2f}")
                    for t in thresholds
                },
            }
            if retrieval:
                report[name]["MR-R1"]["mIoU"] = float(f"{100 * np.mean(ious):.2f}")
    return report


def detection_precision(ranked: list[Any], moments: list[Any], threshold: float) -> float:
    taken: set[int] = set()
    recalls, precisions = [0.0], [0.0]
    for count, window in enumerate(ranked, start=1):
        ious = [intersection_over_union(window, moment) for moment in moments]
        for i in sorted(range(len(moments)), key=lambda i: (ious[i], i), reverse=True):
            if i not in taken and ious[i] >= threshold:
                taken.add(i)
                break
        recalls.append(len(taken) / len(moments))
        precisions.append(len(taken) / count)
    return sum((recalls[i] - recalls[i - 1]) * max(precisions[i:]) for i in range(1, len(recalls)))


def intersection_over_union(a: Any, b: Any) -> float:
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / ((a[1] - a[0]) + (b[1] - b[0]) - shared)


@st.composite
def annotations(draw: st.DrawFn, qid: int) -> Annotation:
    """A row of 1 to 12 clips: often without highlights, or with nothing else."""
    clips = draw(st.integers(1, 12))
    ids = draw(st.lists(st.integers(0, clips - 1), unique=True))
    constant = draw(st.sampled_from([None, None, 0, 4]))
    if constant == 4:
        ids = list(range(clips))
    rating = st.integers(0, 4) if constant is None else st.just(constant)
    cuts = sorted(
        draw(st.sets(st.integers(0, clips), min_size=2, max_size=2 * min(3, clips // 2 or 1)))
    )
    return Annotation.model_validate(
        {
            "qid": qid,
            "query": "q",
            "vid": "v",
            # What is left of a clip at the end does not count.
            "duration": 2 * clips + draw(st.sampled_from([0, 1, 1.5])),
            "relevant_clip_ids": ids,
            "saliency_scores": draw(
                st.lists(st.tuples(rating, rating, rating), min_size=len(ids), max_size=len(ids))
            ),
            "relevant_windows": [
                [2 * s, 2 * e] for s, e in zip(cuts[::2], cuts[1::2], strict=False)
            ],
        }
    )


# Few different values, so that ties are common; negative ones, so that padding may rank first.
SCORES = st.lists(
    st.sampled_from([-2, -0.5, -0.25, 0.0, 0.5, 0.75]) | st.floats(-1, 1, width=32),
    min_size=1,
    max_size=16,
)
BOUND = st.integers(0, 12).map(lambda clip: 2.0 * clip) | st.floats(0, 24)
WINDOW = st.tuples(BOUND, BOUND, st.sampled_from([0.0, 0.5, 0.9]) | st.floats(0, 1)).map(
    lambda w: [min(w[:2]), max(w[:2]), w[2]]
)


@given(data=st.data())
def test_equals_the_naive_twin(data: st.DataObject) -> None:
    queries = data.draw(st.integers(1, 6))
    rows = [data.draw(annotations(qid)) for qid in range(queries)]
    predictions = [
        {
            "pred_saliency_scores": data.draw(SCORES),
            "pred_relevant_windows": data.draw(st.lists(WINDOW, min_size=1, max_size=12)),
        }
        for _ in rows
    ]
    ours = evaluate(
        ground_truth(rows),
        scores=[p["pred_saliency_scores"] for p in predictions],
        windows=[p["pred_relevant_windows"] for p in predictions],
    )
    twin = official(rows, predictions)
    assert list(ours) == list(twin)
    assert list(ours["brief"]) == list(twin["brief"])
    for group, figures in twin.items():
        for name, figure in figures.items():
            # The sum of the same numbers in another order may round to the next hundredth.
            assert ours[group][name] == pytest.approx(figure, abs=0.0101), (group, name)


@given(data=st.data())
def test_moment_retrieval_alone_equals_the_naive_twin(data: st.DataObject) -> None:
    """One moment of up to 400 s a query, as Charades-STA, TACoS and ActivityNet Captions have."""
    bound = st.integers(0, 100).map(lambda step: 4.0 * step)
    bounds = st.tuples(bound, bound).filter(lambda pair: pair[0] < pair[1])
    facts = {"query": "q", "vid": "v", "duration": 400.0, "dataset": "charades-sta"}
    moments = data.draw(st.lists(bounds, min_size=1, max_size=5))
    rows = [
        Annotation.model_validate(facts | {"qid": qid, "relevant_windows": [moment]})
        for qid, moment in enumerate(moments)
    ]
    predictions = [
        [[*data.draw(bounds), rank] for rank in range(data.draw(st.integers(1, 3)), 0, -1)]
        for _ in rows
    ]
    ours = evaluate(ground_truth(rows), windows=predictions)
    twin = official_moments(rows, predictions, retrieval=True)
    assert set(ours) == {"brief", *twin}
    for group, figures in twin.items():
        for name, figure in figures.items():
            assert ours[group][name] == pytest.approx(figure, abs=0.0101), (group, name)
    assert ours["brief"]["MR-full-mIoU"] == ours["full"]["MR-R1"]["mIoU"]
    assert ours["brief"]["MR-full-R1@0.3"] == ours["full"]["MR-R1"]["0.3"]


@pytest.mark.parametrize(
    ("system", "split"),
    [
        ("moment_detr_val", "highlight_val_release"),
        ("cg_detr_test", "highlight_test_with_gt"),
    ],
)
def test_equals_the_official_output(qvhighlights_dir: Path, system: str, split: str) -> None:
    queries = read_annotations(qvhighlights_dir / f"{split}.jsonl")
    truth = ground_truth(queries)
    folder = qvhighlights_dir / "predictions"
    rows = read_answers(folder / f"{system}.jsonl", queries)
    ours = evaluate(
        truth,
        scores=[row.pred_saliency_scores or () for row in rows],
        windows=[row.pred_relevant_windows or () for row in rows],
    )
    golden = json.loads((folder / f"{system}.metrics.json").read_text())
    assert shared(ours, golden) == golden
    if set(ours) == set(golden):
        assert json.dumps(ours) == json.dumps(golden)  # key order too


def shared(ours: dict[str, Any], golden: dict[str, Any]) -> dict[str, Any]:
    """Our figures under the keys that the golden file has: one of them is abridged."""
    return {
        key: shared(ours[key], value) if isinstance(value, dict) else ours[key]
        for key, value in golden.items()
    }


def test_ground_truth_as_its_own_prediction(qvhighlights_dir: Path) -> None:
    """Not 100 %: three annotators disagree. Ties, each one threshold, cost five points more."""

    def votes(row: Annotation) -> NDArray[np.float64]:
        """Most VeryGood votes first, then the higher sum, then the earlier clip."""
        ratings = row.ratings()
        order = np.arange(len(ratings)) / 1000
        return (ratings == 4).sum(axis=1) * 100 + ratings.sum(axis=1) - order

    rows = read_annotations(qvhighlights_dir / "highlight_val_release.jsonl")
    truth = ground_truth(rows)
    ranked = evaluate(truth, scores=[votes(row) for row in rows])
    assert ranked["HL-min-VeryGood"] == {"HL-mAP": 65.78, "HL-Hit1": 97.74}
    summed = evaluate(truth, scores=[row.ratings().sum(axis=1) for row in rows])
    assert summed["HL-min-VeryGood"] == {"HL-mAP": 60.81, "HL-Hit1": 95.68}


def test_random_scores_find_what_chance_finds(qvhighlights_dir: Path) -> None:
    rows = read_annotations(qvhighlights_dir / "highlight_val_release.jsonl")
    truth = ground_truth(rows)
    random = np.random.default_rng(0)
    clips = [row.clips for row in rows]
    found = [
        evaluate(truth, scores=[random.random(count) for count in clips])["HL-min-VeryGood"]
        for _ in range(5)
    ]
    assert np.mean([f["HL-mAP"] for f in found]) == pytest.approx(15.4, abs=0.3)
    assert np.mean([f["HL-Hit1"] for f in found]) == pytest.approx(21.6, abs=1.0)
