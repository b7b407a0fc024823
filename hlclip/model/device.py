"""The device that computes: its precision, the same bits at each run, and a lack of its memory.

trunk              float32; its tokens are stored in `encoder.dtype`
training steps     `train.precision`: `auto` is bf16 on CUDA and float32 on a CPU
scores             float32, of the pipeline and of any other video

float32 is IEEE float32 everywhere. torch's default on CUDA is TF32 for convolutions, which has 11
significant bits: in the patch embedding it would change tokens more than their rounding to float16.
"""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from hlclip.model.weight_files import NO_MEMORY, short_reason
from hlclip.system import HlclipError

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""Variable that gives cuBLAS fixed memory: without it the same product may have other bits."""


class DeviceError(HlclipError):
    """The requested device is not on this machine, or has too little memory."""


def pick_device(name: str) -> torch.device:
    """The torch device of `cpu`, `cuda`, `cuda:N` or `mps` (Apple); `auto` is CUDA, else the CPU.

    The first time that it is CUDA, `set_up_cuda` runs.

    Raises:
        DeviceError: not a device, or not on this machine.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", name):
        raise DeviceError(f"device {name!r} is unknown, expected auto, cpu, cuda, cuda:N or mps")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        set_up_cuda()
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = f"device {name!r} cannot be used ({str(error).splitlines()[0]})"
        count = torch.cuda.device_count()
        there = ["auto", "cpu", *(["cuda"] if count else []), *(f"cuda:{n}" for n in range(count))]
        there += ["mps"] if torch.backends.mps.is_available() else []
        raise DeviceError(reason, f"this machine has {', '.join(there)}") from error
    return device


def set_up_cuda() -> None:
    """Make this process compute float32 on CUDA as float32, and the same product to the same bits.

    It must run before the first product: cuBLAS and torch read the variable once.
    """
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some releases advise names that others do not have
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False  # it chooses by speed, which differs from run to run
    torch.backends.cudnn.deterministic = True


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Within the block a backward pass on `device` gives the same bits at each run.

    On CUDA torch then adds up in a fixed order, in attention for example. On a CPU a fixed number
    of threads does the same, and nothing is changed.
    """
    if device.type != "cuda":
        yield
        return
    set_up_cuda()
    memory: Any = torch.utils.deterministic
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        memory.fill_uninitialized_memory,
    )
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False  # costs time, and nothing here reads such memory
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = before[2]


def autocast(device: torch.device, precision: Literal["auto", "fp32", "bf16"]) -> torch.autocast:
    """Autocast context of training steps, from the parameter `train.precision`."""
    bf16 = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that a GPU or the host had no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and NO_MEMORY.search(str(error)) is not None


@contextmanager
def within_memory(key: str | None = None, value: int = 1) -> Iterator[None]:
    """Turn a lack of memory, a GPU's or the host's, into an error that names what to lower.

    Args:
        key: the parameter that decides how much memory is taken; None where there is none.
        value: its value now. The error advises half of it, unless it is 1.

    Raises:
        DeviceError: what was run inside got no memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        remedy, lower = "free memory on the device or use another one", {}
        if key is not None and value > 1:
            remedy, lower = f"{remedy}, or lower", {key: value // 2}
        raise DeviceError(
            f"not enough memory: {short_reason(error)}", remedy, settings=lower
        ) from error
