"""Figures of a whole split: every row and every annotated clip counts, with a frame or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hlclip.evaluation.domain_metrics import domain_means
from hlclip.evaluation.metrics import GroundTruth, highlight_metrics, query_precision
from hlclip.evaluation.moment_retrieval import QVHIGHLIGHTS, RETRIEVAL, moment_metrics, percent
from hlclip.evaluation.moment_rules import Rule
from hlclip.evaluation.moments import FOCUS, Window, find_clips, find_many

if TYPE_CHECKING:  # the metrics need numpy alone at run time
    from hlclip.formats import Annotation


AnyFloat = TypeVar("AnyFloat", bound=np.floating[Any])


class Setting(NamedTuple):
    """A rule for moments and its parameter."""

    rule: Rule
    focus: float
    """Of `consensus`; the other rules ignore it."""

    def __str__(self) -> str:
        return f"consensus (focus {self.focus:g})" if self.rule == "consensus" else self.rule


Groups = dict[str, dict[str, float]]
"""Group (a level, a domain, `moments`) -> metric -> figure in percent."""

MOMENT_METRICS = ("R1@0.5", "R1@0.7", "mAP@0.5", "mAP@0.75", "mAP")
"""The moment retrieval metrics of QVHighlights, as the tables of the field order them."""

SETTINGS = (
    *(Setting("consensus", focus) for focus in (FOCUS, 1.0, 4.0, 8.0)),
    *(
        Setting(rule, FOCUS)
        for rule in ("threshold", "thresholds", "histogram", "contrast", "peaks")
    ),
)
"""The settings that are compared on val, the default first; of equals the first is chosen."""


def complete(
    scores: NDArray[AnyFloat], lengths: NDArray[np.int64], clips: NDArray[np.int64]
) -> NDArray[AnyFloat]:
    """Give every annotated clip a score.

    Args:
        scores: [queries, clips], any width.
        lengths: [queries], clips that have a score.
        clips: [queries], clips of the annotation.

    Returns:
        [queries, most clips]: scores, then the query's lowest score for clips without
        frame; 0 where a query has no score at all, and beyond its clips.
    """
    full = np.zeros((len(clips), clips.max(initial=0)), scores.dtype)
    for line, row, length, count in zip(full, scores, lengths, clips, strict=True):
        if length:
            line[:length] = row[:length]
            line[length:count] = row[:length].min()
    return full


def measure(truth: GroundTruth, scores: NDArray[np.floating[Any]]) -> Groups:
    """The data set's highlight metrics of complete scores [queries, clips], in percent.

    Returns:
        Of QVHighlights, level (`Fair`, `Good`, `VeryGood`) -> `mAP`, `HIT@1`; of a data set with
        domains, `all domains` and each domain -> the metric; nothing without ratings.
    """
    if truth.benchmark.kind == "moments":
        return {}
    if truth.benchmark.kind == "domains":
        means = domain_means(query_precision(truth, scores), truth.domains)
        return {name: {truth.benchmark.metric: percent(mean)} for name, mean in means.items()}
    return {
        group.removeprefix("HL-min-"): {"mAP": each["HL-mAP"], "HIT@1": each["HL-Hit1"]}
        for group, each in highlight_metrics(truth, scores, truth.clips).items()
    }


def headline(
    rows: Sequence[Annotation],
    truth: GroundTruth,
    scores: NDArray[np.floating[Any]],
    setting: Setting,
) -> tuple[float, float | None]:
    """The data set's headline metric of complete scores, and HIT@1 at VeryGood, in percent.

    Args:
        setting: finds the moments where these are all that is measured.

    Returns:
        The figure by which epochs and pooling windows are compared; HIT@1 of QVHighlights alone.
    """
    benchmark = truth.benchmark
    if benchmark.kind == "moments":
        groups = {"moments": measure_moments(truth, find_all_moments(rows, list(scores), setting))}
    else:
        groups = measure(truth, scores)
    return groups[benchmark.group][benchmark.metric], groups[benchmark.group].get("HIT@1")


def find_all_moments(
    rows: Sequence[Annotation], scores: Sequence[ArrayLike], setting: Setting
) -> list[list[Window]]:
    """The windows of every query, see `find_moments`.

    Args:
        scores: [clips] of each row, or [queries, clips]; what is beyond a row's clips is ignored.
    """
    lines = [np.asarray(line)[: row.clips] for row, line in zip(rows, scores, strict=True)]
    found: dict[int, list[Window]] = {}
    by_length: dict[float, list[int]] = {}  # seconds of a clip -> queries
    for query, row in enumerate(rows):
        if row.clips_apart:
            found[query] = _find_timed(row, lines[query], setting)
        else:
            by_length.setdefault(row.clip_seconds, []).append(query)
    for clip_seconds, queries in by_length.items():
        windows = find_many(
            [lines[query] for query in queries],
            rule=setting.rule,
            focus=setting.focus,
            clip_seconds=clip_seconds,
            durations=[rows[query].duration for query in queries],
        )
        found.update(zip(queries, windows, strict=True))
    return [found[query] for query in range(len(rows))]


def _find_timed(row: Annotation, line: NDArray[Any], setting: Setting) -> list[Window]:
    """`find_moments` where the clips of a video have times of their own and may overlap."""
    times = row.clip_times().tolist()
    found = find_clips(line, rule=setting.rule, focus=setting.focus)
    return [
        (times[clips.start][0], times[clips.stop - 1][1], round(confidence, 6))
        for clips, confidence in found
    ]


def measure_moments(
    truth: GroundTruth, windows: Sequence[Sequence[Sequence[float]]]
) -> dict[str, float]:
    """Moment retrieval metrics over all moments, in percent.

    Raises:
        HlclipError: a query has no windows, in the ground truth or in `windows`.
    """
    return moment_groups(truth, windows)["moments"]


def moment_groups(truth: GroundTruth, windows: Sequence[Sequence[Sequence[float]]]) -> Groups:
    """Moment retrieval metrics, in percent: `moments` for all; of the data sets that have moments
    alone also `short`, `middle` and `long` (up to 10 and 30 seconds, and more).

    Raises:
        HlclipError: a query has no windows, in the ground truth or in `windows`.
    """
    alone = truth.benchmark.kind == "moments"
    groups: Groups = {}
    names = ("full", "short", "middle", "long") if alone else ("full",)
    convention = RETRIEVAL if alone else QVHIGHLIGHTS
    shown = {name: convention.ranges[name] for name in names}
    measured = moment_metrics(truth.windows, windows, convention._replace(ranges=shown))
    for name in names:
        if name in measured:
            recall, precision = measured[name]["MR-R1"], measured[name]["MR-mAP"]
            groups["moments" if name == "full" else name] = {
                **{f"R1@{t}": recall[t] for t in ("0.3", "0.5", "0.7") if t in recall},
                **({"mIoU": recall["mIoU"]} if alone else {}),
                **{f"mAP@{t}": precision[t] for t in ("0.5", "0.75")},
                "mAP": precision["average"],
            }
    return groups


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
