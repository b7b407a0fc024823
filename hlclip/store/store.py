"""The content-addressed store: one HDF5 file per item, written once, checked when read.

Frames and activations (58 GB on QVHighlights) live here and not in DVC's cache, which would copy
and rehash them at every growth. What DVC tracks is a small manifest that names the items.

    <root>/<kind>/<first two digits of key>/<key>.h5

The key is a hash of everything the content depends on, so an item never changes once written, runs
share items, and a rerun finds what an interrupted one left. Same content, same bytes.
"""

import hashlib
import json
import os
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from hlclip.formats import Header, Item
from hlclip.store.item_file import DamagedItemError, StoredArray, digest, item_bytes, open_item
from hlclip.store.locks import hold
from hlclip.system import HlclipError, locked, write_whole

FORMAT_VERSION = 3
"""Part of every key: raise it when a change of code alters the numbers that are stored."""


class StoreError(HlclipError):
    """An item is missing, damaged or not as expected; says which file and what to do."""


class StoreUnreadableError(StoreError):
    """The file system refuses to open an item, which may well be whole: it stays."""


def repository() -> Path:
    """The repository that started the run, else the folder here.

    DVC sets `$DVC_ROOT` to it, also for experiments that run in a temporary copy.
    """
    return Path(os.environ.get("DVC_ROOT", ".")).absolute()


def store_root() -> Path:
    """`$HLCLIP_STORE`, else `.hlclip/store`; a relative one starts in `repository`."""
    return repository() / Path(os.environ.get("HLCLIP_STORE") or ".hlclip/store").expanduser()


def content_key(header: Header, content: str) -> str:
    """Key of an item: 40 hex digits, the first 28 over what the item is made from."""
    return hashlib.sha256(content.encode()).hexdigest()[:28] + header_key(header, FORMAT_VERSION)


def header_key(header: Header, format_version: int) -> str:
    """The last 12 digits of a key, over header and format: a file shows whether its own fits."""
    facts = {"format_version": format_version, "header": dict(header)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def item_path(folder: Path, key: str) -> Path:
    """File of `key` in a kind's folder, whether it exists or not."""
    return folder / key[:2] / f"{key}.h5"


def key_lock(folder: Path, key: str) -> AbstractContextManager[None]:
    """The lock of a key (and of those that begin alike) in a kind's folder."""
    return locked(folder / "locks" / f"{key[:2]}.lock")


class Store:
    """All items of one kind and one header.

    Args:
        root: folder of the store, see `store_root`.
        kind: `frames`, `images`, `texts` or `features`.
        header: the contract: written to each file, and compared with each file that is read.
    """

    def __init__(self, root: Path, kind: str, header: Header) -> None:
        self.folder = root / kind
        self.header = dict(header)
        self._verified: dict[str, StoredArray] = {}
        self._held = False

    def path(self, key: str) -> Path:
        """File of `key`, whether it exists or not."""
        return item_path(self.folder, key)

    def get_or_make(self, key: str, make: Callable[[], NDArray[Any]]) -> Item:
        """The item when it is there and whole, else what `make` gives, written whole or not at all.

        The key is locked meanwhile: two runs, or a run and an orphan of a killed one, never make
        the same item twice. The store is held as long as this object lives, see `store_use`.
        """
        self._hold()
        with key_lock(self.folder, key):
            try:
                found = self._open(key)
            except StoreUnreadableError:
                raise  # nothing says that the item is bad
            except StoreError:
                return self._write(key, make())
        return Item(key, found.seal.array, found.shape[0])

    def read(self, item: Item) -> NDArray[Any]:
        """The item's array; its bytes are checked against the digest at the first read of a run.

        Raises:
            StoreError: the file is missing or damaged, has another header, or is not the
                manifest's.
        """
        known = self._verified.get(item.key)
        if known is not None:
            return self._array(item.key, known)
        found = self._open(item.key)
        array = self._array(item.key, found)
        if digest(array) != found.seal.array:
            self._damaged(item.key, "its bytes do not match their digest")
        if found.seal.array != item.digest:
            # Whole, but made elsewhere: floating point differs between processors.
            raise StoreError(
                f"{self.path(item.key)}: is whole, but not what the manifest names", self._remedy()
            )
        self._verified[item.key] = found
        return array

    def read_into(self, item: Item, out: NDArray[Any]) -> None:
        """Fill `out`, contiguous, with the item's first rows, at best straight from the file.

        Only the first read of a run, which checks the whole item as `read` does, takes memory.

        Raises:
            StoreError: as `read`, and where the item has other axes or another dtype than `out`.
        """
        first = self.read(item) if item.key not in self._verified else None
        found = self._verified[item.key]
        if (found.dtype, found.shape[1:]) != (out.dtype, out.shape[1:]):
            raise StoreError(
                f"{self.path(item.key)}: {found.dtype} {list(found.shape)}, expected "
                f"{out.dtype} [..., {str(list(out.shape[1:]))[1:]}",
                self._remedy(),
            )
        if first is not None:
            out[...] = first[: len(out)]
            return
        left = out.reshape(-1).view(np.uint8).data
        try:
            with self.path(item.key).open("rb", buffering=0) as file:
                file.seek(found.seal.start)
                while left and (count := file.readinto(left)):
                    left = left[count:]
        except OSError as error:
            raise StoreError(f"{self.path(item.key)}: {error.strerror}", self._remedy()) from error
        if left:
            self._damaged(item.key, "shorter than its header says")

    def _remedy(self) -> str:
        return how_to_make(self.folder.name)

    def _hold(self) -> None:
        if not self._held:
            weakref.finalize(self, os.close, hold(self.folder.parent))
            self._held = True

    def _write(self, key: str, array: NDArray[Any]) -> Item:
        if array.size == 0:
            raise ValueError(f"item {key} is empty, shape {array.shape}")
        header = {**self.header, "key": key}
        write_whole(self.path(key), item_bytes(array, header, format_version=FORMAT_VERSION))
        return Item(key, digest(array), len(array))

    def _open(self, key: str) -> StoredArray:
        path = self.path(key)
        try:
            found = open_item(path)
        except DamagedItemError as error:
            self._damaged(key, str(error))
        except FileNotFoundError as error:
            raise StoreError(f"{path}: not in the store", self._remedy()) from error
        except OSError as error:
            raise StoreUnreadableError(
                f"{path}: cannot be opened: {error.strerror or error}",
                "`hlclip store verify` reads all files",
            ) from error
        expected = {"format_version": FORMAT_VERSION, **self.header, "key": key}
        header = {"format_version": found.seal.format_version, **found.header}
        for name, value in expected.items():
            if header.get(name) != value:
                raise StoreError(
                    f"{path}: header field {name!r} is {header.get(name)!r}, expected {value!r}",
                    self._remedy(),
                )
        return found

    def _array(self, key: str, found: StoredArray) -> NDArray[Any]:
        path, count = self.path(key), int(np.prod(found.shape))
        try:
            array = np.fromfile(path, found.dtype, count, offset=found.seal.start)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}", self._remedy()) from error
        if array.size != count:
            self._damaged(key, "shorter than its header says")
        return array.reshape(found.shape)

    def _damaged(self, key: str, reason: str) -> NoReturn:
        """Take a damaged file out of the way, so that the stage that owns it remakes it."""
        path = self.path(key)
        path.unlink(missing_ok=True)
        raise StoreError(f"{path}: damaged, removed: {reason}", self._remedy())


def how_to_make(kind: str) -> str:
    """How items of a kind are made again."""
    if kind == "features":
        return "`hlclip highlight` makes what is missing"
    stage = "frames" if kind == "frames" else "activations"
    return f"`dvc repro --force {stage}` makes what is missing"
