"""The rule `consensus`: runs of clips on which many thresholds agree, best first.

It is given many curves at once: one at a time, it would take most of the time of a split.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hlclip.evaluation.moment_rules import Runs, Scores, iou, runs_of, scaled, smoothed

_MOST_RUNS = 2000
"""Candidates that are compared with each other, the heaviest; a 150-second video has under 100."""


def consensus(
    scores: Scores, overlap: float, focus: float
) -> Iterator[tuple[NDArray[np.int64], Scores]]:
    """Runs on which many thresholds agree, of several curves at once.

    Each of 32 levels of the smoothed curve's range cuts the curve into runs of clips above it. A
    run is a hypothesis of what a moment is. The weight of a level is its height to the power of
    `focus` times the variance between the clips above and below it (Otsu's criterion). The weight
    of a run within its level is its mean times the root of its length, relative to the best run.

    The first result is the run with the highest expected IoU with a hypothesis. Each further one
    adds most to the IoU that the runs before it reach (greedy maximum coverage): the list neither
    repeats itself nor misses a peak.

    Args:
        scores: [curves, clips]; what one curve gives does not depend on the others.

    Yields:
        The next run of every curve, [curves, 2], and their confidences [curves]; 0 where a curve
        has no more.
    """
    curves, clips = scores.shape
    height = np.stack([scaled(smoothed(curve, 0.7)) for curve in scores])
    levels = (np.arange(32) + 0.5) / 32
    # At least one clip is above each level. [curves, levels, clips]
    above = height[:, None] >= levels[:, None]
    count = above.sum(axis=2)
    # Variance between two classes: p (1 - p) (mean above - mean below)^2, and the difference of the
    # means is (mean above - mean of all) / (1 - p). [curves, levels]
    share = count / clips
    excess = (above @ height[..., None])[..., 0] / count - height.mean(axis=1)[:, None]
    between = share * excess**2 / np.maximum(1 - share, 1 / clips)

    row, runs = runs_of(above.reshape(-1, clips))  # a row is a level of a curve
    curve = row // len(levels)
    total = np.zeros((curves, clips + 1))
    height.cumsum(axis=1, out=total[:, 1:])
    length = runs[:, 1] - runs[:, 0]
    weight = (total[curve, runs[:, 1]] - total[curve, runs[:, 0]]) / length * np.sqrt(length)
    best = np.zeros((curves, len(levels)))
    np.maximum.at(best.reshape(-1), row, weight)
    weight *= (levels**focus * between / best).reshape(-1)[row]
    # Smoothing may make a curve flat: it is one run, and nothing is below it.
    weight[(np.bincount(curve, weight, curves) == 0)[curve]] = 1
    # A run that several levels have in common is one hypothesis with the sum of their weights.
    width = clips + 1
    keys, place = np.unique((curve * width + runs[:, 0]) * width + runs[:, 1], return_inverse=True)
    weight = np.bincount(place, weight).astype(np.float64)
    curve, keys = np.divmod(keys, width**2)
    if np.bincount(curve).max() > _MOST_RUNS:
        heaviest = np.lexsort((-weight, curve))  # stable
        first = np.searchsorted(curve, curve)
        kept = np.sort(heaviest[np.arange(len(curve)) - first < _MOST_RUNS])
        curve, keys, weight = curve[kept], keys[kept], weight[kept]
    yield from _covering(curve, np.stack(np.divmod(keys, width), axis=1), weight, overlap)


def _covering(
    curve: NDArray[np.int64], runs: Runs, weight: Scores, overlap: float
) -> Iterator[tuple[NDArray[np.int64], Scores]]:
    """Greedy maximum coverage, see `consensus`.

    Args:
        curve: [hypotheses], the curve of each, not decreasing.
        runs: [hypotheses, 2].
        weight: [hypotheses].
    """
    curves = np.arange(curve[-1] + 1)
    number = np.arange(len(curve)) - np.searchsorted(curve, curve)  # within its curve
    shape = (len(curves), number.max() + 1)
    free = np.zeros(shape, dtype=bool)
    free[curve, number] = True
    weights, candidates = np.zeros(shape), np.tile(np.array([0, 1]), (*shape, 1))
    weights[curve, number], candidates[curve, number] = weight, runs

    total = np.bincount(curve, weight)
    shared = iou(candidates, candidates)  # [curves, hypotheses, candidates]
    weighted = np.ascontiguousarray((shared * weights[..., None]).swapaxes(0, 1))
    reached = np.zeros(shape)  # highest IoU of a hypothesis with a chosen run
    gains = np.empty_like(weighted)  # [hypotheses, curves, candidates]
    while True:
        np.subtract(weighted, (reached * weights).T[..., None], out=gains)
        np.maximum(gains, 0, out=gains)
        # The sum goes from hypothesis to hypothesis: it does not depend on how many are padded.
        gain = np.where(free, gains.sum(axis=0), -np.inf)  # [curves, candidates]
        choice = gain.argmax(axis=1)
        confidence = np.maximum(gain[curves, choice], 0) / total
        if not confidence.any():
            return
        yield candidates[curves, choice], confidence
        chosen = shared[curves, choice]
        np.maximum(reached, chosen, out=reached)
        free &= (chosen <= overlap) & (confidence > 0)[:, None]
        free[curves, choice] = False
