"""Locks keep processes apart, and no lock outlives its holder."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hlclip.system import locked, sole_writer
from hlclip.system.disk import DiskError

HOLD = """
import sys
from pathlib import Path
from hlclip.system import locked, sole_writer

path, kind = Path(sys.argv[1]), sys.argv[2]
with sole_writer(path) if kind == "writer" else locked(path, shared=kind == "shared"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holder(path: Path, kind: str) -> "subprocess.Popen[str]":
    """Another process that holds a lock until it reads a line, or its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def is_free(path: Path, *, shared: bool) -> bool:
    try:
        with locked(path, shared=shared, wait=False):
            return True
    except BlockingIOError:
        return False


def test_an_exclusive_holder_is_alone(tmp_path: Path) -> None:
    path = tmp_path / "made" / "too" / "lock"
    process = holder(path, "exclusive")
    assert not is_free(path, shared=True)
    assert not is_free(path, shared=False)
    process.communicate("\n", timeout=30)
    assert is_free(path, shared=False)


def test_shared_holders_keep_out_an_exclusive_one_until_the_last_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holders = [holder(path, "shared") for _ in range(2)]
    for process in holders:
        assert is_free(path, shared=True)
        assert not is_free(path, shared=False)
        process.communicate("\n", timeout=30)
    assert is_free(path, shared=False)


@pytest.mark.parametrize("kind", ["shared", "exclusive"])
def test_a_killed_holder_holds_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "lock"
    process = holder(path, kind)
    assert not is_free(path, shared=False)
    process.kill()
    process.communicate()
    assert is_free(path, shared=False)


def test_waiting_ends_when_the_holder_does(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process = holder(path, "exclusive")
    timer = threading.Timer(0.2, process.kill)
    timer.start()
    with locked(path):
        assert process.wait(timeout=30) < 0
    process.communicate()


def test_threads_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"):
        assert not is_free(tmp_path / "lock", shared=True)
    assert is_free(tmp_path / "lock", shared=False)


def test_an_error_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock"):
        raise ZeroDivisionError
    assert is_free(tmp_path / "lock", shared=False)


def test_a_lock_file_of_another_user_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch(mode=0o444)
    with locked(path):
        assert path.read_bytes() == b""


def test_nothing_is_created_where_that_is_not_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locked(tmp_path / "folder" / "lock", create=False):
        raise AssertionError
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path, create=False):  # a folder is locked as it is
        assert list(tmp_path.iterdir()) == []


def test_a_sole_writer_keeps_out_others_and_its_death_lets_them_in(tmp_path: Path) -> None:
    path = tmp_path / "made" / "file"
    process = holder(path, "writer")
    with (
        pytest.raises(DiskError, match=rf"{path} is being written by another run\nwait for it"),
        sole_writer(path),
    ):
        raise AssertionError
    process.kill()
    process.communicate()
    with sole_writer(path):
        pass
    assert list(path.parent.iterdir()) == []


def test_a_sole_writer_after_the_last_one_removed_the_lock_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock on a removed file excludes nobody, so the lock file is made again."""
    path, lock = tmp_path / "file", tmp_path / ".file.lock"
    opened: list[int] = []
    system_open = os.open

    def open_and_remove(name: Path, flags: int, *mode: int) -> int:
        descriptor = system_open(name, flags, *mode)
        if not opened:
            lock.unlink()  # the last holder ends just after this process opened the file
        opened.append(descriptor)
        return descriptor

    with monkeypatch.context() as context:
        context.setattr(os, "open", open_and_remove)
        writer = sole_writer(path)
        writer.__enter__()
    assert len(opened) == 2
    with pytest.raises(DiskError), sole_writer(path):
        raise AssertionError
    writer.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


WRITE = """
import sys, time
from pathlib import Path
from hlclip.system.disk import DiskError
from hlclip.system import sole_writer

path, count = Path(sys.argv[1]), 0
while count < 100:
    try:
        with sole_writer(path):
            path.touch(exist_ok=False)
            path.unlink()
            count += 1
    except DiskError:
        time.sleep(0.001)
"""


def test_sole_writers_never_meet(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITE, str(tmp_path / "file")]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []
