"""The result of one check, and the checks of the machine. They change nothing."""

import os
import platform
import subprocess
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import torch

from hlclip.model import DeviceError, pick_device
from hlclip.system import HlclipError, in_words
from hlclip.video import ffmpeg_executable

T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    about: str
    state: Literal["ok", "note", "problem"]
    """A problem stops a run or makes its figures wrong; a note is worth knowing."""
    found: str
    remedy: str = ""
    names: Sequence[str] = ()
    """Everything that `found` counts, each with its reason."""


Check: TypeAlias = Generator[Finding, None, T]
"""A check yields its findings and returns what later checks need."""


def check_ffmpeg() -> Check[None]:
    """Does ffmpeg start, and does it decode the usual codecs?"""
    try:
        executable = ffmpeg_executable()
        version = _output([executable, "-version"]).split(" Copyright")[0]
        decoders = _output([executable, "-hide_banner", "-decoders"]).split()
    except (HlclipError, OSError, RuntimeError, subprocess.CalledProcessError) as error:
        remedy = "reinstall imageio-ffmpeg (`pip install --force-reinstall imageio-ffmpeg`)"
        yield Finding("ffmpeg", "problem", f"does not run: {error}", remedy)
        return
    absent = [codec for codec in ("h264", "hevc", "vp9", "av1") if codec not in decoders]
    if absent:
        found = f"{version}; cannot decode {', '.join(absent)}: {executable}"
        yield Finding("ffmpeg", "note", found)
    else:
        yield Finding("ffmpeg", "ok", f"{version}, {executable}")


def check_device(name: str) -> Check[torch.device | None]:
    """Which device does `train.device` mean on this machine?"""
    try:
        device = pick_device(name)
    except DeviceError as error:
        remedy = "-S train.device=auto, or a torch build for this machine's driver"
        yield Finding("device", "problem", error.reason, remedy)
        return None
    if device.type == "cpu":
        found = f"CPU, {os.cpu_count()} cores ({platform.machine()}); no CUDA, which is slower"
        yield Finding("device", "note", found)
    elif device.type == "mps":
        yield Finding("device", "ok", f"Apple GPU (mps), {platform.machine()}")
    else:
        facts = torch.cuda.get_device_properties(device)
        memory = in_words(facts.total_memory)
        yield Finding("device", "ok", f"{facts.name}, {memory}, CUDA {torch.version.cuda}")
    return device


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
