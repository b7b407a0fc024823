"""Encode ranges of a video to a film of constant frame rate, with sound as long as the picture."""

import errno
import logging
import os
import signal
from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np

from hlclip.highlights.film_check import Piece
from hlclip.highlights.media import usual_rate
from hlclip.video import (
    FFmpegProcess,
    VideoError,
    has_time_stamps,
    late_seconds,
    open_video,
    picture_name,
    sound_stream,
    video_input,
    video_stream,
)

log = logging.getLogger(__name__)

_OPTIONS: dict[str, dict[str, Any]] = {".ogv": {"q:v": 7}, ".flv": {"ar": 44100}}
"""What differs by container: Theora's best quality is 10, and FLV holds few sampling rates."""

_LEAD_SECONDS = 10.0
"""Reading begins this much before a range: some indexes hold times of decoding, not of showing."""

_MEMORY_BYTES = 16 * 2**30
"""Memory of an ffmpeg that encodes on all cores, each with its own frames."""


def encode(
    video: Path,
    ranges: Sequence[tuple[float, float]],
    film: Path,
    *,
    seek: bool,
    vertical: bool = False,
) -> list[Piece]:
    """Write the pictures and the first sound of some ranges to a new film.

    Args:
        ranges: in the order of time, without overlaps.
        seek: read from each range on, not from the start of the video.
        vertical: keep the middle of each picture that has 9:16 as width to height.

    Returns:
        What the film shows: each range begins and ends with a picture.

    Raises:
        VideoError: ffmpeg fails. With `seek` also: it complains, or seeking is not exact.
    """
    with open_video(video) as file:
        if seek and not has_time_stamps(file):
            raise VideoError("the video stores no exact time for each picture")
        rate = usual_rate(video_stream(file).guessed_rate)
        picture, sound = picture_name(file), sound_stream(file)
        sounds = [str(sound.index)] if sound else []
        late = late_seconds(file, sound)
    spans = [_numbers(start, end, rate) for start, end in ranges]
    shown = _middle if vertical else lambda stream: stream
    lead = ceil(_LEAD_SECONDS * rate)
    begins = [max(0, first - lead) if seek else 0 for first, _ in spans]
    pictures: list[Any] = []
    tracks: list[Any] = []
    for begin in sorted(set(begins)):
        # A picture that begins before the place that is sought may still be shown there.
        place = {"ss": f"{float(begin / rate):.6f}", "noaccurate_seek": None} if begin else {}
        source = video_input(video, **place)
        count = begins.count(begin)
        pictures += _split(_even(shown(source[picture]), rate, late), "split", count)
        for name in sounds:
            tracks += _split(_whole(source[name], late), "asplit", count)
    streams: list[Any] = []
    for number, ((first, stop), begin) in enumerate(zip(spans, begins, strict=True)):
        cut = pictures[number].filter("trim", start_frame=first - begin, end_frame=stop - begin)
        streams.append(cut.filter("setpts", "PTS-STARTPTS"))
        if sounds:
            start, end = (f"{float((frame - begin) / rate):.6f}" for frame in (first, stop))
            cut = tracks[number].filter("atrim", start=start, end=end)
            streams.append(cut.filter("asetpts", "PTS-STARTPTS"))
    joined = ffmpeg.concat(*streams, v=1, a=len(sounds)).node
    options = {"q:v": 3, "ac": 2, "ar": 48000, "map_metadata": -1, "map_chapters": -1}
    options |= _OPTIONS.get(film.suffix.lower(), {})
    # Without `file:` ffmpeg would take a folder such as `http:` for a protocol.
    name = f"file:{film.absolute()}"
    output = ffmpeg.output(*[joined[n] for n in range(1 + len(sounds))], name, **options)
    _run(output, video, until=ranges[-1][1], strict=seek)
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
    if status == -signal.SIGXFSZ:  # a limit on the size of files, of which ffmpeg says nothing
        complaints = [os.strerror(errno.EFBIG)]
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


def _middle(picture: Any) -> Any:
    """The middle of a picture, 9:16 where it is shown; ffmpeg has turned it upright."""
    return picture.filter("crop", "min(iw,ih*9/16/sar)", "min(ih,iw*sar*16/9)")


def _even(picture: Any, rate: Fraction, late: float) -> Any:
    """What every player shows, from second 0 to eternity: even sides, 4:2:0, a constant rate."""
    even = picture.filter("scale", "trunc(iw/2)*2", "trunc(ih/2)*2").filter("format", "yuv420p")
    timed = even.filter("setpts", f"floor(PTS+{late:.6f}/TB+0.5)")
    constant = timed.filter("fps", f"{rate.numerator}/{rate.denominator}", start_time=0)
    return constant.filter("tpad", stop=-1, stop_mode="clone")


def _whole(sound: Any, late: float) -> Any:
    """Sound from second 0 to eternity, with silence where there is none."""
    timed = sound.filter("asetpts", f"floor(PTS+{late:.6f}/TB+0.5)")
    return timed.filter("aresample", **{"async": 1, "first_pts": 0}).filter("apad")


def _split(stream: Any, name: str, count: int) -> list[Any]:
    node = stream.filter_multi_output(name, count)
    return [node[number] for number in range(count)]
