"""Video files are found by name, hashed and probed once; the cache only ever saves time."""

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hlclip.video.files
from hlclip.formats import Video
from hlclip.video.container import VideoError, probe
from hlclip.video.files import DataError, find_videos, inspect_videos
from tests.disks import fill, make_read_only, small_disk
from tests.films import copy, film


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two different films of the same length in bytes."""
    folder = tmp_path_factory.mktemp("films")
    one, two = (film(folder / f"{n}.mp4", "-c:v", "mpeg4", seconds=4 + n) for n in (0, 1))
    size = max(one.stat().st_size, two.stat().st_size)
    for path in (one, two):
        path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    return one, two


@pytest.fixture
def videos(tmp_path: Path, films: tuple[Path, Path]) -> dict[str, Path]:
    return {vid: copy(films[0], tmp_path / "data" / f"{vid}.mp4") for vid in ("a", "b")}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "store" / "videos.json"


def inspected(videos: dict[str, Path], cache: Path) -> dict[str, Video | VideoError]:
    return dict(inspect_videos(videos, next(iter(videos.values())).parent, cache))


def swap(path: Path, content: bytes, *, later_ns: int) -> None:
    """Other content of the same size in the same inode, modified `later_ns` after the old one."""
    times = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + later_ns))


def test_hash_and_facts(videos: dict[str, Path], cache: Path, films: tuple[Path, Path]) -> None:
    sha256 = hashlib.sha256(films[0].read_bytes()).hexdigest()
    expected = {vid: Video(f"{vid}.mp4", sha256, probe(films[0])) for vid in videos}
    assert inspected(videos, cache) == expected == inspected(videos, cache)


def test_a_vid_is_a_name_and_no_path(tmp_path: Path) -> None:
    for name in ("a.b.mp4", ".a.mp4", "a.mp4.part", "c.MKV"):
        (tmp_path / name).touch()
    (tmp_path / "d").mkdir()
    vids = {"a.b", "a", "c", "d", "../a", str(tmp_path / "a")}
    found = find_videos(tmp_path, vids)
    assert found == {"a.b": tmp_path / "a.b.mp4", "c": tmp_path / "c.MKV"}
    (tmp_path / "c.webm").touch()
    with pytest.raises(DataError, match=r"two files for vid 'c' in .*: c\.MKV and c\.webm\nkeep"):
        find_videos(tmp_path, vids)


def test_an_unchanged_file_is_not_read_again(
    videos: dict[str, Path], cache: Path, films: tuple[Path, Path]
) -> None:
    first = inspected(videos, cache)
    other = films[1].read_bytes()
    # Only reading the file again would show this change.
    swap(videos["a"], other, later_ns=0)
    assert inspected(videos, cache) == first


def test_a_changed_file_is_read_again(
    videos: dict[str, Path], cache: Path, films: tuple[Path, Path]
) -> None:
    first = inspected(videos, cache)
    swap(videos["a"], films[1].read_bytes(), later_ns=1)
    sha256 = hashlib.sha256(films[1].read_bytes()).hexdigest()
    expected = {"a": Video("a.mp4", sha256, probe(films[1])), "b": first["b"]}
    assert inspected(videos, cache) == expected == inspected(videos, cache)


def test_what_is_no_video_is_no_entry(videos: dict[str, Path], cache: Path) -> None:
    whole = videos["b"].read_bytes()
    videos["b"].write_text("words")
    videos["c"] = videos["b"].with_name("c.mp4")
    results = inspected(videos, cache)
    assert isinstance(results["a"], Video)
    assert str(results["b"]).startswith("not readable as a video")
    assert str(results["c"]) == "cannot be read (No such file or directory)"
    assert list(json.loads(cache.read_bytes())["videos"]) == [str(videos["a"].resolve())]
    videos["b"].write_bytes(whole)
    assert isinstance(inspected(videos, cache)["b"], Video)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "garbage": lambda whole: b"garbage" * 1000,
    "other JSON": lambda whole: b"[]",
    "without a digest": lambda whole: b'{"version": 2, "videos": {}}',
    "another digit": lambda whole: whole.replace(b'"width": 96', b'"width": 97', 1),
    "another version": lambda whole: whole.replace(b'"version": 2', b'"version": 1'),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_cache_is_named_once_and_made_again(
    videos: dict[str, Path], cache: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    expected = inspected(videos, cache)
    whole = cache.read_bytes()
    cache.write_bytes(DAMAGES[name](whole))
    assert cache.read_bytes() != whole
    with caplog.at_level(logging.WARNING, "hlclip"):
        assert inspected(videos, cache) == expected
    assert [record.message.split(" (")[0] for record in caplog.records] == [
        f"{cache}: not used, all videos are hashed again"
    ]
    assert cache.read_bytes() == whole


def test_no_changed_byte_of_the_cache_gives_another_result(
    videos: dict[str, Path], cache: Path
) -> None:
    expected = inspected(videos, cache)
    whole = cache.read_bytes()
    random = np.random.default_rng(0)
    for at in random.integers(0, len(whole), 60):
        value = whole[at] ^ int(random.integers(1, 256))
        cache.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
        assert inspected(videos, cache) == expected


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_cache_that_cannot_be_written_is_named_once(
    videos: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    monkeypatch.setattr(hlclip.video.files, "_SAVE_SECONDS", 0)  # after each video
    expected = inspected(videos, tmp_path / "videos.json")
    with small_disk(tmp_path / "disk", 64 * 1024) as disk:
        cache = disk / "videos.json"
        if fault == "full":
            fill(disk)
        else:
            make_read_only(disk)
        with caplog.at_level(logging.WARNING, "hlclip"):
            assert inspected(videos, cache) == expected
        assert not cache.exists()
    (message,) = [record.message for record in caplog.records]
    reason = {"full": "No space left on device", "read-only": "Read-only file system"}[fault]
    # Without "cannot be written": a stage that then fails says that, once.
    assert message == (
        f"{cache}: the hashes of videos were not saved, the next run computes them again ({reason})"
    )


def test_a_folder_in_place_of_the_cache(videos: dict[str, Path], cache: Path) -> None:
    expected = inspected(videos, cache)
    cache.unlink()
    cache.mkdir()
    assert inspected(videos, cache) == expected


PROGRAM = """
import sys, time
from pathlib import Path
import hlclip.video.files
from hlclip.video.files import inspect_videos

hlclip.video.files._SAVE_SECONDS = 0
folder, cache, prefix, seconds = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
videos = {path.stem: path for path in folder.glob(f"{prefix}*")}
for vid, result in inspect_videos(videos, folder, cache):
    print(vid, result.sha256, flush=True)
    time.sleep(float(seconds))
"""


def program(folder: Path, cache: Path, prefix: str, seconds: float) -> "subprocess.Popen[str]":
    arguments = [sys.executable, "-c", PROGRAM, folder, cache, prefix, seconds]
    return subprocess.Popen(list(map(str, arguments)), stdout=subprocess.PIPE, text=True)


def test_two_runs_at_once(tmp_path: Path, cache: Path, films: tuple[Path, Path]) -> None:
    videos = {
        vid: copy(films[0], tmp_path / "data" / f"{vid}.mp4")
        for vid in (f"{prefix}{n}" for prefix in "ab" for n in range(8))
    }
    processes = [program(tmp_path / "data", cache, prefix, 0.01) for prefix in "ab"]
    outputs = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    assert [len(lines) for lines in outputs] == [8, 8]
    entries = json.loads(cache.read_bytes())["videos"]  # one run may write over the other's
    assert entries.keys() <= {str(path.resolve()) for path in videos.values()}
    assert len(entries) >= 8
    results = inspected(videos, cache)
    lines = [f"{vid} {video.sha256}" for vid, video in results.items() if isinstance(video, Video)]
    assert lines == [line for lines in outputs for line in lines]


def test_a_killed_run_keeps_the_entries_that_it_saved(
    tmp_path: Path, cache: Path, films: tuple[Path, Path]
) -> None:
    for n in range(6):
        copy(films[0], tmp_path / "data" / f"v{n}.mp4")
    process = program(tmp_path / "data", cache, "v", 0.1)
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    entries = json.loads(cache.read_bytes())["videos"]
    assert 2 <= len(entries) <= 6
    process = program(tmp_path / "data", cache, "v", 0)
    assert len(process.communicate(timeout=60)[0].splitlines()) == 6
    assert json.loads(cache.read_bytes())["videos"].items() >= entries.items()
