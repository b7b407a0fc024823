"""Figures of a whole split: every row and every annotated clip counts, with a frame or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hlclip.evaluation.metrics import GroundTruth, highlight_metrics
from hlclip.evaluation.moment_retrieval import RANGES, moment_metrics
from hlclip.evaluation.moment_rules import Rule
from hlclip.evaluation.moments import FOCUS, Window, find_many

if TYPE_CHECKING:  # the metrics need numpy alone at run time
    from hlclip.formats import Annotation


class Setting(NamedTuple):
    """A rule for moments and its parameter."""

    rule: Rule
    focus: float
    """Of `consensus`; the other rules ignore it."""

    def __str__(self) -> str:
        return f"consensus (focus {self.focus:g})" if self.rule == "consensus" else self.rule


MOMENT_METRICS = ("R1@0.5", "R1@0.7", "mAP@0.5", "mAP@0.75", "mAP")
"""The moment retrieval metrics of `measure_moments`, as the tables of the field order them."""

SETTINGS = (
    *(Setting("consensus", focus) for focus in (FOCUS, 1.0, 4.0, 8.0)),
    *(
        Setting(rule, FOCUS)
        for rule in ("threshold", "thresholds", "histogram", "contrast", "peaks")
    ),
)
"""The settings that are compared on val, the default first; of equals the first is chosen."""


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


def find_all_moments(
    rows: Sequence[Annotation], scores: Sequence[ArrayLike], setting: Setting
) -> list[list[Window]]:
    """The windows of every query, see `find_moments`.

    Args:
        scores: [clips] of each row, or [queries, clips]; what is beyond a row's clips is ignored.
    """
    return find_many(
        [np.asarray(line)[: row.clips] for row, line in zip(rows, scores, strict=True)],
        rule=setting.rule,
        focus=setting.focus,
        clip_seconds=rows[0].clip_seconds,
        durations=[row.duration for row in rows],
    )


def measure_moments(
    truth: GroundTruth, windows: Sequence[Sequence[Sequence[float]]]
) -> dict[str, float]:
    """Official moment retrieval metrics over all moments, in percent.

    Raises:
        HlclipError: a query has no windows, in the ground truth or in `windows`.
    """
    figures = moment_metrics(truth.windows, windows, {"full": RANGES["full"]})["full"]
    recall, precision = figures["MR-R1"], figures["MR-mAP"]
    values = (*(recall[t] for t in ("0.5", "0.7")), *(precision[t] for t in ("0.5", "0.75")))
    return dict(zip(MOMENT_METRICS, (*values, precision["average"]), strict=True))


def compare_settings(
    rows: Sequence[Annotation], truth: GroundTruth, scores: Sequence[ArrayLike]
) -> dict[Setting, dict[str, float]]:
    """Moment retrieval metrics of each of `SETTINGS`; `scores` as in `find_all_moments`."""
    return {
        setting: measure_moments(truth, find_all_moments(rows, scores, setting))
        for setting in SETTINGS
    }


def best_setting(compared: Mapping[Setting, Mapping[str, float]]) -> Setting:
    """The setting with the highest mAP, the first of equals."""
    return max(compared, key=lambda setting: compared[setting]["mAP"])
