"""Bad videos give the right frames or a reason, in little time and memory, and spoil no run."""

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hlclip.video.ffmpeg_process
import hlclip.video.frames
from hlclip.formats.annotations import Annotation
from hlclip.highlights.film import CutError, cut_moments
from hlclip.highlights.moments import Moment
from hlclip.highlights.pictures import pictures
from hlclip.params import DataParams, FramesParams
from hlclip.pipeline.frames import make_frames
from hlclip.pipeline.index import build_index
from hlclip.store.store import Store
from hlclip.system.errors import HlclipError
from hlclip.video.container import MOST_PIXELS, MOST_SECONDS, probe
from hlclip.video.ffmpeg_process import FFmpegProcess, ffmpeg_executable, video_input
from hlclip.video.frames import extract_frames, frames_header
from hlclip.video.refusals import VideoError
from tests.films import constant, copy, ffmpeg, film, need_encoder, numbered_film, numbers

PARAMS = FramesParams(size=32, resize="shortest", interpolation="bicubic", decoder="ffmpeg")
HEADER = frames_header(size=32, resize="shortest", interpolation="bicubic", clip_seconds=2.0)
QUICK_SECONDS = 20
"""For what takes a second at most: the machine may be busy."""


@contextmanager
def quickly() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < QUICK_SECONDS


def reason(path: Path) -> str:
    """Why neither the index nor the frames take a file."""
    with quickly():
        with pytest.raises(VideoError):
            extract_frames(path, HEADER)
        with pytest.raises(VideoError) as caught:
            probe(path)
    return str(caught.value)


# What is no plain file


def _silent_pipe(path: Path) -> None:
    os.mkfifo(path)


def _endless_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _terminal(path: Path) -> None:
    path.symlink_to("/dev/tty")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def _dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def _link_in_a_circle(path: Path) -> None:
    path.symlink_to(path)


NOT_PLAIN = [_silent_pipe, _endless_device, _terminal, _socket, _dangling_link, _link_in_a_circle]


@pytest.mark.parametrize("make", NOT_PLAIN)
def test_what_is_no_plain_file_is_never_opened(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "a.mp4"
    make(path)
    assert reason(path).startswith(("is a pipe, device or socket", "cannot be read ("))
    with quickly():
        with pytest.raises(VideoError):
            pictures(path, [0], clip_seconds=2.0, height=20)
        with pytest.raises(CutError):
            cut_moments(path, [Moment(0, 2, 0, range(1))], tmp_path / "film.mp4")


def test_a_pipe_that_never_ends_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # its own reader: opening does not wait
    os.write(descriptor, bytes(4096))
    reason(path)
    assert len(os.read(descriptor, 8192)) == 4096
    os.close(descriptor)


def test_a_link_to_a_video_is_that_video(tmp_path: Path) -> None:
    plain = numbered_film(tmp_path / "plain.mkv", constant(10, 4))
    (tmp_path / "link.mkv").symlink_to(plain)
    assert probe(tmp_path / "link.mkv") == probe(plain)
    assert numbers(extract_frames(tmp_path / "link.mkv", HEADER)) == [9, 29]


def test_a_terabyte_of_nothing_is_not_hashed(tmp_path: Path) -> None:
    path = tmp_path / "videos" / "a.mp4"
    path.parent.mkdir()
    path.touch()
    os.truncate(path, 2**40)
    with quickly():
        assert indexed(tmp_path, ["a"])[1].keys() == {"a"}


# What claims more than it holds


def _gif(path: Path, width: int, height: int) -> Path:
    content = bytearray(film(path.with_name("small.gif"), seconds=4).read_bytes())
    content[6:10] = struct.pack("<HH", width, height)  # its screen; the pictures stay small
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("side", [8193, 15_000, 30_000, 65_535])
def test_a_picture_of_gigabytes_in_a_file_of_kilobytes(tmp_path: Path, side: int) -> None:
    path = _gif(tmp_path / "a.gif", side, side)
    assert path.stat().st_size < 300_000
    with quickly(), pytest.raises(VideoError, match="ffmpeg failed"):
        extract_frames(path, HEADER)
    if side < 30_000:  # of such a size libav itself knows nothing any more
        with pytest.raises(VideoError, match=f"its pictures have {side} x {side} pixels"):
            probe(path)
    with pytest.raises(VideoError, match="no picture"):
        pictures(path, [0], clip_seconds=2.0, height=20)


def test_the_largest_picture_is_taken(tmp_path: Path) -> None:
    side = 8192
    assert side * side == MOST_PIXELS
    assert probe(_gif(tmp_path / "a.gif", side, side)).width == side


def test_a_picture_that_grows_in_the_stream(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=64x64:r=5:d=6", "-c:v", "mjpeg"),
        *("-pix_fmt", "yuvj420p", "-f", "mjpeg", "pipe:"),
    )
    pictures = [b"\xff\xd8" + picture for picture in small.split(b"\xff\xd8")[1:]]
    size = struct.pack(">HH", 64, 64)
    at = pictures[0].index(size, pictures[0].index(b"\xff\xc0"))
    for n in range(20, 24):
        huge = struct.pack(">HH", 15_000, 15_000)
        pictures[n] = pictures[n][:at] + huge + pictures[n][at + len(size) :]
    (tmp_path / "a.mjpeg").write_bytes(b"".join(pictures))
    path = tmp_path / "a.mkv"
    ffmpeg("-f", "mjpeg", "-framerate", 5, "-i", tmp_path / "a.mjpeg", "-c", "copy", path)
    with quickly():
        frames = extract_frames(path, HEADER)
    assert len(frames) == 3
    assert (frames.reshape(len(frames), -1).std(axis=1) > 5).all()
    assert "ffmpeg complains" in caplog.text


@pytest.mark.parametrize(
    ("width", "height"), [(65_535, 1), (1, 65_535), (20_000, 2)], ids=["wide", "tall", "strip"]
)
def test_a_picture_that_is_a_line(tmp_path: Path, width: int, height: int) -> None:
    path = _gif(tmp_path / "a.gif", width, height)
    with quickly():
        shown = pictures(path, [0], clip_seconds=2.0, height=20)[0]
        assert shown.height == 20
        assert 1 <= shown.width <= 400


def _with_duration(path: Path, seconds: float) -> Path:
    """Change what Matroska's header says: a float of eight bytes."""
    content = path.read_bytes()
    at = content.index(b"\x44\x89\x88") + 3
    path.write_bytes(content[:at] + struct.pack(">d", seconds * 1000) + content[at + 8 :])
    return path


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        (MOST_SECONDS + 1, r"24\.0 hours"),
        (1e9, r"277,777\.8 hours"),
        (-1.0, "no duration"),
    ],
)
def test_a_header_that_claims_years(tmp_path: Path, seconds: float, reason: str) -> None:
    path = _with_duration(numbered_film(tmp_path / "a.mkv", constant(10, 4)), seconds)
    with quickly(), pytest.raises(VideoError, match=reason):
        probe(path)
    assert numbers(extract_frames(path, HEADER)) == [9, 29]  # which reads no claim


@pytest.mark.parametrize("seconds", [0.0, 1e15, 1e300, float("inf"), float("nan")])
def test_a_header_that_claims_nothing(tmp_path: Path, seconds: float) -> None:
    path = _with_duration(numbered_film(tmp_path / "a.mkv", constant(10, 4)), seconds)
    assert probe(path).duration == pytest.approx(4, abs=0.2)


GAP = [*constant(10, 4), Fraction(100_000)]


def test_a_gap_of_a_day(tmp_path: Path) -> None:
    path = numbered_film(tmp_path / "a.mkv", GAP)
    with pytest.raises(VideoError, match=r"27\.8 hours, expected at most 24"):
        probe(path)


def test_a_gap_of_a_day_that_the_header_hides(tmp_path: Path) -> None:
    path = _with_duration(numbered_film(tmp_path / "a.mkv", GAP), 4)
    assert probe(path).duration == 4
    with quickly(), pytest.raises(VideoError, match="go on for more than 24 hours"):
        extract_frames(path, HEADER)


def test_a_gap_of_an_hour_is_filled(tmp_path: Path) -> None:
    times = [*constant(10, 4), *(3600 + time for time in constant(10, 4))]
    sampled = numbers(extract_frames(numbered_film(tmp_path / "a.mkv", times), HEADER))
    assert sampled == [9, 29, *[39] * 1798, 49, 69]


def test_frames_that_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = numbered_film(tmp_path / "a.mkv", constant(10, 200))
    monkeypatch.setattr(hlclip.video.frames, "MOST_BYTES", 99 * 32 * 32 * 3)
    with pytest.raises(VideoError, match="more than 304,128 bytes of memory"):
        extract_frames(path, HEADER)
    monkeypatch.setattr(hlclip.video.frames, "MOST_BYTES", 100 * 32 * 32 * 3)
    assert len(extract_frames(path, HEADER)) == 100


def test_twenty_thousand_streams(tmp_path: Path) -> None:
    content = film(tmp_path / "one.mp4", "-c:v", "mpeg4").read_bytes()
    at = content.index(b"moov") - 4  # the index of an mp4 stands at its end
    track = content.index(b"trak") - 4
    length = int.from_bytes(content[track : track + 4], "big")
    tracks = content[track : track + length] * 20_000
    index = content[at + 4 : track] + tracks + content[track + length :]
    path = tmp_path / "a.mp4"
    path.write_bytes(content[:at] + struct.pack(">I", len(index) + 4) + index)
    assert "not readable as a video" in reason(path)


# An ffmpeg that goes wrong


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Put a shell script in ffmpeg's place; gives the file that its process id is written to."""

    def replace(script: str) -> Path:
        program, pid = tmp_path / "bin" / "ffmpeg", tmp_path / "pid"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho $$ > {pid}\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
        ffmpeg_executable.cache_clear()
        return pid

    monkeypatch.setattr(hlclip.video.ffmpeg_process, "FLOOR_SECONDS", 0.5)
    monkeypatch.setattr(hlclip.video.ffmpeg_process, "SECONDS_A_SECOND", 0.01)
    yield replace
    monkeypatch.undo()
    ffmpeg_executable.cache_clear()


STUCK = {
    "silent": ("exec sleep 1000", "no frame for 0.52 s"),
    "complaining": ("while :; do echo on and on >&2; done", "no frame for 0.52 s"),
    "dripping": ("while :; do printf x; sleep 0.1; done", "not done after"),
    "endless": ("exec cat /dev/zero", "go on for more than 0.1 hours"),
}


@pytest.mark.parametrize("kind", STUCK)
def test_an_ffmpeg_that_never_ends_is_ended(
    tmp_path: Path,
    stand_in: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    path = numbered_film(tmp_path / "a.mkv", constant(10, 4))
    script, reason = STUCK[kind]
    pid = stand_in(script)
    monkeypatch.setattr(hlclip.video.frames, "MOST_SECONDS", 360)
    with quickly(), pytest.raises(VideoError, match=reason):
        extract_frames(path, HEADER)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_stuck_ffmpeg_ends_films_and_pictures_too(
    tmp_path: Path, stand_in: Callable[[str], Path]
) -> None:
    path = numbered_film(tmp_path / "a.mkv", constant(10, 4))
    stand_in("exec sleep 1000")
    with quickly(), pytest.raises(VideoError, match="ffmpeg was ended"):
        pictures(path, [0], clip_seconds=2.0, height=20)
    out = tmp_path / "films" / "a.mkv"
    with quickly(), pytest.raises(CutError, match="ffmpeg was ended"):
        cut_moments(path, [Moment(0, 2, 0, range(1))], out)
    assert list(out.parent.iterdir()) == []


def test_time_grows_with_the_video(
    tmp_path: Path, stand_in: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = numbered_film(tmp_path / "a.mkv", constant(10, 4))
    clip = 32 * 32 * 3
    # A clip each 0.1 s for 2 s, which the floor of 0.5 s alone would not bear.
    stand_in(f"for n in $(seq 20); do head -c {clip} /dev/zero; sleep 0.1; done")
    with pytest.raises(VideoError, match="not done after"):
        extract_frames(path, HEADER)
    monkeypatch.setattr(hlclip.video.ffmpeg_process, "SECONDS_A_SECOND", 1.0)
    assert len(extract_frames(path, HEADER)) == 20


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="no such limits here")
def test_ffmpegs_memory_is_limited(tmp_path: Path, stand_in: Callable[[str], Path]) -> None:
    path = numbered_film(tmp_path / "a.mkv", constant(10, 4))
    stand_in("sleep 0.2; grep 'data size' /proc/self/limits >&2; exit 1")
    with pytest.raises(VideoError, match=rf"data size +{4 * 2**30} +{4 * 2**30} "):
        extract_frames(path, HEADER)


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="no such limits here")
def test_an_ffmpeg_that_needs_more_memory_says_so(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", "-c:v", "ffv1", size="2000x2000", seconds=0.5)
    output = video_input(path, threads=1)["V:0"].output("pipe:", format="rawvideo")
    with FFmpegProcess(output, path, gap_seconds=60, memory=64 * 2**20) as running:
        running.read(2**30, seconds=1)
        status, complaints = running.end()
    assert status != 0
    assert "allocate" in " ".join(complaints) or status < 0


# Damage


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("a.mp4", "libx264"),
        ("a.mkv", "ffv1"),
        ("a.webm", "libvpx"),
        ("a.avi", "mpeg4"),
        ("a.ts", "mpeg2video"),
        ("a.flv", "flv"),
    ],
)
def test_damage_is_survived_or_named(tmp_path: Path, name: str, encoder: str) -> None:
    need_encoder(encoder)
    path = film(tmp_path / name, "-c:v", encoder, seconds=4)
    whole = path.read_bytes()
    random = np.random.default_rng(len(name))
    faults = [whole[: int(len(whole) * share)] for share in (0, 0.001, 0.02, 0.5, 0.97)]
    for flips in (3, 300):
        content = bytearray(whole)
        for at in random.integers(0, len(whole), flips):
            content[at] ^= 1 << int(random.integers(8))
        faults.append(bytes(content))
    faults.append(whole[:200] + random.bytes(len(whole) - 200))
    for content in faults:
        path.write_bytes(content)
        with quickly():
            try:
                probe(path)
                outcome = str(extract_frames(path, HEADER).shape[1:])
            except VideoError as error:
                outcome = str(error)
        assert outcome == "(32, 32, 3)" or (str(tmp_path) not in outcome and outcome)


# A whole run


def indexed(root: Path, vids: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """vid -> file of those that are taken, vid -> reason of those that are not."""
    index = build_index(annotated(root, vids), cache=root / "videos.json")
    return {vid: video.path for vid, video in index.videos.items()}, index.missing


def annotated(root: Path, vids: list[str]) -> DataParams:
    rows = [
        Annotation.model_validate({"qid": n, "query": "a cat", "vid": vid, "duration": 4})
        for n, vid in enumerate(vids)
    ]
    (root / "val.jsonl").write_text("".join(f"{row.model_dump_json()}\n" for row in rows))
    return DataParams(
        root=str(root),
        annotations={"val": "val.jsonl"},
        videos="videos",
        clip_seconds=2.0,
        max_missing=1.0,
    )


def test_a_file_that_grows_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "videos" / "a.mkv"
    path.parent.mkdir()
    numbered_film(path, constant(10, 4))
    opened = Path.open

    def grow(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        file = opened(self, mode, *arguments, **options)
        if self.name == path.name and mode == "rb":
            with opened(path, "ab") as more:
                more.write(bytes(4096))
        return file

    with monkeypatch.context() as context, quickly():
        context.setattr(Path, "open", grow)
        _, missing = indexed(tmp_path, ["a"])
    assert "changed while it was read" in missing["a"]
    assert indexed(tmp_path, ["a"])[0] == {"a": "videos/a.mkv"}


def test_good_ones_are_all_there_and_bad_ones_all_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    good = [f"good{n}" for n in range(12)]
    for n, vid in enumerate(good):
        numbered_film(folder / f"{vid}.mkv", constant(10, 4), first=100 * n)
    bad: dict[str, Callable[[Path], object]] = {
        make.__name__: make for make in NOT_PLAIN if make is not _terminal
    }
    bad |= {
        "empty": Path.touch,
        "words": lambda path: path.write_text("words"),
        "folder": Path.mkdir,
        "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(10_000)),
        "cut": lambda path: path.write_bytes((folder / "good0.mkv").read_bytes()[:200]),
        "sound": lambda path: ffmpeg("-f", "lavfi", "-i", "anullsrc=d=4", "-f", "mp4", path),
        "short": lambda path: copy(numbered_film(tmp_path / "short.mkv", constant(10, 0.5)), path),
        "huge": lambda path: copy(_gif(tmp_path / "huge.gif", 15_000, 15_000), path),
        "gap": lambda path: copy(numbered_film(tmp_path / "gap.mkv", GAP), path),
        "absent": lambda _: None,
    }
    for vid, make in bad.items():
        make(folder / f"{vid}.mp4")
    index = build_index(annotated(tmp_path, [*good, *bad]), cache=tmp_path / "videos.json")
    store = tmp_path / "store"
    with quickly():
        manifest = make_frames(index, PARAMS, data_root=tmp_path, store=store, max_missing=1.0)
    assert manifest.items.keys() == set(good)
    assert manifest.failed.keys() == bad.keys()
    assert f"{len(bad)} of {len(good) + len(bad)} videos" in caplog.text
    for vid, reason in manifest.failed.items():
        assert vid in reason
        assert len(reason) > len(f"videos/{vid}.mp4: ")
        assert str(tmp_path) not in reason
    frames = Store(store, "frames", manifest.header)
    for n, vid in enumerate(good):
        assert numbers(frames.read(manifest.items[vid])) == [100 * n + 9, 100 * n + 29]
    assert len(list(store.rglob("*.h5"))) == len(good)
    with pytest.raises(HlclipError, match=r"more than data\.max_missing"):
        make_frames(index, PARAMS, data_root=tmp_path, store=store, max_missing=0.5)
