"""Saliency pooling (SP): a window averages the scores of neighbouring clips, at inference only."""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hlclip.system import HlclipError

Mode = Literal["mean", "max"]
Border = Literal["neighbours", "zero", "edge"]

WINDOW = 3
"""Default window in clips for own videos, as in the bundled `params.yaml`."""


def pool(
    scores: ArrayLike, window: int, *, mode: Mode = "mean", border: Border = "neighbours"
) -> NDArray[Any]:
    """Pool the scores of one query.

    Args:
        scores: [clips], any range.
        window: number of clips in the window, an odd number; 1 returns the scores unchanged.
        mode: mean (the paper's) or max of the window.
        border: values beyond the first and last clip: `neighbours` has none, and the mean divides
            by the clips that exist; `zero` has zeros, and the mean divides by `window`; `edge`
            repeats the end value.

    Returns:
        float32 [clips], accumulated in float64.

    Raises:
        HlclipError: the window is even or below 1, or scores has other axes.
    """
    scores = np.asarray(scores)
    if scores.ndim != 1:
        raise HlclipError(f"scores has shape {scores.shape}, expected [clips]")
    lengths = np.array([len(scores)])
    return pool_padded(scores[None], lengths, window=window, mode=mode, border=border)[0]


def pool_padded(
    scores: NDArray[Any],
    lengths: NDArray[np.integer[Any]],
    *,
    window: int,
    mode: Mode = "mean",
    border: Border = "neighbours",
) -> NDArray[Any]:
    """Pool the scores of many queries at once; each row equals `pool` of that row exactly.

    Args:
        scores: [queries, clips]; columns beyond a row's length are ignored.
        lengths: [queries], clips of each query; 0 where there are no scores.
        window, mode, border: as in `pool`.

    Returns:
        float32 [queries, clips], zero beyond a row's length; `window` 1 returns a copy of `scores`.
    """
    if window < 1 or window % 2 == 0:
        raise HlclipError(
            f"window is {window}, expected an odd number: only that has a middle clip"
        )
    queries, clips = scores.shape
    if lengths.shape != (queries,) or (lengths < 0).any() or (lengths > clips).any():
        raise HlclipError(f"lengths must be {queries} numbers from 0 to {clips}")
    if window == 1 or clips == 0:
        return scores.copy()

    # Clips on each side of the window's middle; more than a row has only count where its end value
    # repeats.
    reach = window // 2 if border == "edge" else min(window // 2, clips)
    # The scores with `reach` columns more on both sides, filled as `border` says.
    # [queries, clips + 2 reach]
    position: NDArray[np.int64] = np.arange(-reach, clips + reach)
    inside = (position >= 0) & (position < lengths[:, None])
    nearest = np.clip(position, 0, np.maximum(lengths[:, None] - 1, 0))
    values = np.take_along_axis(scores.astype(np.float64), nearest, axis=1)
    if border != "edge":
        values[~inside] = -np.inf if mode == "max" and border == "neighbours" else 0.0

    # Each window from its left end, one shifted column block at a time. [queries, clips]
    # A running sum would carry rounding along the video, so that windows of equal scores would
    # differ; but tied scores must share a rank.
    pooled = values[:, :clips].copy()
    combine = np.maximum if mode == "max" else np.add
    for offset in range(1, 2 * reach + 1):
        combine(pooled, values[:, offset : offset + clips], out=pooled)
    # Divide by the clips of a row that lie in the window, or by the window.
    if mode == "mean":
        middle = position[reach : reach + clips]
        first = np.maximum(middle - reach, 0)
        last = np.minimum(middle + reach, lengths[:, None] - 1)
        pooled /= np.maximum(last - first + 1, 1) if border == "neighbours" else window
    return np.where(inside[:, reach : reach + clips], pooled, 0.0).astype(np.float32)
