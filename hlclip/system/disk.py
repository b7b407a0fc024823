"""What long writes need of a disk before they begin: room, and no second writer."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from hlclip.system.errors import HlclipError


class DiskError(HlclipError):
    """The disk has no room, or another run is writing the same thing."""


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Be the only one that makes `path`; the lock lies beside it and goes with its holder.

    Raises:
        DiskError: another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DiskError(
            f"{path} is being written by another run; wait for it, or end it and run again"
        ) from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        folder: where it will be written; it need not be there yet.
        needed: bytes.
        purpose: what for, as it stands in the message.

    Raises:
        DiskError: less than `needed` is free.
    """
    folder = folder.absolute()
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DiskError(
            f"{folder}: {purpose} needs {in_words(needed)}, {in_words(free)} are free; "
            "make room or choose another disk, then run again"
        )


def same_disk(one: Path, other: Path) -> bool:
    """Do two existing folders share their free space?"""
    return os.stat(one).st_dev == os.stat(other).st_dev


def in_words(size: int) -> str:
    """Bytes as a person reads them: in units of 10^9, 10^6 or as they are."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size:,} bytes"
