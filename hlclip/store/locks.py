"""Who works in a store: runs that add to it hold it together, garbage collection alone.

A run's items are named by no manifest until its stage ends, so nothing else can tell them from
garbage; nor the state of a training. A lock ends with its process, however that ends.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hlclip.system.errors import HlclipError
from hlclip.system.files import make_folder

LOCK = "in-use.lock"


class StoreInUseError(HlclipError):
    """Another process adds to the store."""


def hold(root: Path) -> int:
    """Hold a store together with others; waits while `hold_alone` has it.

    Returns:
        A file descriptor: to close it lets go.
    """
    descriptor = _open(root)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


@contextmanager
def holding(root: Path) -> Iterator[Path]:
    """Hold a store, with others, while a stage runs, until its manifest names what it made.

    A store that may only be read is not held: nothing can be removed from it here either.
    """
    try:
        descriptor = hold(root)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES):
            raise
        yield root
        return
    try:
        yield root
    finally:
        os.close(descriptor)


@contextmanager
def hold_alone(root: Path) -> Iterator[None]:
    """Keep runs from adding to a store meanwhile.

    Raises:
        StoreInUseError: one is at work.
    """
    descriptor = _open(root)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreInUseError(
                f"{root} is in use by a run (dvc repro, hlclip highlight, hlclip demo): what it "
                "makes is named by no manifest yet; wait for it, or end it, and run this again"
            ) from error
        yield
    finally:
        os.close(descriptor)


def _open(root: Path) -> int:
    make_folder(root)
    return os.open(root / LOCK, os.O_RDONLY | os.O_CREAT, 0o666)
