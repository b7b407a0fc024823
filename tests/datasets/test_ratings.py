"""Ratings of own clips: from CSV to rows that `index` accepts, and back."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hlclip.cli import app
from hlclip.datasets.ratings import Ratings
from hlclip.datasets.ratings_file import named_videos, read_ratings, write_ratings
from hlclip.formats.annotations import AnnotationError, read_annotations
from tests.films import copy, film

HEADER = "video,query,clip,annotator,rating\n"
LENGTHS = {"holiday": 9.5, "match": 6.0}


def read(path: Path, text: str) -> Ratings:
    path.write_text(text, encoding="utf-8")
    return read_ratings(path, LENGTHS)


def problems(path: Path, text: str) -> str:
    with pytest.raises(AnnotationError) as caught:
        read(path, text).rows(LENGTHS, place=path)
    return str(caught.value)


def test_ratings_become_rows(tmp_path: Path) -> None:
    ratings = read(
        tmp_path / "r.csv",
        HEADER + "holiday,a dog,1,Ben,3\nholiday,a dog,1,Ann,2\nholiday,a dog,2,Ann,4\n"
        "holiday,a dog,2,Ben,4\nholiday,a dog,3,Ann,0\nholiday,a dog,3,Ben,1\n"
        "holiday,a dog,0,Ann,0\nholiday,a dog,0,Ben,0\n"
        "match.mp4,a goal,0,Ann,0\nmatch.mp4,a goal,0,Ben,0\n",
    )
    dog, goal = ratings.rows(LENGTHS)
    assert (dog.qid, dog.vid, dog.query, dog.duration) == (1, "holiday", "a dog", 9.5)
    assert dog.relevant_clip_ids == (1, 2, 3)  # all rated clip 0 as 0
    assert dog.saliency_scores == ((2, 3), (4, 4), (0, 1))  # Ann, Ben
    assert dog.relevant_windows == ((2, 6),)  # means of 2.5 and 4; 0.5 is below Fair
    assert (goal.qid, goal.vid) == (2, "match")
    # The number of annotators must be seen where all is very bad.
    assert (goal.relevant_clip_ids, goal.saliency_scores) == ((0,), ((0, 0),))
    assert goal.relevant_windows == ()


def test_a_gap_makes_two_windows() -> None:
    ratings = Ratings()
    for clip in (0, 2, 3):
        ratings.give(("holiday", "a dog"), "Ann", clip, 3)
    (row,) = ratings.rows({"holiday": 10.0}, clip_seconds=2.5)
    assert row.relevant_windows == ((0, 2.5), (5, 10))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_ranges_of_seconds_rate_the_clips_whose_middle_they_hold(
    tmp_path: Path, separator: str
) -> None:
    lines = [
        "Rating,annotator,end,start,query,video,remark",
        "3,Ann,5.0,1.1,a dog,holiday,the middle of clip 0 is at 1.0",
        "4,Ann,0:09,00:05.0,a dog,holiday.mp4,",
    ]
    text = "\ufeff" + "\r\n".join(line.replace(",", separator) for line in lines) + "\r\n\r\n"
    (row,) = read(tmp_path / "r.csv", text).rows(LENGTHS)
    # 9.5 seconds have four whole clips; the middle of clip 2 is at 5.0.
    assert row.ratings().T.tolist() == [[0, 3, 4, 4]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("party,a dog,0,Ann,3", "2: video: got 'party', expected the name of a video"),
        ("holiday,,0,Ann,3", "2: query: got nothing, expected some text"),
        ("holiday,a dog,4,Ann,3", "2: clip: got '4', expected 0 to 3"),
        ("holiday,a dog,-1,Ann,3", "2: clip: got '-1', expected 0 to 3"),
        ("holiday,a dog,,Ann,3", "2: clip: got '', expected 0 to 3"),
        ("holiday,a dog,0,,3", "2: annotator: got nothing, expected a name"),
        ("holiday,a dog,0,Ann,5", "2: rating: got '5', expected 0 to 4"),
        ("holiday,a dog,0,Ann,4.0", "2: rating: got '4.0', expected 0 to 4, no decimals"),
        ("holiday,a dog,0,Ann,good", "2: rating: got 'good', expected 0 to 4"),
        ("holiday,a dog,0,Ann,", "2: rating: got '', expected 0 to 4"),
        ("holiday,a dog,0,Ann,3,4", "2: got 6 cells, expected 5 as in the first line"),
        ("holiday,a dog", "2: got 2 cells, expected 5 as in the first line"),
        ("  \n\t\nholiday,a dog,0,Ann,9", "4: rating: got '9'"),
        ('holiday,"a dog,0,Ann,3', "2: is no CSV"),
        (
            "holiday,a dog,0,Ann,3\n\nholiday,a dog,0,Ann,4",
            "4: got a second rating of clip 0 by Ann, expected one; the first is on line 2",
        ),
        (
            "holiday,a dog,0,Ann,3\nholiday,a dog,0,Ben,4\nholiday,a dog,1,Ann,4",
            "4: query 'a dog' on holiday: got no rating of clip 1 by Ben, expected one",
        ),
        (
            "holiday,a dog,0,Ann,3\nholiday,a dog,0,Ben,4\nmatch,a goal,1,Ann,4",
            "4: query 'a goal' on match: got 1 annotators (Ann), expected 2 as for the first",
        ),
        ("match,a goal,,,", " query 'a goal' on match: got no rating, expected some"),
        ("", " got no rating, expected a line for each"),
        ('holiday,"two\nlines",0,Ann,9\nholiday,a dog,0,Ann,7', "4: rating: got '7'"),
    ],
)
def test_what_is_wrong_is_named_by_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "r.csv"
    assert f"{path}:{message}" in problems(path, f"{HEADER}{line}\n")


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ("3,3", "start, end: got 3 and 3, expected start < end <= 9.5"),
        ("3,99", "start, end: got 3 and 99, expected start < end <= 9.5"),
        ("3.1,4.9", "start, end: got 3.1 and 4.9, which hold the middle of no clip of 2 seconds"),
        ("1:2:3:4,9", "start: got '1:2:3:4', expected seconds, such as 75.5 or 1:15.5"),
        ("0,9s", "end: got '9s', expected seconds"),
    ],
)
def test_ranges_that_cannot_be_are_named(tmp_path: Path, times: str, message: str) -> None:
    text = f"video,query,annotator,rating,start,end\nholiday,a dog,Ann,3,{times}\n"
    assert f"r.csv:2: {message}" in problems(tmp_path / "r.csv", text)


def test_a_clip_and_a_range_must_agree(tmp_path: Path) -> None:
    header = "video,query,annotator,rating,clip,start,end\nholiday,a dog,Ann,3,"
    read(tmp_path / "r.csv", f"{header}1,2,4\n")
    message = "r.csv:2: clip: got 0, and start, end: 2 and 4; expected one"
    assert message in problems(tmp_path / "r.csv", f"{header}0,2,4\n")


def test_all_problems_are_listed(tmp_path: Path) -> None:
    text = problems(tmp_path / "r.csv", HEADER + "holiday,a dog,0,Ann,9\n" * 25)
    assert text.count("\n") == 20
    assert text.endswith("... and 5 more problems")


def test_a_file_that_is_no_table_of_ratings(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    assert "r.csv:1: no column clip and rating; got 'video,query," in problems(
        path, "video,query,annotator\n"
    )
    assert "r.csv:1: got two columns rating, expected one" in problems(
        path, "video,query,clip,annotator,rating,rating\nholiday,a dog,0,Ann,4,1\n"
    )
    path.write_bytes(HEADER.encode() + "holiday,un café,0,Ann,3\n".encode("latin-1"))
    with pytest.raises(AnnotationError, match=r"r\.csv:2: got bytes that are not UTF-8"):
        read_ratings(path, LENGTHS)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_written_is_read_again(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ratings = Ratings()
    for text in ("=1+1", "'-x", "''@", "a, b", 'say "no"\n<b>', "a\u2028b", "-", "'quoted'"):
        ratings.given.setdefault(("holiday", text), {})
        for name in ("Zoë", "+ann"):
            for clip in rng.permutation(4).tolist():
                ratings.give(("holiday", text), name, clip, int(rng.integers(5)))
    ratings.given["holiday", "nobody rated this"] = {}
    path = tmp_path / "r.csv"
    write_ratings(path, ratings)
    read_again = read_ratings(path, LENGTHS)
    assert read_again.given == ratings.given
    assert [*read_again.given] == [*ratings.given]
    assert named_videos(path) == {"holiday"}
    cells = [cell for line in path.read_text().splitlines() for cell in line.split(",")]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def convert(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["data", "convert", *map(str, arguments)])


def test_the_command_writes_rows_that_index_reads(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    copy(film(tmp_path / "film.mp4", seconds=6), videos / "-x.y.mp4")
    table, out = tmp_path / "r.csv", tmp_path / "new" / "train.jsonl"
    table.write_text(HEADER + "'-x.y.mp4,a dog,2,Ann,4\n")
    done = convert(table, "--videos", videos, "-o", out)
    assert done.exit_code == 0, done.output
    assert done.stdout == (
        f"{out}: 1 queries on 1 videos, annotators of each query: 1; ratings: 1 of 4\n"
    )
    (row,) = read_annotations(out)
    assert (row.vid, row.duration) == ("-x.y", 6.0)
    assert json.loads(out.read_text())["relevant_windows"] == [[4.0, 6.0]]

    before = out.read_bytes()
    table.write_text(HEADER + "'-x.y.mp4,a dog,3,Ann,4\n")
    failed = convert(table, "--videos", videos, "-o", out)
    assert failed.exit_code == 2
    assert failed.stderr == f"{table}:2: clip: got '3', expected 0 to 2\n"
    assert out.read_bytes() == before
    assert "is an input" in convert(table, "--videos", videos, "-o", table).stderr
    assert "no such folder" in convert(table, "--videos", tmp_path / "no", "-o", out).stderr
