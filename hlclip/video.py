"""What a video container says of itself."""

from pathlib import Path
from typing import cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from hlclip.errors import HlclipError
from hlclip.manifests import VideoInfo

CONTAINERS = (
    "mov,matroska,avi,asf,flv,live_flv,ogg,mpegts,mpeg,mpegvideo,m4v,h263,h264,hevc,vvc,av1,obu,"
    "ivf,vc1,dirac,dv,gxf,mxf,nut,rm,wtv,yuv4mpegpipe,mjpeg,gif,apng,"
    "mp3,aac,ac3,aiff,amr,flac,w64,wav"
)
"""ffmpeg's names of the formats that are read: those that hold the video, or sound, themselves.

Playlists (HLS, DASH, concat, IMF) would open other files; text and still images are no videos.
"""


class VideoError(HlclipError):
    """A file is not a video that can be used; the message says why."""


def probe(path: Path) -> VideoInfo:
    """Read the container's header; decode nothing.

    Raises:
        VideoError: the file cannot be opened, has no video stream, or no duration.
    """
    try:
        options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
        # Titles come in every encoding, and nobody reads them here.
        with av.open(str(path.absolute()), options=options, metadata_errors="replace") as container:
            streams = [s for s in container.streams.video if not is_cover(s)]
            if not streams:
                kinds = ", ".join(sorted({s.type for s in container.streams})) or "none"
                raise VideoError(f"no video stream (streams: {kinds})")
            stream = streams[0]
            codec = cast("VideoCodecContext | None", stream.codec_context)
            if codec is None:
                raise VideoError("its video codec is unknown")
            duration = _duration(container, stream)
            if duration <= 0:
                raise VideoError("no duration: neither header nor packets have time stamps")
            return VideoInfo(duration, codec.width, codec.height, codec.codec.canonical_name)
    except (FFmpegError, OSError) as error:
        raise VideoError(f"not readable as a video ({error.strerror or error})") from error


def is_cover(stream: VideoStream) -> bool:
    """A cover picture, which containers hold as a video stream of one frame."""
    return bool(stream.disposition & Disposition.attached_pic)


def _duration(container: InputContainer, stream: VideoStream) -> float:
    """Seconds of `stream`: its header, else the container's, else from its packets' time stamps."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    # Matroska's header gives the end, which is not the duration of a recording that begins late.
    begins_late = "matroska" in container.format.name and (container.start_time or 0) > 0
    if container.duration and not begins_late:
        return container.duration / av.time_base
    shown = [
        (packet.pts * packet.time_base, (packet.duration or 0) * packet.time_base)
        for packet in container.demux(stream)
        if packet.pts is not None and packet.time_base is not None
    ]
    if not shown:
        return 0.0
    return float(max(start + length for start, length in shown) - min(shown)[0])
