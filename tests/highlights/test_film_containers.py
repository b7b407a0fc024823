"""Films show what is printed, from and to every container: length, pictures, sound."""

import os
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest

from hlclip.highlights.film import CutError, cut_moments
from hlclip.highlights.film_check import check
from hlclip.highlights.film_encode import encode
from hlclip.highlights.moments import Moment
from hlclip.highlights.output import FILMS
from hlclip.video.ffmpeg_process import ffmpeg_executable
from hlclip.video.frames import extract_frames, frames_header
from hlclip.video.refusals import VideoError
from tests.films import constant, ffmpeg, need_encoder, numbered_film, numbers
from tests.highlights.test_pictures import CONTAINERS, H264, RATE, SECONDS, SLIDES

STEP = 0.1
"""Seconds: the length of a frame, and the tolerance of times in a film."""

HEADER = frames_header(size=64, resize="squash", interpolation="bicubic", clip_seconds=STEP)

SPANS = ((1.0, 2.5), (5.6, 7.0), (10.4, 11.4))

TONE = ("-f", "lavfi", "-i", f"aevalsrc='gte(t,6)*sin(2000*t)':s=48000:d={SECONDS}")
"""Silence until second 6."""


class Shown(NamedTuple):
    times: list[float]
    """Seconds from the start of the film."""
    numbers: list[int]
    loud: list[tuple[float, bool]]
    """Second of each frame of sound, and whether it is no silence."""
    sound_seconds: float


def show(path: Path) -> Shown:
    times: list[float] = []
    images = []
    with av.open(str(path)) as container:
        zero = (container.start_time or 0) / av.time_base
        stream = container.streams.video[0]
        unit = stream.time_base
        assert unit is not None
        # Theora has empty packets for repeated pictures, which the decoder refuses.
        for packet in (*(p for p in container.demux(stream) if p.size), None):
            for frame in stream.codec_context.decode(packet):
                assert frame.pts is not None
                times.append(float(frame.pts * unit) - zero)
                images.append(frame.reformat(64, 64, "rgb24").to_ndarray())
    loud: list[tuple[float, bool]] = []
    end = 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0) if container.streams.audio else ():
            begin = end if frame.time is None else frame.time - zero
            loud.append((begin, bool(np.abs(frame.to_ndarray()).max() > 0.1 * _peak(frame))))
            end = max(end, begin + frame.samples / frame.sample_rate)
    return Shown(times, numbers(np.array(images, np.uint8)), loud, end)


def _peak(frame: av.AudioFrame) -> float:
    return 1.0 if "flt" in frame.format.name else 2.0 ** (8 * frame.format.bytes - 1)


def cut(
    video: Path, out: Path, *spans: tuple[float, float], exact: bool
) -> list[tuple[float, float]]:
    made = [Moment(start, end, 0.0, range(0)) for start, end in spans]
    return cut_moments(video, made, out, exact=exact, overwrite=True)


@cache
def scored_numbers(video: Path) -> list[int]:
    return numbers(extract_frames(video, HEADER))


def check_film(video: Path, out: Path, printed: list[tuple[float, float]]) -> Shown:
    """Each picture of the film is the one that is scored at that second of the video."""
    scored = scored_numbers(video)
    film = show(out)
    begins = list(accumulate((end - start for start, end in printed), initial=0.0))
    assert film.times[0] == pytest.approx(0, abs=STEP)
    assert film.times[-1] == pytest.approx(begins[-1], abs=2 * STEP)
    assert max(later - time for time, later in pairwise(film.times)) < 2.1 * STEP
    pictures = list(zip(film.times, film.numbers, strict=True))
    for (start, end), (begin, stop) in zip(printed, pairwise(begins), strict=True):
        for time, number in pictures:
            if begin + STEP <= time < stop - STEP:
                second = min(start + time - begin, SECONDS - STEP)
                assert number == pytest.approx(scored[int(second / STEP)], abs=2)
        first, last = scored[round(start / STEP)], scored[round(end / STEP) - 1]
        assert [n for t, n in pictures if abs(n - first) <= 1 and abs(t - begin) <= 1.5 * STEP]
        assert [n for t, n in pictures if abs(n - last) <= 1 and abs(t - stop) <= 2.5 * STEP]
    with av.open(str(video)) as container:
        sounds = container.streams.audio
        has_sound = bool(sounds) and any(packet.size for packet in container.demux(*sounds))
    assert bool(film.loud) == has_sound
    if has_sound:
        assert film.sound_seconds == pytest.approx(begins[-1], abs=STEP)
    return film


def make(folder: Path, raw: Path, name: str) -> Path:
    options = CONTAINERS[name]
    if "-c:v" in options:
        need_encoder(str(options[options.index("-c:v") + 1]))
    path = folder / name
    ffmpeg("-i", raw, *(() if "-an" in options else TONE), *options, path)
    return path


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "raw.mkv"
    return numbered_film(path, constant(RATE, SECONDS), side=64)


@pytest.fixture(scope="module")
def video(raw: Path) -> Path:
    need_encoder("libx264")
    return make(raw.parent, raw, "a.mp4")


QUICK = ("a.mp4", "fragmented.mp4", "a.ts", "a.h264")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in (*CONTAINERS, "a.rm")],
)
def test_from_every_container(tmp_path: Path, raw: Path, name: str) -> None:
    if name == "a.rm":
        path = tmp_path / name
        ffmpeg("-i", raw, *TONE, "-c:v", "rv20", "-s", "176x144", "-g", 50, "-b:v", "1M", path)
    else:
        path = make(tmp_path, raw, name)
    for exact in (False, True):
        out = tmp_path / "film.mp4"
        printed = cut(path, out, *SPANS, exact=exact)
        check_film(path, out, printed)
        if exact:
            assert np.array(printed) == pytest.approx(np.array(SPANS), abs=0.04)


@pytest.mark.parametrize(
    "suffix",
    [pytest.param(s, marks=() if s == ".ts" else pytest.mark.slow) for s in FILMS],
)
def test_to_every_container(tmp_path: Path, video: Path, suffix: str) -> None:
    out = tmp_path / f"film{suffix}"
    for exact in (False, True):
        film = check_film(video, out, cut(video, out, *SPANS, exact=exact))
        # The tone begins at second 6 of the video, within the second span.
        onset = next(time for time, loud in film.loud if loud)
        first = film.numbers.index(60)
        assert onset == pytest.approx(film.times[first], abs=STEP)


@pytest.mark.parametrize("exact", [False, True])
def test_what_was_trimmed_away_is_not_in_the_film(tmp_path: Path, video: Path, exact: bool) -> None:
    """An edit list hides a second and a half before the first picture."""
    path, out = tmp_path / "trimmed.mp4", tmp_path / "film.mp4"
    ffmpeg("-ss", 6.5, "-i", video, "-c", "copy", path)
    with av.open(str(path)) as container:
        assert any(packet.is_discard for packet in container.demux(video=0))
    assert cut(path, out, (0, 2), (3, 4), exact=exact) == [(0, 2), (3, 4)]
    # `ignore_editlist`: everything that the file holds.
    with av.open(str(out), options={"ignore_editlist": "1"}) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert min(numbers(np.array(frames, np.uint8))) >= 65
    check_film(path, out, [(0, 2), (3, 4)])


@pytest.mark.parametrize(("name", "exact"), [("a.mp4", False), ("a.mkv", True)])
def test_slides_that_stand_longer_than_a_moment(tmp_path: Path, name: str, exact: bool) -> None:
    path, out = tmp_path / name, tmp_path / "film.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "sine=d=60"),
        *("-i", numbered_film(tmp_path / "raw.mkv", constant(1, 60), side=64)),
        *("-vf", f"select='{'+'.join(f'eq(t,{t})' for t in SLIDES)}'", "-fps_mode", "vfr"),
        *("-c:v", "libx264", "-bf", 0, "-pix_fmt", "yuv420p", path),
    )
    # A copy would have to begin 17 s before its second range.
    assert cut(path, out, (4, 10), (48, 51), (56, 58), exact=exact) == [(4, 10), (48, 51), (56, 58)]
    film = show(out)
    begins = [film.times[film.numbers.index(slide)] for slide in (0, 31, 50)]
    assert begins == pytest.approx([0, 6, 8], abs=STEP)
    assert film.times[-1] == pytest.approx(11, abs=STEP)
    assert film.sound_seconds == pytest.approx(11, abs=STEP)


SOUNDS = {
    "ends early": ("-filter_complex", "[1:a]atrim=0:3[a]", "-map", "0:v", "-map", "[a]"),
    "begins late": ("-map", "0:v", "-map", "2:a"),
}


@pytest.mark.parametrize("sound", SOUNDS)
def test_silence_where_the_video_has_no_sound(
    tmp_path: Path, raw: Path, video: Path, sound: str
) -> None:
    path, out = tmp_path / "a.mp4", tmp_path / "film.mp4"
    inputs = ("-i", video, "-i", video, "-itsoffset", 7, "-i", video)
    ffmpeg(*inputs, *SOUNDS[sound], "-c:v", "copy", "-t", SECONDS, path)
    for exact in (False, True):
        check_film(path, out, cut(path, out, (1, 4), (5, 8), exact=exact))


# Streams of a recording, and those that hold nothing until a second.
QUIET = {
    "no second sound": ({2: SECONDS}, 6),
    "no first sound": ({1: SECONDS}, 6),
    "no sound": ({1: SECONDS, 2: SECONDS}, None),
    "late sound": ({1: 8, 2: SECONDS}, 8),
    "no second picture": ({3: SECONDS}, 6),
}


@pytest.mark.parametrize("name", QUIET)
def test_streams_that_a_broadcast_names_but_does_not_send(
    tmp_path: Path, raw: Path, name: str
) -> None:
    path, out = tmp_path / "a.ts", tmp_path / "film.mp4"
    maps = ("-map", "0", "-map", "1", "-map", "1", "-map", "0")
    ffmpeg("-i", raw, *TONE, *maps, *H264, "-c:a", "mp2", path)
    until, onset = QUIET[name]
    content, kept = path.read_bytes(), bytearray()
    packets = [content[place : place + 188] for place in range(0, len(content), 188)]
    for number, packet in enumerate(packets):
        stream = int.from_bytes(packet[1:3], "big") % 2**13 - 0x100
        if number >= until.get(stream, 0) / SECONDS * len(packets):
            kept += packet
    path.write_bytes(kept)
    assert cut(path, out, (1, 4), (6, 9), exact=True) == [(1, 4), (6, 9)]
    film = check_film(path, out, [(1, 4), (6, 9)])
    begin = next((time for time, loud in film.loud if loud), None)
    assert begin == (onset and pytest.approx(onset - 3, abs=0.5 if onset == 8 else STEP))


def test_a_picture_that_begins_after_its_sound(tmp_path: Path, raw: Path) -> None:
    path, out = tmp_path / "a.ts", tmp_path / "film.mp4"
    ffmpeg("-itsoffset", 3.02, "-i", raw, *TONE, *H264, path)
    assert cut(path, out, (1, 4), (6, 8), exact=False) == [(1, 4), (6, 8)]
    film = check_film(path, out, [(1, 4), (6, 8)])
    onset = next(time for time, loud in film.loud if loud)
    assert onset == pytest.approx(3, abs=STEP)


def test_a_rotated_video_stands_upright_in_a_container_without_rotation(
    tmp_path: Path, video: Path
) -> None:
    path, out = tmp_path / "a.mp4", tmp_path / "film.ts"
    ffmpeg("-display_rotation", 90, "-i", video, "-c", "copy", path)
    cut(path, out, (1, 3), exact=False)
    with av.open(str(out)) as container:
        image = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert numbers(np.array([np.rot90(image, -1)], np.uint8)) == [10]


def test_nothing_but_picture_and_sound_is_kept(tmp_path: Path, video: Path) -> None:
    """Title, place and chapters of the video are not those of the film."""
    facts = tmp_path / "facts.txt"
    facts.write_text(
        ";FFMETADATA1\ntitle=secret\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=9\ntitle=secret\n"
    )
    path = tmp_path / "a.mov"
    ffmpeg(
        *("-i", video, "-i", facts, "-map_metadata", 1, "-map_chapters", 1, "-map", 0),
        *("-timecode", "01:00:00:00", "-c", "copy", path),
    )
    assert b"secret" in path.read_bytes()
    for exact in (False, True):
        out = tmp_path / "film.mov"
        printed = cut(path, out, (1, 3), exact=exact)
        assert b"secret" not in out.read_bytes()
        with av.open(str(out)) as container:
            assert [stream.type for stream in container.streams] == ["video", "audio"]
        check_film(path, out, printed)


@pytest.mark.parametrize("options", [("-an",), ("-c:a", "ac3")], ids=["silent", "ac3"])
def test_streams_that_do_not_fit_are_encoded(
    tmp_path: Path, video: Path, options: tuple[str, ...]
) -> None:
    path, out = tmp_path / "a.mp4", tmp_path / "film.mpg"
    ffmpeg("-i", video, "-c", "copy", *options, path)
    check_film(path, out, cut(path, out, *SPANS, exact=False))


@pytest.mark.parametrize("makes", ["nothing", "another film"])
def test_exit_status_0_is_no_proof(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch, makes: str
) -> None:
    """A good film stays where ffmpeg says that it made another one."""
    out, other = tmp_path / "film.mpg", tmp_path / "other.mpg"
    out.write_bytes(b"a good film")
    red = ("-f", "lavfi", "-i", "color=red:s=64x64:r=25:d=1.5", "-f", "lavfi", "-i", "sine=d=1.5")
    ffmpeg(*red, other)
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    make = "true" if makes == "nothing" else f'cp {other} "${{name#file:}}"'
    # Only what writes a film is replaced.
    program.write_text(
        "#!/bin/sh\n"
        'for name; do case "$before $name" in\n'
        f"-i*) ;; *file:*/film[0-9].mpg) {make}; exit 0;;\n"
        'esac; before="$name"; done\n'
        f'exec {ffmpeg_executable()} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    ffmpeg_executable.cache_clear()
    try:
        with pytest.raises(CutError, match=r"film\.mpg: no film could be made of"):
            cut(video, out, (1, 2.5), exact=False)
    finally:
        monkeypatch.undo()
        ffmpeg_executable.cache_clear()
    assert out.read_bytes() == b"a good film"
    assert {path.name for path in tmp_path.iterdir()} == {"film.mpg", "other.mpg", "bin"}


FAULTS = {
    "shorter": (("-t", 1.5, "-c", "copy"), "47 pictures, expected 60"),
    "no sound": (("-an", "-c", "copy"), "has no sound"),
    "short sound": (("-af", "atrim=0:1", "-c:v", "copy"), "sound until 1.0"),
    "a hole in the sound": (("-af", "aselect='not(between(t,0.5,1))'", "-c:v", "copy"), "no sound"),
    "it stands still": (
        ("-vf", "select='not(between(t,0.5,1.5))'", "-fps_mode", "vfr"),
        "pictures",
    ),
    "other moments": (
        (
            "-vf",
            "negate",
        ),
        "another picture at 0.0 s",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_film_that_is_not_what_was_promised(tmp_path: Path, video: Path, fault: str) -> None:
    good, bad = tmp_path / "good.mkv", tmp_path / "bad.mkv"
    pieces = encode(video, [(1, 3)], good, seek=True)
    check(good, video, pieces)
    options, said = FAULTS[fault]
    ffmpeg("-i", good, *options, bad)
    with pytest.raises(VideoError, match=said):
        check(bad, video, pieces)


def test_a_vertical_film_is_compared_with_the_middle(tmp_path: Path) -> None:
    wide = tmp_path / "wide.mkv"
    middle = "drawbox=40:0:48:64:white:t=fill"
    ffmpeg("-f", "lavfi", "-i", f"color=black:s=128x64:r=10:d=4,{middle}", wide)
    pieces = encode(wide, [(1, 3)], tmp_path / "all.mkv", seek=True)
    encode(wide, [(1, 3)], tmp_path / "middle.mkv", seek=True, vertical=True)
    check(tmp_path / "middle.mkv", wide, pieces, vertical=True)
    with pytest.raises(VideoError, match=r"another picture at 0\.0 s"):
        check(tmp_path / "all.mkv", wide, pieces, vertical=True)


def test_a_damaged_film(tmp_path: Path, video: Path) -> None:
    good = tmp_path / "good.mkv"
    pieces = encode(video, [(1, 3)], good, seek=True)
    content = bytearray(good.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    good.write_bytes(content)
    with pytest.raises(VideoError, match="the film "):
        check(good, video, pieces)
