"""Room and locks."""

import subprocess
import sys
from pathlib import Path

import pytest

from hlclip.system.disk import DiskError, in_words, require_space, same_disk
from hlclip.system.locks import sole_writer

_HOLD = """
import sys, time
from pathlib import Path
from hlclip.system.locks import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_keeps_out_and_its_death_lets_in(tmp_path: Path) -> None:
    path = tmp_path / "made" / "file"
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    with (
        pytest.raises(DiskError, match=rf"{path} is being written by another run"),
        sole_writer(path),
    ):
        raise AssertionError
    process.kill()
    process.communicate()
    with sole_writer(path):
        pass
    assert list(path.parent.iterdir()) == []


def test_space_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    require_space(folder, 1, "a byte")
    with pytest.raises(DiskError, match=rf"^{folder}: all of it needs 1,000,000,000.0 GB, .* free"):
        require_space(folder, 10**18, "all of it")
    assert not folder.exists()


def test_same_disk(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert same_disk(tmp_path, tmp_path / "folder")
    assert not same_disk(tmp_path, Path("/proc"))


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (999_999, "999,999 bytes"), (10**6, "1.0 MB"), (134 * 10**9, "134.0 GB")],
)
def test_sizes_in_words(size: int, words: str) -> None:
    assert in_words(size) == words
