"""What `evaluate` compares and chooses on val: the width of the pooling, the rule for moments."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hlclip.evaluation import (
    FOCUS,
    Border,
    GroundTruth,
    Mode,
    Setting,
    best_setting,
    compare_settings,
    complete,
    headline,
    pool_padded,
)
from hlclip.formats import SplitScores
from hlclip.params import MomentsParams, PoolParams
from hlclip.system import HlclipError

WINDOWS = range(1, 16, 2)
"""Pooling windows that are compared on val, for the plot and for `pool.window: best`."""

SIGMAS = (0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""Sigmas in clips that are compared on val, for the plot and for `pool.sigma: best`."""


Width = tuple[Mode, float]
"""Mode of a pooling, and its window or sigma in clips."""


class EvaluateError(HlclipError):
    """`best` is chosen on val, and val has no ground truth; or the splits are of several data
    sets."""


def pooled_scores(
    scores: SplitScores, variant: str, mode: Mode, width: float, border: Border
) -> NDArray[np.float32]:
    """Complete pooled scores of a variant, [queries, clips]."""
    matrix, lengths = scores.cosines[variant], scores.lengths
    matrix = pool_padded(matrix, lengths, width, mode=mode, border=border)
    return complete(matrix, lengths, scores.clips)


def compare_widths(
    val: SplitScores, truth: GroundTruth, pool: PoolParams, moments: MomentsParams
) -> dict[str, dict[Width, tuple[float, float | None]]]:
    """Variant -> width -> headline figure and HIT@1 on val."""
    rule = "consensus" if moments.rule == "best" else moments.rule
    setting = Setting(rule, FOCUS if moments.rule == "best" else moments.focus)
    windows: Mode = "max" if pool.mode == "max" else "mean"
    sweep: list[Width] = [
        *((windows, window) for window in WINDOWS),
        *(("gaussian", sigma) for sigma in SIGMAS),
    ]
    return {
        name: {
            width: headline(val.rows, truth, pooled_scores(val, name, *width, pool.border), setting)
            for width in sweep
        }
        for name in val.cosines
    }


def choose_width(compared: Mapping[Width, tuple[float, float | None]], pool: PoolParams) -> float:
    """The window or sigma of params.yaml, or the best on val by mAP, the smallest of equals."""
    key, width = pool.width
    if width != "best":
        return width
    if not compared:
        raise EvaluateError(
            f"pool.{key} is best, which is chosen on val, but val has no ground truth",
            f"give pool.{key} as a number",
        )
    widths = [width for width in compared if width[0] == pool.mode]
    return max(widths, key=lambda width: compared[width][0])[1]


def compare_rules(
    val: SplitScores, truth: GroundTruth, pool: PoolParams, widths: Mapping[str, float]
) -> dict[str, dict[Setting, dict[str, float]]]:
    """Variant -> setting -> moment retrieval metrics of the pooled scores on val."""
    return {
        name: compare_settings(
            val.rows, truth, list(pooled_scores(val, name, pool.mode, widths[name], pool.border))
        )
        for name in val.cosines
    }


def choose_setting(
    compared: Mapping[Setting, Mapping[str, float]], moments: MomentsParams
) -> Setting:
    """The rule of params.yaml, or the best on val by MR-mAP."""
    if moments.rule != "best":
        return Setting(moments.rule, moments.focus)
    if not compared:
        raise EvaluateError(
            "moments.rule is best, which is chosen on val, but not all queries of val have "
            "relevant_windows",
            "name a rule as moments.rule, such as consensus",
        )
    return best_setting(compared)
