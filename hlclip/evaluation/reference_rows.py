"""Reference rows: what random scores and the annotators themselves reach on a data set.

A figure near the first says nothing; a figure above the second was not reached by ranking clips as
people do.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hlclip.evaluation.metrics import GroundTruth, pad
from hlclip.evaluation.splits import Groups, Setting, find_all_moments, measure, moment_groups

if TYPE_CHECKING:  # the metrics need numpy alone at run time
    from hlclip.formats import Annotation

SEEDS = {"domains": 100, "moments": 3}
"""Kind of the metrics -> number of random rankings; finding moments takes much longer."""

RANDOM = "random"


def references(
    rows: Sequence[Annotation], truth: GroundTruth, setting: Setting
) -> dict[str, Groups]:
    """Figures of the reference rows, by name, in percent; none for QVHighlights.

    `random` has, after each metric, its standard deviation over the random rankings, `<metric> sd`.
    `annotators' mean` ranks the clips of a video by the mean of all its ratings. Where there are
    moments alone, `annotated moments` finds them in their own clips by the same rule: what the rule
    and the length of a clip allow.

    Args:
        setting: finds the moments.
    """
    kind = truth.benchmark.kind
    if kind == "levels":
        return {}

    def measured(scores: np.ndarray) -> Groups:
        if kind == "moments":
            return moment_groups(truth, find_all_moments(rows, list(scores), setting))
        return measure(truth, scores)

    shape = len(rows), int(truth.clips.max())
    runs = [measured(np.random.default_rng(n).random(shape)) for n in range(SEEDS[kind])]
    random: Groups = {}
    for group, figures in runs[0].items():
        random[group] = {}
        for metric in figures:
            values = [run[group][metric] for run in runs]
            random[group][metric] = round(statistics.fmean(values), 2)
            random[group][f"{metric} sd"] = round(statistics.stdev(values), 2)
    best, curves = (
        ("annotated moments", [_covered(row) for row in rows])
        if kind == "moments"
        else ("annotators' mean", [row.ratings().mean(axis=1) for row in rows])
    )
    return {RANDOM: random, best: measured(pad(curves)[0])}


def _covered(row: Annotation) -> np.ndarray:
    """Share of each clip that lies in an annotated moment: [clips], 0..1."""
    times = row.clip_times()  # [clips, 2]
    share = np.zeros(len(times))
    for start, end in row.relevant_windows or ():
        overlap = np.minimum(times[:, 1], end) - np.maximum(times[:, 0], start)
        share = np.maximum(share, np.clip(overlap, 0, None) / (times[:, 1] - times[:, 0]))
    return share
