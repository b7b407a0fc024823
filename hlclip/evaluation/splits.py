"""Figures of a whole split: every row and every annotated clip counts, with a frame or without."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlclip.evaluation.metrics import GroundTruth, highlight_metrics


def complete(
    scores: NDArray[np.float32], lengths: NDArray[np.int64], clips: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Give every annotated clip a score.

    Args:
        scores: [queries, clips], any width.
        lengths: [queries], clips that have a score.
        clips: [queries], clips of the annotation.

    Returns:
        float32 [queries, most clips]: scores, then the query's lowest score for clips without
        frame; 0 where a query has no score at all, and beyond its clips.
    """
    full = np.zeros((len(clips), clips.max(initial=0)), np.float32)
    for line, row, length, count in zip(full, scores, lengths, clips, strict=True):
        if length:
            line[:length] = row[:length]
            line[length:count] = row[:length].min()
    return full


def measure(truth: GroundTruth, scores: NDArray[np.floating[Any]]) -> dict[str, dict[str, float]]:
    """Official highlight metrics of complete scores [queries, clips], in percent, by level.

    Returns:
        Level (`Fair`, `Good`, `VeryGood`) -> `mAP`, `HIT@1`.
    """
    return {
        group.removeprefix("HL-min-"): {"mAP": each["HL-mAP"], "HIT@1": each["HL-Hit1"]}
        for group, each in highlight_metrics(truth, scores, truth.clips).items()
    }
