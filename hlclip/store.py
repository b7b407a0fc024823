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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import xxhash
from filelock import FileLock
from numpy.typing import NDArray

from hlclip.errors import HlclipError
from hlclip.files import replacing
from hlclip.manifests import Header, Item

FORMAT_VERSION = 2
"""Part of every key: raise it when a change of code alters the numbers that are stored."""


class StoreError(HlclipError):
    """An item is missing, damaged or not as expected; says which file and what to do."""


class StoreUnreadableError(StoreError):
    """The file system refuses to open an item, which may well be whole: it stays."""


def store_root() -> Path:
    """`$HLCLIP_STORE`, else `.hlclip/store` in the repository that started the run.

    DVC sets `$DVC_ROOT` to that repository, also for experiments that run in a temporary copy;
    a relative `$HLCLIP_STORE` starts there.
    """
    repository = Path(os.environ.get("DVC_ROOT", ".")).absolute()
    return repository / Path(os.environ.get("HLCLIP_STORE") or ".hlclip/store").expanduser()


def content_key(header: Header, content: str) -> str:
    """Key of an item: 40 hex digits over the format, the header and what the item is made from."""
    facts = {"format_version": FORMAT_VERSION, "header": dict(header), "content": content}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]


@dataclass(frozen=True)
class _Layout:
    """Where an item's array lies in its file: in one piece, so read without h5py's lock."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    digest: str


class Store:
    """All items of one kind and one header.

    Args:
        root: folder of the store, see `store_root`.
        kind: `frames`, `images` or `texts`.
        header: the contract: written to each file, and compared with each file that is read.
    """

    def __init__(self, root: Path, kind: str, header: Header) -> None:
        self.folder = root / kind
        self.header = dict(header)
        self._verified: dict[str, _Layout] = {}

    def path(self, key: str) -> Path:
        """File of `key`, whether it exists or not."""
        return self.folder / key[:2] / f"{key}.h5"

    def get_or_make(self, key: str, make: Callable[[], NDArray[Any]]) -> Item:
        """The item when it is there and whole, else what `make` gives, written whole or not at all.

        The key is locked meanwhile: two runs, or a run and an orphan of a killed one, never make
        the same item twice.
        """
        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{key[:2]}.lock"):
            try:
                layout = self._open(key)
            except StoreUnreadableError:
                raise  # nothing says that the item is bad
            except StoreError:
                return self._write(key, np.ascontiguousarray(make()))
        return Item(key, layout.digest, layout.shape[0])

    def read(self, item: Item) -> NDArray[Any]:
        """The item's array; its bytes are checked against the digest at the first read of a run.

        Raises:
            StoreError: the file is missing or damaged, has another header, or is not the
                manifest's.
        """
        layout = self._verified.get(item.key)
        if layout is not None:
            return self._array(item.key, layout)
        layout = self._open(item.key)
        array = self._array(item.key, layout)
        digest = _digest(array)
        if digest != layout.digest:
            self._damaged(item.key, "its bytes do not match its digest")
        if digest != item.digest:
            # Whole, but made elsewhere: floating point differs between processors.
            raise StoreError(
                f"{self.path(item.key)}: is whole, but not what the manifest speaks of; "
                f"{_remedy(self.folder.name)}"
            )
        self._verified[item.key] = layout
        return array

    def read_into(self, item: Item, out: NDArray[Any]) -> None:
        """Fill `out`, contiguous, with the item's first rows, at best straight from the file.

        Only the first read of a run, which checks the whole item as `read` does, takes memory.

        Raises:
            StoreError: as `read`, and where the item has other axes or another dtype than `out`.
        """
        first = self.read(item) if item.key not in self._verified else None
        layout = self._verified[item.key]
        if (layout.dtype, layout.shape[1:]) != (out.dtype, out.shape[1:]):
            raise StoreError(
                f"{self.path(item.key)}: {layout.dtype} {list(layout.shape)}, expected "
                f"{out.dtype} [..., {str(list(out.shape[1:]))[1:]}; {_remedy(self.folder.name)}"
            )
        if first is not None:
            out[...] = first[: len(out)]
            return
        left = out.reshape(-1).view(np.uint8).data
        try:
            with self.path(item.key).open("rb", buffering=0) as file:
                file.seek(layout.offset)
                while left and (count := file.readinto(left)):
                    left = left[count:]
        except OSError as error:
            raise StoreError(
                f"{self.path(item.key)}: {error.strerror}; {_remedy(self.folder.name)}"
            ) from error
        if left:
            self._damaged(item.key, "shorter than its header says")

    def _write(self, key: str, array: NDArray[Any]) -> Item:
        if array.size == 0:
            raise ValueError(f"item {key} is empty, shape {array.shape}")
        digest = _digest(array)
        attributes = {"format_version": FORMAT_VERSION, **self.header, "digest": digest}
        with (
            replacing(self.path(key)) as temporary,
            h5py.File(temporary, "w", libver=("v108", "v108")) as file,
        ):
            # h5py writes identical bytes only without time stamps and in a fixed order.
            dataset = file.create_dataset("data", data=array, track_times=False)
            for name, value in sorted(attributes.items()):
                # Fixed length: HDF5 can hang on a damaged heap of variable-length strings.
                fixed = np.bytes_(value.encode()) if isinstance(value, str) else value
                dataset.attrs[name] = fixed
        return Item(key, digest, array.shape[0])

    def _open(self, key: str) -> _Layout:
        path = self.path(key)
        if not path.exists():
            raise StoreError(f"{path}: not in the store; {_remedy(self.folder.name)}")
        try:
            # No HDF5 lock: a file never changes, and some network file systems have none.
            with h5py.File(path, "r", locking=False) as file:
                dataset = file["data"]
                assert isinstance(dataset, h5py.Dataset)
                found = {name: _plain(value) for name, value in dataset.attrs.items()}
                offset, shape, dtype = dataset.id.get_offset(), dataset.shape, dataset.dtype
        except (OSError, LookupError, ValueError, TypeError, AssertionError, RuntimeError) as error:
            refusal = getattr(error, "errno", None)  # the system's own, not HDF5's
            if refusal is not None:
                reason = os.strerror(refusal)
                raise StoreUnreadableError(f"{path}: cannot be opened: {reason}") from error
            self._damaged(key, f"not a whole HDF5 file ({error})")
        expected = {"format_version": FORMAT_VERSION, **self.header}
        for name, value in expected.items():
            if found.get(name) != value:
                raise StoreError(
                    f"{path}: header field {name!r} is {found.get(name)!r}, expected {value!r}; "
                    f"{_remedy(self.folder.name)}"
                )
        size = int(np.prod(shape)) * dtype.itemsize
        if offset is None or path.stat().st_size < offset + size:
            self._damaged(key, "shorter than its header says")
        return _Layout(offset, shape, dtype, str(found["digest"]))

    def _array(self, key: str, layout: _Layout) -> NDArray[Any]:
        count = int(np.prod(layout.shape))
        try:
            array = np.fromfile(self.path(key), layout.dtype, count, offset=layout.offset)
        except OSError as error:
            raise StoreError(
                f"{self.path(key)}: {error.strerror}; {_remedy(self.folder.name)}"
            ) from error
        if array.size != count:
            self._damaged(key, "shorter than its header says")
        return array.reshape(layout.shape)

    def _damaged(self, key: str, reason: str) -> NoReturn:
        """Take a damaged file out of the way, so that the stage that owns it remakes it."""
        path = self.path(key)
        path.unlink(missing_ok=True)
        raise StoreError(f"{path}: damaged, removed: {reason}; {_remedy(self.folder.name)}")


def _digest(array: NDArray[Any]) -> str:
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(array).data)


def _plain(value: Any) -> str | int | float:
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value


def _remedy(kind: str) -> str:
    stage = "frames" if kind == "frames" else "activations"
    return f"`dvc repro --force {stage}` makes what is missing"
