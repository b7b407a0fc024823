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

    A row for each moment, best first, with up to four of its clips, evenly spread. The best clip is
    always among them and has a border. The time and the unpooled score are below each clip.

    Raises:
        VideoError: a clip cannot be decoded.
    """
    best = [max(moment.clips, key=lambda clip: curve.saliency[clip]) for moment in moments]
    rows = [_spread(moment.clips, clip) for moment, clip in zip(moments, best, strict=True)]
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
    for row, moment in enumerate(moments):
        top = _TITLE + row * cell[1]
        span = f"{clock(moment.start_seconds)} - {clock(moment.end_seconds)}"
        draw.text((_GAP, top + 14), f"{row + 1}", _ACCENT, _font(18))
        draw.text((_GAP + 28, top + 14), f"{span}   {moment.score:.4f}", _INK, _font(18))
        for column, clip in enumerate(rows[row]):
            left, upper = _GAP + column * cell[0], top + _TITLE
            sheet.paste(shown[clip], (left, upper))
            if clip == best[row]:
                right, lower = left + shown[clip].width - 1, upper + _PICTURE_HEIGHT - 1
                draw.rectangle((left, upper, right, lower), outline=_ACCENT, width=4)
            caption = f"{clock(clip * curve.clip_seconds)}   {curve.saliency[clip]:.4f}"
            draw.text((left, upper + _PICTURE_HEIGHT + 4), caption, _QUIET, _font(13))
    with replacing(Path(out)) as temporary:
        sheet.save(temporary, format="png")


def _spread(clips: range, best: int) -> list[int]:
    """Up to four clips, evenly spread, of which the one nearest to the best becomes the best."""
    spread = np.linspace(clips.start, clips.stop - 1, min(_COLUMNS, len(clips))).round().astype(int)
    spread[np.abs(spread - best).argmin()] = best
    return sorted(set(spread.tolist()))


def _font(size: int) -> ImageFont.FreeTypeFont:
    # A font of Matplotlib, which has more alphabets than that of Pillow.
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)
