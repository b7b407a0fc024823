"""The header of a video file, and which files are opened at all."""

import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from hlclip.formats import VideoInfo
from hlclip.system import HlclipError

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

# Titles come in every encoding, and are not used. PyAV 19 reads them all, PyAV 18 on request.
_ANY_TITLE: dict[str, Any] = {"metadata_errors": "replace"} if av.__version__ < "19" else {}


class VideoError(HlclipError):
    """A file is not a video that can be used; the message says why."""


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
    """The first video stream that is not a cover picture; a `VideoError` if none can be decoded."""
    streams = [stream for stream in container.streams.video if not is_cover(stream)]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "none"
        raise VideoError(f"no video stream (streams: {kinds})")
    if cast("VideoCodecContext | None", streams[0].codec_context) is None:
        raise VideoError("its video codec is unknown")
    return streams[0]


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
        raise VideoError(f"not readable as a video ({error.strerror or error})") from error


def check_plain(path: Path) -> None:
    """Refuse by VideoError all but plain files and links to them: a pipe or device may block."""
    try:
        str(path.absolute()).encode()
        mode = path.stat().st_mode
    except OSError as error:
        raise VideoError(f"cannot be read ({error.strerror})") from error
    except ValueError as error:  # ffmpeg-python takes nothing else
        raise VideoError("its name cannot be used: not UTF-8, or a NUL; rename it") from error
    if stat.S_ISDIR(mode):
        raise VideoError("Is a directory, expected a video file")
    if not stat.S_ISREG(mode):
        raise VideoError("is a pipe, device or socket, expected a plain file")


def is_cover(stream: VideoStream) -> bool:
    """A cover picture, which containers hold as a video stream of one frame."""
    return bool(stream.disposition & Disposition.attached_pic)


def _duration(container: InputContainer, stream: VideoStream) -> float:
    """Seconds of `stream`, from its header, else the container's, else its packets' time stamps."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    # Matroska's header holds the end, which is later than the duration if a recording begins late.
    begins_late = "matroska" in container.format.name and (container.start_time or 0) > 0
    if container.duration and not begins_late:
        return container.duration / av.time_base
    start, end = math.inf, -math.inf
    for packet in container.demux(stream):
        if packet.pts is not None and packet.time_base is not None:
            start = min(start, packet.pts * packet.time_base)
            end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
    return max(0.0, float(end - start))
