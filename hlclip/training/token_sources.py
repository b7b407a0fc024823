"""Cached tokens read from disk, or kept in memory between epochs.

Where GPU or host memory has room for all tokens of a split, they are read from disk in the first
epoch only. On a CPU the system's page cache does the same, and it gives memory back when other
programs need it.
"""

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hlclip.formats import Item
from hlclip.model import stored_array, stored_tokens
from hlclip.store import Store
from hlclip.system import free_host_bytes

log = logging.getLogger(__name__)

Location = Literal["device", "pinned", "disk"]
"""GPU memory, page-locked host memory that a GPU copies from by itself, or the store's files."""

Span = tuple[Item, int]
"""An item, and how many of its first rows are read."""

DEVICE_RESERVE = 8 * 2**30
"""Bytes of GPU memory left to weights, optimizer and a step's intermediate results."""
HOST_SHARE = 0.5
"""Largest share of free memory that is page-locked, as it can be neither swapped nor taken back."""
SLAB = 2**28
"""Bytes of an allocation for many items; torch rounds page-locked ones up to a power of two."""


class DiskSource:
    """Reads each batch from the store into one of two buffers, in turn.

    It holds two batches, and a whole item while that item is checked at its first read.

    Args:
        example: any item of the store, which shows the shape and dtype of a row.
        pinned: page-lock the buffers, so that a GPU copies from them by itself.
    """

    location: Location = "disk"

    def __init__(self, store: Store, example: Item, *, pinned: bool = False) -> None:
        empty = stored_tokens(store.read(example)[:0], str(store.header["dtype"]))
        self.row_shape, self.dtype = empty.shape[1:], empty.dtype
        self.row_bytes = self.row_shape.numel() * self.dtype.itemsize
        self._store = store
        self._pinned = pinned
        self._buffers = [empty, empty]

    def gather(self, spans: Sequence[Span], pool: Executor | None = None) -> Tensor:
        """Rows of all spans, one after another.

        Args:
            spans: none give no rows.
            pool: threads that read items from disk; None for the calling thread alone.

        Returns:
            [rows, ...] in the cache's dtype, valid until the next but one call.
        """
        items, counts = [item for item, _ in spans], [count for _, count in spans]
        rows = sum(counts)
        buffer = self._buffers.pop(0)
        if len(buffer) < rows:
            buffer = torch.empty(rows, *self.row_shape, dtype=self.dtype, pin_memory=self._pinned)
        self._buffers.append(buffer)
        parts = np.split(stored_array(buffer[:rows]), np.cumsum(counts)[:-1])
        list((pool.map if pool else map)(self._store.read_into, items, parts))
        return buffer[:rows]


class MemorySource:
    """Reads each item from disk once, then serves it from memory.

    Args:
        items: all items that will be read; memory for them is allocated at once.
        device: device of the batches.

    Raises:
        RuntimeError: torch cannot allocate the memory.
    """

    def __init__(
        self,
        disk: DiskSource,
        items: Iterable[Item],
        location: Literal["device", "pinned"],
        *,
        device: torch.device,
    ) -> None:
        self.location: Location = location
        self._disk = disk
        self._device = device
        self._unread = {item.key: item for item in items}
        self._tokens: dict[str, Tensor] = {}
        slab = torch.empty(0, *disk.row_shape, dtype=disk.dtype)
        for item in self._unread.values():
            if len(slab) < item.length:
                slab = torch.empty(
                    max(item.length, SLAB // disk.row_bytes),
                    *disk.row_shape,
                    dtype=disk.dtype,
                    device=device if location == "device" else "cpu",
                    pin_memory=location == "pinned" and device.type == "cuda",
                )
            self._tokens[item.key], slab = slab[: item.length], slab[item.length :]

    def gather(self, spans: Sequence[Span], pool: Executor | None = None) -> Tensor:
        """Rows of all spans, one after another, as `DiskSource.gather`; on `device`."""
        if not spans:
            return self._disk.gather(spans)
        missing = {item.key: item for item, _ in spans if item.key in self._unread}
        if missing:
            whole = [(item, item.length) for item in missing.values()]
            rows = self._disk.gather(whole, pool)
            for key, part in zip(missing, rows.split([n for _, n in whole]), strict=True):
                self._tokens[key].copy_(part)
                del self._unread[key]
        parts = [self._tokens[item.key][:count] for item, count in spans]
        return torch.cat([part.to(self._device, non_blocking=True) for part in parts])


TokenSource = DiskSource | MemorySource


def choose_location(needed: int, *, device_free: int, host_free: int) -> Location:
    """The fastest location that has room for all tokens of a split.

    All three are bytes: of the tokens, of free GPU memory (0 without a GPU), of free host memory.
    """
    if needed <= device_free - DEVICE_RESERVE:
        return "device"
    if device_free and needed <= HOST_SHARE * host_free:
        return "pinned"
    return "disk"


def choose_source(
    store: Store, items: Sequence[Item], *, device: torch.device, sharers: int = 1
) -> TokenSource:
    """The fastest source of a split's items for training on `device` that has room for them.

    Args:
        sharers: processes that share the host's memory, each with a GPU of its own.
    """
    cuda = device.type == "cuda"
    disk = DiskSource(store, items[0], pinned=cuda)
    rows = sum({item.key: item.length for item in items}.values())
    location = choose_location(
        rows * disk.row_bytes,
        device_free=torch.cuda.mem_get_info(device)[0] if cuda else 0,
        host_free=free_host_bytes() // sharers if cuda else 0,
    )
    if location == "disk":
        return disk
    try:
        return MemorySource(disk, items, location, device=device)
    except RuntimeError as error:  # what torch raises when it cannot allocate
        log.warning("activations are read from disk in every epoch: %s", str(error).splitlines()[0])
        return disk
