"""Drawings of one saliency curve with the video's frames: the chart and the contact sheet."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.optimize import isotonic_regression

from hlclip.evaluation import pool
from hlclip.highlights.fonts import FONT, families, find_fonts, letters
from hlclip.highlights.moments import WINDOW, Curve, Moment, best_clip, clock
from hlclip.highlights.pictures import pictures
from hlclip.system import HlclipError, replacing

_LEFT, _WIDTH, _RIGHT = 1.0, 11.0, 0.2
"""Widths of the parts of a chart from left to right, in inches."""
_TITLE, _CURVE, _TIMES, _STRIP, _BOTTOM = 0.55, 2.9, 0.45, 0.9, 0.3
"""Heights of the parts of a chart from top to bottom, in inches."""
_NUMBER, _RATING = 0.2, 0.27
"""Room for the number of a moment and for its rating, in inches."""
_DOTS = 110
"""Pixels per inch."""

_MOST_PICTURES = 24
_BETWEEN = 3
"""Pixels between two pictures of a chart."""

_COLUMNS = 4
_HEADING, _PICTURE, _CAPTION, _GAP = 44, 180, 26, 12
"""Heights of the parts of a contact sheet, in pixels."""

_ACCENT, _LINE, _SHADE, _DOUBT = "#c2410c", "#9ca3af", "#f7e6df", "#f1f1f2"
_PAPER, _INK, _QUIET = "#ffffff", "#111827", "#6b7280"


def plot_curve(
    curve: Curve, moments: Sequence[Moment], out: Path | str, *, window: int = WINDOW
) -> None:
    """Draw a curve to a PNG file, written whole or not at all.

    Args:
        moments: ranges to shade, best first, with a picture of the best clip of each. A number or
            rating that would cover that of a better moment is left out.
        window: pooling window in clips of the thick line; the thin line is not pooled.

    Raises:
        VideoError: a picture of the video cannot be decoded.
    """
    height = _TITLE + _CURVE + _TIMES + _STRIP + _BOTTOM
    width = _LEFT + _WIDTH + _RIGHT
    figure = Figure(figsize=(width, height), dpi=_DOTS)

    def band(bottom: float, inches: float) -> Axes:
        return figure.add_axes(
            (_LEFT / width, bottom / height, _WIDTH / width, inches / height),
            xlim=(0, curve.duration),
        )

    texts: list[Text] = []
    for text, place in (
        (curve.query, {"x": _LEFT / width, "fontsize": 13}),
        (curve.video.name, {"x": 1 - _RIGHT / width, "ha": "right", "fontsize": 9, "c": _QUIET}),
    ):
        line, fonts = find_fonts(text)
        title = {"y": 1 - 0.3 / height, "va": "center", "parse_math": False}
        texts.append(figure.text(s=line, fontfamily=families(fonts), **title, **place))

    def length(at: int, text: str) -> float:
        texts[at].set_text(text)
        return texts[at].get_window_extent().width

    query, name = (text.get_text() for text in texts)
    fitted = _fitted(query, name, _WIDTH * _DOTS - 20, partial(length, 0), partial(length, 1))
    for text, shown in zip(texts, fitted, strict=True):
        text.set_text(shown)
    _draw_curve(band(_BOTTOM + _STRIP + _TIMES, _CURVE), curve, moments, window)
    _draw_strip(band(_BOTTOM, _STRIP), curve, moments, window)
    with replacing(Path(out)) as temporary:
        figure.savefig(temporary, format="png")


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
    axes = Figure(figsize=(_WIDTH, _CURVE)).add_axes((0, 0, 1, 1), xlim=(0, curve.duration))
    _draw_curve(axes, curve, moments, window)
    scales: list[Scale] = []
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        places = [float(place) for place in axis.get_majorticklocs() if low <= place <= high]
        labels = axis.get_major_formatter().format_ticks(places)
        scales.append(Scale(low, high, dict(zip(places, labels, strict=True))))
    return scales[0], scales[1]


def _draw_curve(axes: Axes, curve: Curve, moments: Sequence[Moment], window: int) -> None:
    edges = np.arange(len(curve.saliency) + 1) * curve.clip_seconds
    middles = edges[:-1] + curve.clip_seconds / 2
    inch = curve.duration / _WIDTH  # in seconds
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
        ink = _QUIET if moment.doubtful else _ACCENT
        text = axes.text(middle, 0.975, str(rank), ha="center", va="top", color=ink)
        text.set(transform=axes.get_xaxis_transform(), fontweight="bold")  # y in shares of the axes
        worth = moment.worth.replace(" ", "\n", 1) if room >= _RATING else ""
        axes.annotate(worth, (0.5, 0), xycoords=text, ha="center", va="top", size=8, color=ink)
    axes.stairs(curve.saliency, edges, baseline=None, color=_LINE, lw=1, label="clip")
    if window > 1:
        pooled = pool(curve.saliency, window)
        marker = "o" if len(middles) < 8 else ""
        axes.plot(middles, pooled, marker=marker, c=_ACCENT, label=f"mean of {window} clips")
        axes.legend(loc="lower right", frameon=False, fontsize=8, ncols=2)
    axes.margins(y=0.28 if any(moment.worth for moment in moments) else 0.16)
    axes.set_ylabel(curve.measure)
    axes.xaxis.set_major_locator(MaxNLocator(12, steps=[1, 2, 3, 6, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda second, _: clock(second)))
    axes.spines[["top", "right"]].set_visible(False)


def _draw_strip(axes: Axes, curve: Curve, moments: Sequence[Moment], window: int) -> None:
    """Fill the strip with scored pictures; those of moments have a frame and the moment's number.

    A moment's picture shows its best clip and stands under it, or as near as others leave room; a
    line joins the two. Where not all have room, the best moments have pictures. Other pictures are
    cut at their sides where the room between is short. The time of each is below.
    """
    height, width = round(_STRIP * _DOTS), _WIDTH * _DOTS
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
        text.set(fontsize=7, color=_QUIET)
        if rank:
            ink = _QUIET if moments[rank - 1].doubtful else _ACCENT
            text.set(color=ink)
            span = (middle - half, middle + half)
            _mark(axes, span, (clip + 0.5) * curve.clip_seconds, rank, ink)
    axes.set(xlim=(0, curve.duration), ylim=(0, 1))
    axes.axis("off")


def _mark(axes: Axes, span: tuple[float, float], second: float, rank: int, ink: str) -> None:
    """Frame a moment's picture, number it, and join it to its clip in the curve above."""
    axes.add_patch(Rectangle((span[0], 0), span[1] - span[0], 1, fill=False, ec=ink, lw=2))
    badge = {"boxstyle": "square,pad=0.2", "fc": ink, "lw": 0}
    number = axes.text(span[0], 1, str(rank), ha="left", va="top", bbox=badge)
    number.set(color=_PAPER, fontsize=8, fontweight="bold")
    line = {"arrowstyle": "-", "color": ink, "lw": 0.8, "shrinkA": 0, "shrinkB": 0}
    ends = ((second, 1 + _TIMES / _STRIP), (sum(span) / 2, 1))
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


def contact_sheet(
    curve: Curve, moments: Sequence[Moment], out: Path | str, *, window: int = WINDOW
) -> None:
    """Draw the best moments to a PNG file, written whole or not at all.

    A row for each moment, best first, with up to four of its clips, evenly spread. The best clip is
    always among them and has a border: its score is that of the moment. The time and the pooled
    score are below each clip.

    Args:
        window: pooling window in clips, with which the moments were found.

    Raises:
        VideoError: a clip cannot be decoded.
        HlclipError: there is no moment.
    """
    if not moments:
        raise HlclipError(f"{out}: got no moments, expected at least one")
    pooled = pool(curve.saliency, window)
    best = [best_clip(curve, moment, window) for moment in moments]
    rows = [_spread(moment.clips, clip) for moment, clip in zip(moments, best, strict=True)]
    clips = [clip for row in rows for clip in row]
    drawn = pictures(curve.video, clips, clip_seconds=curve.clip_seconds, height=_PICTURE)
    shown = dict(zip(clips, drawn, strict=True))
    width = max(picture.width for picture in shown.values())
    cell = (width + _GAP, _HEADING + _PICTURE + _CAPTION)
    columns = max(map(len, rows))
    sheet = Image.new(
        "RGB", (max(columns * cell[0] + _GAP, 640), len(rows) * cell[1] + _HEADING + _GAP), _PAPER
    )
    draw = ImageDraw.Draw(sheet)
    _draw_heading(draw, curve.query, curve.video.name, sheet.width - 2 * _GAP)
    for row, moment in enumerate(moments):
        top = _HEADING + row * cell[1]
        span = f"{clock(moment.start_seconds)} - {clock(moment.end_seconds)}"
        accent = _QUIET if moment.doubtful else _ACCENT
        draw.text((_GAP, top + 14), f"{row + 1}", accent, _font(18))
        heading = f"{span}   {moment.score:.4f}   {moment.worth}".rstrip()
        draw.text((_GAP + 28, top + 14), heading, _INK, _font(18))
        for column, clip in enumerate(rows[row]):
            left, upper = _GAP + column * cell[0], top + _HEADING
            sheet.paste(shown[clip], (left, upper))
            if clip == best[row]:
                right, lower = left + shown[clip].width - 1, upper + _PICTURE - 1
                draw.rectangle((left, upper, right, lower), outline=accent, width=4)
            caption = f"{clock(clip * curve.clip_seconds)}   {pooled[clip]:.4f}"
            draw.text((left, upper + _PICTURE + 4), caption, _QUIET, _font(13))
    with replacing(Path(out)) as temporary:
        sheet.save(temporary, format="png")


def _spread(clips: range, best: int) -> list[int]:
    """Up to four clips, evenly spread, of which the one nearest to the best becomes the best."""
    spread = np.linspace(clips.start, clips.stop - 1, min(_COLUMNS, len(clips))).round().astype(int)
    spread[np.abs(spread - best).argmin()] = best
    return sorted(set(spread.tolist()))


def _draw_heading(draw: ImageDraw.ImageDraw, query: str, name: str, width: int) -> None:
    _, fonts = find_fonts(f"{query} {name}")

    def runs(text: str) -> Iterator[tuple[str, ImageFont.FreeTypeFont]]:
        """Pillow draws a text with one font."""
        for font, run in groupby(
            text, key=lambda letter: next(f for f in fonts if letter in letters(f))
        ):
            yield "".join(run), _font(20, font)

    def length(text: str) -> float:
        return sum(face.getlength(words) for words, face in runs(text))

    query, name = find_fonts(query)[0], find_fonts(name)[0]
    query, name = _fitted(query, name, width - length(" ()"), length, length)
    left, baseline = float(_GAP), _GAP + _font(20).getmetrics()[0]
    for words, face in runs(f"{query} ({name})"):
        draw.text((left, baseline), words, _INK, face, anchor="ls")
        left += face.getlength(words)


Length = Callable[[str], float]
"""Pixels of a text in a line."""


def _fitted(
    query: str, name: str, room: float, query_length: Length, name_length: Length
) -> tuple[str, str]:
    """Query and file name, shortened where both are longer than `room` pixels together."""
    name = _shortened(name, max(0.4 * room, room - query_length(query)), name_length)
    return _shortened(query, room - name_length(name), query_length), name


def _shortened(text: str, room: float, length: Length) -> str:
    if length(text) <= room:
        return text
    kept = bisect_right(range(len(text)), room, key=lambda letters: length(text[:letters] + "…"))
    return text[: max(kept - 1, 0)].rstrip() + "…"


def _font(size: int, font: Path = FONT) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font, size)
