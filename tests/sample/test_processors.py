"""The sample's films and frames are the same bytes on every x86-64 processor.

x264, numpy and ffmpeg choose their code by the processor. Each can be told to use less of it, so
one processor stands for older ones.
"""

import hashlib
import importlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlclip.video.ffmpeg_process import ffmpeg_executable
from hlclip.video.frames import extract_frames, frames_header
from sample.films import Film, draw_film, plan_film
from sample.render import X264_PARAMS, encode, encoder_command

numpy_core: Any = importlib.import_module("numpy._core._multiarray_umath")
FEATURES: dict[str, bool] = numpy_core.__cpu_features__
DISPATCHED = [name for name in numpy_core.__cpu_dispatch__ if FEATURES.get(name)]
"""Processor features for which numpy has code of its own, and which this machine has."""

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="the promise is for x86-64"
)


def drawn() -> Film:
    return plan_film("film", (5, 0), seconds=8)


def digest(film: Film) -> str:
    return hashlib.sha256(b"".join(frame.tobytes() for frame in draw_film(film))).hexdigest()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("video")
    encode(drawn(), folder)
    return folder / "film.mp4"


def encoded(out: Path, x264_params: str) -> bytes:
    pixels = b"".join(frame.tobytes() for frame in draw_film(drawn()))
    subprocess.run(encoder_command(out, x264_params=x264_params), input=pixels, check=True)
    return out.read_bytes()


ASSEMBLY = ["0", "SSE2", "AVX2"] if FEATURES.get("AVX2") else ["0", "SSE2"]


def test_x264_gives_the_same_bytes_with_any_assembly(tmp_path: Path, video: Path) -> None:
    for name in ASSEMBLY:
        params = f"{X264_PARAMS}:asm={name}"
        assert encoded(tmp_path / f"{name}.mp4", params) == video.read_bytes(), name


def test_x264_gives_other_bytes_where_it_may_choose_by_the_processor(tmp_path: Path) -> None:
    """Shows that the test above can fail."""
    films = {encoded(tmp_path / f"{name}.mp4", f"asm={name}") for name in ASSEMBLY}
    if len(films) == 1:
        pytest.skip("x264 makes the same choices with all assembly that this processor has")


@pytest.mark.skipif(not DISPATCHED, reason="numpy has no code for this processor alone")
def test_numpy_draws_the_same_pixels_without_its_code_for_this_processor() -> None:
    code = (
        "from tests.sample.test_processors import DISPATCHED, digest, drawn\n"
        "print(len(DISPATCHED), digest(drawn()))"
    )
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(DISPATCHED)}
    output = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert output.split() == ["0", digest(drawn())]


@pytest.fixture
def with_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let ffmpeg use nothing but the given processor features."""
    executable = ffmpeg_executable()

    def restrict(flags: str) -> None:
        script = tmp_path / "ffmpeg"
        script.write_text(f'#!/bin/sh\nexec "{executable}" -cpuflags {flags} "$@"\n')
        script.chmod(0o755)
        monkeypatch.setattr("hlclip.video.ffmpeg_process.ffmpeg_executable", lambda: str(script))

    return restrict


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize", ["shortest", "squash"])
def test_ffmpeg_extracts_the_same_frames_with_any_processor_features(
    video: Path, with_flags: Callable[[str], None], resize: str, interpolation: str
) -> None:
    header = frames_header(size=64, resize=resize, interpolation=interpolation, clip_seconds=2.0)
    expected = extract_frames(video, header)
    assert len(expected) == 4
    for flags in ("0", "sse2", "ssse3"):
        with_flags(flags)
        np.testing.assert_array_equal(extract_frames(video, header), expected)
