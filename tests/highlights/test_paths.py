"""Which files are scored, and their vids."""

from pathlib import Path

import pytest

from hlclip.highlights import name_videos
from hlclip.system import HlclipError


def touch(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


def test_a_folder_gives_its_videos_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "b.MOV", "a.mp4", "a.srt", "notes.txt", ".hidden.mp4", "inside/c.mp4", "x.mpeg")
    (tmp_path / "folder.mp4").mkdir()
    assert [path.name for path in name_videos([tmp_path])] == ["a.mp4", "b.MOV", "x.mpeg"]


def test_a_file_that_is_named_is_taken_once_as_it_is(tmp_path: Path) -> None:
    recording, video = touch(tmp_path, "recording", "v.mp4")
    assert list(name_videos([video, recording, tmp_path])) == [video, recording]


def test_missing_videos_are_named(tmp_path: Path) -> None:
    with pytest.raises(HlclipError, match=r"none\.mp4: no such file or folder"):
        name_videos([tmp_path / "none.mp4"])
    with pytest.raises(HlclipError, match="this folder holds no video"):
        name_videos([tmp_path])


def test_vids_are_unique(tmp_path: Path) -> None:
    paths = touch(tmp_path, "a/v.mp4", "b/v.mp4", "b/v.mov", "c/v.mp4", "d/c/v.mp4", "w.1.mp4")
    vids = ["v", "v.mp4", "v.mov", "c_v.mp4", "v_2", "w.1"]
    assert list(name_videos(paths).values()) == vids
