"""The content-addressed store: one HDF5 file per item, written once, checked when read.

Frames and activations (58 GB on QVHighlights) live here and not in DVC's cache, which would copy
and rehash all of them whenever some are added. DVC tracks a small manifest that names the items.

    <root>/<kind>/<first two digits of key>/<key>.h5

The key is a hash of everything that the content depends on. So an item never changes once written,
runs share items, and a rerun finds the items of an interrupted run. Same content, same bytes.
"""

import errno
import hashlib
import json
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlclip.formats import Header, Item
from hlclip.store.item_file import (
    DamagedItemError,
    StoredArray,
    digest,
    item_bytes,
    open_item,
    read_checksums,
)
from hlclip.store.place import LIMIT_BYTES, VARIABLE, is_limited, trim
from hlclip.system import HlclipError, WriteError, locked, system_remedy, write_whole

FORMAT_VERSION = 3
"""Part of every key: raise it when a change of code alters the numbers that are stored."""

LOCK = "in-use.lock"
"""Runs that add to a store share this lock, garbage collection holds it alone.

Until its stage ends, no manifest names the items of a run, nor the state of a training. Nothing
else tells them from garbage.
"""


class StoreError(HlclipError):
    """An item is missing, damaged or not as expected; says which file and what to do."""


class StoreUnreadableError(StoreError):
    """The system refuses to open or read an item; it may be whole, so it is not removed."""


class StoreInUseError(HlclipError):
    """Another process adds to the store."""


def content_key(header: Header, content: str) -> str:
    """Key of an item: 40 hex digits, 28 for what it is made from and 12 for its header."""
    return hashlib.sha256(content.encode()).hexdigest()[:28] + header_key(header, FORMAT_VERSION)


def header_key(header: Header, format_version: int) -> str:
    """The last 12 digits of a key, from header and format alone: a file is checked by itself."""
    facts = {"format_version": format_version, "header": dict(header)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def item_path(folder: Path, key: str) -> Path:
    """Path of the item `key` in the folder of its kind."""
    return folder / key[:2] / f"{key}.h5"


def key_lock(folder: Path, key: str) -> AbstractContextManager[object]:
    """The lock of a key; keys with the same first two digits share one."""
    return locked(folder / "locks" / f"{key[:2]}.lock")


@contextmanager
def holding(root: Path) -> Iterator[Path]:
    """Hold a store, with others, while a stage runs, until its manifest names what it made.

    A store that may only be read is not held: nothing can be removed from it either.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(root / LOCK, shared=True))
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES):
                raise
        except WriteError as error:
            remedy = f"{error.remedy()}; {VARIABLE} names another folder for the store"
            raise WriteError(error.reason, remedy) from error
        yield root


@contextmanager
def hold_alone(root: Path) -> Iterator[None]:
    """Keep runs from adding to a store.

    Raises:
        StoreInUseError: a run is adding to it.
    """
    try:
        with locked(root / LOCK, wait=False):
            yield
    except BlockingIOError as error:
        raise StoreInUseError(
            f"{root} is in use by a run (dvc repro, hlclip highlight, hlclip demo): no manifest "
            "names yet what it makes",
            "wait for it, or end it, and run this again",
        ) from error


class Store:
    """All items of one kind and one header.

    Args:
        root: folder of the store, see `find_store`. In the user's own, `get_or_make` notes when an
            item was used, and removes the least recently used ones beyond the limit.
        kind: `frames`, `images`, `texts` or `features`.
        header: written to each file, and compared with the header of each file that is read.
    """

    def __init__(self, root: Path, kind: str, header: Header) -> None:
        self.folder = root / kind
        self.header = dict(header)
        self.made: list[str] = []
        """Keys of the items that this object has written."""
        self._verified: dict[str, StoredArray] = {}
        self._held = False
        self._limited = is_limited(root)

    def path(self, key: str) -> Path:
        """Path of the item `key`, whether it exists or not."""
        return item_path(self.folder, key)

    def holds(self, key: str) -> bool:
        """Whether the item is there, by the size of its file and its checksum block alone.

        It is a quick look at many items, without a lock; `get_or_make` checks the header, too.

        Raises:
            StoreUnreadableError: the system refuses to read the file.
        """
        try:
            read_checksums(self.path(key))
        except (FileNotFoundError, DamagedItemError):
            return False
        except OSError as error:
            raise self._unreadable(key, error) from error
        return True

    def get_or_make(self, key: str, make: Callable[[], NDArray[Any]]) -> Item:
        """The item; if it is missing or damaged, `make` makes its array, written whole or not.

        The key is locked meanwhile: two runs never make the same item twice, even if one is an
        orphan of a killed run. From the first call on, this object holds the store, see `holding`.
        """
        if not self._held:
            stack = ExitStack()
            stack.enter_context(holding(self.folder.parent))
            weakref.finalize(self, stack.close)
            self._held = True
        with key_lock(self.folder, key):
            try:
                stored = self._open(key)
            except StoreUnreadableError:
                raise  # the item may be whole
            except StoreError:
                item = self._write(key, make())
            else:
                if self._limited:
                    with suppress(OSError):  # removed meanwhile, or a disk that may only be read
                        os.utime(self.path(key))
                return Item(key, stored.checksums.array, stored.shape[0])
        if self._limited:
            trim(self.folder.parent, LIMIT_BYTES)
        return item

    def read(self, item: Item) -> NDArray[Any]:
        """The item's array; its bytes are checked against the digest at the first read of a run.

        Raises:
            StoreError: the file is missing or damaged, has another header, or is not the item
                that the manifest names.
        """
        key = item.key
        stored = self._verified.get(key) or self._open(key)
        array = np.empty(stored.shape, stored.dtype)
        self._fill(key, stored, array)
        if key not in self._verified:
            if digest(array) != stored.checksums.array:
                raise self._remove_damaged(key, "its bytes do not match their digest")
            if stored.checksums.array != item.digest:
                # Whole, but made on another machine: floating point differs between processors.
                raise self._error(key, "is whole, but not what the manifest names")
            self._verified[key] = stored
        return array

    def read_into(self, item: Item, out: NDArray[Any]) -> None:
        """Fill `out`, contiguous, with the item's first rows.

        The first read of a run checks the whole item, as `read` does, and needs memory for it.

        Raises:
            StoreError: as `read`, or the item has other axes or another dtype than `out`.
        """
        key = item.key
        checked = self.read(item) if key not in self._verified else None
        stored = self._verified[key]
        if (stored.dtype, stored.shape[1:]) != (out.dtype, out.shape[1:]):
            expected = f"{out.dtype} [..., {str(list(out.shape[1:]))[1:]}"
            raise self._error(key, f"{stored.dtype} {list(stored.shape)}, expected {expected}")
        if checked is None:
            self._fill(key, stored, out)
        else:
            out[...] = checked[: len(out)]

    def _fill(self, key: str, stored: StoredArray, out: NDArray[Any]) -> None:
        """Read the first bytes of the array from its file straight into `out`."""
        rest = out.reshape(-1).view(np.uint8).data
        try:
            with self.path(key).open("rb", buffering=0) as file:
                file.seek(stored.checksums.start)
                while rest and (count := file.readinto(rest)):
                    rest = rest[count:]
        except OSError as error:
            raise self._unreadable(key, error) from error
        if rest:
            raise self._remove_damaged(key, "shorter than its header says")

    def _write(self, key: str, array: NDArray[Any]) -> Item:
        if array.size == 0:
            raise ValueError(f"item {key} is empty, shape {array.shape}")
        header = {**self.header, "key": key}
        write_whole(self.path(key), item_bytes(array, header, format_version=FORMAT_VERSION))
        self.made.append(key)
        return Item(key, digest(array), len(array))

    def _open(self, key: str) -> StoredArray:
        try:
            stored = open_item(self.path(key))
        except DamagedItemError as error:
            raise self._remove_damaged(key, str(error)) from error
        except OSError as error:
            raise self._unreadable(key, error) from error
        expected = {"format_version": FORMAT_VERSION, **self.header, "key": key}
        header = {"format_version": stored.checksums.format_version, **stored.header}
        for name, value in expected.items():
            if (actual := header.get(name)) != value:
                reason = f"header field {name!r} is {actual!r}, expected {value!r}"
                raise self._error(key, reason)
        return stored

    def _remove_damaged(self, key: str, reason: str) -> StoreError:
        """Remove a damaged file, so that its stage makes it again."""
        self.path(key).unlink(missing_ok=True)
        return self._error(key, f"damaged, removed: {reason}")

    def _unreadable(self, key: str, error: OSError) -> StoreError:
        if isinstance(error, FileNotFoundError):
            return self._error(key, "not in the store")
        reason = f"{self.path(key)}: cannot be read: {error.strerror or error}"
        return StoreUnreadableError(reason, system_remedy(error.errno))

    def _error(self, key: str, reason: str) -> StoreError:
        return StoreError(f"{self.path(key)}: {reason}", how_to_make(self.folder.name))


def how_to_make(kind: str) -> str:
    """Which command makes missing items of a kind."""
    if kind == "features":
        return "`hlclip highlight` makes what is missing"
    if kind == "frames":
        return "`dvc repro --force frames` makes what is missing"
    own = "`hlclip highlight` that of your own videos"
    return f"`dvc repro --force activations` makes what is missing, {own}"
