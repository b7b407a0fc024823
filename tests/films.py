"""Short films made on the spot: ffmpeg's own test pictures, and frames that carry their number."""

import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from hlclip.video.ffmpeg_process import ffmpeg_executable

CELLS = 4
"""A numbered frame is a grid of 4 x 4 black or white cells: the bits of its number."""

TICK = Fraction(1, 60000)
"""Seconds; a whole number of them is a frame of 24, 25, 30000/1001 and 60 a second."""


def ffmpeg(*arguments: object) -> bytes:
    """Run ffmpeg; what it writes to `pipe:` comes back."""
    command = [ffmpeg_executable(), "-y", "-nostdin", "-loglevel", "error", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def film(path: Path, *output: object, size: str = "96x64", seconds: float = 6) -> Path:
    """ffmpeg's moving test picture, ten frames a second."""
    # Scaled to `size`, because testsrc2 itself makes odd sizes even.
    source = f"testsrc2=s=96x64:r=10:d={seconds},scale={size.replace('x', ':')},setsar=1"
    ffmpeg("-f", "lavfi", "-i", source, *output, path)
    return path


def need_encoder(name: str) -> None:
    if f" {name} " not in _encoders():
        pytest.skip(f"this ffmpeg has no encoder {name}")


@cache
def _encoders() -> str:
    command = [ffmpeg_executable(), "-hide_banner", "-encoders"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def numbered_film(
    path: Path, times: Sequence[Fraction], *, first: int = 0, side: int = 32, codec: str = "ffv1"
) -> Path:
    """Frames numbered from `first`, shown at `times` in seconds; the last as long as the first."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=1 / (times[1] - times[0]))
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = TICK
        for number, time in enumerate(times, first):
            bits = (number >> np.arange(CELLS**2)) & 1
            cells = (bits.reshape(CELLS, CELLS) * 255).astype(np.uint8)
            gray = np.kron(cells, np.ones((side // CELLS, side // CELLS), np.uint8))
            frame = av.VideoFrame.from_ndarray(gray, format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(time / TICK), TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def constant(rate: Fraction | int, seconds: float) -> list[Fraction]:
    """Time stamps of a constant frame rate."""
    return [n / Fraction(rate) for n in range(round(seconds * Fraction(rate)))]


def numbers(frames: NDArray[np.uint8]) -> list[int]:
    """Read the numbers back from RGB [frames, side, side, 3]."""
    count, side, _, _ = frames.shape
    cell = side // CELLS
    grid = frames.mean(axis=3).reshape(count, CELLS, cell, CELLS, cell).mean(axis=(2, 4))
    return [int(bits @ (1 << np.arange(CELLS**2))) for bits in grid.reshape(count, -1) > 127]


def copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(source, target))
