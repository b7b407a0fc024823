"""A run whose ffmpeg hangs ends at a signal within seconds, and leaves no process."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.films import constant, numbered_film

PATIENCE_SECONDS = 20
"""The run ends in a fraction of a second; the machine may be busy."""

BEFORE = """
import sys
from pathlib import Path
from hlclip.formats import Index, Video
import hlclip.cli
from hlclip.pipeline import stage
from hlclip.video import inspect_videos
store = Path("store")
header = {"clip_seconds": 2.0, "size": 32, "resize": "shortest", "interpolation": "bicubic"}
def work():
"""
WORK = {
    "the frames of many videos": """
    from hlclip.params import FramesParams
    from hlclip.pipeline.frames import make_frames
    params = FramesParams(size=32, resize="shortest", interpolation="bicubic", decoder="ffmpeg")
    files = {str(n): Path(f"{n}.mkv") for n in range(9)}
    videos = dict(inspect_videos(files, store / "videos.json"))
    videos = {vid: Video(str(v.path), v.sha256, v.info) for vid, v in videos.items()}
    index = Index(2.0, {}, videos, {})
    make_frames(index, params, data_root=Path(), store=store, max_missing=1)
""",
    "the tokens of one video": """
    from hlclip.highlights.features import token_parts
    from hlclip.store import Store
    ((_, video),) = inspect_videos({"0": Path("0.mkv")}, store / "videos.json")
    next(token_parts(video, encoder=None, frames=header, images=Store(store, "images", {})))
""",
    "pictures": """
    from hlclip.highlights.pictures import pictures
    pictures(Path("0.mkv"), range(9), clip_seconds=2.0, height=20)
""",
}
STAGE, COMMAND = "stage.run(work)", "hlclip.cli.app = lambda **_: work(); hlclip.cli.main()"


@pytest.mark.parametrize(
    ("kind", "how", "number"),
    [
        ("the frames of many videos", STAGE, signal.SIGTERM),
        ("the tokens of one video", COMMAND, signal.SIGINT),
        ("pictures", COMMAND, signal.SIGTERM),
    ],
)
def test_a_signal_ends_a_run_that_waits_for_ffmpeg(
    tmp_path: Path, kind: str, how: str, number: signal.Signals
) -> None:
    film = numbered_film(tmp_path / "v.mkv", constant(10, 4)).read_bytes()
    for number_of_film in range(9):  # nine contents, so none waits for another's frames
        (tmp_path / f"{number_of_film}.mkv").write_bytes(film + bytes([number_of_film]))
    stand_in = tmp_path / "bin" / "ffmpeg"
    stand_in.parent.mkdir()
    stand_in.write_text(f"#!/bin/sh\necho $$ >> {tmp_path}/pids\nexec sleep 1000\n")
    stand_in.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, "-c", BEFORE + WORK[kind] + how],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{stand_in.parent}:{os.environ['PATH']}"},
        stderr=subprocess.PIPE,
    ) as process:
        try:
            while not (tmp_path / "pids").exists():
                assert process.poll() is None
                time.sleep(0.02)
            time.sleep(0.2)
            process.send_signal(number)
            process.wait(PATIENCE_SECONDS)
        finally:
            process.kill()
            left = [pid for pid in _pids(tmp_path) if _ended(pid)]
    assert process.returncode != 0
    assert left == []
    assert not list(tmp_path.rglob("*.tmp"))


def _pids(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "pids").read_text().split()]


def _ended(pid: int) -> bool:
    """End a process; whether it was still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False
