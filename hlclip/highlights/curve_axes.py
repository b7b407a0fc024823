"""The axes of a saliency curve: in the drawn chart, and as numbers for the chart of a page."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hlclip.evaluation import pool
from hlclip.highlights.moments import WINDOW, Curve, Moment, clock

WIDTH, HEIGHT = 11.0, 2.9
"""Of the axes, in inches."""

_NUMBER, _RATING = 0.2, 0.27
"""Room for the number of a moment and for its rating, in inches."""

ACCENT, QUIET = "#c2410c", "#6b7280"
_LINE, _SHADE, _DOUBT = "#9ca3af", "#f7e6df", "#f1f1f2"


class Scale(NamedTuple):
    """An axis of a chart."""

    low: float
    high: float
    ticks: dict[float, str]
    """Value -> label."""


def chart_scales(
    curve: Curve, moments: Sequence[Moment], *, window: int = WINDOW
) -> tuple[Scale, Scale]:
    """The axes of time in seconds and of the cosine that the chart of `plot_curve` has."""
    axes = Figure(figsize=(WIDTH, HEIGHT)).add_axes((0, 0, 1, 1), xlim=(0, curve.duration))
    draw_curve(axes, curve, moments, window)
    scales: list[Scale] = []
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        places = [float(place) for place in axis.get_majorticklocs() if low <= place <= high]
        labels = axis.get_major_formatter().format_ticks(places)
        scales.append(Scale(low, high, dict(zip(places, labels, strict=True))))
    return scales[0], scales[1]


def draw_curve(axes: Axes, curve: Curve, moments: Sequence[Moment], window: int) -> None:
    """Draw a curve and its moments into axes whose x is the time in seconds."""
    edges = np.arange(len(curve.saliency) + 1) * curve.clip_seconds
    middles = edges[:-1] + curve.clip_seconds / 2
    inch = curve.duration / WIDTH  # in seconds
    numbered: list[float] = []
    for rank, moment in enumerate(moments, start=1):
        span = (moment.start_seconds, moment.end_seconds)
        # A white edge separates adjacent moments; half of it lies on a moment, which may be narrow.
        edge = min(2, 20 * (span[1] - span[0]) / inch)
        shade = _DOUBT if moment.doubtful else _SHADE
        axes.axvspan(*span, facecolor=shade, edgecolor="white", lw=edge)
        middle = sum(span) / 2
        room = min((abs(middle - other) for other in numbered), default=curve.duration) / inch
        if room < _NUMBER:
            continue
        numbered.append(middle)
        ink = QUIET if moment.doubtful else ACCENT
        text = axes.text(middle, 0.975, str(rank), ha="center", va="top", color=ink)
        text.set(transform=axes.get_xaxis_transform(), fontweight="bold")  # y in shares of the axes
        worth = moment.worth.replace(" ", "\n", 1) if room >= _RATING else ""
        axes.annotate(worth, (0.5, 0), xycoords=text, ha="center", va="top", size=8, color=ink)
    axes.stairs(curve.saliency, edges, baseline=None, color=_LINE, lw=1, label="clip")
    if window > 1:
        pooled = pool(curve.saliency, window)
        marker = "o" if len(middles) < 8 else ""
        axes.plot(middles, pooled, marker=marker, c=ACCENT, label=f"mean of {window} clips")
        axes.legend(loc="lower right", frameon=False, fontsize=8, ncols=2)
    axes.margins(y=0.28 if any(moment.worth for moment in moments) else 0.16)
    axes.set_ylabel(curve.measure)
    axes.xaxis.set_major_locator(MaxNLocator(12, steps=[1, 2, 3, 6, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda second, _: clock(second)))
    axes.spines[["top", "right"]].set_visible(False)
