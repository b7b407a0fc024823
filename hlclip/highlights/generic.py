"""Highlights without a query: how well a clip stands for its whole video.

A query says what matters in a video. Without one, hlclip has only the video itself, and takes the
clips that are most like all the others: the mean cosine with all clips, as the global consistency
of Pang et al. (WACV 2023) for video summaries. There is no training and no chance in it. The
opposite, clips unlike the rest, finds titles, black frames and cuts: docs/own-video.md has figures.
"""

import numpy as np
from numpy.typing import NDArray

GENERIC = "highlights without a query"
"""Takes the place of the query in a generic curve."""

MEASURE = "mean cosine with all clips"
"""What a generic curve shows."""


def consistency(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean cosine of each clip with all clips of its video, itself included: [clips], -1..1.

    The mean of the products is the product with the mean, so the time is linear in the clips.

    Args:
        features: [clips, embedding] of one video, unit length.
    """
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)  # [embedding]
    return (features * mean).sum(-1)
