"""What stages hand on: nothing is lost on the way, and same content is same bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hlclip.formats import DamagedFileError
from hlclip.formats.annotations import Annotation
from hlclip.formats.manifests import (
    Index,
    Item,
    Manifest,
    Video,
    VideoInfo,
    read_index,
    read_manifests,
    write_index,
    write_manifests,
)


def row(qid: int | str, vid: str, duration: float, **more: Any) -> Annotation:
    content = {"qid": qid, "query": "a “cat”\n", "vid": vid, "duration": duration, **more}
    return Annotation.model_validate(content, context={"clip_seconds": 0.5})


RATED = {"relevant_clip_ids": [0, 7], "saliency_scores": [[0, 1, 4], [2, 2, 3]]}
INDEX = Index(
    clip_seconds=0.5,
    queries={
        "val": [row(2, "b_0.0_150.0", 4, **RATED, relevant_windows=[[0, 0.5]]), row("x", "a", 3.1)],
        "test": [row(1, "b_0.0_150.0", 6.25), row(3, "gone", 0.5), row(4, "b_0.0_150.0", 5)],
    },
    videos={
        "b_0.0_150.0": Video("videos/b_0.0_150.0.mp4", "ab" * 32, VideoInfo(5.005, 64, 48, "vp9")),
        "a": Video("videos/a.webm", "cd" * 32, VideoInfo(3.1, 1, 1, "h264")),
    },
    missing={"gone": "no file videos/gone.*"},
)


def test_the_index_returns_as_it_was_written(tmp_path: Path) -> None:
    write_index(tmp_path / "index.json", INDEX)
    assert read_index(tmp_path / "index.json") == INDEX


def test_the_index_does_not_depend_on_insertion_order(tmp_path: Path) -> None:
    other = Index(
        INDEX.clip_seconds,
        INDEX.queries,
        dict(reversed(INDEX.videos.items())),
        dict(reversed(INDEX.missing.items())),
    )
    write_index(tmp_path / "one", INDEX)
    write_index(tmp_path / "two", other)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_clips_are_the_most_that_any_row_speaks_of() -> None:
    assert INDEX.clips() == {"a": 6, "b_0.0_150.0": 12, "gone": 1}
    assert list(INDEX.clips()) == sorted(INDEX.clips())


names = st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(1, 99), max_size=5)


@settings(max_examples=30)
@given(names, names, st.randoms())
def test_manifests_return_as_written_in_any_order(
    tmp_path_factory: Any, items: dict[str, int], failed: dict[str, int], random: Any
) -> None:
    folder: Path = tmp_path_factory.mktemp("manifests")
    header = {"clip_seconds": 2.0, "size": 32, "resize": "shortest"}

    def manifest(shuffled: bool) -> Manifest:
        def order(pairs: dict[str, Any]) -> dict[str, Any]:
            listed = list(pairs.items())
            if shuffled:
                random.shuffle(listed)
            return dict(listed)

        made = {name: Item(f"key{n}", f"digest{n}", n) for name, n in items.items()}
        said = {name: f"reason {n}" for name, n in failed.items()}
        return Manifest(order(header), order(made), order(said))

    write_manifests(folder / "one", images=manifest(False), texts=manifest(False))
    write_manifests(folder / "two", images=manifest(True), texts=manifest(True))
    assert (folder / "one").read_bytes() == (folder / "two").read_bytes()
    read = read_manifests(folder / "one", "images", "texts")
    assert read == {"images": manifest(False), "texts": manifest(False)}
    assert [type(value) for value in read["images"].header.values()] == [float, str, int]


@pytest.mark.parametrize(
    "damaged", [b"", b"null", b"[]", b"{", b"\xff\xfe", b"{}", b'{"a": 1}', b"[" * 100_000], ids=str
)
def test_a_damaged_file_is_named(tmp_path: Path, damaged: bytes) -> None:
    readers: dict[str, Callable[[Path], object]] = {
        "index": read_index,
        "frames": lambda path: read_manifests(path, "frames"),
    }
    for name, read in readers.items():
        path = tmp_path / f"{name}.json"
        path.write_bytes(damaged)
        with pytest.raises(DamagedFileError) as caught:
            read(path)
        what, to_do = str(caught.value).splitlines()
        assert what.startswith(f"{path}: damaged, or not written by hlclip (")
        assert to_do == f"`dvc repro --force {name}` makes it again"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_half_an_index_is_no_index(tmp_path: Path, share: float) -> None:
    path = tmp_path / "index.json"
    write_index(path, INDEX)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DamagedFileError):
        read_index(path)
