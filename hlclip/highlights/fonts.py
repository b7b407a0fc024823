"""Fonts of this machine for the letters that Matplotlib's own font does not have."""

import logging
import unicodedata
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.font_manager import findSystemFonts, fontManager, get_font
from matplotlib.ft2font import FaceFlags

log = logging.getLogger(__name__)

FONT = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
"""Draws every letter that it has; it has more alphabets than the font of Pillow."""

_BOX = "\u25a1"


def find_fonts(text: str) -> tuple[str, list[Path]]:
    """Find fonts for a line of text; a letter is drawn by the first that has it.

    Returns:
        The text in one line, with a box for each letter that no font of this machine has, and the
        fonts, `FONT` first.
    """
    text, fonts = " ".join(text.split()), [FONT]
    # Marks of direction and the like are not drawn.
    text = "".join(letter for letter in text if unicodedata.category(letter) not in ("Cc", "Cf"))
    missing = set(text) - letters(FONT)
    others = sorted(map(Path, findSystemFonts()), key=_preference) if missing else []
    while others:
        best = max(others, key=lambda font: len(missing & letters(font)))
        if missing.isdisjoint(letters(best)):
            break
        fonts.append(best)
        missing -= letters(best)
    if missing:
        _warn("".join(sorted(missing)))
    return "".join(_BOX if letter in missing else letter for letter in text), fonts


def families(fonts: list[Path]) -> list[str]:
    """Names under which Matplotlib finds the fonts."""
    known = {entry.fname for entry in fontManager.ttflist}
    for font in fonts:
        if str(font) not in known:  # installed after Matplotlib listed the fonts
            fontManager.addfont(font)
    return [get_font(font).family_name for font in fonts]


@cache
def letters(font: Path) -> frozenset[str]:
    """The letters that a font can draw; none if it cannot be read."""
    try:
        face = get_font(font)
        if FaceFlags.COLOR in face.face_flags:  # pictures; their outlines are empty
            return frozenset()
        return frozenset(map(chr, face.get_charmap()))
    except (OSError, RuntimeError):  # FreeType's own: damaged, or of a kind that it cannot scale
        return frozenset()


@cache  # chart and contact sheet have the same letters
def _warn(missing: str) -> None:
    log.warning(
        "no font of this machine has %s, drawn as %s: install one, such as Noto Sans CJK",
        missing,
        _BOX,
    )


def _preference(font: Path) -> tuple[bool, bool, str]:
    return "Regular" not in font.stem, "Sans" not in font.stem, str(font)
