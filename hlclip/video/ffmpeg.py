"""The ffmpeg program."""

import shutil
from functools import cache

import imageio_ffmpeg


@cache
def ffmpeg_executable() -> str:
    """Path of ffmpeg: the one on PATH, else the one that came with `pip install`."""
    return shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()
