"""How a command or a stage ends that cannot go on: what a person reads, and the exit status."""

import os
import sys
import traceback
from collections.abc import Mapping

from hlclip.system.errors import explanation

DEBUG = "HLCLIP_DEBUG"
"""Set to anything, it makes every error show its traceback, as `hlclip --debug` does."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 and the number of the signal."""

_REPORT = (
    "this is a bug of hlclip: please report it with the traceback above, the command and the "
    "output of `hlclip doctor`"
)


def report(
    error: BaseException,
    *,
    status: int,
    debug: bool = False,
    words: Mapping[str, str] | None = None,
) -> int:
    """Say on stderr why it ends; what a person can put right comes without a traceback.

    Args:
        status: for what a person can put right.
        debug: show the traceback of that, too; `HLCLIP_DEBUG` does the same.
        words: of the library -> of the command that ends.

    Returns:
        The exit status: `status`, `INTERRUPTED` after Ctrl-C, that of an exit that was under way,
        1 for a bug.
    """
    ending = _under_way(error)
    if isinstance(ending, KeyboardInterrupt):
        _say("interrupted; what is finished is kept, the next run goes on from there")
        return INTERRUPTED
    if isinstance(ending, SystemExit) and isinstance(ending.code, int):
        return ending.code
    told = explanation(error)
    if told is None or debug or os.environ.get(DEBUG):
        traceback.print_exception(error)
    for word, own in (words or {}).items():
        told = told and told.replace(word, own)
    _say(_REPORT if told is None else told)
    return 1 if told is None else status


def _under_way(error: BaseException | None) -> BaseException | None:
    """What was ending the process when `error` came up: Ctrl-C or an exit, if any.

    One that hits Python 3.11's `shutil.rmtree` makes it close a file twice, which is an error.
    """
    while error is not None and not isinstance(error, (KeyboardInterrupt, SystemExit)):
        error = error.__context__
    return error


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
