"""The scored pictures of a video, upright and with their own aspect ratio."""

import base64
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from hlclip.highlights.moments import Curve, Moment, best_clip
from hlclip.video import (
    FFmpegProcess,
    Filters,
    VideoError,
    clip_source,
    has_time_stamps,
    open_video,
    second_zero,
    stream_clips,
    worker_threads,
)

_WIDEST = 20
"""Largest ratio of width to height; a wider picture is squeezed."""

_BEFORE_SECONDS = (1.0, 60.0)
"""How far before a picture ffmpeg is sent to find a key frame: first try, second try."""

_HARMLESS = ("mmco: unref short failure", "co located POCs unavailable")
"""Complaints about H.264 pictures before the first key frame, which are not used."""


def pictures(
    video: Path, clips: Sequence[int], *, clip_seconds: float, height: int
) -> list[Image.Image]:
    """The pictures that were scored for some clips.

    In containers that store exact times, only the frames near them are decoded; in all others the
    video is decoded from its beginning to the last of them. Where the size changes within a video,
    ffmpeg gives all pictures that it decodes together the shape of the first.

    Args:
        clips: counted from 0.
        height: height of every picture in pixels.

    Raises:
        VideoError: nothing can be decoded, or the video has no such clip.
    """
    scaling = _scaling(height)
    wanted, found = set(clips), dict[int, bytes]()
    try:
        with open_video(video) as container:
            exact, zero = has_time_stamps(container), second_zero(container)
        if exact:
            find = partial(_near, video, clip_seconds=clip_seconds, zero=zero, scaling=scaling)
            with worker_threads(os.cpu_count()) as pool:
                near = zip(wanted, pool.map(find, wanted), strict=True)
                found = {clip: picture for clip, picture in near if picture}
        if missing := wanted - found.keys():
            found |= _from_the_beginning(video, missing, clip_seconds, scaling)
    except VideoError as error:
        raise VideoError(f"{video}: no picture ({error})") from error
    return [Image.open(io.BytesIO(found[clip])).convert("RGB") for clip in clips]


def _near(
    video: Path, clip: int, *, clip_seconds: float, zero: float, scaling: Filters
) -> bytes | None:
    """One picture in PPM, decoded from a key frame before it; None if that is not certain to work.

    A wrong place cannot give a wrong picture: the times are those of the container, and what is
    decoded after the middle of the clip is a later clip's.
    """
    for before in _BEFORE_SECONDS:
        start = (clip + 0.5) * clip_seconds - before
        seek: dict[str, Any] = {}
        if start > 0:
            seek = {"ss": f"{start:.6f}", "itsoffset": f"{-zero:.6f}"}
            seek |= {"noaccurate_seek": None, "copyts": None}
        picture = clip_source(video, clip_seconds, **seek)
        for name, options in [("trim", {"start_pts": clip, "end_pts": clip + 1}), *scaling]:
            picture = picture.filter(name, **options)
        ppm = {"format": "rawvideo", "vcodec": "ppm", "pix_fmt": "rgb24", "frames:v": 1}
        with FFmpegProcess(picture.output("pipe:", **ppm), video, gap_seconds=before) as process:
            content = process.read_ppm(seconds=before)
            status, complaints = process.end()
        if status or any(not line.endswith(_HARMLESS) for line in complaints):
            return None  # damaged, or not decodable from here
        if content or start <= 0:
            return content
    return None


def _from_the_beginning(
    video: Path, wanted: set[int], clip_seconds: float, scaling: Filters
) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    with closing(stream_clips(video, clip_seconds, scaling)) as stream:
        for clip, picture in enumerate(stream):
            if clip in wanted:
                found[clip] = picture
            if len(found) == len(wanted):
                return found
    raise VideoError(f"it has no clip {max(wanted)}")


def moment_pictures(
    curve: Curve, moments: Sequence[Moment], *, window: int, height: int
) -> list[Image.Image]:
    """The picture of the best clip of each moment.

    Raises:
        VideoError: see `pictures`.
    """
    clips = [best_clip(curve, moment, window) for moment in moments]
    return pictures(curve.video, clips, clip_seconds=curve.clip_seconds, height=height)


def clip_pictures(video: Path, *, clip_seconds: float, height: int) -> Iterator[Image.Image]:
    """The scored picture of each clip, in order, decoded from the beginning.

    Raises:
        VideoError: nothing can be decoded.
    """
    with closing(stream_clips(video, clip_seconds, _scaling(height))) as stream:
        for picture in stream:
            yield Image.open(io.BytesIO(picture)).convert("RGB")


def data_url(picture: Image.Image) -> str:
    """A picture as a JPEG data URL, for a page."""
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


def _scaling(height: int) -> Filters:
    # Sample aspect ratios may be absurd: without the limits a picture is empty or has gigabytes.
    width = f"clip(trunc({height}*iw*sar/ih),1,{_WIDEST * height})"
    return [("scale", {"w": width, "h": str(height)}), ("setsar", {"sar": "1"})]
