"""Ratings from the page: saved one by one, whole after a kill, rows that `index` reads."""

import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from hlclip.cli import app
from hlclip.datasets.ratings_file import read_ratings
from hlclip.demo.ratings import Annotating, Asked, annotating
from hlclip.formats.annotations import read_annotations
from hlclip.system.disk import DiskError, WriteError
from hlclip.system.errors import HlclipError
from tests.films import copy, film


def asked(
    annotator: str = "", clip: int | None = 0, rating: int = 0, vid: str = "a", query: str = "a dog"
) -> Asked:
    return Asked(vid=vid, query=query, annotator=annotator, clip=clip, rating=rating)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`a` has three clips, `b.c` one."""
    folder = tmp_path_factory.mktemp("videos")
    film(folder / "a.mp4")
    film(folder / "b.c.mp4", seconds=3)
    (folder / "notes.mp4").write_text("no video")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "annotations" / "train.jsonl"


@pytest.fixture
def two(out: Path, videos: Path) -> Iterator[Annotating]:
    """Each query needs two annotators."""
    with annotating(out, [videos], annotators=2) as opened:
        yield opened


def rate(to: Annotating, name: str, *ratings: int, vid: str = "a", query: str = "a dog") -> None:
    for clip, rating in enumerate(ratings):
        to.rate(asked(name, clip, rating, vid, query))


def test_a_rating_is_on_the_disk_when_it_is_answered(two: Annotating, out: Path) -> None:
    answer = two.rate(asked(annotator=" Ann ", clip=2, rating=4))
    assert answer["rated"] == {"2": 4}
    assert (out.parent / "train.ratings.csv").read_text() == (
        "video,query,clip,annotator,rating\na,a dog,2,Ann,4\n"
    )
    assert not out.exists()  # nobody has rated all clips
    two.rate(asked(annotator="Ann", clip=2, rating=1))
    assert two.look(asked(annotator="Ann"))["rated"] == {"2": 1}


def test_a_query_becomes_a_row_when_enough_people_have_rated_each_clip(
    two: Annotating, out: Path
) -> None:
    two.ask(asked(vid="b.c", query="a cat"))
    rate(two, "Ben", 0, 3, 4)
    rate(two, "Ann", 0, 2)
    assert not out.exists()
    answer = two.rate(asked(annotator="Ann", clip=None, rating=0))  # the rest
    assert answer["finished"] == ["Ben", "Ann"]
    assert (answer["rows"], answer["total"]) == (1, 2)
    (row,) = read_annotations(out)
    assert (row.qid, row.query, row.vid, row.duration) == (2, "a dog", "a", 6.0)
    assert row.ratings().tolist() == [[0, 0], [2, 3], [0, 4]]  # Ann, Ben
    assert row.relevant_windows == ((2, 6),)
    with pytest.raises(HlclipError, match="has its 2 annotators: Ben, Ann"):
        rate(two, "Cleo", 1)
    rate(two, "Ann", 4)  # who is one of them may change it
    assert read_annotations(out)[0].ratings().tolist()[0] == [4, 0]


def test_the_same_rows_come_from_the_csv(two: Annotating, out: Path, videos: Path) -> None:
    for name in ("Ben", "=Ann"):
        rate(two, name, 0, 3, 4)
        rate(two, name, 2, vid="b.c", query="-5 °C, <b>")
    table, converted = out.with_suffix(".ratings.csv"), out.parent / "converted.jsonl"
    command = ["data", "convert", table, "--videos", videos, "-o", converted]
    assert CliRunner().invoke(app, [*map(str, command)]).exit_code == 0
    assert converted.read_bytes() == out.read_bytes()


def test_it_goes_on_where_it_ended(out: Path, videos: Path) -> None:
    with annotating(out, [videos], annotators=1) as first:
        rate(first, "Ann", 1, 2, 3)
        rate(first, "Ben", 4, vid="b.c", query="a cat")
        first.ask(asked(vid="b.c", query="nobody rated this"))
        seen = [first.look(asked(annotator="Ben", vid="b.c", query=q)) for q in ("a cat", "x")]
    rows = out.read_bytes()
    with annotating(out, [videos], annotators=1) as second:
        again = [second.look(asked(annotator="Ben", vid="b.c", query=q)) for q in ("a cat", "x")]
    assert again == seen
    assert again[0]["rated"] == {"0": 4}
    assert again[0]["queries"] == [["a cat", 1], ["nobody rated this", 0]]
    assert out.read_bytes() == rows
    # Rows of one annotator must not stay next to rows of two.
    with annotating(out, [videos], annotators=2):
        assert not out.exists()
    with annotating(out, [videos], annotators=1):
        assert out.read_bytes() == rows


def test_annotators_at_the_same_time_lose_nothing(two: Annotating, out: Path) -> None:
    names = ["Ann", "Ben", "Cleo", "Dora"]
    start = threading.Barrier(len(names))

    def all_clips(name: str) -> None:
        start.wait()
        for query in ("a dog", "a cat"):
            rate(two, name, 1, 2, vid="a", query=query)
            two.look(asked(name))

    threads = [threading.Thread(target=all_clips, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    given = read_ratings(out.with_suffix(".ratings.csv"), {"a": 6.0}).given
    assert given.keys() == {("a", "a dog"), ("a", "a cat")}
    for ratings in given.values():
        assert ratings == {name: {0: 1, 1: 2} for name in names}


def test_what_cannot_be_saved_is_not_kept(
    two: Annotating, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate(two, "Ann", 1)
    before = out.with_suffix(".ratings.csv").read_bytes()
    monkeypatch.setattr("os.replace", _no_room)
    with pytest.raises(WriteError, match="No space left"):
        rate(two, "Ann", 4)
    monkeypatch.undo()
    assert two.look(asked(annotator="Ann"))["rated"] == {"0": 1}
    assert out.with_suffix(".ratings.csv").read_bytes() == before


def _no_room(*_: object) -> None:
    raise OSError(28, "No space left on device")


RATING_ON = """
import itertools, sys
from pathlib import Path
from hlclip.demo.ratings import Asked, annotating
with annotating(Path(sys.argv[1]), [Path(sys.argv[2])], annotators=1) as to:
    for number in itertools.count():
        to.rate(Asked(vid="a", query=f"{number // 3}", annotator="Ann", clip=number % 3, rating=4))
        print(number, flush=True)
"""


def test_a_kill_loses_no_rating_that_was_answered(out: Path, videos: Path) -> None:
    command = [sys.executable, "-c", RATING_ON, str(out), str(videos)]
    answered = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in itertools.islice(process.stdout, 10):
            answered = int(line) + 1
        process.kill()
    with annotating(out, [videos], annotators=1) as opened:  # the lock of the killed is no lock
        rated = sum(
            len(opened.look(asked(vid="a", query=query, annotator="Ann"))["rated"])
            for query, _ in opened.look(asked(vid="a"))["queries"]
        )
        assert rated >= answered
        assert len(read_annotations(out)) == rated // 3


def test_what_is_refused(two: Annotating, out: Path, videos: Path, tmp_path: Path) -> None:
    for wrong, message in (
        (asked(annotator="Ann", clip=3), "Got clip 3, expected 0 to 2"),
        (asked(annotator=" ", clip=0), "Type your name first"),
        (asked(annotator="Ann", clip=0, vid="a", query=" "), "Type a query first"),
        (asked(annotator="Ann", clip=0, vid="../a", query="a dog"), "No video '../a'"),
    ):
        with pytest.raises(HlclipError, match=message):
            two.rate(wrong)
    with pytest.raises(HlclipError, match="No video 'z'"):
        two.look(asked(vid="z"))
    for wrong in ({"rating": 5}, {"clip": -1}, {"clip": "0"}, {"query": "a\nb"}, {"more": 1}):
        with pytest.raises(ValidationError):
            Asked.model_validate({"vid": "a", "query": "a dog", "annotator": "Ann", **wrong})
    assert not [*out.parent.glob("*.csv")]
    with (
        pytest.raises(DiskError, match="is being written"),
        annotating(out, [videos], annotators=2),
    ):
        pass
    other = tmp_path / "other.jsonl"
    other.write_text("{}\n")
    with (
        pytest.raises(HlclipError, match="the page did not make it"),
        annotating(other, [videos], annotators=2),
    ):
        pass
    assert other.read_text() == "{}\n"
    more = tmp_path / "more"
    more.mkdir()
    copy(videos / "a.mp4", more / "a.mov")
    with (
        pytest.raises(HlclipError, match="two videos have the name a"),
        annotating(out, [videos, more], annotators=2),
    ):
        pass
    with (
        pytest.raises(HlclipError, match="none of the videos can be used"),
        annotating(tmp_path / "new.jsonl", [videos / "notes.mp4"], annotators=2),
    ):
        pass


def test_pictures_are_those_of_the_clips(two: Annotating) -> None:
    pictures = two.pictures(asked(vid="a"))["pictures"]
    assert len(set(pictures)) == len(pictures) == 3
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in pictures)
