"""Moments from saliency: ranked windows of one query, from the scores of its clips alone.

A rule turns the scores of a video's clips into windows; none is trained. `consensus` is the
default: on the two public submissions that docs/log.md names it has the best mAP of all rules.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hlclip.system import HlclipError

Rule = Literal["consensus", "histogram", "thresholds", "threshold", "contrast", "peaks"]

Window = tuple[float, float, float]
"""Start in seconds, end in seconds, confidence: an entry of `pred_relevant_windows`."""

Runs = NDArray[np.int64]
"""[runs, 2]: first clip of each run of clips, and the clip after its last."""

Scores = NDArray[np.float64]

MOST_WINDOWS = 10
"""Windows of a query that the official mAP counts."""

_MOST_RUNS = 2000
"""Candidates that are compared with each other, the heaviest; a 150-second video has under 100."""


def find_moments(
    saliency: ArrayLike,
    *,
    rule: Rule = "consensus",
    top: int = MOST_WINDOWS,
    overlap: float | None = None,
    focus: float = 2.0,
    clip_seconds: float = 2.0,
    duration: float = np.inf,
) -> list[Window]:
    """Windows of one query, best first.

    Args:
        saliency: [clips], any range; only differences count, so scores may be negative.
        rule: a key of `OVERLAPS`.
        top: most windows, at least 1.
        overlap: highest IoU of two windows of the result, 0..1; None is the rule's own.
        focus: of `consensus`: 0 trusts all levels of the curve alike, 8 only those near its top,
            which gives shorter windows.
        clip_seconds: length of a clip.
        duration: seconds of the video; no window ends after it.

    Returns:
        At least one window. The confidence never increases along the list; it compares windows of
        one query only. A flat curve has one window, the whole video.

    Raises:
        HlclipError: no clips, a score that is not finite, or `top` below 1.

    >>> find_moments([0.1, 0.1, 0.9, 0.8, 0.1, 0.1])[0][:2]
    (4.0, 8.0)
    """
    scores = np.asarray(saliency, np.float64)
    if scores.ndim != 1 or not len(scores):
        raise HlclipError(f"saliency has shape {scores.shape}, expected [clips], at least one")
    if not np.isfinite(scores).all():
        clip = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise HlclipError(f"saliency of clip {clip} is {scores[clip]}, expected a finite number")
    if top < 1:
        raise HlclipError(f"top is {top}, expected at least 1")
    overlap = OVERLAPS[rule] if overlap is None else overlap
    if rule == "consensus":
        found = _consensus(scores, top, overlap, focus)
    else:
        found = _apart(*_CANDIDATES[rule](scores), top, overlap)
    last = min(duration, len(scores) * clip_seconds)
    return [
        (float(first * clip_seconds), float(min(stop * clip_seconds, last)), float(confidence))
        for (first, stop), confidence in found
        if first * clip_seconds < last
    ]


Found = list[tuple[tuple[int, int], float]]
"""Runs (first clip, clip after the last) with their confidence, best first."""


def _consensus(scores: Scores, top: int, overlap: float, focus: float) -> Found:
    """Windows on which many thresholds agree.

    Each of 32 levels of the smoothed curve's range cuts the curve into runs of clips above it. A
    run is a hypothesis of what a moment is. The weight of a level is its height to the power of
    `focus` times the variance between the clips above and below it (Otsu's criterion). The weight
    of a run within its level is its mean times the root of its length, relative to the best run.

    The first window is the run with the highest expected IoU with a hypothesis. Each further window
    adds most to the IoU that the windows before it reach (greedy maximum coverage): the list
    neither repeats itself nor misses a peak.
    """
    height = _scaled(_smoothed(scores, 0.7))  # [clips], 0..1
    levels = (np.arange(32) + 0.5) / 32
    above = height >= levels[:, None]  # [levels, clips], at least one clip is above each level
    share = above.mean(axis=1)
    # Variance between two classes: p (1 - p) (mean above - mean below)^2, and the difference of the
    # means is (mean above - mean of all) / (1 - p).
    excess = (above * height).sum(axis=1) / above.sum(axis=1) - height.mean()
    between = share * excess**2 / np.maximum(1 - share, 1 / len(scores))

    level, runs = _runs(above)
    weight = _means(height, runs) * np.sqrt(runs[:, 1] - runs[:, 0])
    best = np.zeros(len(levels))
    np.maximum.at(best, level, weight)
    weight *= (levels**focus * between / best)[level]
    if not weight.any():  # a flat curve: one run, and nothing below it
        weight[:] = 1
    # A run that several levels have in common is one hypothesis with the sum of their weights.
    runs, same = np.unique(runs, axis=0, return_inverse=True)
    weight = np.bincount(same.ravel(), weight)
    if len(runs) > _MOST_RUNS:
        heaviest = np.sort(np.argsort(-weight, kind="stable")[:_MOST_RUNS])
        runs, weight = runs[heaviest], weight[heaviest]

    shared = _iou(runs, runs)  # [candidates, hypotheses]
    reached = np.zeros(len(runs))  # [hypotheses], highest IoU with a chosen window
    free = np.ones(len(runs), dtype=bool)
    found: Found = []
    while len(found) < top and free.any():
        gain = np.maximum(shared - reached, 0) @ weight  # [candidates]
        choice = int(np.where(free, gain, -np.inf).argmax())
        if gain[choice] <= 0:
            break
        found.append((_pair(runs[choice]), gain[choice] / weight.sum()))
        reached = np.maximum(reached, shared[choice])
        free &= shared[choice] <= overlap
        free[choice] = False
    return found


def _histogram(scores: Scores) -> tuple[Runs, Scores]:
    """Clips of the highest of ten bins, as many bins as hold eight clips; short gaps are closed."""
    height = _scaled(scores)
    bins = np.minimum((height * 10).astype(np.int64), 9)
    enough = np.flatnonzero(np.bincount(bins, minlength=10)[::-1].cumsum() >= min(8, len(scores)))
    runs = _joined(_runs((bins >= 9 - enough[0])[None])[1], gap=3)
    confidence = 0.5 * (runs[:, 1] - runs[:, 0]) / len(scores) + 0.5 * _means(height, runs)
    return runs, confidence


def _threshold(scores: Scores) -> tuple[Runs, Scores]:
    """Clips above 0.7 of the range of the smoothed curve; short gaps are closed."""
    height = _scaled(_smoothed(scores, 1.0))
    runs = _joined(_runs((height >= 0.7)[None])[1], gap=2)
    return runs, _means(height, runs)


def _thresholds(scores: Scores) -> tuple[Runs, Scores]:
    """Runs above nine thresholds from the mean to two standard deviations above it."""
    height = _smoothed(scores, 1.0)
    levels = height.mean() + np.arange(0, 2.01, 0.25) * height.std()
    runs = np.unique(_runs(height >= levels[:, None])[1], axis=0)
    length = (runs[:, 1] - runs[:, 0]) / len(scores)
    return runs, _contrasts(height, runs) * length**0.25


def _contrast(scores: Scores) -> tuple[Runs, Scores]:
    """All windows, by their mean minus the mean of the other clips."""
    # A window of more than a quarter of an hour is no moment, and all windows of a film are many.
    longest = min(len(scores), 450)
    length = np.arange(1, longest + 1)
    first = [np.arange(len(scores) - n + 1) for n in length]
    pairs = zip(first, length, strict=True)
    runs = np.concatenate([np.stack([start, start + n], axis=1) for start, n in pairs])
    return runs, _contrasts(scores, runs)


_CANDIDATES: dict[Rule, Callable[[Scores], tuple[Runs, Scores]]] = {
    "histogram": _histogram,
    "thresholds": _thresholds,
    "threshold": _threshold,
    "contrast": _contrast,
}
"""Rule -> its function: the scores of the clips to runs and their confidences."""

OVERLAPS: dict[Rule, float] = {
    "consensus": 0.9,
    "histogram": 0.95,
    "thresholds": 0.7,
    "threshold": 0.7,
    "contrast": 0.5,
}
"""Rule -> highest IoU of two of its windows."""


def _smoothed(scores: Scores, sigma: float) -> Scores:
    """Gaussian mean over the neighbours that exist; `sigma` in clips."""
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)

    def total(values: Scores) -> Scores:
        return np.convolve(values, kernel)[reach : reach + len(values)]

    return total(scores) / total(np.ones(len(scores)))


def _scaled(scores: Scores) -> Scores:
    """Scores as a share of their range, 0..1; 1 where they are all equal."""
    lowest, highest = scores.min(), scores.max()
    if highest == lowest:
        return np.ones(len(scores))
    # Divided first: the range of the largest float64 values is not finite.
    scale = max(abs(lowest), abs(highest))
    lowest, highest, scores = lowest / scale, highest / scale, scores / scale
    return (scores - lowest) / (highest - lowest)


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Runs]:
    """Runs of true clips in each row of a mask [rows, clips]: their rows, and the runs."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, first = np.nonzero(edges == 1)
    return rows, np.stack([first, np.nonzero(edges == -1)[1]], axis=1)


def _joined(runs: Runs, gap: int) -> Runs:
    """Runs in order of time, those with at most `gap` clips between them joined."""
    apart = runs[1:, 0] - runs[:-1, 1] > gap
    return np.stack([runs[np.append(True, apart), 0], runs[np.append(apart, True), 1]], axis=1)


def _means(scores: Scores, runs: Runs) -> Scores:
    total = np.append(0.0, scores.cumsum())
    return (total[runs[:, 1]] - total[runs[:, 0]]) / (runs[:, 1] - runs[:, 0])


def _contrasts(scores: Scores, runs: Runs) -> Scores:
    """Mean of the clips of each run minus the mean of the others; 0 for the whole video."""
    inside, outside = runs[:, 1] - runs[:, 0], len(scores) - (runs[:, 1] - runs[:, 0])
    mean = scores.mean()
    # The mean of the others follows from the mean of all: n mean = inside in + outside out.
    return (_means(scores, runs) - mean) * (1 + inside / np.maximum(outside, 1)) * (outside > 0)


def _iou(a: Runs, b: Runs) -> Scores:
    """Intersection over union of each run of `a` with each of `b`, [a, b]."""
    shared = np.minimum(a[:, None, 1], b[:, 1]) - np.maximum(a[:, None, 0], b[:, 0])
    shared = np.maximum(shared, 0)
    return shared / ((a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0]) - shared)


def _apart(runs: Runs, confidence: Scores, top: int, overlap: float) -> Found:
    """The best runs of which no two share more than `overlap` (non-maximum suppression)."""
    left = confidence.copy()
    found: Found = []
    for _ in range(top):
        choice = int(left.argmax())
        if left[choice] == -np.inf:
            break
        found.append((_pair(runs[choice]), confidence[choice]))
        left[_iou(runs[[choice]], runs)[0] > overlap] = -np.inf
        left[choice] = -np.inf
    return found


def _pair(run: NDArray[Any]) -> tuple[int, int]:
    return int(run[0]), int(run[1])
