"""Threads that decode, and stop at once when their caller is interrupted or fails.

Python waits for its threads before it ends, and a thread may wait for ffmpeg for minutes.
"""

import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from hlclip.video.refusals import VideoError

_of_thread = threading.local()


class Work:
    """What the threads of one pool do: their processes, and whether they are to stop."""

    def __init__(self) -> None:
        self._stopped = False
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """Kill this process when the work is stopped."""
        with self._lock:
            self._processes.append(process)
            if self._stopped:
                process.kill()

    def remove(self, process: subprocess.Popen[bytes]) -> None:
        """The process ends by itself."""
        with self._lock:
            self._processes.remove(process)

    def stop(self) -> None:
        """Kill the processes, and fail `check` from now on."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.kill()

    def check(self) -> None:
        """Raise a VideoError if the work is stopped."""
        if self._stopped:
            raise VideoError("decoding was interrupted")


def work_of_thread() -> Work:
    """The work of this thread; of a thread of no pool, work that nobody stops."""
    return getattr(_of_thread, "work", None) or Work()


@contextmanager
def worker_threads(count: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads; an exception in the context cancels what they do and kills their ffmpegs.

    Args:
        count: of threads; None is the executor's default.
    """
    work = Work()
    arguments = (_of_thread, "work", work)
    with ThreadPoolExecutor(count, initializer=setattr, initargs=arguments) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            work.stop()
            raise
