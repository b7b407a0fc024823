"""Archives, honest, cut, damaged and hostile: whole videos in the folder, nothing outside it."""

import gzip
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from filelock import FileLock

from hlclip.datasets.archive import ArchiveError, extract_videos, videos_in
from hlclip.system.disk import DiskError

VIDS = ["j7rJstUseKg_360.0_510.0", "b", "c"]
CONTENTS = {vid: random.Random(vid).randbytes(200_000) for vid in VIDS}

Member = tuple[str, bytes] | tarfile.TarInfo


def pack(path: Path, *members: Member, format: int = tarfile.PAX_FORMAT) -> Path:
    path.write_bytes(gzip.compress(packed(members, format=format), 1))
    return path


def packed(members: Sequence[Member], *, format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member, io.BytesIO(bytes(member.size)))
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


def special(name: str, type: bytes, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = type, target, size
    return info


def videos(vids: Sequence[str] = VIDS, folder: str = "qvhighlights/videos/") -> list[Member]:
    return [(f"{folder}{vid}.mp4", CONTENTS[vid]) for vid in vids]


def tree(root: Path) -> dict[str, bytes]:
    """Everything under `root`; a link counts as what it points to, as text."""
    return {
        path.relative_to(root).as_posix(): (
            f"-> {path.readlink()}".encode() if path.is_symlink() else path.read_bytes()
        )
        for path in root.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }


def whole(vids: Sequence[str] = VIDS) -> dict[str, bytes]:
    return {f"{vid}.mp4": CONTENTS[vid] for vid in vids}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "videos.tar.gz"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "root" / "videos"


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("inside", ["", "./", "a/deep/folder/", "x" * 80 + "/"])
def test_extracts_known_videos(archive: Path, folder: Path, inside: str, format: int) -> None:
    top = special(inside or "top/", tarfile.DIRTYPE)
    result = extract_videos(
        pack(archive, top, *videos(folder=inside), format=format), folder, set(VIDS)
    )
    assert tree(folder) == whole()
    assert result.extracted == VIDS
    assert (result.different, result.ignored) == ([], {})


def test_what_else_is_in_it_is_named(archive: Path, folder: Path) -> None:
    others = [(name, b"x") for name in ("README", "v/d.mp4", "v/b.mp4.part", "v/b.json", "._b.mp4")]
    again = ("again/b.mp4", b"second")
    result = extract_videos(pack(archive, *videos(), *others, again), folder, set(VIDS))
    assert tree(folder) == whole()
    assert result.ignored == {
        **{name: "not among the videos of the annotations" for name, _ in others},
        "again/b.mp4": "a second file of this name",
    }


def test_only_what_is_asked_for(archive: Path, folder: Path) -> None:
    result = extract_videos(pack(archive, *videos()), folder, {"b", "absent"})
    assert tree(folder) == whole(["b"])
    assert result.extracted == ["b"]


def test_what_is_there_is_not_touched(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    first, second, third = VIDS
    (folder / f"{first}.mp4").write_bytes(CONTENTS[first])
    (folder / f"{second}.mkv").write_bytes(b"mine")
    (folder / f"{third}.mp4").write_bytes(b"cut")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    result = extract_videos(pack(archive, *videos()), folder, set(VIDS))
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert (result.extracted, result.different) == ([], [third])


def test_an_empty_file_is_replaced(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "b.mp4").touch()
    extract_videos(pack(archive, *videos()), folder, set(VIDS))
    assert tree(folder) == whole()


@pytest.mark.parametrize(
    "name",
    ["/b.mp4", "../b.mp4", "../../../b.mp4", "{root}/b.mp4", "a/../../b.mp4", "videos/./../b.mp4"],
)
def test_nothing_leaves_the_folder(archive: Path, folder: Path, tmp_path: Path, name: str) -> None:
    pack(archive, (name.format(root=tmp_path), CONTENTS["b"]))
    extract_videos(archive, folder, set(VIDS))
    assert tree(tmp_path / "root") == {"videos/b.mp4": CONTENTS["b"]}
    assert {path.name for path in tmp_path.iterdir()} == {"root", archive.name}
    assert not Path("/b.mp4").exists()


@pytest.mark.parametrize(
    "type",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
    ],
)
def test_links_and_devices_are_ignored(
    archive: Path, folder: Path, tmp_path: Path, type: bytes
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    link = special("b.mp4", type, target=str(secret))
    # A link to a folder, then a file that would be written through it.
    through = special("videos", tarfile.SYMTYPE, target=str(tmp_path))
    result = extract_videos(
        pack(archive, through, link, ("videos/c.mp4", CONTENTS["c"])), folder, set(VIDS)
    )
    assert tree(tmp_path / "root") == {"videos/c.mp4": CONTENTS["c"]}
    assert result.ignored == {"videos": "not a plain file", "b.mp4": "not a plain file"}
    assert secret.read_bytes() == b"secret"


def test_a_vid_that_is_a_path_matches_nothing(archive: Path, folder: Path, tmp_path: Path) -> None:
    pack(archive, ("../evil.mp4", b"x"), ("evil.mp4", b"x"), ("a/...mp4", b"x"))
    result = extract_videos(archive, folder, {"../evil", "/evil", "a/..", "..", ""})
    assert result.extracted == [".."]
    assert tree(tmp_path / "root") == {"videos/...mp4": b"x"}


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.7, 0.9999])
def test_a_truncated_archive_is_named(archive: Path, folder: Path, share: float) -> None:
    content = pack(archive, *videos()).read_bytes()
    archive.write_bytes(content[: int(len(content) * share)])
    size = archive.stat().st_size
    with pytest.raises(
        ArchiveError, match=rf"tar.gz ends too early, at byte {size:,}: .*\n.* run again"
    ):
        extract_videos(archive, folder, set(VIDS))
    assert tree(folder) == {}
    archive.write_bytes(content)
    extract_videos(archive, folder, set(VIDS))
    assert tree(folder) == whole()


@pytest.mark.parametrize("place", [100_000, 400_000, -6])
def test_a_damaged_archive_gives_nothing(archive: Path, folder: Path, place: int) -> None:
    # Random bytes are stored and not deflated: only the checksum at the end tells.
    content = bytearray(pack(archive, *videos()).read_bytes())
    content[place] ^= 1
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"is damaged, or it is no .tar.gz \(CRC check failed"):
        extract_videos(archive, folder, set(VIDS))
    assert tree(folder) == {}


@pytest.mark.parametrize(
    "content", [b"<html>404</html>", b"\x1f\x8b", bytes(2000), b"\x1f\x8b\x08"]
)
def test_what_is_no_archive(archive: Path, folder: Path, content: bytes) -> None:
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match=str(archive)):
        extract_videos(archive, folder, set(VIDS))
    assert tree(folder) == {}


def test_a_gzip_file_that_holds_no_tar(archive: Path, folder: Path) -> None:
    archive.write_bytes(gzip.compress(b"words " * 1000))
    with pytest.raises(ArchiveError, match=r"no \.tar\.gz"):
        extract_videos(archive, folder, set(VIDS))


def test_a_tar_that_was_cut_before_it_was_compressed(archive: Path, folder: Path) -> None:
    archive.write_bytes(gzip.compress(packed(videos())[:500_000], 1))
    with pytest.raises(ArchiveError, match="unexpected end of data"):
        extract_videos(archive, folder, set(VIDS))
    assert tree(folder) == {}


def test_any_damaged_byte_of_a_header_is_survived(archive: Path, folder: Path) -> None:
    content = packed([("v/b.mp4", b"b" * 600), ("v/c.mp4", b"c" * 600)])
    generator = random.Random(0)
    for place in [*range(0, 512, 7), *range(1536, 2048, 7)]:
        damaged = bytearray(content)
        damaged[place] = generator.choice([0, 0x80, 0xFF, damaged[place] ^ 1])
        archive.write_bytes(gzip.compress(damaged, 1))
        try:
            extract_videos(archive, folder, set(VIDS))
        except ArchiveError:
            assert tree(folder) == {}
        assert set(tree(folder)) <= {"b.mp4", "c.mp4"}
        shutil.rmtree(folder)


def test_no_archive(archive: Path, folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        extract_videos(archive, folder, set(VIDS))


_SCRIPT = """
import sys
from pathlib import Path
from hlclip.datasets.archive import extract_videos
result = extract_videos(Path(sys.argv[1]), Path(sys.argv[2]), set(sys.argv[3:]))
print(*result.extracted)
"""


def test_a_killed_extraction_goes_on(archive: Path, folder: Path) -> None:
    vids = [f"v{n}" for n in range(300)]
    content = random.Random(3).randbytes(50_000)
    pack(archive, *((f"{vid}.mp4", content) for vid in vids))
    command = [sys.executable, "-c", _SCRIPT, str(archive), str(folder), *vids]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    waiting = folder / ".extracting"
    deadline = time.monotonic() + 60
    while len(list(waiting.glob("*.mp4"))) < 20:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    extracted = {path.name: path.stat().st_mtime_ns for path in waiting.glob("*.mp4")}
    assert list(folder.glob("*.mp4")) == []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split() == vids
    assert tree(folder) == {f"{vid}.mp4": content for vid in vids}
    assert {name: (folder / name).stat().st_mtime_ns for name in extracted} == extracted


def test_what_another_archive_left_is_not_taken_up(archive: Path, folder: Path) -> None:
    waiting = folder / ".extracting"
    waiting.mkdir(parents=True)
    (waiting / "origin").write_text("another\n")
    (waiting / "b.mp4").write_bytes(bytes(len(CONTENTS["b"])))
    extract_videos(pack(archive, *videos()), folder, set(VIDS))
    assert tree(folder) == whole()


def test_room_is_needed_for_each_video(
    archive: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A disk that is full cannot be had in a test: what Python says of it is replaced.
    usage = type(shutil.disk_usage(archive.parent))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 199_999))
    with pytest.raises(DiskError, match=r"extracting .*mp4 needs 200,000 bytes, 199,999 bytes are"):
        extract_videos(pack(archive, *videos()), folder, set(VIDS))
    monkeypatch.undo()
    extract_videos(archive, folder, set(VIDS))
    assert tree(folder) == whole()


def test_one_extraction_at_a_time(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    pack(archive, *videos())
    with FileLock(folder / "..extracting.lock"), pytest.raises(DiskError, match="another run"):
        extract_videos(archive, folder, set(VIDS))
    extract_videos(archive, folder, set(VIDS))
    assert tree(folder) == whole()


def test_videos_in_a_folder(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.MKV", ".c.mp4", "d.mp4.part", "e.x.mp4"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "f.mp4").touch()
    (tmp_path / "g.mp4").mkdir()
    (tmp_path / "h.mp4").symlink_to(tmp_path / "a.mp4")
    (tmp_path / "i.mp4").symlink_to(tmp_path / "nowhere")
    names = ["a", "b", "c", ".c", "d", "e.x", "f", "g", "h", "i"]
    assert videos_in(tmp_path, names).keys() == {"a", "b", "e.x", "h"}
    assert videos_in(tmp_path / "none", names) == {}
