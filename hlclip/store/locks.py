"""Who works in a store: runs that add to it share a lock, garbage collection holds it alone.

Until its stage ends, no manifest names the items of a run, nor the state of a training. Nothing
else tells them from garbage.
"""

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hlclip.system import HlclipError, locked

LOCK = "in-use.lock"


class StoreInUseError(HlclipError):
    """Another process adds to the store."""


@contextmanager
def holding(root: Path) -> Iterator[Path]:
    """Hold a store, with others, while a stage runs, until its manifest names what it made.

    A store that may only be read is not held: nothing can be removed from it either.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(root / LOCK, shared=True))
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES):
                raise
        yield root


@contextmanager
def hold_alone(root: Path) -> Iterator[None]:
    """Keep runs from adding to a store.

    Raises:
        StoreInUseError: a run is adding to it.
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
