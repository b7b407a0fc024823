"""Files that are either whole or not there: write aside, fsync, rename."""

import csv
import errno
import fcntl
import glob
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hlclip.system.disk import free_bytes, in_words
from hlclip.system.errors import HlclipError, system_remedy

_NAMED = 40
"""Letters of a file's name that its temporary folder repeats: a name has room for 255 bytes."""

_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

_NO_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST)
"""What is said of a folder that cannot be made: in /proc, or below a file."""


class WriteError(HlclipError):
    """The system will not take a file; says which, why, how much is free, and what to do."""


@contextmanager
def replacing(path: Path, *, needed: int | None = None) -> Iterator[Path]:
    """Give a place to write to; on success that becomes `path`, on failure it goes.

    It lies in a folder of its own, which may hold what else is needed meanwhile.

    A reader sees the old file or the new one, never a part. Writers of one path do not disturb
    each other, whichever process they are in: each has a folder of its own beside `path`, and the
    last one wins. What a killed one left goes when the same path is written again.

    Args:
        path: its folder is made when it is not there.
        needed: bytes that will be written, where known: for the message.

    Raises:
        WriteError: no room, no permission, a read-only disk.
    """
    make_folder(path.parent)
    try:
        sweep(path.parent, path.name)
        folder, lock = _private_folder(path)
    except OSError as error:
        raise _write_error(path, error.errno, needed) from error
    temporary = folder / "new"  # not by its own name: who looks for `**/*.h5` must not find it

    def refused(number: int | None) -> WriteError:
        written = temporary.stat().st_size if temporary.exists() else 0
        shutil.rmtree(folder, ignore_errors=True)  # what it took is free for the next
        return _write_error(path, number, needed or written)

    try:
        yield temporary
        try:
            _finish(temporary, path)
        except OSError as error:
            raise refused(error.errno) from error
    except WriteError:
        raise
    except Exception as error:
        number = _refusal(error)
        if number is None:
            raise
        raise refused(number) from error
    finally:
        # What cannot be removed now is swept later; the error on its way says more.
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def write_json(path: Path, content: Any) -> None:
    """Write `content` whole or not at all: same content, same bytes, one line per leaf."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, text.encode())


def write_table(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write CSV, whole or not at all: the columns' names are the first of `rows`."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_whole(path, text.getvalue().encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write bytes whole or not at all; what they need is known where there is no room for them.

    Raises:
        WriteError: see `replacing`.
    """
    with replacing(path, needed=len(content)) as temporary:
        temporary.write_bytes(content)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        WriteError: it cannot be there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _write_error(folder, error.errno, None) from error


def file_state(path: Path) -> str:
    """What changes when a file's content does, as a rule: size, time and inode.

    Raises:
        OSError: there is no such file.
    """
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what writers that were killed have left in `folder`: of the file `name`, or of all.

    A writer locks its temporary folder while it lives, so those of others are not touched; nor is
    any where the file system has no locks.
    """
    named = "*" if name is None else glob.escape(name[:_NAMED])
    for left in folder.glob(f".{named}.????????.tmp"):
        remove_left(left)


def remove_left(left: Path) -> None:
    """Remove one temporary folder, unless its writer lives."""
    with suppress(OSError), _lock_of_the_dead(left):
        shutil.rmtree(left)


def being_written(left: Path) -> bool:
    """Does the writer of a temporary folder live, as far as the file system can tell?"""
    try:
        with _lock_of_the_dead(left):
            return False
    except FileNotFoundError:
        return False
    except OSError:
        return True


@contextmanager
def _lock_of_the_dead(left: Path) -> Iterator[None]:
    """Raises OSError where the writer of a temporary folder lives, or there are no locks."""
    lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)


def _private_folder(path: Path) -> tuple[Path, int]:
    """A new folder beside `path`, and the descriptor that holds its lock."""
    beside = path.parent.absolute()
    while True:
        folder = Path(mkdtemp(prefix=f".{path.name[:_NAMED]}.", suffix=".tmp", dir=beside))
        with suppress(FileNotFoundError):  # swept by another writer before it was locked
            lock = os.open(folder, os.O_RDONLY)
            with suppress(OSError):  # no locks on this file system: then nobody sweeps either
                fcntl.flock(lock, fcntl.LOCK_SH)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _finish(temporary: Path, path: Path) -> None:
    _fsync(temporary)
    os.replace(temporary, path)
    _fsync(path.parent)


def _refusal(error: BaseException | None) -> int | None:
    """Why the system refused, whoever says it: HDF5, safetensors and ffmpeg do so in words."""
    while error is not None:
        for number in _REFUSALS:
            if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
                return number
        error = error.__cause__ or error.__context__
    return None


def _write_error(path: Path, number: int | None, needed: int | None) -> WriteError:
    reason = os.strerror(number) if number else "refused"
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        free = free_bytes(path)
        size = f"{in_words(needed)} or more" if needed else "more than nothing"
        where = "" if number == errno.ENOSPC else " on the disk"  # a limit knows no "free"
        reason += f" ({size} needed, {in_words(free)} free{where})"
    to_do = "choose another place" if number in _NO_PLACE else system_remedy(number)
    return WriteError(f"{path}: cannot be written: {reason}", to_do)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
