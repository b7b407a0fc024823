"""The mean of several systems' saliency, each z-scored within its query."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hlclip.system import HlclipError


def ensemble(systems: Sequence[ArrayLike], weights: Sequence[float] = ()) -> NDArray[np.float64]:
    """Saliency of one query from several systems, whatever the range of each.

    Args:
        systems: [clips] of each system, finite, for the same clips.
        weights: of each system, positive; only their ratios count. Empty: all alike.

    Returns:
        [clips], the weighted mean of the z-scores: a score minus the mean over the clips, divided
        by their standard deviation (of the clips themselves, not an estimate for more). A curve
        whose scores are all equal has the z-score 0 everywhere.

    Raises:
        HlclipError: other axes or lengths, another number of weights, or one that is not positive.

    >>> ensemble([[0.1, 0.3, 0.2, 0.2], [0, 9, 9, 0]]).round(2).tolist()
    [-1.21, 1.21, 0.5, -0.5]
    """
    curves = [np.asarray(curve, np.float64) for curve in systems]
    shapes = sorted({curve.shape for curve in curves})
    if len(shapes) != 1 or len(shapes[0]) != 1:
        raise HlclipError(f"saliency has shapes {shapes}, expected one shape [clips]")
    shares = np.asarray(weights if len(weights) else np.ones(len(curves)), np.float64)
    if shares.shape != (len(curves),) or not ((shares > 0) & (shares < np.inf)).all():
        raise HlclipError(f"weights are {list(weights)}, expected {len(curves)} positive numbers")
    shares = shares / shares.max()  # so that no sum overflows
    total = sum(w * _z_scores(curve) for w, curve in zip(shares, curves, strict=True))
    return np.asarray(total) / shares.sum()


def _z_scores(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(scores) or scores.min() == scores.max():
        return np.zeros(len(scores))
    scores = scores / np.abs(scores).max()  # so that no square overflows or vanishes
    scores = scores - scores.mean()
    return scores / np.sqrt((scores**2).mean())
