"""ffmpeg as a process with limits: what it reads, how long it takes, and how much memory."""

import contextlib
import re
import resource
import selectors
import shutil
import subprocess
import time
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Any, Self, cast

import ffmpeg
import imageio_ffmpeg

from hlclip.video.container import CONTAINERS, MOST_PIXELS, VideoError, check_plain

FLOOR_SECONDS = 300.0
"""What ffmpeg may take for anything: a network file system may stand still for minutes."""

SECONDS_A_SECOND = 20.0
"""What it may take on top for each second of video: 8K on one slow core takes about as much."""

MEMORY_BYTES = 4 * 2**30
"""Data of an ffmpeg that decodes: 8K keeps up to 17 pictures of 100 MB for reference."""

_KEPT = 64 * 1024
"""Bytes that are kept of what it complains, the last ones: hours of damage would fill a disk."""


def time_limit_seconds(seconds: float) -> float:
    """How long ffmpeg may take for so many seconds of video, in seconds."""
    return FLOOR_SECONDS + SECONDS_A_SECOND * seconds


def video_input(path: Path, **options: object) -> Any:
    """A video as ffmpeg-python's input; nothing but this file is read.

    Raises:
        VideoError: it is no plain file.
    """
    check_plain(path)
    # `file:` and the whitelists: a name or playlist must not make ffmpeg read anything else.
    return ffmpeg.input(
        f"file:{path.absolute()}",
        protocol_whitelist="file",
        format_whitelist=CONTAINERS,
        max_pixels=MOST_PIXELS,
        **options,
    )


class FFmpegProcess:
    """An ffmpeg that runs; it is ended with the context, however that is left.

    Args:
        output: ffmpeg-python's output.
        path: the video, whose folder is kept out of complaints.
        stall_seconds: how long it may write nothing while it is read from.
        memory: most bytes of its data, where the system has such a limit (Linux).
    """

    def __init__(
        self, output: Any, path: Path, *, stall_seconds: float, memory: int = MEMORY_BYTES
    ) -> None:
        options = output.global_args("-nostdin", "-loglevel", "error")
        self._path = path
        self._stall_seconds = stall_seconds
        self._granted_seconds = self._left_seconds = FLOOR_SECONDS
        self._said = b""
        self._process = subprocess.Popen(
            options.compile(cmd=ffmpeg_executable()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._pipes = selectors.DefaultSelector()
        for name in ("stdout", "stderr"):
            self._pipes.register(getattr(self._process, name), selectors.EVENT_READ, name)
        if hasattr(resource, "prlimit"):
            # After its start: code that runs between fork and exec is not safe beside threads.
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(self._process.pid, resource.RLIMIT_DATA, (memory, memory))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # the reader may have stopped early
        # Even a killed process stays as long as its disk does not answer; it is not waited for.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        self._pipes.close()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def read(self, size: int, *, seconds: float) -> bytes:
        """The next `size` bytes that it writes to `pipe:`, fewer at their end.

        Args:
            seconds: of video that they show, for which it gets more time; see `patience`.

        Raises:
            VideoError: it takes too long.
        """
        self._granted_seconds += SECONDS_A_SECOND * seconds
        self._left_seconds += SECONDS_A_SECOND * seconds
        content = bytearray()
        while len(content) < size and (chunk := self._chunk(size - len(content))):
            content += chunk
        return bytes(content)

    def end(self) -> tuple[int, list[str]]:
        """Exit status and complaints, once everything is read.

        Without addresses and folders, so that a reason in a manifest is the same in every run.
        """
        try:
            status = self._process.wait(timeout=FLOOR_SECONDS)
        except subprocess.TimeoutExpired:
            raise VideoError(f"ffmpeg did not end within {FLOOR_SECONDS:g} s") from None
        said = re.sub(r" @ 0x[0-9a-f]+", "", self._said.decode(errors="replace"))
        said = said.replace(str(self._path.absolute()), self._path.name)
        return status, said.strip().splitlines()

    def _chunk(self, size: int) -> bytes:
        """Some bytes as soon as there are any, none at their end; complaints are read meanwhile."""
        began = time.monotonic()
        while self._pipes.get_map():
            waited = time.monotonic() - began
            if waited >= self._left_seconds:
                raise VideoError(f"ffmpeg was ended: not done after {self._granted_seconds:g} s")
            if waited >= self._stall_seconds:
                raise VideoError(f"ffmpeg was ended: no frame for {self._stall_seconds:g} s")
            for key, _ in self._pipes.select(min(self._left_seconds, self._stall_seconds) - waited):
                pipe = cast("FileIO", key.fileobj)
                chunk = pipe.read(size if key.data == "stdout" else _KEPT)
                if not chunk:
                    self._pipes.unregister(pipe)
                elif key.data == "stderr":
                    self._said = (self._said + chunk)[-_KEPT:]
                else:
                    self._left_seconds -= time.monotonic() - began
                    return chunk
        return b""


@cache
def ffmpeg_executable() -> str:
    """Path of ffmpeg: the one on PATH, else the one that came with `pip install`."""
    return shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()
