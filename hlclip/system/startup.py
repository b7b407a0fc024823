"""A process that loads torch, started and ended in less time.

Importing torch and open_clip makes a million objects that stay until the end. Python's garbage
collector looks through them again and again while they are made, and Python takes each of them
apart before it ends: together half of what a command of seconds costs.
"""

import atexit
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OBJECTS = 50_000
"""New objects until the garbage collector looks for cycles; Python's default is 700 or 2,000."""


@contextmanager
def quick_process() -> Iterator[None]:
    """Around all that a process does, its slow imports included.

    Once the work is done, output is written, threads have ended and everything registered with
    `atexit` has run, the process leaves without taking its objects apart. Any exception but
    `SystemExit` is left to Python, which reports it.
    """
    gc.set_threshold(_OBJECTS)
    statuses: list[int] = []
    # What is registered first is called last: after all that the imports register.
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
            if stream is not None:  # as it is where the shell has closed it
                stream.flush()
    except (OSError, ValueError):
        return  # Python tries again, and reports the error
    os._exit(statuses[-1])
