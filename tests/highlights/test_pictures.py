"""Charts and sheets show the pictures that were scored, in every container, at the right second."""

from pathlib import Path

import numpy as np
import pytest

from hlclip.highlights.pictures import pictures
from hlclip.system.errors import HlclipError
from hlclip.video.container import open_video, probe, second_zero, video_stream
from hlclip.video.frames import extract_frames, frames_header
from tests.films import constant, ffmpeg, film, need_encoder, numbered_film, numbers

HEADER = frames_header(size=64, resize="squash", interpolation="bicubic", clip_seconds=2.0)
RATE = 10
SECONDS = 12
SOUND = ("-f", "lavfi", "-i", f"sine=d={SECONDS}")

H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-sc_threshold", 0, "-g", 50, "-bf", 2)
MPEG2 = ("-vf", "fps=25", "-fps_mode", "passthrough", "-c:v", "mpeg2video", "-g", 100, "-bf", 2)
FRAGMENTS = ("-movflags", "frag_keyframe+empty_moov+default_base_moof")
CONTAINERS = {
    "a.mp4": H264,
    "a.mov": H264,
    "a.3gp": (*H264, "-an"),
    "fragmented.mp4": (*H264, *FRAGMENTS),
    "a.mkv": H264,
    "open_gop.mkv": (*H264, "-x264-params", "open-gop=1"),
    "refresh.mp4": (*H264, "-x264-params", "intra-refresh=1:bframes=0"),
    "444.mp4": (*H264, "-pix_fmt", "yuv444p"),
    "a.webm": ("-c:v", "libvpx", "-g", 50),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-g", 50),
    "hevc.mp4": ("-c:v", "libx265", "-x265-params", "log-level=error:keyint=40:open-gop=1"),
    "mpeg4.avi": ("-c:v", "mpeg4", "-g", 50, "-bf", 2),
    "h264.avi": H264,
    "a.wmv": ("-c:v", "wmv2", "-g", 50),
    "a.flv": H264,
    "a.ts": H264,
    "mpeg2.ts": MPEG2,
    "a.m2ts": H264,
    "a.mpg": (*MPEG2, "-c:v", "mpeg1video"),
    "a.vob": MPEG2,
    "a.h264": (*H264, "-an"),
    "a.hevc": ("-c:v", "libx265", "-x265-params", "log-level=error", "-an"),
    "a.ogv": ("-c:v", "libtheora", "-q:v", 9, "-g", 64),
    "a.nut": H264,
    "a.gif": ("-an",),
    "a.ivf": ("-c:v", "libvpx", "-an"),
    "a.y4m": ("-pix_fmt", "yuv420p", "-an"),
    "a.mjpeg": ("-r", 25, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-an"),
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "raw.mkv"
    return numbered_film(path, constant(RATE, SECONDS), side=64)


def drawn(path: Path, clips: list[int]) -> list[int]:
    shown = pictures(path, clips, clip_seconds=2.0, height=64)
    return numbers(np.array([np.asarray(picture) for picture in shown]))


def scored(path: Path) -> list[int]:
    return numbers(extract_frames(path, HEADER))


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_scored_pictures_in_every_container(tmp_path: Path, raw: Path, name: str) -> None:
    options = CONTAINERS[name]
    if "-c:v" in options:
        need_encoder(str(options[options.index("-c:v") + 1]))
    path = tmp_path / name
    sound = () if "-an" in options else SOUND
    ffmpeg("-i", raw, *sound, *options, path)
    shown = scored(path)
    assert shown == pytest.approx([2 * RATE * clip + 9 for clip in range(6)], abs=2)
    assert drawn(path, [5, 0, 3, 1]) == [shown[clip] for clip in (5, 0, 3, 1)]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.vob", "a.flv", "a.nut"])
def test_a_picture_that_begins_after_its_sound(tmp_path: Path, raw: Path, name: str) -> None:
    """Second 0 is where the sound begins, as in a player."""
    path = tmp_path / name
    codec = MPEG2 if name == "a.vob" else H264
    ffmpeg("-itsoffset", 3.02, "-i", raw, "-f", "lavfi", "-i", "sine=d=15", *codec, path)
    shown = scored(path)
    late = [round((2 * clip + 1 - 3.02) * RATE) - 1 for clip in range(2, 7)]
    assert shown[2:7] == pytest.approx(late, abs=1)
    assert shown[:2] == [shown[2]] * 2
    assert drawn(path, list(range(len(shown)))) == shown


def test_a_film_that_was_trimmed_without_encoding(tmp_path: Path, raw: Path) -> None:
    ffmpeg("-i", raw, *H264, tmp_path / "whole.mp4")
    path = tmp_path / "a.mp4"
    ffmpeg("-ss", 3.3, "-i", tmp_path / "whole.mp4", "-c", "copy", path)
    with open_video(path) as container:
        assert second_zero(container) == 0
    assert scored(path) == [42, 62, 82, 102]
    assert drawn(path, [0, 1, 2, 3]) == [42, 62, 82, 102]


SLIDES = [0, 13, 31, 50]
"""Seconds at which a slide appears; the last one stands for ten seconds."""


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.flv", "a.ts"])
def test_slides_that_stand_longer_than_a_clip(tmp_path: Path, name: str) -> None:
    ffmpeg(
        *("-f", "lavfi", "-i", "sine=d=60"),
        *("-i", numbered_film(tmp_path / "raw.mkv", constant(1, 60), side=64)),
        *("-vf", f"fps=25,select='{'+'.join(f'eq(t,{t})' for t in SLIDES)}'", "-fps_mode", "vfr"),
        *(("-c:v", "libvpx") if name == "a.webm" else ("-c:v", "libx264", "-bf", 0)),
        *("-pix_fmt", "yuv420p", tmp_path / name),
    )
    shown = [max(t for t in SLIDES if t < 2 * clip + 1) for clip in range(30)]
    assert scored(tmp_path / name) == shown
    assert drawn(tmp_path / name, list(range(len(shown)))) == shown


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_one_picture_with_music(tmp_path: Path, name: str) -> None:
    raw = numbered_film(tmp_path / "raw.mkv", constant(25, 0.1), first=7, side=64)
    ffmpeg(
        "-i",
        raw,
        "-f",
        "lavfi",
        "-i",
        "sine=d=8.6",
        "-vf",
        "trim=end_frame=1",
        *H264,
        tmp_path / name,
    )
    assert scored(tmp_path / name) == [7] * 4
    assert drawn(tmp_path / name, [0, 3]) == [7, 7]


@pytest.mark.parametrize("longer", [0.5, 1.9])
def test_sound_that_ends_a_little_later_adds_no_clip(tmp_path: Path, longer: float) -> None:
    raw = numbered_film(tmp_path / "raw.mkv", constant(25, 8.9), side=64)
    for name in ("a.mp4", "a.mkv"):
        ffmpeg("-i", raw, "-f", "lavfi", "-i", f"sine=d={8.9 + longer}", *H264, tmp_path / name)
        assert len(scored(tmp_path / name)) == 4


def test_a_lost_end_is_no_standing_picture(tmp_path: Path, raw: Path) -> None:
    """Packets of the picture that cannot be decoded are damage, however long the sound goes on."""
    path = tmp_path / "a.mkv"
    ffmpeg("-i", raw, *SOUND, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "copy", path)
    content = path.read_bytes()
    start = content.index(b"\xff\xd8", len(content) // 2)
    path.write_bytes(content[:start] + content[start:].replace(b"\xff\xc0", b"\0\0"))
    assert 2 < len(scored(path)) < 5


def test_a_film_within_one_clip_of_the_filter(tmp_path: Path) -> None:
    times = [2.14 + n / 30 for n in range(15)]
    path = numbered_film(tmp_path / "raw.mkv", constant(30, 0.5), side=64)
    late = tmp_path / "late.mkv"
    ffmpeg(
        "-itsoffset", times[0], "-i", path, "-f", "lavfi", "-i", "sine=d=2.6", "-c", "copy", late
    )
    assert scored(late) == [14]
    assert drawn(late, [0]) == [14]


def test_a_still_picture_before_the_film(tmp_path: Path, raw: Path) -> None:
    still = ("-f", "lavfi", "-i", "color=gray:s=48x48:r=1:d=1")
    for name in ("a.mkv", "a.mp4", "a.ts"):
        path = tmp_path / name
        ffmpeg(*still, "-i", raw, "-map", 0, "-map", 1, "-c:v", "mpeg2video", "-r:v:1", 25, path)
        assert probe(path).width == 64
        with open_video(path) as container:
            assert video_stream(container).width == 64
        assert scored(path) == [9, 29, 49, 69, 89, 109]
        assert drawn(path, [4]) == [89]


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.mpg"])
def test_pictures_whose_size_changes(tmp_path: Path, name: str) -> None:
    """Half a film of 64 x 64 pixels, half of 96 x 64: no clip is lost."""
    parts = []
    for number, size in enumerate(("64:64", "96:64")):
        part = tmp_path / f"{number}.ts"
        ffmpeg(
            *("-i", numbered_film(tmp_path / "raw.mkv", constant(25, 4.6), first=200 * number)),
            *("-vf", f"scale={size}:flags=neighbor,setsar=1", *MPEG2, "-bf", 0),
            *("-output_ts_offset", 4.6 * number, part),
        )
        parts.append(part.read_bytes())
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    path = tmp_path / name
    ffmpeg("-i", tmp_path / "both.ts", "-c", "copy", path)
    shown = scored(path)
    assert shown == pytest.approx([24, 74, 209, 259, 309], abs=1)
    assert drawn(path, list(range(5))) == shown


def test_a_clip_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HlclipError, match=r"a\.mkv: no picture \(it has no clip 3\)"):
        pictures(film(tmp_path / "a.mkv"), [0, 3], clip_seconds=2.0, height=20)
