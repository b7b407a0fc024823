"""What a score is worth: monotone maps from scores to ratings, and how well a map holds.

A map is a list of knots. It is linear between them and level beyond them, and it never falls, so
it changes no ranking and no metric.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hlclip.system import HlclipError

Knots = tuple[tuple[float, float], ...]
"""(score, value) of each knot: scores rise, values never fall."""

GROUP = 25
"""Fewest clips on which a value of a map rests."""

_MOST_GROUPS = 1000
_DECIMALS = 6

BINS = 10
"""Bins of equal width in which expected and observed values are compared."""


def fit_map(scores: NDArray[Any], values: NDArray[Any], *, group: int = GROUP) -> Knots:
    """Fit a map by isotonic regression: of all maps that never fall, the one of least squares.

    The clips are sorted by score and averaged in up to 1,000 groups of equally many clips first, at
    least `group`: otherwise the ends of the map would rest on single clips. A map so has at most
    1,000 knots; those within a level part are left out. Scores and values have six decimals.

    Args:
        scores, values: [clips]; at least one clip.
    """
    from scipy.optimize import isotonic_regression  # noqa: PLC0415 (takes 0.3 s)

    order = np.argsort(scores, kind="stable")
    count = min(max(1, len(order) // group), _MOST_GROUPS)
    first = np.arange(count) * len(order) // count  # of each group
    sizes = np.diff(first, append=len(order))
    x, sums = (np.add.reduceat(each[order].astype(np.float64), first) for each in (scores, values))
    # Groups of the same score share a knot. [knots]
    x, place = np.unique(np.round(x / sizes, _DECIMALS), return_inverse=True)
    weights = np.bincount(place, sizes)
    fitted = isotonic_regression(np.bincount(place, sums) / weights, weights=weights).x
    y = np.round(fitted, _DECIMALS)
    rises = np.diff(y) > 0
    ends = np.r_[True, rises] | np.r_[rises, True]
    return tuple(zip(x[ends].tolist(), y[ends].tolist(), strict=True))


def apply_map(knots: Knots, scores: ArrayLike) -> NDArray[np.float64]:
    """Values of scores of any shape; scores beyond the first and last knot have its value.

    Raises:
        HlclipError: a score is NaN.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if np.isnan(scores).any():
        raise HlclipError("got NaN as a score, which has no expected rating")
    return np.interp(scores, *np.array(knots).T)


def reliability(
    expected: NDArray[np.float64], observed: NDArray[np.float64], *, highest: float
) -> list[tuple[float, float, int]]:
    """Mean expected value, mean observed value and clips of each bin that has clips.

    Args:
        expected, observed: 0..`highest` [clips].
    """
    place = np.minimum((expected * BINS / highest).astype(int), BINS - 1)
    clips = np.bincount(place, minlength=BINS)
    means = [np.bincount(place, each, BINS) / np.maximum(clips, 1) for each in (expected, observed)]
    rows = zip(*(mean.tolist() for mean in means), clips.tolist(), strict=True)
    return [row for row in rows if row[2]]


def calibration_error(bins: list[tuple[float, float, int]]) -> float:
    """Expected calibration error (ECE): mean distance of expected and observed over the clips.

    The definition of Naeini et al. (AAAI 2015) and Guo et al. (ICML 2017), of the bins of
    `reliability`.
    """
    clips = sum(count for *_, count in bins)
    return sum(abs(expected - observed) * count for expected, observed, count in bins) / clips
