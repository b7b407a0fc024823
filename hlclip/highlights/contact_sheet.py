"""A contact sheet: a row of frames for each of the best moments."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hlclip.highlights.moments import Curve, Moment, clock
from hlclip.highlights.pictures import pictures
from hlclip.system import replacing

_COLUMNS = 4
_PICTURE_HEIGHT = 180
_GAP = 12
_TITLE, _CAPTION = 44, 26
"""Pixels."""

_PAPER, _INK, _QUIET, _ACCENT = "#ffffff", "#111827", "#6b7280", "#c2410c"


def contact_sheet(curve: Curve, moments: Sequence[Moment], out: Path | str) -> None:
    """Draw the best moments to a PNG file, written whole or not at all.

    A row a moment, best first: up to four of its clips, evenly chosen and the best one among
    them, which is framed; under each its time and, not pooled, its score.

    Raises:
        VideoError: a clip cannot be decoded.
    """
    rows = [_chosen(curve, moment) for moment in moments]
    clips = [clip for row in rows for clip in row]
    middles = [(clip + 0.5) * curve.clip_seconds for clip in clips]
    shown = dict(zip(clips, pictures(curve.video, middles, height=_PICTURE_HEIGHT), strict=True))
    width = max(picture.width for picture in shown.values())
    cell = (width + _GAP, _TITLE + _PICTURE_HEIGHT + _CAPTION)
    columns = max(map(len, rows))
    sheet = Image.new(
        "RGB", (max(columns * cell[0] + _GAP, 640), len(rows) * cell[1] + _TITLE + _GAP), _PAPER
    )
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), f"{curve.query}   ({curve.video.name})", _INK, _font(20))
    for row, (moment, chosen) in enumerate(zip(moments, rows, strict=True)):
        top = _TITLE + row * cell[1]
        best = max(moment.clips, key=lambda clip: curve.saliency[clip])
        span = f"{clock(moment.start_seconds)} - {clock(moment.end_seconds)}"
        draw.text((_GAP, top + 14), f"{row + 1}", _ACCENT, _font(18))
        draw.text((_GAP + 28, top + 14), f"{span}   {moment.score:.4f}", _INK, _font(18))
        for column, clip in enumerate(chosen):
            left, upper = _GAP + column * cell[0], top + _TITLE
            sheet.paste(shown[clip], (left, upper))
            if clip == best:
                right, lower = left + shown[clip].width - 1, upper + _PICTURE_HEIGHT - 1
                draw.rectangle((left, upper, right, lower), outline=_ACCENT, width=4)
            time = clock(clip * curve.clip_seconds)
            draw.text(
                (left, upper + _PICTURE_HEIGHT + 4),
                f"{time}   {curve.saliency[clip]:.4f}",
                _QUIET,
                _font(13),
            )
    with replacing(Path(out)) as temporary:
        sheet.save(temporary, format="png")


def _chosen(curve: Curve, moment: Moment) -> list[int]:
    """Up to four clips of a moment in order: evenly spread, the nearest one moved to the best."""
    clips = moment.clips
    spread = np.linspace(clips.start, clips.stop - 1, min(_COLUMNS, len(clips))).round().astype(int)
    best = max(clips, key=lambda clip: curve.saliency[clip])
    spread[np.abs(spread - best).argmin()] = best
    return sorted(set(spread.tolist()))


def _font(size: int) -> ImageFont.FreeTypeFont:
    # matplotlib's, for it knows more alphabets than Pillow's own.
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)
