"""Who works in a store: runs that add to it hold it together, garbage collection alone.

A run's items are named by no manifest until its stage ends, so nothing else can tell them from
garbage; nor the state of a training.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hlclip.system import HlclipError, acquire, locked

LOCK = "in-use.lock"


class StoreInUseError(HlclipError):
    """Another process adds to the store."""


def hold(root: Path) -> int:
    """Hold a store together with others; waits while `hold_alone` has it.

    Returns:
        A file descriptor; closing it lets go.
    """
    return acquire(root / LOCK, shared=True)


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
    try:
        with locked(root / LOCK, wait=False):
            yield
    except BlockingIOError as error:
        raise StoreInUseError(
            f"{root} is in use by a run (dvc repro, hlclip highlight, hlclip demo): no manifest "
            "names yet what it makes",
            "wait for it, or end it, and run this again",
        ) from error
