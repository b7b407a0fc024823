"""What the field measures on each data set, and under which names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hlclip.evaluation.domain_metrics import ALL, above_median, above_zero

if TYPE_CHECKING:  # the metrics need numpy alone at run time
    from hlclip.formats import Annotation


class Benchmark(NamedTuple):
    """The metrics of one data set."""

    title: str
    kind: Literal["levels", "domains", "moments"]
    """`levels`: highlights at three lowest ratings, and moments; `domains`: highlights, the mean
    over the videos of each domain; `moments`: moments alone, the rows have no ratings."""
    group: str
    """Group of the figures that has the headline: a level, `ALL`, or `moments`."""
    metric: str
    """The headline metric, by which an epoch, a pooling window or a rule is chosen on val."""
    positive: Callable[[NDArray[np.integer[Any]]], NDArray[np.bool_]] | None = None
    """Of `domains`: ratings [clips, annotators] -> is the clip a highlight for the annotator?"""
    top: int | None = None
    """Of `domains`: number of best clips of a video that count; None for all."""
    domains: int = 0
    """Of `domains`: their number in the data set."""

    def headline(self, groups: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """The figures that sum up a variant: the headline metric first.

        Of QVHighlights mAP and HIT@1 at VeryGood, and `MR-mAP` where moments were measured.

        Args:
            groups: all figures of the variant, group -> metric -> percent.
        """
        if self.kind != "levels":
            return {self.metric: groups[self.group][self.metric]}
        moments = {"MR-mAP": groups["moments"]["mAP"]} if "moments" in groups else {}
        return {**groups[self.group], **moments}


BENCHMARKS = {
    "qvhighlights": Benchmark("QVHighlights", "levels", "VeryGood", "mAP"),
    "tvsum": Benchmark("TVSum", "domains", ALL, "top-5 mAP", above_median, top=5, domains=10),
    "youtube-highlights": Benchmark(
        "YouTube Highlights", "domains", ALL, "mAP", above_zero, domains=6
    ),
    "charades-sta": Benchmark("Charades-STA", "moments", "moments", "mAP"),
    "tacos": Benchmark("TACoS", "moments", "moments", "mAP"),
    "activitynet": Benchmark("ActivityNet Captions", "moments", "moments", "mAP"),
}
"""`dataset` of the annotation rows -> its metrics."""


def benchmark_of(rows: Sequence[Annotation]) -> Benchmark:
    """The metrics of the data set that the rows of a file name."""
    return BENCHMARKS[rows[0].dataset]


def has_truth(rows: Sequence[Annotation]) -> bool:
    """Can the rows be measured against: has each the ground truth that the metrics need?"""
    if benchmark_of(rows).kind == "moments":
        return all(row.relevant_windows for row in rows)
    return all(row.saliency_scores is not None for row in rows)
