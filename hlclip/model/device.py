"""Where torch computes, and in which precision."""

import re
from typing import Literal

import torch

from hlclip.system import HlclipError


class DeviceError(HlclipError):
    """The requested device is not on this machine."""


def pick_device(name: str) -> torch.device:
    """The torch device of `cpu`, `cuda` or `cuda:N`; `auto` prefers CUDA and falls back to the CPU.

    Raises:
        DeviceError: not a device, or not on this machine.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise DeviceError(f"device {name!r} is unknown, expected auto, cpu, cuda or cuda:N")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = f"device {name!r} cannot be used ({str(error).splitlines()[0]})"
        raise DeviceError(reason, "try auto or cpu") from error
    return device


def autocast(device: torch.device, precision: Literal["auto", "fp32", "bf16"]) -> torch.autocast:
    """Autocast context of the tail; `auto` is bf16 on CUDA and fp32 elsewhere."""
    bf16 = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)
