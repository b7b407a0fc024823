"""Queries in any alphabet are drawn with the fonts of the machine."""

from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import Image

from hlclip.highlights.drawings import contact_sheet, plot_curve
from hlclip.highlights.fonts import FONT, find_fonts
from hlclip.highlights.moments import Curve, best_moments
from tests.films import film


@pytest.fixture
def fonts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of fonts on this machine."""
    folder = tmp_path / "fonts"
    folder.mkdir()
    monkeypatch.setattr(font_manager, "X11FontDirectories", [str(folder)])
    monkeypatch.setattr(font_manager, "_get_fontconfig_fonts", list)
    return folder


def make_font(path: Path, letters: str) -> Path:
    """A font that draws each letter as a black square of the size of the font."""
    builder = FontBuilder(1000, isTTF=True)
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 1000), (1000, 1000), (1000, 0)):
        pen.lineTo(point)
    pen.closePath()
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(letter): "square" for letter in letters})
    builder.setupGlyf(dict.fromkeys((".notdef", "square"), pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys((".notdef", "square"), (1000, 0)))
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


def test_the_first_font_that_has_a_letter_draws_it(fonts: Path) -> None:
    one = make_font(fonts / "OneSans-Regular.ttf", "日本")
    make_font(fonts / "Serif-Bold.ttf", "日本")
    two = make_font(fonts / "Two.ttf", "日🐕")
    (fonts / "damaged.ttf").write_bytes(one.read_bytes()[:100])
    assert find_fonts("a dog") == ("a dog", [FONT])
    assert find_fonts("a 日本") == ("a 日本", [FONT, one])
    assert find_fonts("🐕 日 本") == ("🐕 日 本", [FONT, one, two])


def test_letters_of_no_font_are_named_once(fonts: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_font(fonts / "One.ttf", "日")
    for _ in range(2):
        assert find_fonts("日\n는\u200d 犬") == ("日 □ □", [FONT, fonts / "One.ttf"])
    (message,) = caplog.messages
    assert "no font of this machine has 犬는" in message


def test_charts_and_sheets_are_drawn_with_them(fonts: Path, tmp_path: Path) -> None:
    make_font(fonts / "Squares.ttf", "日")
    video = film(tmp_path / "v.mp4", seconds=6)
    curve = Curve(video, "日日日日日", np.array([0.1, 0.3, 0.2], np.float32), 6.0, 2.0)
    moments = best_moments(curve)
    plot_curve(curve, moments, tmp_path / "plot.png")
    contact_sheet(curve, moments, tmp_path / "sheet.png")
    # One black bar of 5 squares: 13 points at 110 dots an inch, 0.3 inches down; and 20 pixels.
    for name, left, top, side in (("plot.png", 110, 23, 20), ("sheet.png", 12, 12, 20)):
        with Image.open(tmp_path / name) as picture:
            title = np.asarray(picture.convert("L"))[top : top + side, left : left + 5 * side]
        assert (title < 64).mean() > 0.7, name
