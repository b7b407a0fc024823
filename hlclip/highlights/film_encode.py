"""Encode ranges of a video to a film of constant frame rate, with sound as long as the picture."""

import logging
from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np

from hlclip.highlights.film_check import Piece
from hlclip.video import (
    FFmpegProcess,
    VideoError,
    has_time_stamps,
    open_video,
    picture_name,
    video_input,
    video_stream,
)

log = logging.getLogger(__name__)

_NTSC = Fraction(1000, 1001)
_RATES = (24 * _NTSC, Fraction(24), Fraction(25), 30 * _NTSC, Fraction(30), Fraction(50))
_RATES += (60 * _NTSC, Fraction(60))
"""Pictures a second that every container holds. A picture that stands for long is repeated, so that
a film can begin and end while it stands.
"""

_OPTIONS: dict[str, dict[str, Any]] = {".ogv": {"q:v": 7}, ".flv": {"ar": 44100}}
"""What differs by container: Theora's best quality is 10, and FLV holds few sampling rates."""

_LEAD_SECONDS = 10.0
"""Reading begins this much before a range: some indexes hold times of decoding, not of showing."""

_MEMORY_BYTES = 16 * 2**30
"""Memory of an ffmpeg that encodes on all cores, each with its own frames."""


def encode(
    video: Path, ranges: Sequence[tuple[float, float]], film: Path, *, seek: bool
) -> list[Piece]:
    """Write the pictures and the first sound of some ranges to a new film.

    Args:
        ranges: in the order of time, without overlaps.
        seek: read from each range on, not from the start of the video.

    Returns:
        What the film shows: each range begins and ends with a picture.

    Raises:
        VideoError: ffmpeg fails. With `seek` also: it complains, or seeking is not exact.
    """
    with open_video(video) as file:
        if seek and not has_time_stamps(file):
            raise VideoError("the video stores no exact time for each picture")
        rate = _rate(video_stream(file).guessed_rate)
        picture, sounds = picture_name(file), len(file.streams.audio)
    spans = [_numbers(start, end, rate) for start, end in ranges]
    lead = ceil(_LEAD_SECONDS * rate)
    begins = [max(0, first - lead) if seek else 0 for first, _ in spans]
    pictures: list[Any] = []
    tracks: list[Any] = []
    outputs: list[Any] = []
    for begin in sorted(set(begins)):
        # A picture that begins before the place that is sought may still be shown there.
        place = {"ss": f"{float(begin / rate):.6f}", "noaccurate_seek": None} if begin else {}
        source = video_input(video, **place)
        count = begins.count(begin)
        pictures += _split(_even(source[picture], rate), "split", count)
        if sounds:
            tracks += _split(_whole(source["a:0"]), "asplit", count)
        if not seek:
            # ffmpeg counts from the start of the streams that it reads: it has to read all.
            everything = [source["v"], source["a"]] if sounds else [source["v"]]
            outputs.append(ffmpeg.output(*everything, "-", format="null", c="copy"))
    streams: list[Any] = []
    for number, ((first, stop), begin) in enumerate(zip(spans, begins, strict=True)):
        cut = pictures[number].filter("trim", start_frame=first - begin, end_frame=stop - begin)
        streams.append(cut.filter("setpts", "PTS-STARTPTS"))
        if sounds:
            start, end = (f"{float((frame - begin) / rate):.6f}" for frame in (first, stop))
            cut = tracks[number].filter("atrim", start=start, end=end)
            streams.append(cut.filter("asetpts", "PTS-STARTPTS"))
    joined = ffmpeg.concat(*streams, v=1, a=min(sounds, 1)).node
    options = {"q:v": 3, "ac": 2, "ar": 48000, "map_metadata": -1, "map_chapters": -1}
    options |= _OPTIONS.get(film.suffix.lower(), {})
    # Without `file:` ffmpeg would take a folder such as `http:` for a protocol.
    name = f"file:{film.absolute()}"
    outputs.append(ffmpeg.output(*[joined[n] for n in range(1 + min(sounds, 1))], name, **options))
    _run(ffmpeg.merge_outputs(*outputs), video, until=ranges[-1][1], strict=seek)
    # Theora stores no picture that repeats the one before it: only the first is certain.
    most = 1 if film.suffix.lower() == ".ogv" else None
    return [
        Piece(float(first / rate), float(stop / rate), np.arange(stop - first)[:most] / float(rate))
        for first, stop in spans
    ]


def _run(output: Any, video: Path, *, until: float, strict: bool) -> None:
    with FFmpegProcess(output, video, gap_seconds=until, memory=_MEMORY_BYTES) as process:
        process.read(1, seconds=until)
        status, complaints = process.end()
    if status != 0 or (strict and complaints):
        reason = complaints[0] if complaints else f"exit status {status}"
        raise VideoError(f"ffmpeg failed: {reason}")
    if complaints:
        count = len(complaints)
        log.warning("  %s: ffmpeg complains (%d lines), last: %s", video, count, complaints[-1])


def _numbers(start: float, end: float, rate: Fraction) -> tuple[int, int]:
    """The pictures of a range, counted from second 0: its first, and the first after it."""
    first, stop = (ceil(round(second * rate, 3)) for second in (start, end))
    return first, max(stop, first + 1)


def _rate(guess: Fraction | None) -> Fraction:
    """The first of the usual rates that is a multiple of `guess`; the highest for odd rates."""
    for rate in _RATES:
        repeats = rate / guess if guess else Fraction(1)
        if repeats > 0.999 and abs(repeats - round(repeats)) < 0.0005 * repeats:
            return rate
    return _RATES[-1]


def _even(picture: Any, rate: Fraction) -> Any:
    """What every player shows, from second 0 to eternity: even sides, 4:2:0, a constant rate."""
    even = picture.filter("scale", "trunc(iw/2)*2", "trunc(ih/2)*2").filter("format", "yuv420p")
    constant = even.filter("fps", f"{rate.numerator}/{rate.denominator}", start_time=0)
    return constant.filter("tpad", stop=-1, stop_mode="clone")


def _whole(sound: Any) -> Any:
    """Sound from second 0 to eternity, with silence where there is none."""
    return sound.filter("aresample", **{"async": 1, "first_pts": 0}).filter("apad")


def _split(stream: Any, name: str, count: int) -> list[Any]:
    node = stream.filter_multi_output(name, count)
    return [node[number] for number in range(count)]
