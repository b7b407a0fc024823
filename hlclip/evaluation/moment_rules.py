"""Rules that turn the scores of a video's clips into runs of clips, best first; none is trained.

Every rule takes scores from 0 to 1 that are not all equal, and yields as many runs as it has.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Rule = Literal["consensus", "histogram", "thresholds", "threshold", "contrast", "peaks"]

RULES: dict[Rule, str] = {
    "consensus": "a range of clips on which many thresholds agree",
    "peaks": "a peak and its neighbours, down to half its height above the median",
    "threshold": "a range of clips above 70 % of the range of the curve",
    "thresholds": "one of the best ranges above nine thresholds",
    "histogram": "a range of clips in the highest bins of scores",
    "contrast": "a range whose mean is far above the mean of the other clips",
}
"""Rule -> what a moment is, for pages."""

Scores = NDArray[np.float64]

Runs = NDArray[np.int64]
"""[runs, 2]: first clip of each run of clips, and the clip after its last."""

Found = Iterator[tuple[tuple[int, int], float]]
"""Runs (first clip, clip after the last) with their confidence, best first."""


def peaks(scores: Scores, taken: NDArray[np.bool_]) -> Found:
    """The highest clips, each with its neighbours down to half its height above the median.

    The clips next to a run whose scores only fall belong to the same hill, and none of them is
    another peak. Clips below the median are no peaks.

    Args:
        taken: [clips], clips in earlier results, which the caller may change between results.
    """
    median = float(np.median(scores))
    candidate = scores >= median
    rising = np.append(scores[:-1] <= scores[1:], False)  # [clips], not above the next clip
    falling = np.append(False, scores[1:] <= scores[:-1])  # [clips], not above the clip before
    while (candidate := candidate & ~taken).any():
        peak = int(np.where(candidate, scores, -np.inf).argmax())
        high = ~taken & (scores >= (scores[peak] + median) / 2)
        run = _extended((peak, peak + 1), high, high)
        yield run, float(scores[peak])
        first, stop = _extended(run, rising, falling)
        candidate[first:stop] = False


def histogram(scores: Scores) -> tuple[Runs, Scores]:
    """Clips of the highest of ten bins, as many bins as hold eight clips; short gaps are closed."""
    bins = np.minimum((scores * 10).astype(np.int64), 9)
    enough = np.flatnonzero(np.bincount(bins, minlength=10)[::-1].cumsum() >= min(8, len(scores)))
    runs = _joined(runs_of((bins >= 9 - enough[0])[None])[1], gap=3)
    confidence = 0.5 * (runs[:, 1] - runs[:, 0]) / len(scores) + 0.5 * _means(scores, runs)
    return runs, confidence


def threshold(scores: Scores) -> tuple[Runs, Scores]:
    """Clips above 0.7 of the range of the smoothed curve; short gaps are closed."""
    height = scaled(smoothed(scores, 1.0))
    runs = _joined(runs_of((height >= 0.7)[None])[1], gap=2)
    return runs, _means(height, runs)


def thresholds(scores: Scores) -> tuple[Runs, Scores]:
    """Runs above nine thresholds from the mean to two standard deviations above it."""
    height = smoothed(scores, 1.0)
    # By rounding the mean of a flat curve may be above all its clips.
    levels = np.minimum(height.mean(), height.max()) + np.arange(0, 2.01, 0.25) * height.std()
    runs, _ = _distinct(runs_of(height >= levels[:, None])[1])
    length = (runs[:, 1] - runs[:, 0]) / len(scores)
    return runs, _contrasts(height, runs) * length**0.25


def contrast(scores: Scores) -> tuple[Runs, Scores]:
    """All runs, by their mean minus the mean of the other clips.

    A run of more than 450 clips is no moment. Videos with more clips have too many runs for the
    memory: those with the highest confidence are compared.
    """
    length = np.arange(1, min(len(scores), 450) + 1)
    runs, confidence = np.zeros((0, 2), np.int64), np.zeros(0)
    for begin in range(0, len(scores), 1000):
        first = np.arange(begin, min(begin + 1000, len(scores)))
        stop = first + length[:, None]  # [lengths, first clips]
        inside = stop <= len(scores)
        block = np.stack([np.broadcast_to(first, stop.shape)[inside], stop[inside]], axis=1)
        runs = np.concatenate([runs, block])
        confidence = np.concatenate([confidence, _contrasts(scores, block)])
        if len(runs) > 100_000:
            best = np.sort(np.argpartition(-confidence, 100_000)[:100_000])
            runs, confidence = runs[best], confidence[best]
    return runs, confidence


CANDIDATES: dict[Rule, Callable[[Scores], tuple[Runs, Scores]]] = {
    "histogram": histogram,
    "thresholds": thresholds,
    "threshold": threshold,
    "contrast": contrast,
}
"""Rule -> its function: the scores of the clips to runs in any order and their confidences."""


def apart(runs: Runs, confidence: Scores, overlap: float) -> Found:
    """The best runs of which no two have a higher IoU than `overlap` (non-maximum suppression)."""
    first, stop = runs.T.astype(np.int32)  # rows of 32 bits: many times as fast as `iou`
    length = stop - first
    left = confidence.copy()
    while left[choice := int(left.argmax())] > -np.inf:
        yield _pair(runs[choice]), float(confidence[choice])
        shared = np.minimum(stop, stop[choice]) - np.maximum(first, first[choice])
        # The IoU; it is not positive where no clip is shared.
        left[shared / (length + length[choice] - shared) > overlap] = -np.inf
        left[choice] = -np.inf


def scaled(scores: Scores) -> Scores:
    """Scores as a share of their range, 0..1; 1 where they are all equal."""
    lowest, highest = scores.min(), scores.max()
    if highest == lowest:
        return np.ones(len(scores))
    return (scores - lowest) / (highest - lowest)


def iou(a: Runs, b: Runs) -> Scores:
    """Intersection over union of each run of `a` with each of `b`, [..., a, b]."""
    (a_first, a_stop), (b_first, b_stop) = (
        np.ascontiguousarray(np.moveaxis(each, -1, 0), np.int32) for each in (a, b)
    )
    shared = np.minimum(a_stop[..., None], b_stop[..., None, :])
    shared -= np.maximum(a_first[..., None], b_first[..., None, :])
    np.maximum(shared, 0, out=shared)
    return shared / ((a_stop - a_first)[..., None] + (b_stop - b_first)[..., None, :] - shared)


def smoothed(scores: Scores, sigma: float) -> Scores:
    """Gaussian mean over the neighbours that exist; `sigma` in clips."""
    kernel, weights = _kernel(sigma, len(scores))
    reach = len(kernel) // 2
    return np.convolve(scores, kernel)[reach : reach + len(scores)] / weights


@lru_cache(maxsize=16)
def _kernel(sigma: float, clips: int) -> tuple[Scores, Scores]:
    """Weights of the neighbours up to three sigma, and their sum for each clip of a video."""
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return kernel, np.convolve(np.ones(clips), kernel)[reach : reach + clips]


def runs_of(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Runs]:
    """Runs of true clips in each row of a mask [rows, clips]: their rows, and the runs."""
    rows, clips = mask.shape
    padded = np.zeros((rows, clips + 2), dtype=bool)
    padded[:, 1:-1] = mask
    # Starts and ends alternate along a row.
    row, edge = np.nonzero(padded[:, 1:] != padded[:, :-1])
    return row[::2], edge.reshape(-1, 2)


def _distinct(runs: Runs) -> tuple[Runs, NDArray[np.int64]]:
    """Each run once, in order of time, and the place of each given run among them."""
    width = int(runs.max()) + 1
    keys, place = np.unique(runs[:, 0] * width + runs[:, 1], return_inverse=True)
    return np.stack(np.divmod(keys, width), axis=1), place


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


def _extended(
    run: tuple[int, int], left: NDArray[np.bool_], right: NDArray[np.bool_]
) -> tuple[int, int]:
    """Extend a run to each side as far as the mask of that side [clips] is true."""
    first, stop = run
    while first > 0 and left[first - 1]:
        first -= 1
    while stop < len(right) and right[stop]:
        stop += 1
    return first, stop


def _pair(run: NDArray[np.int64]) -> tuple[int, int]:
    return int(run[0]), int(run[1])
