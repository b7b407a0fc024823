"""How a DVC stage runs: alone in its folder, no longer than its run; errors are lines on stderr."""

import atexit
import fcntl
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from hlclip.system.endings import report
from hlclip.system.files import make_folder
from hlclip.system.startup import all_its_work, end_soon

log = logging.getLogger(__name__)

LOCK = Path(".hlclip/stage.lock")
"""Held by the stage that runs in this folder; says which, and its process."""

_LOOK_SECONDS = 0.2
_PATIENCE_SECONDS = 10


def begin() -> None:
    """Before a stage's imports, which take seconds: end quietly on Ctrl-C, and with one's run.

    Until `run`, nothing looks for garbage.
    """
    gc.disable()
    end_soon()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if "DVC_STAGE" in os.environ:  # started by hand, it may well outlive its shell
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def run(main: Callable[[], None]) -> None:
    """Run a stage; exit status 1 and the message on stderr when the user can put it right."""
    gc.freeze()  # what the imports made stays
    # Where Python ends by itself after all, nanobind takes what is frozen for leaks.
    atexit.register(gc.unfreeze)
    gc.enable()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("hlclip").setLevel(logging.INFO)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminated)
    with all_its_work():
        try:
            with _alone():
                main()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # all is done: nothing interrupts the way out
        except (Exception, KeyboardInterrupt) as error:
            sys.exit(report(error, status=1))


@contextmanager
def _alone() -> Iterator[None]:
    """One stage at a time in a folder: an orphan of a killed run and the next run do not mix."""
    make_folder(LOCK.parent)
    with LOCK.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            log.warning("waiting for %s, which runs in this folder", lock.read() or "a stage")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            log.warning("%s: %s; do not start two runs in this folder", LOCK, error.strerror)
        with suppress(OSError):  # a full disk: the name is for others to read, the lock holds
            lock.truncate(0)
            os.write(lock.fileno(), f"{Path(sys.argv[0]).stem} (process {os.getpid()})".encode())
        yield


def _end_with(parent: int) -> None:
    """End this process, cleanly, when its parent has died: nobody waits for its result."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_PATIENCE_SECONDS)


def _terminated(number: int, _frame: FrameType | None) -> None:
    """Leave as an exception does: temporary files go, locks are given back."""
    sys.exit(128 + number)
