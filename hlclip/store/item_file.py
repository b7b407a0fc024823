"""One array in one HDF5 file that is sealed: a change of any of its bytes is found.

HDF5 sums up only a part of its own structures, and can hang on damaged ones. So the file begins
with a user block, which HDF5 passes over, and there stand the size of the file, where the array
lies, and two digests that together cover every other byte. They are checked before HDF5 parses
anything; any HDF5 library reads the file as it is.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from hlclip.formats import Header

_BLOCK = 512
"""Bytes of the user block; HDF5 wants a power of two from 512 on."""
_PIECE = 1 << 20
_HDF5 = b"\x89HDF\r\n\x1a\n"


class DamagedItemError(ValueError):
    """The file is not as it was written; the message is the reason alone."""


class UnsealedError(DamagedItemError):
    """HDF5 without a seal, as hlclip wrote it up to store format 2."""


@dataclass(frozen=True)
class Checksums:
    """What the first bytes of a file say of all the others."""

    format_version: int
    size: int
    """Bytes of the file."""
    start: int
    """Offset of the array, which lies in one piece."""
    stop: int
    array: str
    """xxh3_128 of the array's bytes."""
    rest: str
    """xxh3_128 of what lies between this block and the array, and behind the array."""

    def block(self) -> bytes:
        return json.dumps(asdict(self)).encode().ljust(_BLOCK, b"\0")


@dataclass(frozen=True)
class StoredArray:
    """A file's header, and where its array lies: it can be read without h5py's lock."""

    header: dict[str, str | int | float]
    seal: Checksums
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def item_bytes(array: NDArray[Any], header: Header, *, format_version: int) -> bytes:
    """The file of an array with its header; same content, same bytes."""
    array = np.ascontiguousarray(array)
    attributes = {**header, "format_version": format_version, "digest": digest(array)}
    # In memory: HDF5 crashes the process when a disk fills up while it closes a file. The name is
    # for HDF5 alone, which does not open one twice at a time.
    with h5py.File(
        uuid4().hex, "w", driver="core", backing_store=False, libver=("v108", "v108")
    ) as file:
        # h5py writes identical bytes only without time stamps and in a fixed order.
        dataset = file.create_dataset("data", data=array, track_times=False)
        for name, value in sorted(attributes.items()):
            # Fixed length: what HDF5 keeps of other strings lies in a heap of its own.
            dataset.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value
        file.flush()
        content = memoryview(file.id.get_file_image())
        offset = dataset.id.get_offset()
    assert offset is not None
    rest = xxhash.xxh3_128(content[:offset])
    rest.update(content[offset + array.nbytes :])
    start, size = _BLOCK + offset, _BLOCK + len(content)
    seal = Checksums(
        format_version, size, start, start + array.nbytes, digest(array), rest.hexdigest()
    )
    return b"".join((seal.block(), content))


def read_checksums(path: Path) -> Checksums:
    """The seal, without a look at the rest of the file, except at its size.

    Raises:
        UnsealedError, DamagedItemError: the file has none, or not the size that it says.
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        return _seal(file)


def open_item(path: Path, *, whole: bool = False) -> StoredArray:
    """Check the seal, then the header; `whole` checks the bytes of the array, too.

    Raises:
        UnsealedError, DamagedItemError: its bytes are not those that were written; says why.
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        seal = _seal(file)
        if _digest_of(file, (_BLOCK, seal.start), (seal.stop, seal.size)) != seal.rest:
            raise DamagedItemError("its header's bytes do not match their digest")
        if whole and _digest_of(file, (seal.start, seal.stop)) != seal.array:
            raise DamagedItemError("its bytes do not match their digest")
    # No HDF5 lock: a file never changes, and some network file systems have none.
    with h5py.File(path, "r", locking=False) as file:
        dataset = file["data"]
        assert isinstance(dataset, h5py.Dataset)
        header = {name: _plain(value) for name, value in dataset.attrs.items()}
        shape, dtype = dataset.shape, dataset.dtype
    expected = (header.pop("format_version"), header.pop("digest"))
    length = int(np.prod(shape)) * dtype.itemsize
    if expected != (seal.format_version, seal.array) or length != seal.stop - seal.start:
        raise DamagedItemError("its seal is not of its header")
    return StoredArray(header, seal, shape, dtype)


def digest(array: NDArray[Any]) -> str:
    """xxh3_128 of an array's bytes."""
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(array).data)


def _seal(file: BinaryIO) -> Checksums:
    block = file.read(_BLOCK)
    size = os.fstat(file.fileno()).st_size
    if block.startswith(_HDF5):
        raise UnsealedError("it has no seal: older than store format 3, or damaged")
    try:
        seal = Checksums(**json.loads(block.rstrip(b"\0")))
        whole = seal.block() == block and _BLOCK <= seal.start <= seal.stop <= seal.size
        whole &= all(type(place) is int for place in (seal.start, seal.stop, seal.size))
    except (ValueError, TypeError) as error:
        raise DamagedItemError("empty" if size == 0 else "its first bytes are no seal") from error
    if not whole:
        raise DamagedItemError("its seal is damaged")
    if size != seal.size:
        raise DamagedItemError(f"it has {size:,} bytes, and had {seal.size:,} when it was written")
    return seal


def _digest_of(file: BinaryIO, *ranges: tuple[int, int]) -> str:
    hashed = xxhash.xxh3_128()
    for start, stop in ranges:
        file.seek(start)
        left = stop - start
        while piece := file.read(min(_PIECE, left)):
            hashed.update(piece)
            left -= len(piece)
    return hashed.hexdigest()


def _plain(value: Any) -> str | int | float:
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value
