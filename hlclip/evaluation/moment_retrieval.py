"""Moment retrieval as the official script (Moment-DETR's `standalone_eval`) measures it.

HL-CLIP predicts no moments; the submissions of other systems do, and their figures are part of the
official report.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hlclip.system import HlclipError

Figures = dict[str, float]
Windows = NDArray[np.float64]

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""IoU from which a predicted moment is right: 0.5, 0.55, ..., 0.95."""

RANGES = {"short": (0, 10), "middle": (10, 30), "long": (30, 150), "full": (-np.inf, np.inf)}
"""Moments of more than the first and at most the second number of seconds."""

MAX_PREDICTIONS = 10
"""Windows of a query that count towards mAP, in the order given."""


def percent(share: float | np.floating) -> float:
    """A share as the official script reports it: in percent, two decimals."""
    return float(f"{100 * share:.2f}")


def moment_metrics(
    truth: Sequence[Windows], predictions: Sequence[Sequence[Sequence[float]]]
) -> dict[str, dict[str, Figures]]:
    """MR-mAP and MR-R1 at each IoU threshold, for all moments and by their length.

    Args:
        truth: [windows, 2] of each query: start and end in seconds.
        predictions: (start in seconds, end in seconds, confidence) of each query, best first.

    Returns:
        Percentages by range (`full`, `long`, `middle`, `short`), metric and threshold. A range that
        holds no moment is left out.

    Raises:
        HlclipError: not one entry a query, or a query without moments or without predictions.
    """
    if len(truth) != len(predictions):
        raise HlclipError(f"got windows of {len(predictions)} queries, expected {len(truth)}")
    for name, given in (("relevant_windows", truth), ("pred_relevant_windows", predictions)):
        empty = sum(len(windows) == 0 for windows in given)
        if empty:
            raise HlclipError(f"{empty} of {len(given)} queries have no {name}")
    figures: dict[str, dict[str, Figures]] = {}
    for name, (shortest, longest) in sorted(RANGES.items()):
        inside = [_of_length(windows, shortest, longest) for windows in truth]
        kept = [query for query, windows in enumerate(inside) if len(windows)]
        if kept:
            moments = _stack([inside[query] for query in kept])
            predicted = _stack([np.asarray(predictions[query][:MAX_PREDICTIONS]) for query in kept])
            figures[name] = {
                "MR-mAP": _mean_average_precision(predicted, moments),
                "MR-R1": _recall_at_1(predicted, moments),
            }
    return figures


def _of_length(windows: Windows, shortest: float, longest: float) -> Windows:
    length = windows[:, 1] - windows[:, 0]
    return windows[(length > shortest) & (length <= longest)]


def _stack(windows: Sequence[Windows]) -> Windows:
    """[queries, most windows, numbers of a window], NaN where a query has fewer windows."""
    most = max(map(len, windows))
    stacked = np.full((len(windows), most, windows[0].shape[1]), np.nan)
    for query, rows in enumerate(windows):
        stacked[query, : len(rows)] = rows
    return stacked


def _mean_average_precision(predicted: Windows, moments: Windows) -> Figures:
    """Mean over queries of the detection average precision, at each threshold and on average."""
    # Stable, so that equal confidences keep the order of the submission. NaN (no window) goes last.
    order = (-predicted[..., 2]).argsort(axis=1, kind="stable")
    predicted = np.take_along_axis(predicted, order[..., None], axis=1)
    right = _matches(predicted, moments)
    found = right.cumsum(axis=1)
    recall = found / (~np.isnan(moments[:, None, :, 0])).sum(axis=2, keepdims=True)
    precision: Windows = found / np.arange(1, found.shape[1] + 1)[:, None]
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    area = (np.diff(recall, axis=1, prepend=0.0) * envelope).sum(axis=1)  # [queries, thresholds]
    figures = area.mean(axis=0)
    by_threshold = {str(t): percent(f) for t, f in zip(THRESHOLDS, figures, strict=True)}
    return by_threshold | {"average": percent(figures.mean())}


def _matches(predicted: Windows, moments: Windows) -> NDArray[np.bool_]:
    """Is a prediction right? [queries, predictions, thresholds].

    In turn, each prediction takes the moment of highest IoU that no earlier one has taken.
    """
    iou = _iou(predicted[:, :, None], moments[:, None])
    # Of moments with equal IoU the last is preferred, as in the script's reversed sort.
    preference = iou.argsort(axis=2, kind="stable").argsort(axis=2)
    enough = ~(iou[:, :, None] < np.array(THRESHOLDS)[:, None])
    right = np.zeros(enough.shape[:3], dtype=bool)
    free = np.ones((len(iou), len(THRESHOLDS), iou.shape[2]), dtype=bool)
    for turn in range(iou.shape[1]):
        choice = np.where(enough[:, turn] & free, preference[:, turn, None], -1)
        taken = choice == choice.max(axis=2, keepdims=True)
        taken &= choice >= 0
        free &= ~taken
        right[:, turn] = taken.any(axis=2)
    return right


def _recall_at_1(predicted: Windows, moments: Windows) -> Figures:
    """Share of queries whose first prediction is right, at each threshold."""
    first = predicted[:, :1]
    best = _iou(first, moments).argmax(axis=1)
    moment = moments[np.arange(len(moments)), best]
    # The script computes this IoU anew, over the hull of both: equal up to rounding, and roundings
    # decide at a threshold.
    shared = _overlap(first[:, 0], moment)
    hull = np.maximum(first[:, 0, 1], moment[:, 1]) - np.minimum(first[:, 0, 0], moment[:, 0])
    iou = shared / hull
    return {str(t): percent(np.mean(iou >= t)) for t in THRESHOLDS}


def _iou(a: Windows, b: Windows) -> Windows:
    """Intersection over union of windows [..., 2 or more], -1 where either is missing.

    A prediction that ends before it starts may have a union of zero; the script then gets NaN,
    which its comparisons take for a match, and so does this.
    """
    shared = _overlap(a, b)
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - shared
    with np.errstate(invalid="ignore"):
        iou = shared / union
    return np.where(np.isnan(a[..., 0]) | np.isnan(b[..., 0]), -1.0, iou)


def _overlap(a: Windows, b: Windows) -> Windows:
    """Seconds that windows [..., 2 or more] share."""
    return np.maximum(np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]), 0.0)
