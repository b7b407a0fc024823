"""One array in one HDF5 file with checksums: a change of any of its bytes is found.

HDF5 checks only a part of its own structures, and can hang on damaged ones. So the file begins with
a checksum block, in what HDF5 calls the user block and skips. The block holds the size of the file,
the place of the array, and two digests that together cover every other byte. They are checked
before HDF5 parses anything. Any HDF5 library can read the file.
"""

import errno
import json
import os
import re
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
"""Bytes of the checksum block; HDF5 requires a power of two, 512 or more."""
_PIECE = 1 << 20


class DamagedItemError(ValueError):
    """The file is not as it was written; the message is the reason alone."""


@dataclass(frozen=True)
class Checksums:
    """The checksum block of a file: what it says of all other bytes."""

    format_version: int
    size: int
    """Bytes of the file."""
    start: int
    """Offset of the array, which lies in one piece."""
    stop: int
    array: str
    """xxh3_128 of the array's bytes."""
    rest: str
    """xxh3_128 of the bytes between this block and the array, and after the array."""

    def block(self) -> bytes:
        return json.dumps(asdict(self)).encode().ljust(_BLOCK, b"\0")


@dataclass(frozen=True)
class StoredArray:
    """The header of a file, and where its array lies: no reader waits for h5py's global lock."""

    header: dict[str, str | int | float]
    checksums: Checksums
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def item_bytes(array: NDArray[Any], header: Header, *, format_version: int) -> bytes:
    """The content of an item file; same array and header, same bytes."""
    array = np.ascontiguousarray(array)
    attributes = {**header, "format_version": format_version, "digest": digest(array)}
    # In memory: HDF5 crashes the process when a disk fills up while it closes a file. HDF5 does not
    # open two files of one name, hence the random name.
    with h5py.File(
        uuid4().hex, "w", driver="core", backing_store=False, libver=("v108", "v108")
    ) as file:
        # h5py writes identical bytes only without time stamps and in a fixed order.
        dataset = file.create_dataset("data", data=array, track_times=False)
        for name, value in sorted(attributes.items()):
            # Fixed length: HDF5 keeps other strings in a heap.
            dataset.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value
        file.flush()
        content = memoryview(file.id.get_file_image())
        offset = dataset.id.get_offset()
    assert offset is not None
    rest = xxhash.xxh3_128(content[:offset])
    rest.update(content[offset + array.nbytes :])
    start, size = _BLOCK + offset, _BLOCK + len(content)
    checksums = Checksums(
        format_version, size, start, start + array.nbytes, digest(array), rest.hexdigest()
    )
    return b"".join((checksums.block(), content))


def read_checksums(path: Path) -> Checksums:
    """The checksum block of a file; of the other bytes only their number is checked.

    Raises:
        DamagedItemError: it has none, or not the size that the block states.
        OSError: the system refuses to open or read the file.
    """
    with path.open("rb") as file:
        block, size = file.read(_BLOCK), os.fstat(file.fileno()).st_size
    try:
        checksums = Checksums(**json.loads(block.rstrip(b"\0")))
        places = (_BLOCK, checksums.start, checksums.stop, checksums.size)
        # No digest covers the block itself, so only one spelling of it is accepted.
        whole = checksums.block() == block and list(places) == sorted(places)
        whole &= all(type(place) is int for place in places)
    except (ValueError, TypeError) as error:
        reason = "empty" if size == 0 else "its first bytes are no checksum block"
        raise DamagedItemError(reason) from error
    if not whole:
        raise DamagedItemError("its checksum block is damaged")
    if size != checksums.size:
        raise DamagedItemError(f"it has {size:,} bytes, expected {checksums.size:,}")
    return checksums


def open_item(path: Path, *, whole: bool = False) -> StoredArray:
    """Check the checksum block and the header of a file.

    Args:
        whole: check the bytes of the array, too.

    Raises:
        DamagedItemError: the bytes are not those that were written; says why.
        OSError: the system refuses to open or read the file.
    """
    checksums = read_checksums(path)
    start, stop = checksums.start, checksums.stop
    with path.open("rb") as file:
        if _digest_of(file, (_BLOCK, start), (stop, checksums.size)) != checksums.rest:
            raise DamagedItemError("its header's bytes do not match their digest")
        if whole and _digest_of(file, (start, stop)) != checksums.array:
            raise DamagedItemError("its bytes do not match their digest")
    try:
        # No HDF5 lock: a file never changes, and some network file systems have none.
        with h5py.File(path, "r", locking=False) as file:
            dataset = file["data"]
            assert isinstance(dataset, h5py.Dataset)
            header = {
                name: value.decode() if isinstance(value, bytes) else value.item()
                for name, value in dataset.attrs.items()
            }
            shape, dtype = dataset.shape, dataset.dtype
    except (OSError, LookupError, RuntimeError, ValueError) as error:
        # The checksums match, so the system refused to read; HDF5 says so in many ways.
        found = re.search(r"errno = (\d+)", str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error
    expected = (header.pop("format_version"), header.pop("digest"))
    nbytes = int(np.prod(shape)) * dtype.itemsize
    if expected != (checksums.format_version, checksums.array) or nbytes != stop - start:
        raise DamagedItemError("its checksum block does not fit its header")
    return StoredArray(header, checksums, shape, dtype)


def digest(array: NDArray[Any]) -> str:
    """xxh3_128 of an array's bytes."""
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(array).data)


def _digest_of(file: BinaryIO, *ranges: tuple[int, int]) -> str:
    hashed = xxhash.xxh3_128()
    for start, stop in ranges:
        file.seek(start)
        rest = stop - start
        while piece := file.read(min(_PIECE, rest)):
            hashed.update(piece)
            rest -= len(piece)
    return hashed.hexdigest()
