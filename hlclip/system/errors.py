"""What a user can put right, and what the system refused: one line of what, one of what to do."""

import errno
import os


class HlclipError(ValueError):
    """Input, parameters or files are not what hlclip needs.

    The message says what was expected, what came, where, and what to do. Commands print it without
    a traceback; any other exception is a bug and keeps its own.
    """


_REMEDIES = {
    errno.ENOENT: "name a file that is there, or make it first: `dvc repro` runs every stage",
    errno.EACCES: "give your user the right to it, or choose another place",
    errno.EPERM: "give your user the right to it, or choose another place",
    errno.EROFS: "make that disk writable, or choose another place",
    errno.ENOSPC: "make room on that disk, then run again: what is finished is kept",
    errno.EDQUOT: "make room within your quota, then run again: what is finished is kept",
    errno.EFBIG: "raise the limit on a file's size (`ulimit -f`) or choose another disk",
    errno.EMFILE: "raise the limit on open files (`ulimit -n`), then run again",
    errno.EIO: "the disk or the connection to it is failing: check it, then run again",
}


def remedy(number: int | None) -> str:
    """What to do when the system refuses with this errno."""
    return _REMEDIES.get(number or 0, "correct that, then run again")


def explanation(error: BaseException) -> str | None:
    """What a person is told of an error in place of a traceback; None: it is a bug of hlclip.

    Any `OSError` is the world's doing: a file that is not there, a disk that is full.
    """
    if isinstance(error, HlclipError):
        return str(error)
    if isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else str(error)
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{reason}\n{remedy(error.errno)}"
    return None
