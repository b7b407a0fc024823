"""Where the cached tokens live while batches are made of them: on the GPU, beside it, or on disk.

A training run meets the same tokens once an epoch. Where they fit they are read from disk in the
first epoch only; on the CPU the system's page cache does as much and gives way to others.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from hlclip.formats import Item
from hlclip.store import Store
from hlclip.system import free_host_bytes

log = logging.getLogger(__name__)

Place = Literal["device", "pinned", "disk"]

DEVICE_RESERVE = 8 * 2**30
"""Bytes of GPU memory left to weights, optimiser and a step's intermediate results."""
HOST_SHARE = 0.5
"""Pinned at most, of the memory that is free: it can be neither swapped nor taken back."""
SLAB = 2**28
"""Bytes of an allocation that holds many items; torch rounds pinned ones up to a power of two."""

Wanted = Sequence[tuple[Item, int]]
"""Items, one after another, and how many of its first rows of each."""
Each = Callable[..., Any]
"""`map`, or that of a pool of threads."""


def choose_place(needed: int, *, device_free: int, host_free: int) -> Place:
    """The nearest place that holds all tokens of a split.

    Args:
        needed: bytes of the tokens, each item counted once.
        device_free: bytes free on the GPU; 0 without one.
        host_free: bytes of memory free on the machine.
    """
    if needed <= device_free - DEVICE_RESERVE:
        return "device"
    if device_free and needed <= HOST_SHARE * host_free:
        return "pinned"
    return "disk"


class Source(Protocol):
    """Gives the rows of a batch."""

    def gather(self, wanted: Wanted, each: Each = map) -> Tensor:
        """[rows, ...] of all that is wanted, one after another; valid until the next but one."""
        ...


class FromDisk:
    """Reads each batch from its files into one of two buffers, by turns.

    Holds two batches, and while an item is checked at its first read that item once more.

    Args:
        store: holds the items.
        first: any of them, which tells the shape of a row.
        pinned: let a GPU copy from the buffers by itself.
    """

    def __init__(self, store: Store, first: Item, *, pinned: bool = False) -> None:
        like = torch.from_numpy(store.read(first)[:0])
        self._store = store
        self._pinned = pinned
        self._buffers = [like, like]

    @property
    def row(self) -> tuple[torch.Size, torch.dtype]:
        """Shape and dtype of a row."""
        return self._buffers[0].shape[1:], self._buffers[0].dtype

    def gather(self, wanted: Wanted, each: Each = map) -> Tensor:
        shape, dtype = self.row
        rows = sum(count for _, count in wanted)
        buffer = self._buffers.pop(0)
        if len(buffer) < rows:
            buffer = torch.empty(rows, *shape, dtype=dtype, pin_memory=self._pinned)
        self._buffers.append(buffer)
        filled = buffer[:rows]
        parts = filled.numpy()
        ends = np.cumsum([count for _, count in wanted])

        def read(item: Item, end: int, count: int) -> None:
            self._store.read_into(item, parts[end - count : end])

        list(each(read, [item for item, _ in wanted], ends, [count for _, count in wanted]))
        return filled


class InMemory:
    """Reads each item once, then gives it from the memory that holds it.

    Args:
        disk: reads items that are not held yet.
        items: all that will be asked for; their room is taken at once.
        place: `device`, or `pinned` for memory of the host that a GPU copies from by itself.
        device: where batches come to lie.
    """

    def __init__(
        self,
        disk: FromDisk,
        items: Iterable[Item],
        place: Literal["device", "pinned"],
        *,
        device: torch.device,
    ) -> None:
        self._disk = disk
        self._device = device
        self._read: set[str] = set()
        self._rooms: dict[str, Tensor] = {}
        shape, dtype = disk.row
        free = torch.empty(0, *shape, dtype=dtype)
        for item in items:
            if item.key in self._rooms:
                continue
            if len(free) < item.length:
                free = torch.empty(
                    max(item.length, SLAB // (shape.numel() * dtype.itemsize)),
                    *shape,
                    dtype=dtype,
                    device=device if place == "device" else "cpu",
                    pin_memory=place == "pinned" and device.type == "cuda",
                )
            self._rooms[item.key], free = free[: item.length], free[item.length :]

    def gather(self, wanted: Wanted, each: Each = map) -> Tensor:
        absent = {item.key: item for item, _ in wanted if item.key not in self._read}
        if absent:
            lengths = [item.length for item in absent.values()]
            read = self._disk.gather(list(zip(absent.values(), lengths, strict=True)), each)
            for key, rows in zip(absent, read.split(lengths), strict=True):
                self._rooms[key].copy_(rows)
            self._read |= absent.keys()
        shape, dtype = self._disk.row
        counts = [count for _, count in wanted]
        gathered = torch.empty(sum(counts), *shape, dtype=dtype, device=self._device)
        for (item, count), part in zip(wanted, gathered.split(counts), strict=True):
            part.copy_(self._rooms[item.key][:count], non_blocking=True)
        return gathered


def source(store: Store, items: Sequence[Item], *, device: torch.device) -> tuple[Source, Place]:
    """Where a split's items are best kept for training on `device`, chosen by what is free."""
    cuda = device.type == "cuda"
    disk = FromDisk(store, items[0], pinned=cuda)
    shape, dtype = disk.row
    rows = sum({item.key: item.length for item in items}.values())
    place = choose_place(
        rows * shape.numel() * dtype.itemsize,
        device_free=torch.cuda.mem_get_info(device)[0] if cuda else 0,
        host_free=free_host_bytes() if cuda else 0,
    )
    if place == "disk":
        return disk, place
    try:
        return InMemory(disk, items, place, device=device), place
    except RuntimeError as error:  # torch's word for memory that is not to be had
        log.warning("activations are read from disk in every epoch: %s", str(error).splitlines()[0])
        return disk, "disk"
