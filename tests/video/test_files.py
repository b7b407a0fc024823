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
import xxhash

import hlclip.video.files
from hlclip.formats import Video
from hlclip.video.container import probe
from hlclip.video.files import (
    DataError,
    VideoChangedError,
    VideoFile,
    find_videos,
    indexed_video,
    inspect_videos,
    read_hashes,
)
from hlclip.video.refusals import VideoError
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


def inspected(videos: dict[str, Path], cache: Path) -> dict[str, VideoFile | VideoError]:
    return dict(inspect_videos(videos, cache))


def swap(path: Path, content: bytes, *, later_ns: int) -> None:
    """Other content of the same size in the same inode, modified `later_ns` after the old one."""
    times = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + later_ns))


def test_hash_and_facts(videos: dict[str, Path], cache: Path, films: tuple[Path, Path]) -> None:
    sha256 = hashlib.sha256(films[0].read_bytes()).hexdigest()
    first = inspected(videos, cache)
    for vid, file in first.items():
        assert isinstance(file, VideoFile)
        assert (file.path, file.sha256, file.info) == (videos[vid], sha256, probe(films[0]))
    assert inspected(videos, cache) == first


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


def test_an_unchanged_file_is_not_read_again(videos: dict[str, Path], cache: Path) -> None:
    inspected(videos, cache)
    content = json.loads(cache.read_bytes())
    for entry in content["videos"].values():
        entry["sha256"] = "0" * 64  # only reading the files again would show the real one
    facts = json.dumps(content["videos"], sort_keys=True).encode()
    content["digest"] = xxhash.xxh3_128_hexdigest(facts)
    cache.write_text(json.dumps(content))
    results = inspected(videos, cache).values()
    assert [file.sha256 for file in results if isinstance(file, VideoFile)] == ["0" * 64] * 2


@pytest.mark.parametrize("later_ns", [0, 1], ids=["modification time kept", "modified later"])
def test_a_changed_file_is_read_again(
    videos: dict[str, Path], cache: Path, films: tuple[Path, Path], later_ns: int
) -> None:
    first = inspected(videos, cache)
    swap(videos["a"], films[1].read_bytes(), later_ns=later_ns)
    second = inspected(videos, cache)
    file = second["a"]
    assert isinstance(file, VideoFile)
    assert file.sha256 == hashlib.sha256(films[1].read_bytes()).hexdigest()
    assert file.info == probe(films[1])
    assert second["b"] == first["b"]
    assert inspected(videos, cache) == second


def replaced(path: Path, other: Path) -> None:
    copy(other, path.with_suffix(".new")).replace(path)


def written_over(path: Path, other: Path) -> None:
    swap(path, other.read_bytes(), later_ns=0)


def linked_elsewhere(path: Path, other: Path) -> None:
    path.unlink()
    path.symlink_to(other)


def removed(path: Path, other: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [replaced, written_over, linked_elsewhere, removed])
@pytest.mark.parametrize("fails", [False, True], ids=["decoded", "failed"])
def test_what_is_read_while_a_file_changes_is_refused(
    videos: dict[str, Path],
    cache: Path,
    films: tuple[Path, Path],
    change: Callable[[Path, Path], None],
    fails: bool,
) -> None:
    file = inspected(videos, cache)["a"]
    assert isinstance(file, VideoFile)
    with file.unchanged():
        pass

    def read() -> None:
        with file.unchanged():
            change(file.path, films[1])
            if fails:
                raise VideoError("ffmpeg failed: moov atom not found")

    with pytest.raises(VideoChangedError, match="changed while it was read"):
        read()


def test_a_file_that_fails_and_did_not_change_says_why(
    videos: dict[str, Path], cache: Path
) -> None:
    file = inspected(videos, cache)["a"]
    assert isinstance(file, VideoFile)
    with pytest.raises(VideoError, match=r"^no frame$"), file.unchanged():
        raise VideoError("no frame")


def test_an_indexed_video_is_hashed_again_only_if_it_may_have_changed(
    videos: dict[str, Path], cache: Path, films: tuple[Path, Path]
) -> None:
    file = inspected(videos, cache)["a"]
    assert isinstance(file, VideoFile)
    video = Video("a.mp4", file.sha256, file.info)
    hashes = read_hashes(cache)
    path = videos["a"]
    assert indexed_video(path, video, hashes) == file == indexed_video(path, video, {})
    path.touch()  # the same content
    assert indexed_video(path, video, hashes).sha256 == file.sha256
    swap(path, films[1].read_bytes(), later_ns=0)
    for known in (hashes, {}):
        with pytest.raises(VideoChangedError, match="no longer the file that `index` hashed"):
            indexed_video(path, video, known)
    path.unlink()
    with pytest.raises(VideoError, match=r"cannot be read \(No such file"):
        indexed_video(path, video, hashes)


def test_a_cache_that_the_system_does_not_read_now_is_kept(
    videos: dict[str, Path], cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inspected({"a": videos["a"]}, cache)
    kept = cache.read_bytes()
    loop = cache.with_name("loop.json")
    loop.symlink_to(loop)  # stands for a disk that fails: it is there, and cannot be read
    with caplog.at_level(logging.WARNING, "hlclip"):
        results = inspected(videos, loop)
    assert all(isinstance(file, VideoFile) for file in results.values())
    assert loop.is_symlink()
    assert "were not saved" in caplog.text
    assert cache.read_bytes() == kept


def test_what_is_no_video_is_no_entry(videos: dict[str, Path], cache: Path) -> None:
    whole = videos["b"].read_bytes()
    videos["b"].write_text("words")
    videos["c"] = videos["b"].with_name("c.mp4")
    results = inspected(videos, cache)
    assert isinstance(results["a"], VideoFile)
    assert str(results["b"]).startswith("not readable as a video")
    assert str(results["c"]) == "cannot be read (No such file or directory)"
    assert list(json.loads(cache.read_bytes())["videos"]) == [str(videos["a"].resolve())]
    videos["b"].write_bytes(whole)
    assert isinstance(inspected(videos, cache)["b"], VideoFile)


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
for vid, result in inspect_videos(videos, cache):
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
    lines = [f"{vid} {file.sha256}" for vid, file in results.items() if isinstance(file, VideoFile)]
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
