"""What there is, and what is missing: counted, named, and no reason to stop too early."""

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from hlclip.formats.annotations import AnnotationError
from hlclip.formats.manifests import Index, read_index, write_index
from hlclip.params import DataParams, Split
from hlclip.pipeline.index import build_index
from hlclip.pipeline.missing import TooManyMissingError
from hlclip.system.errors import HlclipError
from hlclip.video.container import probe
from hlclip.video.files import DataError
from tests.films import copy, film

DOTTED = "j7rJstUseKg_360.0_510.0"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("film") / "film.mp4", "-c:v", "mpeg4", seconds=4)


WHOLE = [[0, 2], [1, 4]]


class DataSet:
    """A data set on disk: one query for each vid."""

    def __init__(self, root: Path, source: Path) -> None:
        self.root, self.source = root, source
        self.videos = root / "videos"
        self.videos.mkdir(parents=True)

    def annotate(self, split: str, *vids: str, **more: Any) -> None:
        rows = [
            {"qid": f"{split}{n}", "query": "a cat", "vid": vid, "duration": 4, **more}
            for n, vid in enumerate(vids)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (self.root / f"{split}.jsonl").write_text(text)

    def add(self, *names: str) -> None:
        for name in names:
            copy(self.source, self.videos / name)

    def index(self, *, needed: dict[Split, str] | None = None, **changed: Any) -> Index:
        splits = {path.stem: path.name for path in self.root.glob("*.jsonl")}
        facts = {
            "root": str(self.root),
            "annotations": splits,
            "videos": "videos",
            "clip_seconds": 2.0,
            "max_missing": 0.0,
        }
        cache = self.root / "store" / "videos.json"
        return build_index(DataParams(**{**facts, **changed}), cache=cache, needed=needed)


@pytest.fixture
def data(tmp_path: Path, source: Path) -> DataSet:
    return DataSet(tmp_path / "data", source)


def test_finds_hashes_and_probes(data: DataSet) -> None:
    data.annotate("train", DOTTED, "b")
    data.annotate("val", "b", "c")
    names = {DOTTED: f"{DOTTED}.mp4", "b": "b.anything", "c": "c.MKV"}
    data.add(*names.values(), "unused.mp4", f".{DOTTED}.mp4", "b.mp4.part", "j7rJstUseKg_360.mp4")
    (data.videos / "d").mkdir()
    index = data.index()
    assert {split: [row.vid for row in rows] for split, rows in index.queries.items()} == {
        "train": [DOTTED, "b"],
        "val": ["b", "c"],
    }
    assert index.missing == {}
    assert {vid: video.path for vid, video in index.videos.items()} == {
        vid: f"videos/{name}" for vid, name in names.items()
    }
    content = data.source.read_bytes()
    assert {video.sha256 for video in index.videos.values()} == {
        hashlib.sha256(content).hexdigest()
    }
    assert {video.info for video in index.videos.values()} == {probe(data.source)}


def test_missing_and_unusable_videos_are_named_and_tolerated(
    data: DataSet, caplog: pytest.LogCaptureFixture
) -> None:
    data.annotate("val", "good", "absent", "text", "folder", "hidden", "link")
    data.add("good.mp4", ".hidden.mp4")
    (data.videos / "text.mp4").write_text("words")
    (data.videos / "folder.mp4").mkdir()
    (data.videos / "link.mp4").symlink_to(data.videos / "nowhere.mp4")
    with caplog.at_level(logging.WARNING, "hlclip"):
        index = data.index(max_missing=0.9)
    assert index.videos.keys() == {"good"}
    assert index.missing.keys() == {"absent", "text", "folder", "hidden", "link"}
    assert index.missing["absent"] == "no file videos/absent.*"
    assert index.missing["text"].startswith("videos/text.mp4: not readable as a video")
    assert len(index.queries["val"]) == 6  # rows without a video stay
    assert all(vid in caplog.text for vid in index.missing)
    with pytest.raises(TooManyMissingError, match=r"5 of 6 videos"):
        data.index(max_missing=0.8)


def test_a_needed_split_without_any_video_is_an_error(data: DataSet) -> None:
    data.annotate("val", "absent", "missing")
    data.annotate("test", "good")
    data.add("good.mp4")
    assert data.index(max_missing=0.9, needed={"test": "it is read"}).videos.keys() == {"good"}
    with pytest.raises(TooManyMissingError, match=r"none of the 2 videos of val .* it is read"):
        data.index(max_missing=0.9, needed={"test": "x", "val": "it is read"})


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
def test_a_file_without_permission(data: DataSet) -> None:
    data.annotate("val", "good", "secret")
    data.add("good.mp4", "secret.mp4")
    (data.videos / "secret.mp4").chmod(0)
    assert "Permission denied" in data.index(max_missing=0.5).missing["secret"]


def test_two_files_for_one_vid(data: DataSet) -> None:
    data.annotate("val", DOTTED)
    data.add(f"{DOTTED}.mp4", f"{DOTTED}.webm")
    with pytest.raises(DataError, match=rf"two files.*{DOTTED}.mp4 and {DOTTED}.webm\nkeep one"):
        data.index()


def test_no_folder_of_videos(data: DataSet) -> None:
    data.annotate("val", "a")
    with pytest.raises(DataError, match=r"no folder .*elsewhere\ndata.root must hold elsewhere/"):
        data.index(videos="elsewhere")


def test_an_absolute_folder_of_videos(data: DataSet) -> None:
    data.annotate("val", "a")
    data.add("a.mp4")
    with pytest.raises(DataError, match=r"data.videos is .*relative to data.root"):
        data.index(videos=str(data.videos))


@pytest.mark.parametrize("name", ["absent.jsonl", "videos"])
def test_no_annotation_file(data: DataSet, name: str) -> None:
    match = rf"{name}: cannot be read \(.*\ndata.annotations.val.* -S data.annotations.val=null$"
    with pytest.raises(DataError, match=match):
        data.index(annotations={"val": name})


def test_a_malformed_annotation_file_is_the_users_to_put_right(data: DataSet) -> None:
    (data.root / "val.jsonl").write_text("{}\n")
    with pytest.raises(HlclipError, match=r"val.jsonl:1"):
        data.index()


@pytest.mark.parametrize(
    "vid", ["../secret", "/etc/passwd", "a/b", "..", ".", "a\nb", "*", "a\0b", "x" * 300]
)
def test_a_vid_never_leaves_the_folder(data: DataSet, vid: str) -> None:
    data.annotate("val", "good", vid)
    data.add("good.mp4", "../secret.mp4", "a/b.mp4")
    index = data.index(max_missing=0.5)
    assert index.missing == {vid: f"no file videos/{vid}.*"}


def test_odd_names_that_are_in_the_folder(data: DataSet) -> None:
    vids = ["a b", "-c", "d%d", "e\nf", 'g"h', "ü", "*", "i:j"]
    data.annotate("val", *vids)
    data.add(*(f"{vid}.mp4" for vid in vids))
    assert data.index().videos.keys() == set(vids)


def test_a_repaired_file_is_noticed(data: DataSet) -> None:
    data.annotate("val", "a", "b")
    data.add("a.mp4")
    (data.videos / "b.mp4").write_text("words")
    assert data.index(max_missing=0.5).missing.keys() == {"b"}
    data.add("b.mp4")
    assert data.index().videos.keys() == {"a", "b"}


def test_the_file_is_the_same_wherever_the_data_lies(tmp_path: Path, source: Path) -> None:
    files = []
    for place in ("one", "two/deeper"):
        data = DataSet(tmp_path / place, source)
        data.annotate("val", "b", "a", "gone")
        data.add("a.mp4", "b.mp4")
        index = data.index(max_missing=0.5)
        write_index(data.root / "index.json", index)
        assert read_index(data.root / "index.json") == index
        files.append((data.root / "index.json").read_text())
    assert files[0] == files[1]
    assert str(tmp_path) not in files[0]


def test_real_footage(footage_dir: Path, tmp_path: Path) -> None:
    splits = {split: f"annotations/{split}.jsonl" for split in ("train", "val", "test")}
    facts = {"root": str(footage_dir), "annotations": splits, "videos": "videos"}
    index = build_index(
        DataParams(**facts, clip_seconds=2.0, max_missing=0.0), cache=tmp_path / "c"
    )
    for split, name in splits.items():
        lines = (footage_dir / name).read_text().splitlines()
        assert [row.qid for row in index.queries[split]] == [json.loads(x)["qid"] for x in lines]
    assert index.videos.keys() == index.clips().keys()
    for vid, clips in index.clips().items():
        assert clips == int(index.videos[vid].info.duration / 2)


def test_clips_of_given_times_are_in_the_index_and_change_keys(
    tmp_path: Path, source: Path
) -> None:
    data = DataSet(tmp_path, source)
    data.annotate("test", "a", "b", clips=WHOLE)
    data.annotate("val", "c")
    data.add("a.mp4", "b.mp4", "c.mp4")
    write_index(tmp_path / "index.json", data.index())
    index = read_index(tmp_path / "index.json")
    apart = ((0.0, 2.0), (1.0, 4.0))
    assert index.clips_apart() == {"a": apart, "b": apart}
    assert index.clips() == {"a": 2, "b": 2, "c": 2}
    sha256 = index.videos["c"].sha256
    timed = f"{sha256} [[0.0, 2.0], [1.0, 4.0]]"
    assert index.frame_contents() == {"a": timed, "b": timed, "c": sha256}


@pytest.mark.parametrize("other", [{}, {"clips": [[0, 2], [2, 4]]}, {"clip_seconds": 1}])
def test_rows_of_a_video_have_the_same_clips(
    tmp_path: Path, source: Path, other: dict[str, Any]
) -> None:
    data = DataSet(tmp_path, source)
    data.annotate("test", "a", clips=WHOLE)
    data.annotate("val", "b", "a", **other)
    data.add("a.mp4", "b.mp4")
    with pytest.raises(AnnotationError) as caught:
        data.index(annotations={"val": "val.jsonl", "test": "test.jsonl"})
    assert str(caught.value) == (
        "test.jsonl: qid 'test0': got other clips of video a than qid 'val1' of val.jsonl\n"
        "a video has one frame for each clip: give all its rows the same clips"
    )


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"dataset": "tvsum"}, "dataset: got tvsum, expected qvhighlights"),
        ({"protocol": "zero-shot"}, "protocol: got zero-shot, expected none"),
    ],
)
def test_splits_are_of_one_data_set_and_protocol(
    tmp_path: Path, source: Path, more: dict[str, Any], expected: str
) -> None:
    data = DataSet(tmp_path, source)
    data.annotate("val", "a")
    data.annotate("test", "a", **more)
    data.add("a.mp4")
    with pytest.raises(AnnotationError, match=rf"test.jsonl \(test\): {expected} as in val.jsonl"):
        data.index(annotations={"val": "val.jsonl", "test": "test.jsonl"})
