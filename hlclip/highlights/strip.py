"""The pictures under a chart: frames of the video, each at its time, and those of its moments."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import isotonic_regression

from hlclip.highlights.curve_axes import ACCENT, QUIET
from hlclip.highlights.moments import Curve, Moment, best_clip, clock
from hlclip.highlights.pictures import pictures

PAPER = "#ffffff"

_MOST_PICTURES = 24
_BETWEEN = 3
"""Pixels between two pictures."""


def draw_strip(
    axes: Axes,
    curve: Curve,
    moments: Sequence[Moment],
    window: int,
    pixels: tuple[int, int],
    *,
    above: float,
) -> None:
    """Fill the strip with scored pictures; those of moments have a frame and the moment's number.

    A moment's picture shows its best clip and stands under it, or as near as others leave room; a
    line joins the two. Where not all have room, the best moments have pictures. Other pictures are
    cut at their sides where the room between is short. The time of each is below.

    Args:
        window: pooling window in clips, with which the moments were found.
        pixels: width and height of the strip.
        above: distance of the curve from the strip, in heights of the strip.
    """
    width, height = pixels
    show = partial(pictures, curve.video, clip_seconds=curve.clip_seconds, height=height)
    (first,) = show([0])
    second = curve.duration / width  # of a pixel
    count = min(max(1, int(width / (first.width + _BETWEEN))), _MOST_PICTURES)
    each = min(first.width + _BETWEEN, width) * second
    best = [best_clip(curve, moment, window) for moment in moments[:count]]
    ranks = {clip: rank for rank, clip in enumerate(best, start=1)}
    wanted = (np.array(sorted(best)) + 0.5) * curve.clip_seconds
    middles = _apart(wanted, each, curve.duration)
    # Middle and room in seconds, clip and rank of each picture; 0 is the rank of all others.
    cells = [
        (middle, each, clip, ranks[clip])
        for middle, clip in zip(middles, sorted(best), strict=True)
    ]
    starts, stops = [0, *(middles + each / 2)], [*(middles - each / 2), curve.duration]
    for start, stop in zip(starts, stops, strict=True):
        others = round((stop - start) / max(each, curve.duration / _MOST_PICTURES))
        share = (stop - start) / max(others, 1)
        for middle in start + (np.arange(others) + 0.5) * share:
            clip = min(int(middle / curve.clip_seconds), len(curve.saliency) - 1)
            cells.append((middle, share, clip, 0))
    for (middle, room, clip, rank), picture in zip(
        cells, show([c for _, _, c, _ in cells]), strict=True
    ):
        shown = _narrowed(picture, round(room / second) - _BETWEEN)
        half = shown.width / 2 * second
        axes.imshow(np.asarray(shown), extent=(middle - half, middle + half, 0, 1), aspect="auto")
        text = axes.text(middle, -0.06, clock(clip * curve.clip_seconds), ha="center", va="top")
        text.set(fontsize=7, color=QUIET)
        if rank:
            ink = QUIET if moments[rank - 1].doubtful else ACCENT
            text.set(color=ink)
            span = (middle - half, middle + half)
            _mark(axes, span, (clip + 0.5) * curve.clip_seconds, above, rank, ink)
    axes.set(xlim=(0, curve.duration), ylim=(0, 1))
    axes.axis("off")


def _mark(
    axes: Axes, span: tuple[float, float], second: float, above: float, rank: int, ink: str
) -> None:
    """Frame a moment's picture, number it, and join it to its clip in the curve above."""
    axes.add_patch(Rectangle((span[0], 0), span[1] - span[0], 1, fill=False, ec=ink, lw=2))
    badge = {"boxstyle": "square,pad=0.2", "fc": ink, "lw": 0}
    number = axes.text(span[0], 1, str(rank), ha="left", va="top", bbox=badge)
    number.set(color=PAPER, fontsize=8, fontweight="bold")
    line = {"arrowstyle": "-", "color": ink, "lw": 0.8, "shrinkA": 0, "shrinkB": 0}
    ends = ((second, 1 + above), (sum(span) / 2, 1))
    axes.annotate("", *ends, arrowprops=line, annotation_clip=False)


def _apart(wanted: NDArray[np.float64], width: float, room: float) -> NDArray[np.float64]:
    """Middles of pictures of one width in a strip, as near to the wanted ones as they fit.

    Args:
        wanted: in rising order.
        room: length of the strip, at least that of all pictures.
    """
    # Pictures that touch differ by one width: less these widths, they only must not fall.
    steps = (np.arange(len(wanted)) + 0.5) * width
    free = isotonic_regression(wanted - steps).x if len(wanted) else wanted
    return np.clip(free, 0, max(room - len(wanted) * width, 0)) + steps


def _narrowed(picture: Image.Image, width: int) -> Image.Image:
    """The middle of a picture that is wider than `width` pixels."""
    left = max(0, picture.width - max(width, 1)) // 2
    return picture.crop((left, 0, picture.width - left, picture.height))
