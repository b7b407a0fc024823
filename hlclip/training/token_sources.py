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
from hlclip.model import lacks_memory, stored_array, stored_tokens
from hlclip.store import Store
from hlclip.system import free_host_bytes

log = logging.getLogger(__name__)

Location = Literal["device", "pinned", "disk"]
"""GPU memory, page-locked host memory that a GPU copies from by itself, or the store's files."""

Span = tuple[Item, int]
"""An item, and how many of its first rows are read."""

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
        RuntimeError, MemoryError: torch cannot allocate the memory, see `lacks_memory`.
    """

    def __init__(
        self,
        disk: DiskSource,
        items: Iterable[Item],
        location: Location,
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
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # another stream may fill the memory now

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


def room(location: Location, device: torch.device, *, reserve: int, sharers: int) -> int:
    """Bytes of tokens that a location has room for; none for batches on a CPU.

    Args:
        reserve: bytes of GPU memory that the steps need.
        sharers: processes that share the host's memory, each with a GPU of its own.
    """
    if device.type == "cpu":
        return 0
    if location == "pinned":
        return int(HOST_SHARE * free_host_bytes()) // sharers
    free, _ = torch.cuda.mem_get_info(device)
    # torch keeps memory for itself that it has freed.
    own = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + own - reserve


def nearest_source(
    disk: DiskSource,
    items: Sequence[Item],
    *,
    device: torch.device,
    reserve: int,
    sharers: int,
    locations: Sequence[Location],
) -> TokenSource:
    """The first of `locations` that has room for all items, or `disk`.

    Args:
        disk: reads the items.
        device, reserve, sharers: as in `room`.
    """
    needed = sum({item.key: item.length for item in items}.values()) * disk.row_bytes
    for location in locations:
        if needed > room(location, device, reserve=reserve, sharers=sharers):
            continue
        try:
            return MemorySource(disk, items, location, device=device)
        except (MemoryError, RuntimeError) as error:
            if not lacks_memory(error):
                raise
            reason = str(error).splitlines()[0]
            log.warning("%d bytes of tokens get no memory (%s): %s", needed, location, reason)
        if device.type == "cuda":
            torch.cuda.empty_cache()  # what was allocated before memory ran out
    return disk
