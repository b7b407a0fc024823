"""Locks between processes. The system releases a lock when its holder ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hlclip.system.disk import DiskError, make_folder


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
            fcntl.flock(descriptor, mode)
            # The last holder may have removed it after it was opened here: then this lock
            # excludes nobody.
            if _is_at(descriptor, path):
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


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
