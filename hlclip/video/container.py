"""The header of a video file, and which files are opened at all."""

import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from hlclip.formats import Clips, VideoInfo
from hlclip.video.clip_times import middles
from hlclip.video.refusals import REFUSALS, VideoError, unreadable

CONTAINERS = (
    "mov,matroska,avi,asf,flv,live_flv,ogg,mpegts,mpeg,mpegvideo,m4v,h263,h264,hevc,vvc,av1,obu,"
    "ivf,vc1,dirac,dv,gxf,mxf,nut,rm,wtv,yuv4mpegpipe,mjpeg,gif,apng,"
    "mp3,aac,ac3,aiff,amr,flac,w64,wav"
)
"""ffmpeg's names of the formats that are read: those that hold the video or sound themselves.

Playlists (HLS, DASH, concat, IMF) would open other files; text and still images are no videos.
"""

MOST_PIXELS = 8192 * 8192
"""Limit on a picture, above 8K: a file of a few bytes can claim a picture of gigabytes."""

MOST_SECONDS = 24 * 3600
"""Limit on a video: with one wrong time stamp it lasts years, and every clip gets a frame."""

_OPENING_SECONDS = 300.0
"""Time limit for a container's header, and for each packet: a network drive may stand still."""

_BEGINNING_BYTES = 2**20
"""libav finds out what a file is from as much of it."""

# Titles come in every encoding, and are not used. PyAV 19 reads them all, PyAV 18 on request.
_ANY_TITLE: dict[str, Any] = {"metadata_errors": "replace"} if av.__version__ < "19" else {}


_TIMES_JUMP = 0x200
"""libavformat's flag AVFMT_TS_DISCONT."""


def probe(path: Path) -> VideoInfo:
    """Read the container's header; decode nothing.

    Raises:
        VideoError: no video stream or duration, or more than `MOST_PIXELS` or `MOST_SECONDS`.
    """
    with open_video(path) as container:
        stream = video_stream(container)
        codec = stream.codec_context
        if codec.width * codec.height > MOST_PIXELS:
            raise VideoError(
                f"its pictures have {codec.width} x {codec.height} pixels, expected at most "
                f"{MOST_PIXELS:,} in all; encode it smaller"
            )
        duration = _duration(container, stream)
        if duration <= 0:
            raise VideoError("no duration: neither header nor packets have time stamps")
        if duration > MOST_SECONDS:
            raise VideoError(
                f"its header or time stamps speak of {duration / 3600:,.1f} hours, expected at "
                f"most {MOST_SECONDS / 3600:g}; repair its time stamps or cut it into parts"
            )
        return VideoInfo(duration, codec.width, codec.height, codec.codec.canonical_name)


def video_stream(container: InputContainer) -> VideoStream:
    """The stream that is scored: the first one that moves and is no cover picture.

    Raises:
        VideoError: there is none, or its codec is unknown.
    """
    stream = _plain_streams(container)[_number(container)]
    if cast("VideoCodecContext | None", stream.codec_context) is None:
        raise VideoError("its video codec is unknown")
    return stream


def picture_name(container: InputContainer) -> str:
    """The stream of `video_stream` in a command of ffmpeg, such as `V:0`."""
    return f"V:{_number(container)}"


def sound_stream(container: InputContainer) -> AudioStream | None:
    """The sound of a film: the first stream of sound that holds any.

    Recordings of broadcasts name streams that hold nothing, or nothing in their first seconds.
    """
    sounds = container.streams.audio
    if not sounds or _is_described(sounds[0]):
        return sounds[0] if sounds else None
    found = len(sounds)
    with open_video(Path(container.name)) as other:  # reading moves a container
        numbers = {stream.index: number for number, stream in enumerate(other.streams.audio)}
        for packet in other.demux(*other.streams.audio):
            if packet.size:
                found = min(found, numbers[packet.stream.index])
            if found == 0:
                break
    return sounds[found] if found < len(sounds) else None


def _is_described(stream: VideoStream | AudioStream) -> bool:
    """Whether the header, or the first seconds, tell the size of the pictures or the rate."""
    codec = cast("VideoCodecContext | AudioCodecContext | None", stream.codec_context)
    return codec is not None and bool(
        codec.width if isinstance(codec, VideoCodecContext) else codec.sample_rate
    )


def second_zero(container: InputContainer) -> float:
    """The time stamp in seconds of second 0 of a video, for scores, pictures and films alike.

    It is the container's start: where picture or sound begins, whichever is first. Players and
    ffmpeg's `-ss` count from it too. An edit list has been applied.
    """
    return (container.start_time or 0) / av.time_base


def late_seconds(container: InputContainer, sound: AudioStream | None = None) -> float:
    """What ffmpeg's command omits before the streams that it reads, in seconds, where it omits any.

    In containers whose times may jump (MPEG-TS, MPEG-PS, Ogg) it counts from the first of the
    streams that it reads; in all others from second 0.

    Args:
        sound: what ffmpeg reads besides `video_stream`; None is nothing.
    """
    starts = [
        float(stream.start_time * stream.time_base)
        for stream in (video_stream(container), sound)
        if stream and stream.start_time is not None and stream.time_base is not None
    ]
    if not container.format.flags & _TIMES_JUMP or not starts:
        return 0.0
    return min(starts) - second_zero(container)


def standing_clips(path: Path, count: int, clips: Clips) -> int:
    """How many clips after the first `count` still show the last picture, while the sound goes on.

    None unless the last picture stands longer than a clip: in most films picture and sound do not
    end together. None if pictures after those clips were lost by damage.
    """
    timed = clips[count:] if isinstance(clips, tuple) else ()
    if not isinstance(clips, tuple):
        middle, clip_seconds = (count + 0.5) * clips, clips
    elif timed:
        middle, clip_seconds = middles(timed)[0], timed[0][1] - timed[0][0]
    else:
        return 0
    with open_video(path) as container:
        length = (container.duration or 0) / av.time_base
        sounds = container.streams.audio
        if not sounds or (length and not timed and round(length / clip_seconds) <= count):
            return 0
        stream, zero, last_picture, end = video_stream(container), second_zero(container), 0.0, 0.0
        for packet in container.demux(stream, *sounds):
            if packet.pts is None or packet.time_base is None or packet.is_discard:
                continue
            begin = float(packet.pts * packet.time_base) - zero
            if packet.stream.index == stream.index:
                last_picture = max(last_picture, begin)
            else:
                end = max(end, begin + float((packet.duration or 0) * packet.time_base))
    if last_picture >= middle or end - last_picture <= clip_seconds:
        return 0
    if timed:
        return sum(middle <= end for middle in middles(timed))
    return max(0, math.floor(min(end, MOST_SECONDS) / clip_seconds + 0.5) - count)


def has_time_stamps(container: InputContainer) -> bool:
    """Whether the container stores an exact time for each picture, so that seeking is exact.

    For all others ffmpeg computes or mends times while it reads from the beginning.
    """
    return not {"mp4", "matroska"}.isdisjoint(container.format.name.split(","))


@contextmanager
def open_video(path: Path) -> Iterator[InputContainer]:
    """Open a plain file; no other file is read, whatever its name or content.

    Raises:
        VideoError: it is no plain file, or cannot be opened; or libav fails in the context.
    """
    check_plain(path)
    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    try:
        with av.open(
            str(path.absolute()), options=options, timeout=_OPENING_SECONDS, **_ANY_TITLE
        ) as container:
            yield container
    except (FFmpegError, OSError) as error:
        raise _not_read(path, error) from error


def check_plain(path: Path) -> None:
    """Refuse by VideoError all but plain files and links to them: a pipe or device may block."""
    try:
        str(path.absolute()).encode()
        mode = path.stat().st_mode
    except OSError as error:
        raise unreadable(error) from error
    except ValueError as error:  # ffmpeg-python takes nothing else
        raise VideoError("its name cannot be used: not UTF-8, or a NUL; rename it") from error
    if stat.S_ISDIR(mode):
        raise VideoError("Is a directory, expected a video file")
    if not stat.S_ISREG(mode):
        raise VideoError("is a pipe, device or socket, expected a plain file")


def _not_read(path: Path, error: OSError | FFmpegError) -> VideoError:
    """Why libav does not open or read a file."""
    try:
        # To libav, a beginning that it cannot read is no video, and one that is cut off is EIO.
        with path.open("rb") as file:
            start = file.read(_BEGINNING_BYTES)
            while error.errno in REFUSALS and file.read(_BEGINNING_BYTES):
                pass
    except OSError as refusal:
        return unreadable(refusal)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return VideoError(
            "is a WebP picture or animation, which is not read; convert it to MP4 or GIF"
        )
    return VideoError(f"not readable as a video ({error.strerror or error})")


def is_cover(stream: VideoStream) -> bool:
    """A cover picture, which containers hold as a video stream of one frame."""
    return bool(stream.disposition & Disposition.attached_pic)


def _plain_streams(container: InputContainer) -> list[VideoStream]:
    streams = [stream for stream in container.streams.video if not is_cover(stream)]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "none"
        raise VideoError(f"no video stream (streams: {kinds})")
    return streams


def _number(container: InputContainer) -> int:
    """Number of the first plain stream that has two pictures; 0 if none has."""
    first = count = len(_plain_streams(container))
    if count == 1:
        return 0
    pictures = [0] * count
    # Opened again, because reading moves a container. In most files two packets are enough.
    with open_video(Path(container.name)) as other:
        streams = _plain_streams(other)
        numbers = {stream.index: number for number, stream in enumerate(streams)}
        for packet in other.demux(streams):
            number = numbers[packet.stream.index]
            pictures[number] += packet.size > 0
            if pictures[number] > 1:
                first = min(first, number)
            if first == 0:
                break
    return first % count


def _duration(container: InputContainer, stream: VideoStream) -> float:
    """Seconds of `stream`, from its header, else the container's, else its packets' time stamps."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    # Matroska's header holds the end, which is later than the duration if a recording begins late.
    begins_late = "matroska" in container.format.name and (container.start_time or 0) > 0
    if container.duration and not begins_late:
        return container.duration / av.time_base
    start, end, total = math.inf, -math.inf, Fraction(0)
    for packet in container.demux(stream):
        unit, length = packet.time_base or Fraction(0), packet.duration or 0
        total += length * unit  # a stream without a container has no times
        if packet.pts is not None:
            start = min(start, packet.pts * unit)
            end = max(end, (packet.pts + length) * unit)
    return float(total if end < start else end - start)
