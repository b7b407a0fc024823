"""Locks between processes. The system lets go of a lock when its holder ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hlclip.system.disk import DiskError
from hlclip.system.files import make_folder


def acquire(path: Path, *, shared: bool = False, wait: bool = True) -> int:
    """Lock a file, which is made if need be; threads of one process exclude each other, too.

    Args:
        shared: held together with others that share it.
        wait: until others let go.

    Returns:
        A file descriptor; closing it lets go.

    Raises:
        BlockingIOError: others hold it and `wait` is false.
        OSError: the file cannot be made, or its file system has no locks.
    """
    make_folder(path.parent)
    # Read-only is enough for a lock, and another user's lock file may be no more than readable.
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
    try:
        mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(descriptor, mode if wait else mode | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
    """Hold the lock of `acquire` in a context."""
    descriptor = acquire(path, shared=shared, wait=wait)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Be the only process that makes `path`; the lock file beside it goes with its holder.

    Raises:
        DiskError: another process is at work.
    """
    lock = path.with_name(f".{path.name}.lock")
    while True:
        try:
            descriptor = acquire(lock, wait=False)
        except BlockingIOError as error:
            raise DiskError(
                f"{path} is being written by another run",
                "wait for it, or end it and run again",
            ) from error
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                break
        os.close(descriptor)  # the last holder removed the file after it was opened here
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)
