"""The known releases: facts that hold for the real files, and a file is known by its bytes."""

import hashlib
from pathlib import Path

import pytest

from hlclip.datasets.qvhighlights import ANNOTATIONS, VIDEOS, Release, identify_release
from hlclip.formats.annotations import CLIP_SECONDS, read_annotations


def release(content: bytes, *, name: str = "known.jsonl") -> Release:
    sha256 = hashlib.sha256(content).hexdigest()
    return Release("val", name, sha256, rows=1, vids=1)


@pytest.mark.parametrize("known", ANNOTATIONS, ids=lambda known: known.split)
def test_the_facts_are_those_of_the_real_files(known: Release, qvhighlights_dir: Path) -> None:
    path = qvhighlights_dir / known.name
    rows = read_annotations(path, CLIP_SECONDS)
    assert identify_release(path) is known
    assert hashlib.sha256(path.read_bytes()).hexdigest() == known.sha256
    assert len(rows) == known.rows
    assert len({row.vid for row in rows}) == known.vids


def test_the_splits_share_no_video() -> None:
    assert [known.split for known in ANNOTATIONS] == ["train", "val", "test"]
    assert sum(known.vids for known in ANNOTATIONS) == 10_148


def test_names_are_the_published_ones() -> None:
    for known in ANNOTATIONS:
        assert known.url.endswith(f"/moment_detr/main/data/{known.name}")
    assert VIDEOS.url.endswith(f"/{VIDEOS.name}")


def test_a_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    one, two, empty = release(b"one"), release(b"two", name="two.jsonl"), release(b"")
    path = tmp_path / "two.jsonl"
    for content, expected in ((b"one", one), (b"two", two), (b"", empty), (b"six", None)):
        path.write_bytes(content)
        assert identify_release(path, (one, two, empty)) is expected
    path.write_bytes(b"one\n")
    assert identify_release(path, (one, two)) is None


def test_an_unreadable_file_is_no_unknown_release(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        identify_release(tmp_path / "absent.jsonl")
