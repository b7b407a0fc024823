"""What a device does at most: products, copies in its memory, copies from the host."""

import time
from collections.abc import Callable
from statistics import median

import torch


def wait(device: torch.device) -> None:
    """Wait until the device has done all of its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: torch.device, *, rounds: int) -> float:
    """Median of some rounds, after one that warms up."""
    found = []
    for _ in range(rounds + 1):
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        found.append(time.perf_counter() - start)
    return median(found[1:])


def peak_operations(device: torch.device, dtype: torch.dtype, *, size: int) -> float:
    """Operations a second of a product of two square matrices of `size`."""
    left, right = torch.randn(2, size, size, device=device).to(dtype)
    return 2 * size**3 / seconds_of(lambda: left @ right, device, rounds=20)


def peak_memory(device: torch.device, *, size: int) -> float:
    """Bytes a second that a copy of `size` bytes reads and writes."""
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / seconds_of(lambda: target.copy_(source), device, rounds=20)


def peak_from_host(device: torch.device, *, size: int) -> float:
    """Bytes a second of a copy from the host's page-locked memory."""
    source = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    target = torch.empty(size, dtype=torch.uint8, device=device)
    return size / seconds_of(lambda: target.copy_(source, non_blocking=True), device, rounds=20)
