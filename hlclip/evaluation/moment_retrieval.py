"""Moment retrieval as the official script (Moment-DETR's `standalone_eval`) measures it.

HL-CLIP predicts saliency alone; `moments` finds windows in it. Other systems predict windows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlclip.system import HlclipError

Figures = dict[str, float]
Windows = NDArray[np.float64]

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""Lowest IoU of a correct prediction: 0.5, 0.55, ..., 0.95."""

RANGES = {"short": (0, 10), "middle": (10, 30), "long": (30, 150), "full": (-np.inf, np.inf)}
"""Range -> seconds: moments longer than the first and at most as long as the second."""

MAX_PREDICTIONS = 10
"""Predictions of a query that count towards mAP, the first of the submission."""


def percent(share: float | np.floating) -> float:
    """A share, 0..1, as the official script reports it: in percent, two decimals."""
    return float(f"{100 * share:.2f}")


def stack(rows: Sequence[NDArray[Any]], *, fill: float = 0) -> NDArray[Any]:
    """Arrays of different lengths as one [rows, longest, ...], `fill` after the end of each."""
    first = rows[0] if rows else np.zeros(0)
    longest = max(map(len, rows), default=0)
    stacked = np.full((len(rows), longest, *first.shape[1:]), fill, first.dtype)
    for number, row in enumerate(rows):
        stacked[number, : len(row)] = row
    return stacked


def moment_metrics(
    truth: Sequence[Windows],
    predictions: Sequence[Sequence[Sequence[float]]],
    ranges: Mapping[str, tuple[float, float]] = RANGES,
) -> dict[str, dict[str, Figures]]:
    """MR-mAP and MR-R1 at each IoU threshold, for all moments and by their length.

    Args:
        truth: [windows, 2] of each query: start and end in seconds.
        predictions: (start in seconds, end in seconds, confidence) of each query, best first.
        ranges: those of `RANGES` that are measured.

    Returns:
        Percentages by range (`full`, `long`, `middle`, `short`), metric and threshold. A range that
        holds no moment is left out.
    """
    if len(truth) != len(predictions):
        raise HlclipError(f"got windows of {len(predictions)} queries, expected {len(truth)}")
    for name, each in (("relevant_windows", truth), ("pred_relevant_windows", predictions)):
        empty = sum(len(windows) == 0 for windows in each)
        if empty:
            raise HlclipError(f"{empty} of {len(each)} queries have no {name}")
    seconds = [windows[:, 1] - windows[:, 0] for windows in truth]
    figures: dict[str, dict[str, Figures]] = {}
    for name, (shortest, longest) in sorted(ranges.items()):
        inside = [w[(s > shortest) & (s <= longest)] for w, s in zip(truth, seconds, strict=True)]
        queries = [query for query, windows in enumerate(inside) if len(windows)]
        if queries:
            first = [np.array(predictions[q][:MAX_PREDICTIONS], np.float64) for q in queries]
            # [queries, most windows, 2 or 3], NaN where a query has fewer windows.
            moments = stack([inside[query] for query in queries], fill=np.nan)
            predicted = stack(first, fill=np.nan)
            figures[name] = {
                "MR-mAP": _mean_average_precision(predicted, moments),
                "MR-R1": _recall_at_1(predicted, moments),
            }
    return figures


def query_moments(
    truth: Sequence[Windows], predictions: Sequence[Sequence[Sequence[float]]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the official metrics average over the queries, for all moments.

    Args:
        truth, predictions: as in `moment_metrics`; no query without a window.

    Returns:
        [queries] average precision of the windows, averaged over the IoU thresholds, 0..1: its mean
        is the mAP. [queries] IoU of the first window with the moment that it overlaps most, 0..1.
    """
    moments = stack(truth, fill=np.nan)
    predicted = stack(
        [np.array(each[:MAX_PREDICTIONS], np.float64) for each in predictions], fill=np.nan
    )
    return _average_precision(predicted, moments).mean(axis=1), _first_iou(predicted, moments)


def _mean_average_precision(predicted: Windows, moments: Windows) -> Figures:
    """Mean over queries of the detection average precision, at each threshold and on average."""
    figures = _average_precision(predicted, moments).mean(axis=0)
    by_threshold = {str(t): percent(f) for t, f in zip(THRESHOLDS, figures, strict=True)}
    return by_threshold | {"average": percent(figures.mean())}


def _average_precision(predicted: Windows, moments: Windows) -> NDArray[np.float64]:
    """Detection average precision, [queries, thresholds]."""
    # By confidence. A stable sort keeps the submission's order among equals; NaN, no window, is
    # last. [queries, predictions, 3]
    order = (-predicted[..., 2]).argsort(axis=1, kind="stable")
    predicted = np.take_along_axis(predicted, order[..., None], axis=1)
    # Correct predictions up to each rank, as a share of the query's moments and of the rank.
    # [queries, predictions, thresholds]
    correct = _matches(predicted, moments).cumsum(axis=1)
    recall = correct / (~np.isnan(moments[:, None, :, 0])).sum(axis=2, keepdims=True)
    precision: Windows = correct / np.arange(1, correct.shape[1] + 1)[:, None]
    # Area under the best precision at this rank or a later one. [queries, thresholds]
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return (np.diff(recall, axis=1, prepend=0.0) * envelope).sum(axis=1)


def _matches(predicted: Windows, moments: Windows) -> NDArray[np.bool_]:
    """Is a prediction correct? [queries, predictions, thresholds].

    Each prediction in turn is matched with the moment of highest IoU that is not matched yet.
    """
    correct = np.zeros((*predicted.shape[:2], len(THRESHOLDS)), dtype=bool)
    # Most queries have a few moments. They are not padded to those that have many.
    count = (~np.isnan(moments[..., 0])).sum(axis=1)
    for queries in (count <= 3, count > 3):
        if queries.any():
            most = count[queries].max()
            correct[queries] = _matches_alike(predicted[queries], moments[queries, :most])
    return correct


def _matches_alike(predicted: Windows, moments: Windows) -> NDArray[np.bool_]:
    iou = _iou(predicted[:, :, None], moments[:, None])  # [queries, predictions, moments]
    # Rank of each moment for a prediction, the highest best. Of moments with equal IoU the last is
    # preferred, as in the script's reversed sort. [queries, predictions, moments]
    preference = iou.argsort(axis=2, kind="stable").argsort(axis=2)
    # [queries, predictions, thresholds, moments]; "not less", as the script takes NaN for a match.
    enough = ~(iou[:, :, None] < np.array(THRESHOLDS)[:, None])
    correct = np.zeros(enough.shape[:3], dtype=bool)
    free = np.ones((len(iou), len(THRESHOLDS), iou.shape[2]), dtype=bool)
    for turn in range(iou.shape[1]):
        choice = np.where(enough[:, turn] & free, preference[:, turn, None], -1)
        matched = (choice == choice.max(axis=2, keepdims=True)) & (choice >= 0)
        free &= ~matched
        correct[:, turn] = matched.any(axis=2)
    return correct


def _recall_at_1(predicted: Windows, moments: Windows) -> Figures:
    """Share of queries whose first prediction is correct, at each threshold."""
    iou = _first_iou(predicted, moments)
    return {str(t): percent(np.mean(iou >= t)) for t in THRESHOLDS}


def _first_iou(predicted: Windows, moments: Windows) -> NDArray[np.float64]:
    """IoU of the first prediction with the moment that it overlaps most, [queries]."""
    first = predicted[:, :1]
    best = _iou(first, moments).argmax(axis=1)
    moment = moments[np.arange(len(moments)), best]
    # The script computes this IoU a second way, over the hull of both windows. The two are equal up
    # to rounding, and rounding decides at a threshold.
    shared = _overlap(first[:, 0], moment)
    hull = np.maximum(first[:, 0, 1], moment[:, 1]) - np.minimum(first[:, 0, 0], moment[:, 0])
    return shared / hull


def _iou(a: Windows, b: Windows) -> Windows:
    """Intersection over union of windows [..., 2 or more], -1 where either is missing.

    The union may be zero for a prediction that ends before it starts. The IoU is then NaN, which
    the script's comparisons take for a match.
    """
    shared = _overlap(a, b)
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - shared
    with np.errstate(invalid="ignore"):
        iou = shared / union
    return np.where(np.isnan(a[..., 0]) | np.isnan(b[..., 0]), -1.0, iou)


def _overlap(a: Windows, b: Windows) -> Windows:
    """Seconds that windows [..., 2 or more] share."""
    return np.maximum(np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]), 0.0)
