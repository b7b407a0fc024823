"""A process that loads torch, started and ended in less time.

Importing torch and open_clip creates a million objects that live until the end. Python's garbage
collector scans them again and again during the imports, and Python destroys each of them before it
ends. Together that is half the time of a command that takes seconds.
"""

import atexit
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OBJECTS = 50_000
"""New objects until the garbage collector looks for cycles; the default is 700 or 2,000."""


@contextmanager
def quick_process() -> Iterator[None]:
    """A context for all the work of a process, slow imports included.

    The process writes its output, waits for its threads, runs what is registered with `atexit`,
    and then ends without destroying its objects. Python reports any exception but `SystemExit`.
    """
    gc.set_threshold(_OBJECTS)
    statuses: list[int] = []
    # Registered first, so called last: after the functions that the imports register.
    atexit.register(_leave, statuses)
    try:
        yield
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            statuses.append(ending.code or 0)
        raise
    statuses.append(0)


def _leave(statuses: list[int]) -> None:
    if not statuses:
        return
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # None if the shell has closed it
                stream.flush()
    except (OSError, ValueError):
        return  # Python tries again, and reports the error
    os._exit(statuses[-1])
