"""A process that has torch in it, and is over in seconds: garbage is half of what it costs.

Importing torch and open_clip makes a million objects that stay until the end. Python looks through
them again and again while they are made, and takes each of them apart before it ends.
"""

import atexit
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_statuses: list[int] = []
"""Empty, or the exit status."""


@contextmanager
def importing() -> Iterator[None]:
    """Around imports that take seconds: they make no garbage, so none is looked for."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            if not gc.get_freeze_count():
                gc.freeze()  # and back: all is old now, and is not looked through soon
                gc.unfreeze()
            gc.enable()


def end_soon() -> None:
    """Let the process end as soon as its output is written, if `all_its_work` was done by then.

    To be called before the imports that take seconds: what is registered first with `atexit` is
    called last, so that whatever they registered has been called by then; threads have ended, too.
    """
    atexit.register(_leave)


@contextmanager
def all_its_work() -> Iterator[None]:
    """Around the whole work of the process: `end_soon` needs to know the exit status.

    Any exception but `SystemExit` is left to Python, which has something to say about it.
    """
    try:
        yield
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            _statuses.append(ending.code or 0)
        raise
    _statuses.append(0)


def _leave() -> None:
    if not _statuses:
        return
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # as it is where the shell has closed it
                stream.flush()
    except (OSError, ValueError):
        return  # Python will try again, and say what is wrong
    os._exit(_statuses[-1])
