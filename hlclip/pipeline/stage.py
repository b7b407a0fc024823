"""How a DVC stage starts and ends: alone in its folder, not outliving DVC, errors on stderr."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from hlclip.system import exit_on_signals, locked, log_to_stderr, print_error, quick_process

log = logging.getLogger(__name__)

LOCK = Path(".hlclip/stage.lock")
"""Held by the stage that runs in this folder; its text is the stage's name and process."""

_LOOK_SECONDS = 0.2
_PATIENCE_SECONDS = 10


def run(main: Callable[[], None]) -> None:
    """Run a stage; an error that the user can correct is a message on stderr and exit status 1.

    Args:
        main: the whole stage. It contains the slow imports, so that Ctrl-C and the end of DVC stop
            the stage during the imports, too.
    """
    if "DVC_STAGE" in os.environ:  # a stage started by hand may outlive its shell
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    # Of the processes that torchrun starts, the first speaks and holds the lock for all.
    first = "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["RANK"] == "0"
    log_to_stderr(quiet=not first)
    exit_on_signals()
    with quick_process():
        try:
            with _alone() if first else nullcontext():
                main()
            # The work is done: nothing interrupts the exit.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
        except (Exception, KeyboardInterrupt) as error:
            sys.exit(print_error(error, status=1))


@contextmanager
def _alone() -> Iterator[None]:
    """One stage at a time in a folder, also when a killed run left one that still works."""
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
        with suppress(OSError):  # a full disk: only the name is lost
            name = f"{Path(sys.argv[0]).stem} (process {os.getpid()})"
            LOCK.write_text(name, encoding="utf-8")
        yield


def _end_with(parent: int) -> None:
    """End this process cleanly when its parent has died: nobody reads its result."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_PATIENCE_SECONDS)
