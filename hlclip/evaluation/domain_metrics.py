"""The metrics of TVSum and YouTube Highlights, as UMT introduced them and the field reports them.

Both take the average precision of a video, the mean over the videos of a domain, and the mean over
domains. The average precision is the area under a curve of straight lines between the points of
precision and recall; the curve starts at recall 0 and precision 1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALL = "all domains"
"""Name of the mean over domains."""


def above_median(ratings: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Does an annotator rate a clip above the annotator's own median of the video? (TVSum)

    Of an even number of clips the median is the lower of the two in the middle, as in torch.

    Args:
        ratings: [clips, annotators], at least one clip.
    """
    return ratings > np.sort(ratings, axis=0)[(len(ratings) - 1) // 2]


def above_zero(ratings: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Is a clip matched with the edited video, neither unmatched nor a borderline case? (YouTube)

    Args:
        ratings: -1, 0 or 1 [clips, annotators].
    """
    return ratings > 0


def trapezoid_precision(
    labels: NDArray[np.bool_],
    scores: NDArray[np.floating[Any]],
    lengths: NDArray[np.int64],
    *,
    top: int | None,
) -> NDArray[np.float64]:
    """Average precision, 0..1, of the `top` best clips of many videos at once.

    Recall counts the positive clips among these best clips, not those of the whole video. Without
    any the result is 0. Of equal scores the earlier clip comes first; the field's code leaves their
    order to torch, which promises none.

    Args:
        labels: [queries, annotators, clips].
        scores: finite [queries, clips].
        lengths: [queries], clips of each query; later columns are ignored.
        top: number of best clips that count; None for all.

    Returns:
        [queries, annotators].
    """
    inside = np.arange(scores.shape[1], dtype=np.int64) < lengths[:, None]
    order = np.where(inside, -scores, np.inf).argsort(axis=1, kind="stable")[:, None, :top]
    ranked = inside[:, None] & labels
    hits = np.take_along_axis(ranked, order, axis=2)  # [queries, annotators, ranks]
    found = hits.cumsum(axis=2)
    precision = found / np.arange(1, hits.shape[2] + 1)
    before = np.concatenate([np.ones_like(precision[..., :1]), precision[..., :-1]], axis=2)
    # Recall rises by one share at each positive clip, and not in between.
    area = np.where(hits, (before + precision) / 2, 0.0).sum(axis=2)
    return area / np.maximum(found[..., -1], 1)


def domain_means(values: NDArray[np.float64], domains: Sequence[str]) -> dict[str, float]:
    """Mean over the queries of each domain, after `ALL`, the mean over these means.

    Args:
        values: [queries].
        domains: of each query.
    """
    of = np.array(domains)
    means = {name: float(values[of == name].mean()) for name in sorted(set(domains))}
    return {ALL: sum(means.values()) / len(means), **means}
