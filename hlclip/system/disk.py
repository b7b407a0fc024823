"""Free space on a disk, folders, and the errors of a disk that refuses."""

import errno
import os
import shutil
from pathlib import Path

from hlclip.system.errors import HlclipError, system_remedy


class DiskError(HlclipError):
    """The disk has too little room, or another run is writing the same thing."""


class WriteError(HlclipError):
    """The system refuses to write a file; says which, why, how much is free, and what to do."""


def nearest_folder(path: Path) -> Path:
    """`path` itself if it exists, else its nearest parent that does."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def free_bytes(path: Path) -> int:
    """Free bytes on the disk of `path`, which need not exist yet."""
    return shutil.disk_usage(nearest_folder(path)).free


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Check before a long task, the `purpose`, that `needed` bytes are free.

    Raises:
        DiskError: there are fewer.
    """
    free = free_bytes(folder)
    if free < needed:
        raise DiskError(
            f"{folder.absolute()}: {purpose} needs {in_words(needed)}, {in_words(free)} are free",
            "make room or choose another disk, then run again",
        )


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, unless they exist; a refusal is a `WriteError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error.errno) from error


def write_error(path: Path, number: int | None, needed: int | None = None) -> WriteError:
    """The error for a refusal with an errno; `needed` are the bytes to write, where known."""
    reason = os.strerror(number) if number else "refused"
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        size = f"{in_words(needed)} or more" if needed else "more than nothing"
        where = "" if number == errno.ENOSPC else " on the disk"  # and not within the quota
        reason += f" ({size} needed, {in_words(free_bytes(path))} free{where})"
    # A folder cannot be made in /proc, or below a file.
    no_folder = number in (errno.ENOENT, errno.ENOTDIR, errno.EEXIST)
    remedy = "choose another place" if no_folder else system_remedy(number)
    return WriteError(f"{path}: cannot be written: {reason}", remedy)


def same_disk(one: Path, other: Path) -> bool:
    """Whether two existing folders lie on one disk."""
    return os.stat(one).st_dev == os.stat(other).st_dev


def in_words(size: int) -> str:
    """A number of bytes for people: in GB (10^9), MB (10^6) or bytes."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size:,} bytes"
