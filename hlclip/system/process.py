"""A process: its memory, its start and its end.

Importing torch and open_clip creates a million objects that live until the end. Python's garbage
collector scans them again and again during the imports, and Python destroys each of them before it
ends. Together that is half the time of a command that takes seconds: see `quick_process`.
"""

import atexit
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_OBJECTS = 50_000
"""New objects until the garbage collector looks for cycles; the default is 700 or 2,000."""


def log_to_stderr(*, quiet: bool = False) -> None:
    """Print hlclip's messages and the warnings of all on stderr; `quiet` keeps hlclip's errors."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("hlclip").setLevel(logging.ERROR if quiet else logging.INFO)


def exit_on_signals() -> None:
    """Make SIGTERM and SIGHUP exit by an exception.

    So temporary files are removed, locks released and other processes ended. A signal that the
    caller ignores, as `nohup` does, stays ignored.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _exit)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def ending_signal() -> int | None:
    """The signal that ends this process, after `exit_on_signals`; None before it comes.

    Whatever error follows is not worth a message: it may be the exit itself. Compiled code, such as
    pydantic's while a module is imported, turns the exit into an error of its own.
    """
    return _received[0] if _received else None


_received: list[int] = []


def _exit(number: int, _frame: FrameType | None) -> None:
    _received.append(number)
    sys.exit(128 + number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    signal.default_int_handler(number, frame)


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


def memory_bytes() -> int:
    """Physical memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_bytes() -> int:
    """The most memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def free_host_bytes(system: Path = Path("/")) -> int:
    """Memory that this process may still use: free on the machine, or in a control group if less.

    Batch systems and containers limit the memory of a process's control group, or of a parent's.
    """
    facts = dict(
        line.split(":", 1) for line in (system / "proc/meminfo").read_text().splitlines() if line
    )
    free = [int(facts["MemAvailable"].split()[0]) * 1024]
    for folder, (limit_name, used_name, files_name) in _control_groups(system):
        try:
            limit = (folder / limit_name).read_text().strip()
            used = int((folder / used_name).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except FileNotFoundError:
            continue  # the root group has no limit, and a container does not see all groups
        if limit != "max":
            free.append(int(limit) - used + int(stat[files_name]))  # the system drops cached files
    return min(free)


def _control_groups(system: Path) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Folder of this process's control group and of each parent, and the names of their files."""
    for line in (system / "proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        root = system / "sys/fs/cgroup"
        if not controllers:
            names = ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root /= "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = Path(path.lstrip("/"))
        yield from ((root / folder, names) for folder in (group, *group.parents))
