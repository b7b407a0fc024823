"""Free space: asked for in time, and named in words."""

from pathlib import Path

import pytest

from hlclip.system.disk import DiskError, in_words, require_space, same_disk


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
