"""One RGB frame per clip, at the clip's middle, decoded and resized by ffmpeg."""

import logging
import os
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hlclip.formats.manifests import Header, Index, Item, Manifest, Video
from hlclip.params import Decoder, Frames
from hlclip.pipeline.missing import tolerate
from hlclip.store.store import Store, content_key
from hlclip.video.container import MOST_SECONDS, VideoError
from hlclip.video.ffmpeg_process import Running, patience, video_input
from hlclip.video.pyav_frames import UnsuitedError, sampled_frames

log = logging.getLogger(__name__)

_PIECE = 64
"""Frames that are read from ffmpeg at a time."""

MOST_BYTES = 2 * 2**30
"""Of the frames of one video in memory: almost eight hours at 224 x 224 pixels."""


def make_frames(
    index: Index, params: Frames, *, data_root: Path, store: Path, max_missing: float
) -> Manifest:
    """Decode every video whose frames are not in the store yet; all cores, one thread a video.

    Returns:
        The manifest: vid -> frames in the store; `failed` holds the index's missing videos too.

    Raises:
        TooManyMissingError: more videos failed than tolerated; what was decoded stays in the store.
    """
    header = frames_header(params, index.clip_seconds)
    frames = Store(store, "frames", header)

    def make(vid: str) -> Item | VideoError:
        try:
            return _make_one(index.videos[vid], data_root, frames, params.decoder)
        except VideoError as error:
            return error

    items: dict[str, Item] = {}
    failed = dict(index.missing)
    vids = sorted(index.videos)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = tqdm(pool.map(make, vids), total=len(vids), desc="frames", unit="video", disable=None)
        for vid, made in zip(vids, bar, strict=True):
            if isinstance(made, Item):
                items[vid] = made
            else:
                failed[vid] = f"{index.videos[vid].path}: {made}"
    log.info("%d frames of %d videos", sum(item.length for item in items.values()), len(items))
    _report_lengths(index, items)
    tolerate(failed, total=len(index.clips()), share=max_missing)
    return Manifest(header, items, failed)


def frames_header(params: Frames, clip_seconds: float) -> dict[str, str | int | float]:
    """Everything that changes a pixel; both decoders give the same."""
    return {"clip_seconds": clip_seconds, **params.model_dump(exclude={"decoder"})}


def extract_frames(path: Path, header: Header, decoder: Decoder = "ffmpeg") -> NDArray[np.uint8]:
    """Decode one frame per clip.

    The field's convention, ffmpeg's `fps=1/clip_seconds`: frame k is what is shown at the middle of
    clip k, t = (k + 1/2) clip_seconds, and there are round(duration / clip_seconds) of them. The
    first stream that is not a cover picture; rotation and sample aspect ratio are applied.

    Args:
        path: a video file.
        header: see `frames_header`.
        decoder: `pyav` decodes less for the same pixels where a video allows it, else ffmpeg does.

    Returns:
        uint8 [clips, height, width, RGB], 0..255.

    Raises:
        VideoError: ffmpeg fails, takes too long or finds no frame; or the frames take more than
            `MOST_BYTES`.
    """
    if decoder == "pyav":
        try:
            return sampled_frames(path, header, scaling(header), most_bytes=MOST_BYTES)
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
    """The frames of `extract_frames`, at most `most` at a time: a video of hours need not fit.

    Every piece but the last is full. A piece that is not full comes after ffmpeg has ended well.

    Raises:
        VideoError: as above, or the frames are those of more than `MOST_SECONDS`.
    """
    size, clip_seconds = int(header["size"]), float(header["clip_seconds"])
    clip_bytes = size * size * 3
    clips = 0
    output = _ffmpeg_output(path, header)
    with Running(output, path, stall_seconds=patience(clip_seconds)) as running:
        while True:
            piece = running.read(most * clip_bytes, seconds=most * clip_seconds)
            if len(piece) < most * clip_bytes:
                break
            clips += most
            if (clips - 1) * clip_seconds > MOST_SECONDS:
                raise VideoError(
                    f"its frames go on for more than {MOST_SECONDS / 3600:g} hours; repair its "
                    "time stamps or cut it into parts"
                )
            yield np.frombuffer(piece, np.uint8).reshape(most, size, size, 3)
        status, complaints = running.end()
    last, rest = divmod(len(piece), clip_bytes)
    if status != 0 or rest:
        reason = complaints[-1] if complaints else f"exit status {status}"
        raise VideoError(f"ffmpeg failed: {reason}")
    if clips + last == 0:
        reason = (
            complaints[-1] if complaints else f"shorter than half a clip ({clip_seconds / 2:g} s)"
        )
        raise VideoError(f"no frame could be decoded: {reason}")
    if complaints:
        log.warning(
            "  %s: ffmpeg complains (%d lines), last: %s",
            path.name,
            len(complaints),
            complaints[-1],
        )
    if last:
        yield np.frombuffer(piece, np.uint8).reshape(last, size, size, 3)


def _make_one(video: Video, data_root: Path, frames: Store, decoder: Decoder) -> Item:
    key = content_key(frames.header, video.sha256)
    path = data_root / video.path
    return frames.get_or_make(key, lambda: extract_frames(path, frames.header, decoder))


def scaling(header: Header) -> list[tuple[str, dict[str, str]]]:
    """ffmpeg's filters from a decoded picture to a frame: name and options."""
    size = str(header["size"])
    if header["resize"] == "shortest":
        # Pixels need not be square. Multiply first: `64/(iw/ih)` would round twice.
        width = f"if(lt(iw*sar,ih),{size},trunc({size}*iw*sar/ih))"
        height = f"if(lt(iw*sar,ih),trunc({size}*ih/(iw*sar)),{size})"
    else:
        width = height = size
    return [
        ("scale", {"w": width, "h": height, "flags": str(header["interpolation"])}),
        ("format", {"pix_fmts": "rgb24"}),
        ("crop", {"w": size, "h": size}),
    ]


def _ffmpeg_output(path: Path, header: Header) -> Any:
    # Without `start_time`: ffmpeg builds the filters anew where a stream changes its size, and
    # would begin again at 0. The output's constant rate fills up to a stream that begins late, as
    # in the field, with its first frame that is sampled.
    picture = video_input(path, threads=1)["V:0"].filter("fps", f"1/{header['clip_seconds']!r}")
    for name, options in scaling(header):
        picture = picture.filter(name, **options)
    return picture.output("pipe:", format="rawvideo", pix_fmt="rgb24")


def _report_lengths(index: Index, items: dict[str, Item]) -> None:
    """Say which videos end before their annotation; later stages score the clips that exist."""
    annotated = index.clips()
    shorter = [vid for vid, item in items.items() if item.length < annotated[vid]]
    longer = sum(item.length > annotated[vid] for vid, item in items.items())
    for vid in shorter:
        log.warning(
            "  %s: %d clips decoded, %d annotated; clips past the end have no frame",
            vid,
            items[vid].length,
            annotated[vid],
        )
    if shorter or longer:
        log.warning(
            "%d of %d videos are shorter than annotated, %d longer (the rest is unused)",
            len(shorter),
            len(items),
            longer,
        )
