"""Films of the best moments."""

import signal
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from hlclip.highlights.film import CutError, cut_moments
from hlclip.highlights.moments import Moment
from hlclip.system.errors import HlclipError
from tests.films import constant, ffmpeg, film, need_encoder, numbered_film, numbers


def moments(*ranges: tuple[float, float]) -> list[Moment]:
    return [Moment(start, end, 0.0, range(0)) for start, end in ranges]


def shown(path: Path) -> list[int]:
    """Numbers of the frames of a numbered film; a repeated frame counts once."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [number for number, _ in groupby(numbers(np.array(frames, np.uint8)))]


def facts(path: Path) -> dict[str, Any]:
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        return {
            "codec": video.codec_context.codec.canonical_name,
            "sound": [stream.codec_context.name for stream in container.streams.audio],
            "seconds": (container.duration or 0) / av.time_base,
            "frames": sum(1 for _ in container.decode(video)),
        }


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 s, 10 numbered frames a second, every frame a key frame."""
    folder = tmp_path_factory.mktemp("counted")
    numbered_film(folder / "groups.mkv", constant(10, 20), side=64)
    ffmpeg("-i", folder / "groups.mkv", "-c:v", "ffv1", "-g", 1, folder / "v.mkv")
    return folder / "v.mkv"


@pytest.fixture(scope="module")
def grouped(counted: Path) -> Path:
    """The same in H.264 with B frames, a key frame every three seconds, and sound."""
    need_encoder("libx264")
    path = counted.with_name("grouped.mp4")
    ffmpeg(
        *("-i", counted, "-f", "lavfi", "-i", "sine=d=20", "-c:v", "libx264", "-g", 30, "-bf", 2),
        *("-keyint_min", 30, "-sc_threshold", 0, "-pix_fmt", "yuv420p", "-c:a", "aac", path),
    )
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_exact_to_the_frame_in_order_of_time(grouped: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"film{suffix}"
    ranges = cut_moments(grouped, moments((8, 10), (1, 2), (9, 11)), out, exact=True)
    assert ranges == [(1, 2), (8, 11)]
    assert shown(out) == [*range(10, 20), *range(80, 110)]
    assert facts(out)["seconds"] == pytest.approx(4, abs=0.15)
    assert len(facts(out)["sound"]) == 1


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_copy_begins_at_key_frames(grouped: Path, tmp_path: Path, suffix: str) -> None:
    source = grouped.with_suffix(suffix)
    if suffix == ".mkv":
        ffmpeg("-i", grouped, "-c", "copy", source)
    out = tmp_path / f"film{suffix}"
    ranges = cut_moments(source, moments((4, 5), (12, 14)), out)
    # Two frames follow, because B frames before them need them.
    assert np.array(ranges) == pytest.approx(np.array([(3, 5.2), (12, 14.2)]), abs=0.002)
    frames = shown(out)
    assert set(frames[:21]) <= set(range(30, 52))
    assert frames[:20] == list(range(30, 50))
    assert frames[21:41] == list(range(120, 140))
    assert facts(out)["seconds"] == pytest.approx(4.4, abs=0.05)
    assert facts(out)["codec"] == "h264"
    assert facts(out)["sound"] == ["aac"]


def test_copies_that_would_overlap_become_one(grouped: Path, tmp_path: Path) -> None:
    out = tmp_path / "film.mp4"
    (made,) = cut_moments(grouped, moments((4, 5), (5.5, 8)), out)
    assert made == pytest.approx((3, 8.2), abs=0.002)
    frames = shown(out)
    assert len(frames) == len(set(frames))


def test_a_copy_where_every_frame_is_a_key_frame_is_exact(counted: Path, tmp_path: Path) -> None:
    out = tmp_path / "film.mkv"
    assert cut_moments(counted, moments((2, 4), (6, 7)), out) == [(2, 4), (6, 7)]
    assert shown(out) == [*range(20, 40), *range(60, 70)]
    assert facts(out)["codec"] == "ffv1"


def test_streams_that_the_container_cannot_hold_are_encoded(
    counted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    need_encoder("libvpx-vp9")
    out = tmp_path / "film.webm"
    assert cut_moments(counted, moments((2, 4)), out) == [(2, 4)]
    assert "cannot be copied, so they are encoded" in caplog.text
    assert facts(out)["codec"] == "vp9"
    assert shown(out) == list(range(20, 40))


def test_odd_sides_and_ten_bits_become_what_players_show(tmp_path: Path) -> None:
    need_encoder("libx264")
    path = film(tmp_path / "v.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", size="65x33")
    cut_moments(path, moments((0, 2)), tmp_path / "film.mp4", exact=True)
    with av.open(str(tmp_path / "film.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.width, context.height, context.pix_fmt) == (64, 32, "yuv420p")


def picture(path: Path) -> NDArray[np.uint8]:
    """The first picture of a film, [height, width, 3]."""
    with av.open(str(path)) as container:
        return np.asarray(next(container.decode(video=0)).to_ndarray(format="rgb24"), np.uint8)


@pytest.mark.parametrize(
    ("size", "aspect", "expected"),
    [
        ("320x180", "1/1", (100, 180)),  # 9:16 of the height is 101.25
        ("160x180", "2/1", (50, 180)),  # shown as 320x180
        ("90x320", "1/1", (90, 160)),
    ],
)
def test_a_vertical_film_shows_the_middle(
    tmp_path: Path, size: str, aspect: str, expected: tuple[int, int]
) -> None:
    need_encoder("libx264")
    path = tmp_path / "v.mkv"
    sides = [int(side) for side in size.split("x")]
    place = ":".join(str((whole - part) // 2) for whole, part in zip(sides, expected, strict=True))
    box = f"drawbox={place}:{expected[0]}:{expected[1]}:lime:t=fill"
    green = f"color=red:s={size}:r=10:d=4,format=yuv444p,{box},setsar={aspect}"
    ffmpeg("-f", "lavfi", "-i", green, "-c:v", "ffv1", path)
    assert cut_moments(path, moments((1, 3)), tmp_path / "film.mp4", vertical=True) == [(1, 3)]
    shown = picture(tmp_path / "film.mp4")
    assert np.abs(np.subtract(shown.shape[1::-1], expected)).max() <= 2
    assert (shown[2:-2, 2:-2].argmax(axis=2) == 1).all()  # green, the middle
    with av.open(str(tmp_path / "film.mp4")) as container:
        codec = container.streams.video[0].codec_context
    wide = float((codec.sample_aspect_ratio or 1) * codec.width / codec.height)
    assert wide == pytest.approx(9 / 16, abs=0.02)


def test_a_vertical_film_of_a_video_that_stands_on_its_side(
    videos_dir: Path, tmp_path: Path
) -> None:
    source = videos_dir / "decord_video_90.mov"
    cut_moments(source, moments((0, 0.1)), tmp_path / "film.mp4", vertical=True)
    height, width, _ = picture(tmp_path / "film.mp4").shape
    assert width / height == pytest.approx(9 / 16, abs=0.02)


def test_times_count_from_a_late_start(counted: Path, tmp_path: Path) -> None:
    late = tmp_path / "late.mkv"
    ffmpeg("-i", counted, "-c", "copy", "-output_ts_offset", 7, late)
    for exact in (False, True):
        out = tmp_path / f"{exact}.mkv"
        assert cut_moments(late, moments((2, 3)), out, exact=exact) == [(2, 3)]
        assert shown(out) == list(range(20, 30))


def test_an_existing_film_is_not_overwritten_by_default(counted: Path, tmp_path: Path) -> None:
    out = tmp_path / "film.mkv"
    out.write_text("mine")
    with pytest.raises(HlclipError, match=r"film\.mkv: exists\nchoose another name"):
        cut_moments(counted, moments((0, 2)), out)
    assert out.read_text() == "mine"
    cut_moments(counted, moments((0, 2)), out, overwrite=True)
    assert facts(out)["frames"] == 20


def test_the_video_itself_is_never_overwritten(counted: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.mkv"
    link.symlink_to(counted)
    before = counted.read_bytes()
    for out in (counted, link):
        with pytest.raises(HlclipError, match="is the video itself"):
            cut_moments(counted, moments((0, 2)), out, overwrite=True)
    assert counted.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("film", "has no suffix"),
        ("film.xyz", r"suffix \.xyz, expected one of \.mp4, \.m4v,"),
        ("d.mp4", "is a folder"),
    ],
)
def test_a_refused_name_leaves_no_file(
    counted: Path, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "d.mp4").mkdir()
    with pytest.raises(HlclipError, match=message):
        cut_moments(counted, moments((0, 2)), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["d.mp4"]


def test_no_moments(counted: Path, tmp_path: Path) -> None:
    with pytest.raises(CutError, match="got no moments"):
        cut_moments(counted, [], tmp_path / "film.mkv")


@pytest.mark.slow
def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    need_encoder("libx264")
    source = tmp_path / "v.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=640x360:r=30:d=60", "-preset", "ultrafast", source)
    code = (
        "import sys; from hlclip.highlights.film import *\n"
        "from hlclip.highlights.moments import Moment\n"
        "print('begun', flush=True)\n"
        "cut_moments(sys.argv[1], [Moment(0, 60, 0, range(0))], sys.argv[2], exact=True)"
    )
    out = tmp_path / "out" / "film.mp4"
    process = subprocess.Popen(
        [sys.executable, "-c", code, source, out], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    while not list(out.parent.glob(".*.tmp/film1.mp4")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    assert list(out.parent.iterdir()) == []


def test_real_footage_keeps_its_sound(footage_dir: Path, tmp_path: Path) -> None:
    source = footage_dir / "videos" / "tears_of_steel_battle.webm"
    ranges = cut_moments(source, moments((10, 14), (50, 60)), tmp_path / "film.webm")
    assert [end for _, end in ranges] == [14, 60]
    assert all(start <= begin for (start, _), begin in zip(ranges, (10, 50), strict=True))
    film_facts = facts(tmp_path / "film.webm")
    assert (film_facts["codec"], film_facts["sound"]) == ("vp8", ["vorbis"])
    assert film_facts["seconds"] == pytest.approx(sum(e - s for s, e in ranges), abs=0.5)


def test_rotation_survives_a_copy(videos_dir: Path, tmp_path: Path) -> None:
    cut_moments(videos_dir / "decord_video_90.mov", moments((0, 0.1)), tmp_path / "film.mp4")
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert next(container.decode(video=0)).rotation == -90
