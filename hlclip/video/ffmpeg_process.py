"""ffmpeg as a process with limits on what it reads, its time and its memory."""

import contextlib
import os
import re
import resource
import selectors
import shutil
import signal
import subprocess
import time
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Any, Self, cast

import ffmpeg
import imageio_ffmpeg

from hlclip.video.container import CONTAINERS, MOST_PIXELS, check_plain
from hlclip.video.refusals import REFUSALS, VideoError, VideoUnreadableError, unreadable
from hlclip.video.workers import work_of_thread

FLOOR_SECONDS = 300.0
"""ffmpeg may take this long for anything: a network file system may stand still for minutes."""

SECONDS_A_SECOND = 20.0
"""Time that it may take for each second of video: 8K on one slow core takes about as much."""

MEMORY_BYTES = 4 * 2**30
"""Memory of an ffmpeg that decodes: 8K keeps up to 17 pictures of 100 MB for reference."""

_COMPLAINTS_BYTES = 64 * 1024
"""Only the last complaints are stored: those of hours of damage would fill the memory."""


def video_input(path: Path, **options: object) -> Any:
    """A video as ffmpeg-python's input; nothing but this file is read, which is a plain one."""
    check_plain(path)
    # `file:` and the whitelists: no name or playlist makes ffmpeg read another file.
    return ffmpeg.input(
        f"file:{path.absolute()}",
        protocol_whitelist="file",
        format_whitelist=CONTAINERS,
        max_pixels=MOST_PIXELS,
        **options,
    )


class FFmpegProcess:
    """A running ffmpeg; leaving the context ends it.

    Args:
        output: ffmpeg-python's output.
        path: the video; its folder is removed from complaints.
        gap_seconds: of video that ffmpeg may have to decode before it writes its next byte.
        memory: limit on its data in bytes, where the system has such a limit (Linux).
    """

    def __init__(
        self, output: Any, path: Path, *, gap_seconds: float, memory: int = MEMORY_BYTES
    ) -> None:
        output = output.global_args("-nostdin", "-loglevel", "error")
        self._path = path
        self._stall_seconds = FLOOR_SECONDS + SECONDS_A_SECOND * gap_seconds
        self._limit_seconds = FLOOR_SECONDS
        self._waited_seconds = 0.0  # inside `read`: a slow caller costs ffmpeg no time
        self._complaints = b""
        self._process = subprocess.Popen(
            output.compile(cmd=ffmpeg_executable()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._pipes = selectors.DefaultSelector()
        for name in ("stdout", "stderr"):
            self._pipes.register(getattr(self._process, name), selectors.EVENT_READ, name)
        if hasattr(resource, "prlimit"):
            # After its start: code between fork and exec is not safe in a process with threads.
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(self._process.pid, resource.RLIMIT_DATA, (memory, memory))

    def __enter__(self) -> Self:
        self._work = work_of_thread()
        self._work.add(self._process)
        return self

    def __exit__(self, *_: object) -> None:
        self._work.remove(self._process)
        self._process.kill()  # the reader may have stopped early
        # A killed process stays as long as its disk does not answer: do not wait for that.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        self._pipes.close()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def read(self, size: int, *, seconds: float) -> bytes:
        """The next `size` bytes that ffmpeg writes to `pipe:`, fewer at the end of its output.

        Complaints are read at the same time, so that ffmpeg never waits for a reader of those.

        Args:
            seconds: of video in these bytes; ffmpeg gets `SECONDS_A_SECOND` more for each.

        Raises:
            VideoError: ffmpeg takes too long in all, or writes nothing for too long.
        """
        self._limit_seconds += SECONDS_A_SECOND * seconds
        last_byte = time.monotonic()
        start = last_byte - self._waited_seconds  # the clock stands still between two reads
        content = bytearray()
        while len(content) < size and self._pipes.get_map():
            now = time.monotonic()
            remaining = start + self._limit_seconds - now
            remaining_to_stall = last_byte + self._stall_seconds - now
            if remaining_to_stall <= 0:
                raise VideoError(f"ffmpeg was ended: no frame for {self._stall_seconds:g} s")
            if remaining <= 0:
                raise VideoError(f"ffmpeg was ended: not done after {self._limit_seconds:g} s")
            for key, _ in self._pipes.select(min(remaining, remaining_to_stall)):
                pipe = cast("FileIO", key.fileobj)
                if key.data == "stderr":
                    chunk = pipe.read(_COMPLAINTS_BYTES)
                    self._complaints = (self._complaints + chunk)[-_COMPLAINTS_BYTES:]
                else:
                    chunk = pipe.read(size - len(content))
                    content += chunk
                    last_byte = time.monotonic()
                if not chunk:
                    self._pipes.unregister(pipe)
        self._waited_seconds = time.monotonic() - start
        return bytes(content)

    def read_ppm(self, *, seconds: float) -> bytes:
        """The next picture in the format PPM, empty at the end of the output; see `read`."""
        header = b""
        while header.count(b"\n") < 3 and (byte := self.read(1, seconds=0)):
            header += byte
        if not header:
            return b""
        width, height = map(int, header.split()[1:3])
        return header + self.read(width * height * 3, seconds=seconds)

    def end(self) -> tuple[int, list[str]]:
        """Exit status and complaints, once all output is read.

        Complaints hold no addresses or folders: a reason in a manifest is the same in every run.

        Raises:
            VideoUnreadableError: the system killed ffmpeg, or refused it a read.
            VideoError: ffmpeg does not end.
        """
        try:
            status = self._process.wait(timeout=FLOOR_SECONDS)
        except subprocess.TimeoutExpired:
            raise VideoError(f"ffmpeg did not end within {FLOOR_SECONDS:g} s") from None
        complaints = re.sub(r" @ 0x[0-9a-f]+", "", self._complaints.decode(errors="replace"))
        complaints = complaints.replace(str(self._path.absolute()), self._path.name)
        if status == -signal.SIGKILL:  # its limits end it otherwise
            raise VideoUnreadableError(
                "ffmpeg was killed from outside, as the system does when memory runs out",
                "end other programs, then run again",
            )
        # A read that the system refuses is the end of the file to ffmpeg, which exits with 0.
        for number in REFUSALS:
            if os.strerror(number) in complaints:
                raise unreadable(OSError(number, os.strerror(number)))
        return status, complaints.strip().splitlines()


@cache
def ffmpeg_executable() -> str:
    """Path of ffmpeg: the one on PATH, else the one of the package imageio-ffmpeg."""
    return shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()
