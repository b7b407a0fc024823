"""Room on a disk."""

import os
import shutil
from pathlib import Path

from hlclip.system.errors import HlclipError


class DiskError(HlclipError):
    """The disk has too little room, or another run is writing the same thing."""


def nearest_folder(path: Path) -> Path:
    """`path` itself, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def free_bytes(path: Path) -> int:
    """Free space where `path` is or will be."""
    return shutil.disk_usage(nearest_folder(path)).free


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        folder: where it will be written; it need not exist yet.
        needed: bytes.
        purpose: what for, as the message says it.

    Raises:
        DiskError: less than `needed` is free.
    """
    free = free_bytes(folder)
    if free < needed:
        raise DiskError(
            f"{folder.absolute()}: {purpose} needs {in_words(needed)}, {in_words(free)} are free",
            "make room or choose another disk, then run again",
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
