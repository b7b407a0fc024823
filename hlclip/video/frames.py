"""One RGB frame per clip, at the clip's middle, decoded and resized by ffmpeg."""

import logging
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hlclip.formats import Header
from hlclip.video.container import MOST_SECONDS, VideoError
from hlclip.video.ffmpeg_process import FFmpegProcess, video_input
from hlclip.video.pyav_frames import UnsuitedError, sampled_frames, scaling

log = logging.getLogger(__name__)

Decoder = Literal["ffmpeg", "pyav"]

_PIECE = 64
"""Frames that are read from ffmpeg at a time."""

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


def extract_frames(path: Path, header: Header, decoder: Decoder = "ffmpeg") -> NDArray[np.uint8]:
    """Decode one frame per clip.

    Frame k shows the middle of clip k, t = (k + 1/2) clip_seconds, and there are
    round(duration / clip_seconds) frames: the field's convention, ffmpeg's `fps=1/clip_seconds`.
    The first video stream that is not a cover picture is decoded, and its rotation and sample
    aspect ratio are applied.

    Args:
        header: see `frames_header`.
        decoder: `pyav` decodes less for the same pixels; it leaves unsuited videos to ffmpeg.

    Returns:
        uint8 [clips, height, width, RGB], 0..255.

    Raises:
        VideoError: ffmpeg fails, takes too long or finds no frame, or more than `MOST_BYTES`.
    """
    if decoder == "pyav":
        try:
            return sampled_frames(path, header, most_bytes=MOST_BYTES)
        except UnsuitedError as reason:
            log.debug("%s: decoded by ffmpeg: %s", path.name, reason)
    pieces: list[NDArray[np.uint8]] = []
    with closing(stream_frames(path, header, most=_PIECE)) as stream:
        for piece in stream:
            pieces.append(piece)
            if sum(piece.nbytes for piece in pieces) > MOST_BYTES:
                raise VideoError(
                    f"its frames take more than {MOST_BYTES:,} bytes of memory; cut it into parts"
                )
    return np.concatenate(pieces)


def stream_frames(
    path: Path, header: Header, *, most: int
) -> Generator[NDArray[np.uint8], None, None]:
    """The frames of `extract_frames` in pieces of `most`; only the last piece has fewer.

    The last piece comes after ffmpeg has ended without an error.

    Raises:
        VideoError: as above, or the frames are those of more than `MOST_SECONDS`.
    """
    size, clip_seconds = int(header["size"]), float(header["clip_seconds"])
    clip_bytes = size * size * 3
    most_bytes = most * clip_bytes
    clips = 0
    output = _ffmpeg_output(path, header)
    with FFmpegProcess(output, path, gap_seconds=clip_seconds) as running:
        while len(piece := running.read(most_bytes, seconds=most * clip_seconds)) == most_bytes:
            clips += most
            if (clips - 1) * clip_seconds > MOST_SECONDS:
                raise VideoError(
                    f"its frames go on for more than {MOST_SECONDS / 3600:g} hours; repair its "
                    "time stamps or cut it into parts"
                )
            yield np.frombuffer(piece, np.uint8).reshape(most, size, size, 3)
        status, complaints = running.end()
    last, rest = divmod(len(piece), clip_bytes)
    reason = complaints[-1] if complaints else ""
    if status != 0 or rest:
        raise VideoError(f"ffmpeg failed: {reason or f'exit status {status}'}")
    if clips + last == 0:
        reason = reason or f"shorter than half a clip ({clip_seconds / 2:g} s)"
        raise VideoError(f"no frame could be decoded: {reason}")
    if complaints:
        count = len(complaints)
        log.warning("  %s: ffmpeg complains (%d lines), last: %s", path.name, count, reason)
    if last:
        yield np.frombuffer(piece, np.uint8).reshape(last, size, size, 3)


def _ffmpeg_output(path: Path, header: Header) -> Any:
    # Without `start_time`: ffmpeg rebuilds the filters where a stream changes its size, and would
    # begin again at 0. If a stream begins late, the output's constant rate fills the time before
    # it with the first sampled frame, as is usual in the field.
    picture = video_input(path, threads=1)["V:0"].filter("fps", f"1/{header['clip_seconds']!r}")
    for name, options in scaling(header):
        picture = picture.filter(name, **options)
    return picture.output("pipe:", format="rawvideo", pix_fmt="rgb24")
