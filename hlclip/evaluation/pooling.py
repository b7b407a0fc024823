"""Saliency pooling (SP): each score becomes a mean of its neighbours', at inference only."""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hlclip.system import HlclipError

Mode = Literal["mean", "max", "gaussian"]
Border = Literal["neighbours", "zero", "edge"]

WINDOW = 3
"""Default window in clips for own videos, as in the bundled `params.yaml`."""

WIDEST_SIGMA = 1000.0
"""Largest sigma of `gaussian`, in clips."""


def pool(
    scores: ArrayLike, width: float, *, mode: Mode = "mean", border: Border = "neighbours"
) -> NDArray[Any]:
    """Pool the scores of one query.

    Args:
        scores: [clips], any range.
        width: of `mean` and `max`, clips of the window, an odd number; of `gaussian`, the standard
            deviation sigma of the weights in clips, 0 to 1000. Window 1 and sigma 0 return the
            scores unchanged.
        mode: mean (the paper's) or max of the window, or `gaussian`, a mean with the weights
            exp(-d^2 / (2 sigma^2)) for clips at distance d, up to four sigma (rounded).
        border: values beyond the first and last clip: `neighbours` has none, and a mean divides by
            the clips (the weights) that exist; `zero` has zeros, and a mean divides by the whole
            window; `edge` repeats the end value.

    Returns:
        float32 [clips], accumulated in float64. Equal windows give equal values, so ties stay ties;
        so do mirrored windows with `gaussian`.

    Raises:
        HlclipError: the window is even or below 1, sigma is out of range, or scores has other axes.

    Examples:
        >>> pool([0, 0, 4, 0, 0], 3).round(2).tolist()
        [0.0, 1.33, 1.33, 1.33, 0.0]
        >>> pool([0, 0, 4, 0, 0], 0.5, mode="gaussian").round(2).tolist()
        [0.0, 0.43, 3.15, 0.43, 0.0]
    """
    scores = np.asarray(scores)
    if scores.ndim != 1:
        raise HlclipError(f"scores has shape {scores.shape}, expected [clips]")
    lengths = np.array([len(scores)])
    return pool_padded(scores[None], lengths, width, mode=mode, border=border)[0]


def pooling_text(mode: Mode, width: float) -> str:
    """A pooling in words: `mean of 3 clips`, `gaussian mean, sigma 0.75 clips`, `none`."""
    if width == (0 if mode == "gaussian" else 1):
        return "none"
    if mode == "gaussian":
        return f"gaussian mean, sigma {width:g} clips"
    return f"{mode} of {width:g} clips"


def pool_padded(
    scores: NDArray[Any],
    lengths: NDArray[np.integer[Any]],
    width: float,
    *,
    mode: Mode = "mean",
    border: Border = "neighbours",
) -> NDArray[Any]:
    """Pool the scores of many queries at once; each row equals `pool` of that row exactly.

    Args:
        scores: [queries, clips]; columns beyond a row's length are ignored.
        lengths: [queries], clips of each query; 0 where there are no scores.
        width, mode, border: as in `pool`.

    Returns:
        float32 [queries, clips], zero beyond a row's length; a copy of `scores` where nothing is
        pooled.
    """
    weights = _weights(mode, width)
    queries, clips = scores.shape
    if lengths.shape != (queries,) or (lengths < 0).any() or (lengths > clips).any():
        raise HlclipError(f"lengths must be {queries} numbers from 0 to {clips}")
    if len(weights) == 1 or clips == 0:
        return scores.copy()

    # Clips on each side of the window's middle; more than a row has only count where its end value
    # repeats.
    reach = len(weights) - 1 if border == "edge" else min(len(weights) - 1, clips)
    # The scores with `reach` columns more on both sides, filled as `border` says.
    # [queries, clips + 2 reach]
    position: NDArray[np.int64] = np.arange(-reach, clips + reach)
    inside = (position >= 0) & (position < lengths[:, None])
    nearest = np.clip(position, 0, np.maximum(lengths[:, None] - 1, 0))
    values = np.take_along_axis(scores.astype(np.float64), nearest, axis=1)
    if border != "edge":
        values[~inside] = -np.inf if mode == "max" and border == "neighbours" else 0.0

    def combined(values: NDArray[Any]) -> NDArray[Any]:
        """The window around each clip: a sum with `weights`, or the highest. [queries, clips]."""
        if mode == "gaussian":
            # The two clips at a distance are added first, so that mirrored windows are equal.
            total = values[:, reach : reach + clips].astype(np.float64)
            for near in range(1, reach + 1):
                left, right = (values[:, reach + at :][:, :clips] for at in (-near, near))
                total += weights[near] * (left + right)
            return total
        # Each window from its left end, one shifted column block at a time.
        # A running sum would carry rounding along the video, so that windows of equal scores would
        # differ; but tied scores must share a rank.
        total = values[:, :clips].copy()
        combine = np.maximum if mode == "max" else np.add
        for offset in range(1, 2 * reach + 1):
            combine(total, values[:, offset : offset + clips], out=total)
        return total

    pooled = combined(values)
    # A mean divides by the weights of a row's clips in the window, or by those of the window.
    if mode != "max" and border == "neighbours":
        pooled /= np.maximum(combined(inside.astype(np.float64)), weights[0])
    elif mode != "max":
        pooled /= weights[0] + 2 * weights[1:].sum()
    return np.where(inside[:, reach : reach + clips], pooled, 0.0).astype(np.float32)


def _weights(mode: Mode, width: float) -> NDArray[np.float64]:
    """Weights of the middle clip and of those at distance 1, 2, ... to one side."""
    if mode != "gaussian":
        if width < 1 or width % 2 != 1:
            raise HlclipError(
                f"window is {width}, expected an odd number: only that has a middle clip"
            )
        return np.ones(int(width) // 2 + 1)
    if not 0 <= width <= WIDEST_SIGMA:
        raise HlclipError(
            f"sigma is {width}, expected a number of clips from 0 to {WIDEST_SIGMA:g}"
        )
    distance = np.arange(int(4 * width + 0.5) + 1)
    return np.exp(-0.5 * (distance / max(width, 1e-9)) ** 2)
