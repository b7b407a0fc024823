"""Pictures of a video at given times, upright and with its aspect ratio."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from hlclip.video import FFmpegProcess, VideoError, video_input

_WIDEST = 20
"""Largest ratio of width to height; a wider picture is squeezed."""

_STEP_BACK_SECONDS = 1.0
"""The second try is this much earlier: near its end a video may have no frame."""


def pictures(video: Path, seconds: Sequence[float], *, height: int) -> list[Image.Image]:
    """Pictures of a video at some times; only the frames near them are decoded.

    Args:
        seconds: times from the start of the video.
        height: height of every picture in pixels.

    Raises:
        VideoError: no frame can be decoded there.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(partial(_picture, video, height=height), seconds))


def _picture(video: Path, second: float, *, height: int) -> Image.Image:
    # Sample aspect ratios may be absurd: without the limits a picture is empty or has gigabytes.
    width = f"clip(trunc({height}*iw*sar/ih),1,{_WIDEST * height})"
    complaints: list[str] = []
    for start in (second, max(second - _STEP_BACK_SECONDS, 0), 0.0):
        source = video_input(video, ss=f"{start:.3f}", threads=1)
        picture = source["V:0"].filter("scale", width, height).filter("setsar", 1)
        output = picture.output("pipe:", format="image2pipe", vcodec="png", **{"frames:v": 1})
        with FFmpegProcess(output, video, gap_seconds=start) as process:
            png = process.read(_WIDEST * height * height * 8, seconds=start)
            complaints = process.end()[1]
        if png:
            return Image.open(io.BytesIO(png)).convert("RGB")
    reason = complaints[-1] if complaints else "no frame"
    raise VideoError(f"{video}: no picture at {second:g} s ({reason})")
