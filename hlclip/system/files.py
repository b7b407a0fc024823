"""Files that are whole or absent, and locks between processes.

A file is written to a temporary one, which is flushed to the disk and renamed. The system releases
a lock when its holder ends, however it ends.
"""

import csv
import errno
import fcntl
import glob
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hlclip.system.disk import DiskError, WriteError, make_folder, write_error

_PREFIX_LETTERS = 40
"""Letters of a file's name that its temporary folder repeats: a name has room for 255 bytes."""

_FORMULA = ("=", "+", "-", "@", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}")
"""A spreadsheet takes text that begins so for a formula."""

_DISK_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextmanager
def replacing(path: Path, *, needed: int | None = None) -> Iterator[Path]:
    """Give a temporary path to write to; on success it becomes `path`, on failure it is removed.

    A reader sees the old file or the new one, never a part. The temporary path lies in a folder
    next to `path` that each writer has for itself, and that may hold other temporary files. Of
    several writers of one path the last one wins. The folder of a killed writer is removed when
    the same path is written again.

    Args:
        path: its folder is made if it does not exist.
        needed: bytes that will be written, where known: for the message.

    Raises:
        WriteError: no room, no permission, a read-only disk.
    """
    make_folder(path.parent)
    written = 0
    in_caller = False
    try:
        remove_leftovers(path.parent, path.name)
        with _temporary_folder(path) as folder:
            temporary = folder / "new"  # another name than `path`: `**/*.h5` must not find it
            try:
                in_caller = True
                yield temporary
                in_caller = False
            finally:
                written = temporary.stat().st_size if temporary.exists() else 0
            _fsync(temporary)
            os.replace(temporary, path)
            _fsync(path.parent)
    except Exception as error:
        # The caller's errors stay what they are, unless the disk refused to take the content.
        if isinstance(error, OSError) and not in_caller:
            number = error.errno
        else:
            number = _disk_refusal(error)
        if number is None:
            raise
        raise write_error(path, number, needed or written) from error


def write_json(path: Path, content: Any) -> None:
    """Write `content` whole or not at all: same content, same bytes, one line per leaf."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    # Bytes of a file name that are not text are surrogates in Python, for which JSON has escapes.
    text = re.sub(r"[\udc80-\udcff]", lambda found: f"\\u{ord(found[0]):x}", text)
    write_whole(path, text.encode())


def write_table(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write CSV, whole or not at all; see `as_csv`."""
    write_whole(path, as_csv(rows).encode())


def as_csv(rows: Iterable[Iterable[object]]) -> str:
    """CSV in which no text is a formula or markup; the first row holds the names of the columns.

    Text comes from data that others made. DVC copies it unescaped into a script of its page, where
    `<` could begin a tag: an angle quotation mark replaces it. A spreadsheet runs text that begins
    with `=`, `+`, `-` or `@`: an apostrophe before it makes it text. Numbers stay what they are.
    """
    text = io.StringIO(newline="")
    inert = ([_inert(cell) for cell in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows(inert)
    return text.getvalue()


def _inert(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    cell = cell.replace("<", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}")
    # A spreadsheet skips white space before a formula.
    return f"'{cell}" if cell.lstrip().startswith(_FORMULA) else cell


def write_whole(path: Path, content: bytes) -> None:
    """Write bytes, whole or not at all; see `replacing`."""
    with replacing(path, needed=len(content)) as temporary:
        temporary.write_bytes(content)


def file_state(path: Path) -> str:
    """Size, times and inode of a file: they change when its content does.

    No program can set the time of the last change (ctime), so a copy that keeps the modification
    time is noticed. A file system whose times are coarse (two seconds on FAT) may hide a second
    change of the same length within that time.
    """
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def sha256_of(path: Path) -> str:
    """sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove the temporary folders of killed writers in `folder`: of the file `name`, or of all.

    A writer locks its temporary folder while it lives, so a living writer loses nothing. On a file
    system without locks nothing is removed.
    """
    prefix = "*" if name is None else glob.escape(name[:_PREFIX_LETTERS])
    for temporary in folder.glob(f".{prefix}.????????.tmp"):
        remove_leftover(temporary)


def remove_leftover(temporary: Path) -> None:
    """Remove one temporary folder, unless its writer lives."""
    with suppress(OSError), locked(temporary, wait=False, create=False):
        shutil.rmtree(temporary)


def being_written(temporary: Path) -> bool:
    """Whether the writer of a temporary folder lives; true where the file system has no locks."""
    try:
        with locked(temporary, wait=False, create=False):
            return False
    except FileNotFoundError:
        return False
    except OSError:
        return True


@contextmanager
def locked(
    path: Path, *, shared: bool = False, wait: bool = True, create: bool = True
) -> Iterator[None]:
    """Hold the lock of a file or folder; two threads of one process exclude each other, too.

    Args:
        shared: several holders may share the lock.
        wait: wait until other holders release it.
        create: make the lock file and its folder if they do not exist.

    Raises:
        BlockingIOError: another holder has the lock and `wait` is false.
        OSError: the file cannot be made or opened, or its file system has no locks.
        WriteError: its folder cannot be made.
    """
    if create:
        make_folder(path.parent)
    # Read-only is enough for a lock, and another user's lock file may be no more than readable.
    flags = os.O_RDONLY | (os.O_CREAT if create else 0)
    mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        descriptor = os.open(path, flags, 0o666)
        try:
            try:
                fcntl.flock(descriptor, mode)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error
            # If the last holder removed it after it was opened here, the lock excludes nobody.
            removed = True
            with suppress(FileNotFoundError):
                removed = not os.path.samestat(os.fstat(descriptor), path.stat())
            if not removed:
                yield
                return
        finally:
            os.close(descriptor)


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Be the only process that writes `path`; the lock file next to it is removed at the end.

    Raises:
        DiskError: another process is writing it.
    """
    lock = path.with_name(f".{path.name}.lock")
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock, wait=False))
        except BlockingIOError as error:
            raise DiskError(
                f"{path} is being written by another run", "wait for it, or end it and run again"
            ) from error
        stack.callback(lock.unlink, missing_ok=True)  # before the lock is released
        yield


@contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """A new, locked folder next to `path`; it is removed at the end."""
    names = {"prefix": f".{path.name[:_PREFIX_LETTERS]}.", "suffix": ".tmp"}
    with ExitStack() as stack:
        while True:
            folder = Path(mkdtemp(**names, dir=path.parent)).absolute()
            try:
                stack.enter_context(locked(folder, shared=True, create=False))
            except FileNotFoundError:
                continue  # another writer removed the folder before it was locked
            except OSError:
                pass  # without locks no writer removes leftovers
            break
        # While it is locked; what cannot be removed now is a leftover.
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def _disk_refusal(error: BaseException | None) -> int | None:
    """The errno with which a disk refused, also where a library only quotes its words."""
    while error is not None and not isinstance(error, WriteError):  # which says it already
        for number in _DISK_REFUSALS:
            if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
                return number
        error = error.__cause__ or error.__context__
    return None


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
