"""Pictures of a video, the chart of a curve and the contact sheet."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hlclip.highlights.drawings import contact_sheet, plot_curve
from hlclip.highlights.moments import Curve, Moment, best_moments
from hlclip.highlights.pictures import pictures
from hlclip.system.errors import HlclipError
from hlclip.video.refusals import VideoError
from tests.films import ffmpeg, film


def curve_of(video: Path, clips: int, query: str = "a dog") -> Curve:
    scores = np.random.default_rng(0).normal(size=clips).astype(np.float32)
    return Curve(video, query, scores, 2.0 * clips, 2.0)


def test_pictures_keep_shape_and_are_upright(tmp_path: Path, videos_dir: Path) -> None:
    wide = film(tmp_path / "wide.mkv", "-vf", "setsar=2/1", size="96x64")
    assert pictures(wide, [1], clip_seconds=2.0, height=32)[0].size == (96, 32)
    (shown,) = pictures(videos_dir / "decord_video_90.mov", [0], clip_seconds=0.2, height=90)
    assert shown.height > shown.width


def test_a_video_without_pictures_is_named(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_text("no video")
    with pytest.raises(VideoError, match=r"v\.mp4: no picture \("):
        pictures(path, [1], clip_seconds=2.0, height=32)


@pytest.mark.parametrize("clips", [1, 3, 40])
@pytest.mark.parametrize("size", ["96x64", "54x96"])
def test_a_chart_of_any_length_and_shape(clips: int, size: str, tmp_path: Path) -> None:
    curve = curve_of(film(tmp_path / "v.mp4", size=size, seconds=2 * clips), clips)
    plot_curve(curve, best_moments(curve), tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as chart:
        assert chart.size == (1342, 561)
        strip = np.asarray(chart.convert("RGB"))[-127:-37, 115:-25]
    assert (strip != 255).any(axis=(0, 2)).mean() > 0.7  # there are frames


def test_a_chart_shades_its_moments(tmp_path: Path) -> None:
    curve = curve_of(film(tmp_path / "v.mp4", seconds=20), 10)
    shade = (0xF7, 0xE6, 0xDF)
    shares = []
    for moments in ([], best_moments(curve, top=1)):
        plot_curve(curve, moments, tmp_path / "plot.png")
        with Image.open(tmp_path / "plot.png") as chart:
            shares.append((np.asarray(chart.convert("RGB")) == shade).all(axis=2).mean())
    assert shares[0] < 0.001  # some pixel of a frame may have the colour
    assert shares[1] > 0.03


ACCENT = (0xC2, 0x41, 0x0C)


def spiked(tmp_path: Path) -> tuple[Curve, Moment]:
    """A moment whose highest score is a spike at clip 4; its best clip is 7, the green one."""
    path = tmp_path / "v.mp4"
    green = "drawbox=color=lime:t=fill:enable='between(t,14,16)'"
    ffmpeg("-f", "lavfi", "-i", f"color=black:s=96x64:r=10:d=20,{green}", path)
    scores = np.array([0, 0, 0, 0, 0.9, 0, 0.8, 0.8, 0.8, 0], np.float32)
    return Curve(path, "a dog", scores, 20.0, 2.0), Moment(8, 18, 0.8, range(4, 9))


def test_the_picture_of_a_moment_is_its_best_clip_and_stands_under_it(tmp_path: Path) -> None:
    curve, moment = spiked(tmp_path)
    plot_curve(curve, [moment], tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as chart:
        row = np.asarray(chart.convert("RGB"))[-80, 110:1320].astype(int)
    green = np.flatnonzero((row[:, 1] > 200) & (row[:, 0] < 60))
    assert green.mean() / 1210 * 20 == pytest.approx(15, abs=0.1)  # second 15 of 20
    framed = (row == ACCENT).all(axis=1)
    assert framed[green[0] - 8 : green[0]].any()
    assert framed[green[-1] + 1 : green[-1] + 9].any()


def test_pictures_of_moments_that_are_near_stand_side_by_side(tmp_path: Path) -> None:
    curve = curve_of(film(tmp_path / "v.mp4", seconds=40), 20)
    moments = [Moment(2.0 * clip, 2.0 * clip + 2, 1, range(clip, clip + 1)) for clip in (9, 10, 11)]
    plot_curve(curve, moments, tmp_path / "plot.png", window=1)
    with Image.open(tmp_path / "plot.png") as chart:
        row = np.asarray(chart.convert("RGB"))[-80, 110:1320]
    edges = np.flatnonzero((row == ACCENT).all(axis=1))
    edges = edges[np.diff(edges, prepend=-9) > 3] / 1210 * 40
    width = (148 + 3) / 1210 * 40  # of a picture with its margin
    assert edges[[0, -1]] == pytest.approx([21 - 1.5 * width, 21 + 1.5 * width], abs=0.2)


def test_the_border_of_a_sheet_is_around_the_best_pooled_clip(tmp_path: Path) -> None:
    curve, moment = spiked(tmp_path)
    bordered = []
    for window in (3, 1):
        contact_sheet(curve, [moment], tmp_path / "sheet.png", window=window)
        with Image.open(tmp_path / "sheet.png") as sheet:
            row = np.asarray(sheet.convert("RGB"))[44 + 44 + 90].astype(int)
        green = np.flatnonzero((row[:, 1] > 200) & (row[:, 0] < 60))
        bordered.append(bool(len(green)) and (row[green[0] - 3] == ACCENT).all())
    assert bordered == [True, False]


def test_a_moment_below_zero_is_grey(tmp_path: Path) -> None:
    """But one whose rating is known is not: the rating says what it is worth."""
    curve = curve_of(film(tmp_path / "v.mp4", seconds=20), 10)
    below = Moment(0.0, 20.0, -0.5, range(10))
    accent = {}
    for moment in (below, replace(below, rating=2.0)):
        plot_curve(curve, [moment], tmp_path / "plot.png")
        contact_sheet(curve, [moment], tmp_path / "sheet.png")
        with (
            Image.open(tmp_path / "plot.png") as chart,
            Image.open(tmp_path / "sheet.png") as sheet,
        ):
            shade = (np.asarray(chart.convert("RGB")) == (0xF7, 0xE6, 0xDF)).all(axis=2).mean()
            border = (np.asarray(sheet.convert("RGB")) == (0xC2, 0x41, 0x0C)).all(axis=2).sum()
        accent[moment.worth] = shade > 0.3, border > 1000
    assert accent == {"below 0": (False, False), "2.0 of 4": (True, True)}


def test_a_sheet_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HlclipError, match=r"sheet\.png: got no moments, expected at least one"):
        contact_sheet(curve_of(tmp_path / "v.mp4", 3), [], tmp_path / "sheet.png")


def test_a_narrow_moment_is_seen_and_covers_no_better_one(tmp_path: Path) -> None:
    curve = curve_of(film(tmp_path / "v.mp4", seconds=20), 10)
    best = Moment(9.9, 10.0, 1.0, range(4, 5), rating=3.1)
    shaded, labels = [], []
    for start in (None, 10.1, 15.0):
        others = [] if start is None else [Moment(start, start + 0.03, 0.5, range(5, 6), rating=2)]
        plot_curve(curve, [best, *others], tmp_path / "plot.png")
        with Image.open(tmp_path / "plot.png") as chart:
            pixels = np.asarray(chart.convert("RGB"))[62:375, 115:1310].astype(int)
        shaded.append((pixels[-60:-50] != 255).any(axis=(0, 2)).sum())
        labels.append((pixels[:55] == ACCENT).all(axis=2).sum())
    assert shaded[0] < min(shaded[1:])
    assert labels[0] == labels[1] < labels[2]


def test_ratings_are_drawn_where_there_are_some(tmp_path: Path) -> None:
    curve = curve_of(film(tmp_path / "v.mp4", seconds=20), 10)
    plain = best_moments(curve, top=1)
    drawn = []
    for moments in (plain, [replace(plain[0], rating=3.1)], [replace(plain[0], rating=2.9)]):
        plot_curve(curve, moments, tmp_path / "plot.png")
        contact_sheet(curve, moments, tmp_path / "sheet.png")
        drawn.append([(tmp_path / f"{name}.png").read_bytes() for name in ("plot", "sheet")])
    assert len({chart for chart, _ in drawn}) == len({sheet for _, sheet in drawn}) == 3


@pytest.mark.parametrize("query", ["costs $5, or $6_x", "собака", "<b> & \\alpha {", "x" * 300])
def test_any_query_and_name_is_a_title(query: str, tmp_path: Path) -> None:
    path = film(tmp_path / "v.mp4").rename(tmp_path / "$\\input{x}$ <script> %s {0}\n.mp4")
    curve = curve_of(path, 3, query)
    plot_curve(curve, best_moments(curve), tmp_path / "plot.png")
    contact_sheet(curve, best_moments(curve), tmp_path / "sheet.png")
    for name, title, margin in (("plot.png", 55, 20), ("sheet.png", 44, 10)):
        with Image.open(tmp_path / name) as drawn:
            assert drawn.format == "PNG"
            pixels = np.asarray(drawn.convert("L"))[:title]
        assert (pixels < 128).any()
        assert (pixels[:, -margin:] == 255).all()  # a long title is shortened, not cut off


def test_a_sheet_has_a_row_a_moment_and_frames_the_best(tmp_path: Path) -> None:
    path = film(tmp_path / "v.mp4", size="90x60", seconds=40)
    curve = curve_of(path, 20)
    moments = best_moments(curve, top=3, window=1)
    assert len(moments) == 3
    contact_sheet(curve, moments, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert pixels.shape[0] == 44 + 3 * 250 + 12
    accent = (pixels == ACCENT).all(axis=2)
    edges = accent[:, 12:].sum(axis=1) >= 200  # an upper or lower edge of a frame
    assert edges.sum() == 3 * 2 * 4


def test_a_failed_drawing_leaves_nothing(tmp_path: Path) -> None:
    video = tmp_path / "v.mp4"
    video.write_text("no video")
    curve = curve_of(video, 5)
    for draw in (plot_curve, contact_sheet):
        with pytest.raises(HlclipError):
            draw(curve, best_moments(curve), tmp_path / "out.png")
    assert list(tmp_path.iterdir()) == [video]


def test_a_portrait_and_a_panorama_fill_the_strip(tmp_path: Path) -> None:
    for size in ("400x100", "90x160"):
        path = tmp_path / f"{size}.mkv"
        ffmpeg("-f", "lavfi", "-i", f"color=red:s={size}:r=2:d=120", path)
        plot_curve(curve_of(path, 60), [], tmp_path / "plot.png")
        with Image.open(tmp_path / "plot.png") as chart:
            row = np.asarray(chart.convert("RGB"))[-60]
        assert (row[:, 1] < 60).mean() > 0.7
