"""How a DVC stage runs: alone in its folder, no longer than its run; errors are lines on stderr."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType

from hlclip.system import locked, print_error, quick_process

log = logging.getLogger(__name__)

LOCK = Path(".hlclip/stage.lock")
"""Held by the stage that runs in this folder; says which, and its process."""

_LOOK_SECONDS = 0.2
_PATIENCE_SECONDS = 10


def run(main: Callable[[], None]) -> None:
    """Run a stage; exit status 1 and the message on stderr when the user can put it right.

    Args:
        main: the whole stage; it imports what takes seconds itself, so that Ctrl-C and the end of
            its run reach it during the imports, too.
    """
    if "DVC_STAGE" in os.environ:  # started by hand, it may well outlive its shell
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("hlclip").setLevel(logging.INFO)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminated)
    with quick_process():
        try:
            with _alone():
                main()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # all is done: nothing interrupts the way out
        except (Exception, KeyboardInterrupt) as error:
            sys.exit(print_error(error, status=1))


@contextmanager
def _alone() -> Iterator[None]:
    """One stage at a time in a folder: an orphan of a killed run and the next run do not mix."""
    with ExitStack() as stack:
        try:
            try:
                stack.enter_context(locked(LOCK, wait=False))
            except BlockingIOError:
                holder = LOCK.read_text(encoding="utf-8") or "a stage"
                log.warning("waiting for %s, which runs in this folder", holder)
                stack.enter_context(locked(LOCK))
        except OSError as error:
            log.warning("%s: %s; do not start two runs in this folder", LOCK, error.strerror)
        with suppress(OSError):  # a full disk: the name is for others to read, the lock holds
            name = f"{Path(sys.argv[0]).stem} (process {os.getpid()})"
            LOCK.write_text(name, encoding="utf-8")
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
