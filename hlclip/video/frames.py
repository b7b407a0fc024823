"""One RGB frame per clip, at the clip's middle, as ffmpeg decodes and resizes it."""

import logging
from collections.abc import Generator
from contextlib import closing
from functools import partial
from itertools import islice, repeat
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hlclip.formats import Clips, Header
from hlclip.video.clip_times import sample, waits
from hlclip.video.container import (
    MOST_SECONDS,
    late_seconds,
    open_video,
    picture_name,
    standing_clips,
)
from hlclip.video.ffmpeg_process import FFmpegProcess, ffmpeg_executable, video_input
from hlclip.video.h264_headers import UnsuitedError
from hlclip.video.pyav_frames import Filters, Look, sampled_frames, scaling
from hlclip.video.refusals import VideoError

log = logging.getLogger(__name__)

Decoder = Literal["auto", "ffmpeg", "pyav"]
"""`auto`: PyAV where its frames are certain to be ffmpeg's, ffmpeg else; `pyav`: the same, with a
warning that names each video that is left to ffmpeg. No decoder changes a pixel."""

_agreed: set[tuple[Any, ...]] = set()
"""Looks of pictures of which ffmpeg and PyAV have made the same frame, in this process."""

_PLAIN = 8
"""Standard deviation of a frame's values, 0..255; with less, scalers may agree by chance."""

_PIECE = 64
"""Frames that are read from ffmpeg at a time."""

_STANDING_SECONDS = 600
"""Where times may jump (MPEG-TS), ffmpeg takes ten seconds without a picture for a jump."""

MOST_BYTES = 2 * 2**30
"""Limit on the frames of one video in memory: almost eight hours at 224 x 224 pixels."""


def frames_header(
    *, size: int, resize: str, interpolation: str, clip_seconds: float
) -> dict[str, str | int | float]:
    """Everything that changes a pixel; the decoder does not.

    Args:
        size: height and width of a frame in pixels.
        resize: `shortest` (then centre crop) or `squash`.
        interpolation: `bicubic` or `bilinear`, of ffmpeg's scaler.
    """
    return {
        "clip_seconds": clip_seconds,
        "interpolation": interpolation,
        "resize": resize,
        "size": size,
    }


def extract_frames(
    path: Path, header: Header, decoder: Decoder = "auto", *, clips: Clips | None = None
) -> NDArray[np.uint8]:
    """Decode one frame per clip.

    Frame k shows the middle of clip k, t = (k + 1/2) clip_seconds, and there are
    round(duration / clip_seconds) frames: the field's convention, ffmpeg's `fps=1/clip_seconds`.
    Clips of given times have a frame for each middle that the video reaches.
    The first video stream that is not a cover picture is decoded, and its rotation and sample
    aspect ratio are applied.

    Args:
        header: see `frames_header`.
        decoder: see `Decoder`.
        clips: the video's clips where they are not those of the header's `clip_seconds`.

    Returns:
        uint8 [clips, height, width, RGB], 0..255.

    Raises:
        VideoError: ffmpeg fails, takes too long or finds no frame, or more than `MOST_BYTES`.
    """
    pieces: list[NDArray[np.uint8]] = []
    with closing(stream_frames(path, header, decoder, most=_PIECE, clips=clips)) as stream:
        for piece in stream:
            pieces.append(piece)
            if sum(piece.nbytes for piece in pieces) > MOST_BYTES:
                raise VideoError(
                    f"its frames take more than {MOST_BYTES:,} bytes of memory; cut it into parts"
                )
    return np.concatenate(pieces)


def stream_frames(
    path: Path,
    header: Header,
    decoder: Decoder = "auto",
    *,
    most: int,
    clips: Clips | None = None,
) -> Generator[NDArray[np.uint8], None, None]:
    """The frames of `extract_frames` in pieces of `most`; only the last piece has fewer.

    A last piece with fewer comes after the decoder has ended without an error.

    Raises:
        VideoError: as above, or the frames are those of more than `MOST_SECONDS`.
    """
    clips = clips or float(header["clip_seconds"])
    with closing(_frames(path, header, decoder, clips)) as frames:
        while piece := list(islice(frames, most)):
            yield np.stack(piece)


def _frames(
    path: Path, header: Header, decoder: Decoder, clips: Clips
) -> Generator[NDArray[np.uint8], None, None]:
    count = 0
    if decoder != "ffmpeg":
        confirm = partial(_confirm, path, header, clips)
        try:
            with closing(sampled_frames(path, header, clips=clips, confirm=confirm)) as frames:
                for frame in frames:
                    count += 1
                    yield frame
            return
        except UnsuitedError as reason:
            level = logging.WARNING if decoder == "pyav" else logging.DEBUG
            log.log(level, "  %s: decoded by ffmpeg: %s", path.name, reason)
    # The frames before the damage that PyAV finds are the same.
    with closing(_ffmpeg_frames(path, header, clips)) as frames:
        yield from islice(frames, count, None)


def _ffmpeg_frames(
    path: Path, header: Header, clips: Clips
) -> Generator[NDArray[np.uint8], None, None]:
    size = int(header["size"])
    pictures = stream_clips(path, clips, scaling(header), picture_bytes=size * size * 3)
    with closing(pictures):
        for picture in pictures:
            yield np.frombuffer(picture, np.uint8).reshape(size, size, 3)


def _confirm(
    path: Path, header: Header, clips: Clips, look: Look, frame: NDArray[np.uint8]
) -> None:
    """Compare PyAV's first frame with ffmpeg's, once for each look of pictures.

    PyAV brings an FFmpeg of its own. Every FFmpeg decodes H.264 to the same pixels, as the standard
    demands, but the scalers of some builds round in another way.
    """
    pair = ffmpeg_executable(), look, *sorted(header.items())
    if pair in _agreed:
        return
    if frame.std() < _PLAIN:
        raise UnsuitedError("its first frame is too plain to compare two scalers")
    with closing(_ffmpeg_frames(path, header, clips)) as frames:
        if not np.array_equal(next(frames), frame):
            raise UnsuitedError("this ffmpeg makes another frame of the first picture than PyAV")
    _agreed.add(pair)


def stream_clips(
    path: Path, clips: Clips, scaling: Filters, *, picture_bytes: int | None = None
) -> Generator[bytes, None, None]:
    """The picture at the middle of each clip, decoded from the beginning of the video.

    Args:
        scaling: ffmpeg's filters from a decoded picture to the one that is returned.
        picture_bytes: size of a picture, which is RGB [height, width, 3] then; None gives PPM files
            of any size.

    Raises:
        VideoError: as `stream_frames`.
    """
    decode = partial(_decoded_clips, path, clips, scaling, picture_bytes)
    count, total, picture = 0, 0, b""
    for picture in decode(eof_action="round"):
        count += 1
        yield picture
    standing = standing_clips(path, count, clips)
    if standing or count == 0:
        # `fps` gives nothing for a last picture that begins and ends within half a clip. With
        # `pass` it gives one clip more, which shows that picture.
        for picture in decode(eof_action="pass"):  # noqa: B007 (the last one is used)
            total += 1
        if total == 1 and not standing:
            reason = "it ends before the middle of its first clip"
            if not isinstance(clips, tuple):
                reason = f"shorter than half a clip ({clips / 2:g} s)"
            raise VideoError(f"no frame could be decoded: {reason}")
        yield from repeat(picture, standing or total - 1)


def clip_source(path: Path, clips: Clips, *, eof_action: str = "round", **seek: Any) -> Any:
    """A picture for each clip in ffmpeg's words: for clip k the last that begins before its middle.

    Clips before the first picture have none: the output's constant rate fills them, as is usual in
    the field, with the first sampled picture.

    Args:
        eof_action: `round`, or `pass` for one more clip at the end.
        seek: options of the input.
    """
    with open_video(path) as container:
        name, late = picture_name(container), late_seconds(container)
    picture = video_input(path, threads=1, dts_delta_threshold=_STANDING_SECONDS, **seek)[name]
    if seek:
        # Pictures before the first key frame may need others that were not decoded.
        picture = picture.filter("select", "if(key,st(0,1),ld(0))")
    if late:
        picture = picture.filter("setpts", f"floor(PTS+{late:.6f}/TB+0.5)")
    return sample(picture, clips, eof_action=eof_action)


def _decoded_clips(
    path: Path,
    clips: Clips,
    scaling: Filters,
    picture_bytes: int | None,
    *,
    eof_action: str,
) -> Generator[bytes, None, None]:
    node = clip_source(path, clips, eof_action=eof_action)
    for name, options in scaling:
        node = node.filter(name, **options)
    options: dict[str, Any] = {"format": "rawvideo", "pix_fmt": "rgb24"}
    if not picture_bytes:
        options["vcodec"] = "ppm"
    if isinstance(clips, tuple) and eof_action == "round":
        options["vframes"] = len(clips)  # the video may go on for hours after the last clip
    output = node.output("pipe:", **options)
    count, clip_seconds = 0, waits(clips)
    with FFmpegProcess(output, path, gap_seconds=clip_seconds) as running:
        read = partial(running.read, picture_bytes) if picture_bytes else running.read_ppm
        while picture := read(seconds=clip_seconds):
            if len(picture) < (picture_bytes or 0):
                break
            count += 1
            if not isinstance(clips, tuple) and (count - 1) * clips > MOST_SECONDS:
                raise VideoError(
                    f"its frames go on for more than {MOST_SECONDS / 3600:g} hours; repair its "
                    "time stamps or cut it into parts"
                )
            yield picture
        status, complaints = running.end()
    reason = complaints[-1] if complaints else ""
    if status != 0 or picture:
        raise VideoError(f"ffmpeg failed: {reason or f'exit status {status}'}")
    if eof_action == "pass" and count == 0:
        raise VideoError(f"no frame could be decoded: {reason or 'ffmpeg finds no picture'}")
    if complaints and count:
        log.warning(
            "  %s: ffmpeg complains (%d lines), last: %s", path.name, len(complaints), reason
        )
