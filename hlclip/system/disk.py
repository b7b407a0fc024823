"""Free space on a disk."""

import os
import shutil
from pathlib import Path

from hlclip.system.errors import HlclipError


class DiskError(HlclipError):
    """The disk has too little room, or another run is writing the same thing."""


def nearest_folder(path: Path) -> Path:
    """`path` itself if it exists, else its nearest parent that does."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def free_bytes(path: Path) -> int:
    """Free bytes on the disk of `path`, which need not exist yet."""
    return shutil.disk_usage(nearest_folder(path)).free


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Check free space before a long task.

    Args:
        folder: where the task writes; it need not exist yet.
        needed: bytes.
        purpose: the task, for the message.

    Raises:
        DiskError: fewer bytes than `needed` are free.
    """
    free = free_bytes(folder)
    if free < needed:
        raise DiskError(
            f"{folder.absolute()}: {purpose} needs {in_words(needed)}, {in_words(free)} are free",
            "make room or choose another disk, then run again",
        )


def same_disk(one: Path, other: Path) -> bool:
    """Whether two existing folders lie on one disk."""
    return os.stat(one).st_dev == os.stat(other).st_dev


def in_words(size: int) -> str:
    """A number of bytes for people: in GB (10^9), MB (10^6) or bytes."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size:,} bytes"
