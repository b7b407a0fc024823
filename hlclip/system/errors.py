"""Errors that a user can correct, and how a process ends after an error.

    HlclipError                  the input, a parameter or a file is not what hlclip needs
      AnnotationError            an annotation file is malformed
      SubmissionError            a submission file is malformed, or answers other queries
      DamagedFileError           a file between two stages is damaged
      StaleFileError             a file between two stages is of another run than the others
      CheckpointError            a checkpoint is damaged, or belongs to another model
      WriteError                 a file cannot be written: no room, no permission
      DiskError                  too little room for a task, or a second writer of a file
      ParamsError                params.yaml has missing, unknown or contradictory keys
      DataError                  the data set's folder or files are not as they should be
      VideoError                 a file is not a video that can be used
        VideoChangedError        a video is no longer the file that was hashed
        VideoUnreadableError     the system refuses to read a video, which may be whole
      ShardError                 a shard is not I/N
      ClusterError               a Ray cluster cannot be reached, or lost its encoders
      TooManyMissingError        more videos failed than tolerated, or all of a needed split
      EncoderError               a model cannot be loaded, or cannot be cut in two
        WeightsError             its weights are missing, damaged, unsafe or another model's
      DeviceError                the device is not on this machine, or has too little memory
      StoreError                 an item is missing, damaged or not as expected
        StoreUnreadableError     the system refuses to open or read an item
      StoreInUseError            a run adds to the store
      TrainError                 there is nothing to train on, or training diverged
      ProcessesError             a process of a training ended, or their number is wrong
      ResumeError                a saved training state is damaged
      EvaluateError              the pooling window cannot be chosen on val
      ExperimentsError           DVC has no finished runs, or they do not fit in one table
      ReportError                a run is not finished, or its files are of several runs
      CutError                   a film of the best moments cannot be made
      ArchiveError               an archive of videos is damaged
      DownloadError              a file could not be obtained
      TransferError              there is no store to copy from, or no place to copy to
      ReferencesError            which items manifests name cannot be found out

An `OSError` comes from the system; text that is not UTF-8 comes from a shell or file system. Every
other exception is a bug and shows its traceback.
"""

import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Mapping

from hlclip.system.process import ending_signal

DEBUG = "HLCLIP_DEBUG"
"""Environment variable: if set, every error shows its traceback, as with `hlclip --debug`."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as in shells: 128 + the number of the signal."""

Options = Mapping[str, str]
"""Key of params.yaml -> the option of a command that sets it (`encoder.model` -> `--model`)."""

_BUG = (
    "this is a bug of hlclip: please report it with the traceback above, the command and the "
    "output of `hlclip doctor`"
)

_NO_LOCKS = (
    "its file system has no locks (flock): mount it with locks, or choose a place on another disk "
    "(HLCLIP_STORE for the store)"
)

_NO_ROOM = re.compile("failed to map segment|[Cc]annot allocate memory")
"""How the loader of shared libraries says that there is no memory for one."""

_REMEDIES = {
    errno.ENOENT: "name a file that is there",
    errno.EACCES: "give your user the right to it, or choose another place",
    errno.EPERM: "give your user the right to it, or choose another place",
    errno.EROFS: "make that disk writable, or choose another place",
    errno.ENOSPC: "make room on that disk, then run again: what is finished is kept",
    errno.EDQUOT: "make room within your quota, then run again: what is finished is kept",
    errno.EFBIG: "raise the limit on a file's size (`ulimit -f`) or choose another disk",
    errno.EMFILE: "raise the limit on open files (`ulimit -n`), then run again",
    errno.ENOSYS: _NO_LOCKS,
    errno.EOPNOTSUPP: _NO_LOCKS,
    errno.ENOLCK: _NO_LOCKS,
    errno.EIO: "the disk or the connection to it is failing: check it, then run again",
}


class HlclipError(ValueError):
    """Input, parameters or files are not what hlclip needs.

    Args:
        reason: what is wrong: expected and actual value, and where.
        remedy: what to do.
        settings: parameters that the remedy sets, key of params.yaml -> value. The face that shows
            the error says how: `-S key=value` of DVC, or the option of a command.
    """

    def __init__(
        self, reason: str, remedy: str = "", *, settings: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self._remedy = remedy
        self._settings = dict(settings or {})

    def remedy(self, options: Options | None = None) -> str:
        """What to do; empty if there is nothing to add to the reason.

        Args:
            options: of the command that shows the error; those of `dvc exp run` by default.
        """
        settings = [
            f"{options[key]} {value}" if options and key in options else f"-S {key}={value}"
            for key, value in self._settings.items()
        ]
        return ": ".join(part for part in (self._remedy, " ".join(settings)) if part)

    def message(self, options: Options | None = None) -> str:
        """The reason, and in the next line the remedy."""
        return "\n".join(part for part in (self.reason, self.remedy(options)) if part)

    def __str__(self) -> str:
        return self.message()


def system_remedy(number: int | None, path: object = None) -> str:
    """What to do after the system's error of this number (errno).

    Args:
        path: of the file, if there is one. Those of the stages lie in `outputs/`.
    """
    if number == errno.ENOENT and "outputs" in re.split(r"[/\\]", str(path)):
        return "make it first: in a project `dvc repro` runs every stage"
    return _REMEDIES.get(number or 0, "correct that, then run again")


def print_error(
    error: BaseException, *, status: int, debug: bool = False, options: Options | None = None
) -> int:
    """Print on stderr why a command or stage ends; only a bug shows its traceback.

    Args:
        status: exit status for an error that a user can correct.
        debug: show the traceback of every error; `HLCLIP_DEBUG` does the same.
        options: see `HlclipError.remedy`.

    Returns:
        The exit status: `status`, 1 for a bug, `INTERRUPTED` after Ctrl-C, or the status of a
        `SystemExit` during which the error occurred.
    """
    # Either of them within Python 3.11's `shutil.rmtree` makes it close a file twice: an error.
    ending: BaseException | None = error
    while ending is not None and not isinstance(ending, (KeyboardInterrupt, SystemExit)):
        ending = ending.__context__
    number = ending_signal()
    if isinstance(ending, KeyboardInterrupt) or number == signal.SIGINT:
        sys.stderr.write("interrupted; what is finished is kept, the next run goes on from there\n")
        return INTERRUPTED
    if isinstance(ending, SystemExit) and isinstance(ending.code, int):
        return ending.code
    if number is not None:
        return 128 + number
    if isinstance(error, HlclipError):
        message = error.message(options)
    elif isinstance(error, ImportError | OSError) and _NO_ROOM.search(str(error)):
        message = f"not enough memory: {error}\n"
        message += "end other programs, or raise the limit on memory (`ulimit -v`), then run again"
    elif isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else str(error)
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{reason}\n{system_remedy(error.errno, error.filename)}"
    elif isinstance(error, MemoryError):
        message = f"not enough memory {error}".rstrip() + "\nend other programs, then run again"
    elif isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        # Python's stand-ins for bytes of a shell or a file system that are not text.
        around = error.object[max(0, error.start - 40) : error.end + 40]
        message = f"got {around!r}, expected text in UTF-8\nwrite or rename it in UTF-8"
    else:
        message, status, debug = _BUG, 1, True
    if debug or os.environ.get(DEBUG):
        traceback.print_exception(error)
    sys.stderr.write(f"{message}\n")
    return status
