"""Pictures of a video at given times, upright and in its own shape, for charts and sheets."""

import io
import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import ffmpeg
from PIL import Image

from hlclip.ffmpeg import ffmpeg_executable
from hlclip.video import CONTAINERS, VideoError

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
    for start in (second, max(second - _STEP_BACK_SECONDS, 0), 0.0):
        source: Any = ffmpeg.input(
            f"file:{video.absolute()}",
            ss=f"{start:.3f}",
            protocol_whitelist="file",
            format_whitelist=CONTAINERS,
            threads=1,
        )
        picture = (
            source["V:0"].filter("scale", f"trunc({height}*iw*sar/ih)", height).filter("setsar", 1)
        )
        output = picture.output("pipe:", format="image2pipe", vcodec="png", **{"frames:v": 1})
        command = output.global_args("-nostdin", "-loglevel", "error").compile(
            cmd=ffmpeg_executable()
        )
        ended = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        if ended.stdout:
            return Image.open(io.BytesIO(ended.stdout)).convert("RGB")
    said = ended.stderr.decode(errors="replace").strip().splitlines()
    raise VideoError(f"{video}: no picture at {second:g} s ({said[-1] if said else 'no frame'})")
