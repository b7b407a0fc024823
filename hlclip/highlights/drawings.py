"""Drawings of one saliency curve with the video's frames: the chart and the contact sheet."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image, ImageDraw, ImageFont

from hlclip.evaluation import pool
from hlclip.highlights.curve_axes import ACCENT, HEIGHT, QUIET, WIDTH, draw_curve
from hlclip.highlights.fonts import FONT, families, find_fonts, letters
from hlclip.highlights.moments import WINDOW, Curve, Moment, best_clip, clock
from hlclip.highlights.pictures import pictures
from hlclip.highlights.strip import PAPER, draw_strip
from hlclip.system import HlclipError, replacing

_LEFT, _WIDTH, _RIGHT = 1.0, WIDTH, 0.2
"""Widths of the parts of a chart from left to right, in inches."""
_TITLE, _CURVE, _TIMES, _STRIP, _BOTTOM = 0.55, HEIGHT, 0.45, 0.9, 0.3
"""Heights of the parts of a chart from top to bottom, in inches."""
_DOTS = 110
"""Pixels per inch."""

_COLUMNS = 4
_HEADING, _PICTURE, _CAPTION, _GAP = 44, 180, 26, 12
"""Heights of the parts of a contact sheet, in pixels."""

_INK = "#111827"


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
        (curve.video.name, {"x": 1 - _RIGHT / width, "ha": "right", "fontsize": 9, "c": QUIET}),
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
    draw_curve(band(_BOTTOM + _STRIP + _TIMES, _CURVE), curve, moments, window)
    pixels = (round(_WIDTH * _DOTS), round(_STRIP * _DOTS))
    draw_strip(band(_BOTTOM, _STRIP), curve, moments, window, pixels, above=_TIMES / _STRIP)
    with replacing(Path(out)) as temporary:
        figure.savefig(temporary, format="png")


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
        "RGB", (max(columns * cell[0] + _GAP, 640), len(rows) * cell[1] + _HEADING + _GAP), PAPER
    )
    draw = ImageDraw.Draw(sheet)
    _draw_heading(draw, curve.query, curve.video.name, sheet.width - 2 * _GAP)
    for row, moment in enumerate(moments):
        top = _HEADING + row * cell[1]
        span = f"{clock(moment.start_seconds)} - {clock(moment.end_seconds)}"
        accent = QUIET if moment.doubtful else ACCENT
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
            draw.text((left, upper + _PICTURE + 4), caption, QUIET, _font(13))
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
