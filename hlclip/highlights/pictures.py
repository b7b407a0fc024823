"""Pictures of a video at given times, upright and in its own shape, for charts and sheets."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from hlclip.video import FFmpegProcess, VideoError, time_limit_seconds, video_input

_WIDEST = 20
"""Widths of a picture to its height; one that is wider is squeezed."""

_STEP_BACK_SECONDS = 1.0
"""How much earlier to look when a video shows nothing at a time, which happens at its end."""


def pictures(video: Path, seconds: Sequence[float], *, height: int) -> list[Image.Image]:
    """What a video shows at some times; only what is near them is decoded.

    Args:
        seconds: times from the start of the video.
        height: of every picture in pixels; the width follows.

    Raises:
        VideoError: nothing can be decoded there.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(partial(_picture, video, height=height), seconds))


def _picture(video: Path, second: float, *, height: int) -> Image.Image:
    # Sizes are a line of pixels to some: neither nothing nor a picture of gigabytes comes of them.
    width = f"clip(trunc({height}*iw*sar/ih),1,{_WIDEST * height})"
    said: list[str] = []
    for start in (second, max(second - _STEP_BACK_SECONDS, 0), 0.0):
        source = video_input(video, ss=f"{start:.3f}", threads=1)
        picture = source["V:0"].filter("scale", width, height).filter("setsar", 1)
        output = picture.output("pipe:", format="image2pipe", vcodec="png", **{"frames:v": 1})
        with FFmpegProcess(output, video, stall_seconds=time_limit_seconds(start)) as running:
            png = running.read(_WIDEST * height * height * 8, seconds=start)
            said = running.end()[1]
        if png:
            return Image.open(io.BytesIO(png)).convert("RGB")
    raise VideoError(f"{video}: no picture at {second:g} s ({said[-1] if said else 'no frame'})")
