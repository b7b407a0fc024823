"""The ffmpeg program and what a video container says of itself."""

import shutil
from functools import cache
from pathlib import Path

import av
import imageio_ffmpeg
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from hlclip.errors import HlclipError
from hlclip.manifests import VideoInfo


class VideoError(HlclipError):
    """A file is not a video that can be used; the message says why."""


@cache
def ffmpeg_executable() -> str:
    """Path of ffmpeg: the one on PATH, else the one that came with `pip install`."""
    return shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()


def probe(path: Path) -> VideoInfo:
    """Read the container's header; decode nothing.

    Raises:
        VideoError: the file cannot be opened, has no video stream, or no duration.
    """
    try:
        # Only local files: a playlist must not make libavformat open anything else.
        with av.open(str(path.absolute()), options={"protocol_whitelist": "file"}) as container:
            streams = [s for s in container.streams.video if not _is_cover(s)]
            if not streams:
                kinds = ", ".join(sorted({s.type for s in container.streams})) or "none"
                raise VideoError(f"no video stream (streams: {kinds})")
            stream = streams[0]
            duration = _duration(container, stream)
            if duration <= 0:
                raise VideoError("no duration: neither header nor packets have time stamps")
            codec = stream.codec_context
            return VideoInfo(duration, codec.width, codec.height, codec.codec.canonical_name)
    except (FFmpegError, OSError) as error:
        raise VideoError(f"not readable as a video ({error.strerror or error})") from error


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def _duration(container: InputContainer, stream: VideoStream) -> float:
    """Seconds of `stream`: its header, else the container's, else its packets' last time stamp."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if container.duration:
        return container.duration / av.time_base
    end = 0.0
    for packet in container.demux(stream):
        if packet.pts is not None and packet.time_base is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return end
