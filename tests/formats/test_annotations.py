"""Annotation rows: what is read, and that everything wrong is named by line and field."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hlclip.formats.annotations import LEVELS, Annotation, AnnotationError, read_annotations

ROW: dict[str, Any] = {
    "qid": 7,
    "query": "a cat jumps",
    "vid": "abc_0.0_150.0",
    "duration": 10,
    "relevant_clip_ids": [1, 3],
    "saliency_scores": [[4, 3, 0], [1, 2, 2]],
    "relevant_windows": [[2, 4], [6, 8]],
}


RATED = ROW | {
    "dataset": "tvsum",
    "protocol": "zero-shot",
    "domain": "VT",
    "clips": [[0, 3.5], [1.5, 5], [5, 7], [6, 10]],
    "rating_scale": [1, 5],
    "saliency_scores": [[5, 1], [2, 3]],
}

TWICE = "1: saliency_scores: got {}; got 0 ratings in [1], expected 0 as in [0]"


def write(path: Path, *rows: dict[str, Any] | bytes) -> Path:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(lines))
    return path


def problems(path: Path, clip_seconds: float = 2.0) -> list[str]:
    with pytest.raises(AnnotationError) as caught:
        read_annotations(path, clip_seconds)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).split("\n")]


def test_reads_a_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ROW | {"unknown_key": 1})
    (row,) = read_annotations(path)
    assert (row.qid, row.query, row.duration) == (7, "a cat jumps", 10.0)
    assert row.relevant_windows == ((2.0, 4.0), (6.0, 8.0))
    assert row.clips == 5
    np.testing.assert_array_equal(
        row.ratings(), [[0, 0, 0], [4, 3, 0], [0, 0, 0], [1, 2, 2], [0, 0, 0]]
    )


def test_clips_are_whole_ones() -> None:
    row = Annotation.model_validate(ROW | {"duration": 149.9})
    assert row.clips == 74
    row = Annotation.model_validate(ROW | {"duration": 149.9}, context={"clip_seconds": 1.0})
    assert row.ratings().shape == (149, 3)


def test_ground_truth_may_be_absent(tmp_path: Path) -> None:
    blind = {key: ROW[key] for key in ("qid", "query", "vid", "duration")}
    (row,) = read_annotations(write(tmp_path / "a.jsonl", blind))
    assert row.relevant_clip_ids is row.saliency_scores is row.relevant_windows is None
    with pytest.raises(ValueError, match="qid 7 has no saliency_scores"):
        row.ratings()


def test_windows_may_be_absent_beside_ratings() -> None:
    assert Annotation.model_validate(ROW | {"relevant_windows": None}).ratings().sum() == 12


def test_nothing_relevant_is_all_zeros() -> None:
    row = Annotation.model_validate(ROW | {"relevant_clip_ids": [], "saliency_scores": []})
    assert not row.ratings().any()


def test_rows_are_frozen() -> None:
    with pytest.raises(ValidationError):
        setattr(Annotation.model_validate(ROW), "query", "another")  # noqa: B010 (pyright refuses it too)


def test_accepts_byte_order_mark_blank_lines_and_crlf(tmp_path: Path) -> None:
    lines = [json.dumps(ROW | {"qid": qid}) for qid in (1, "1")]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n \r\n\r\n".join(lines).encode() + b"\r\n")
    assert [row.qid for row in read_annotations(path)] == [1, "1"]


def test_a_line_separator_inside_a_query_is_no_new_line(tmp_path: Path) -> None:
    row = json.dumps(ROW | {"query": "one\u2028two"}, ensure_ascii=False).encode()
    assert read_annotations(write(tmp_path / "a.jsonl", row))[0].query == "one\u2028two"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"qid": 1.5}, "1: qid: got 1.5, expected an integer or a text"),
        ({"qid": True}, "1: qid: got True, expected an integer or a text"),
        ({"qid": ""}, "1: qid: got '', expected an integer or a text"),
        ({"query": " "}, "1: query: got ' ', expected some text"),
        ({"query": 3}, "1: query: got 3, expected a valid string"),
        ({"vid": None}, "1: vid: got None, expected a valid string"),
        ({"duration": "10"}, "1: duration: got '10', expected a valid number"),
        ({"duration": float("nan")}, "1: duration: got nan, expected a finite number"),
        ({"duration": float("inf")}, "1: duration: got inf, expected a finite number"),
        (
            {
                "duration": 1.9,
                "relevant_clip_ids": [],
                "saliency_scores": [],
                "relevant_windows": [],
            },
            "1: duration: got 1.9, expected 1 to 100000 clips of 2 seconds",
        ),
        (
            {"relevant_clip_ids": [1, 5]},
            "1: relevant_clip_ids: got [5], expected 0 <= id < 5 (clips)",
        ),
        (
            {"relevant_clip_ids": [-1, 1]},
            "1: relevant_clip_ids: got [-1], expected 0 <= id < 5 (clips)",
        ),
        (
            {"relevant_clip_ids": [1, 1]},
            "1: relevant_clip_ids: got [1] more than once, expected each clip once",
        ),
        (
            {"relevant_clip_ids": [1, 2.0]},
            "1: relevant_clip_ids[1]: got 2.0, expected a valid integer",
        ),
        ({"relevant_clip_ids": 1}, "1: relevant_clip_ids: got 1, expected a list"),
        (
            {"relevant_clip_ids": [1]},
            "1: relevant_clip_ids: got 1 entries, expected 2, one for each of saliency_scores",
        ),
        (
            {"relevant_clip_ids": None},
            "1: relevant_clip_ids: got none next to saliency_scores, expected both or neither",
        ),
        (
            {"saliency_scores": None},
            "1: relevant_clip_ids: got some without saliency_scores, expected both or neither",
        ),
        (
            {"saliency_scores": [[4, 3, 5], [1, 2, 2]]},
            "1: saliency_scores: got [5] in [0], expected 0 to 4",
        ),
        (
            {"saliency_scores": [[4, 3, 0], [1, -2, 2]]},
            "1: saliency_scores: got [-2] in [1], expected 0 to 4",
        ),
        (
            {"saliency_scores": [[4, 3, 0], [1, 2.5, 2]]},
            "1: saliency_scores[1][1]: got 2.5, expected a valid integer",
        ),
        (
            {"saliency_scores": [[4, 3], [1, 2, 2]]},
            "1: saliency_scores: got 3 ratings in [1], expected 2 as in [0]",
        ),
        (
            {"saliency_scores": [[4, 3, 1, 1], [1, 2, 2]]},
            "1: saliency_scores: got 3 ratings in [1], expected 4 as in [0]",
        ),
        (
            {"relevant_windows": [[4, 2], [3, 3], [-2, 2], [8, 12], [2, 4]]},
            "1: relevant_windows: got [[4.0, 2.0], [3.0, 3.0], [-2.0, 2.0], [8.0, 12.0]], "
            "expected 0 <= start < end <= 10.0 (seconds)",
        ),
        (
            {"relevant_windows": [[2, None]]},
            "1: relevant_windows[0][1]: got None, expected a valid number",
        ),
        ({"saliency_scores": [[], []]}, TWICE.format("0 ratings in [0], expected 1 or more")),
        (
            {"dataset": "tvsun"},
            "1: dataset: got 'tvsun', expected 'qvhighlights', 'tvsum', 'youtube-highlights', "
            "'charades-sta', 'tacos' or 'activitynet'",
        ),
        (
            {"protocol": "all"},
            "1: protocol: got 'all', expected 'zero-shot', 'leave-one-out' or 'per-domain'",
        ),
        ({"domain": ""}, "1: domain: got '', expected some text"),
        (
            {"rating_scale": [4, 0]},
            "1: rating_scale: got [4, 0], expected -100 <= lowest < highest <= 100",
        ),
        (
            {"rating_scale": [1, 5]},
            "1: saliency_scores: got [0] in [0], expected 1 to 5",
        ),
        ({"clip_seconds": 0}, "1: clip_seconds: got 0, expected greater than 0"),
        (
            {"clip_seconds": 1e-5},
            "1: duration: got 10, expected 1 to 100000 clips of 1e-05 seconds",
        ),
        (
            {"clips": [[0, 5], [5, 10]], "clip_seconds": 5, "relevant_clip_ids": [0, 1]},
            "1: clips: got clips next to clip_seconds, expected one of them",
        ),
        (
            {"clips": [[0, 5]]},
            "1: relevant_clip_ids: got [1, 3], expected 0 <= id < 1 (clips)",
        ),
        (
            {"clips": [[0, 5], [2, 2], [3, 4], [9, 11]]},
            "1: clips: got [[2.0, 2.0], [9.0, 11.0]], expected 0 <= start < end <= 10.0 (seconds)",
        ),
        (
            {"clips": [[0, 5], [1, 4], [3, 6], [2, 7]]},
            "1: clips: got [[1.0, 4.0], [2.0, 7.0]] after a clip that starts or ends later, "
            "expected order of time",
        ),
    ],
)
def test_names_what_came_and_what_was_expected(
    tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    assert problems(write(tmp_path / "a.jsonl", ROW | change)) == [expected]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            b'{"qid": 1',
            "1: got '{\"qid\": 1', expected JSON (EOF while parsing an object, column 9)",
        ),
        (b"[1, 2]", "1: got [1, 2], expected an object of keys and values"),
        (b"null", "1: got None, expected an object of keys and values"),
        (b'{"qid": "\xff"}', "1: got bytes that are not UTF-8 (column 10), expected UTF-8 text"),
    ],
)
def test_names_lines_that_are_no_row(tmp_path: Path, line: bytes, expected: str) -> None:
    assert problems(write(tmp_path / "a.jsonl", line)) == [expected]


def test_missing_fields_are_all_named(tmp_path: Path) -> None:
    assert problems(write(tmp_path / "a.jsonl", {})) == [
        f"1: {field}: missing, expected a value" for field in ("qid", "query", "vid", "duration")
    ]


def test_one_pass_names_every_problem(tmp_path: Path) -> None:
    bad = ROW | {
        "query": "",
        "relevant_clip_ids": [9, 9],
        "saliency_scores": [[1, 2, 3]],
        "relevant_windows": [[0, 99]],
    }
    found = problems(write(tmp_path / "a.jsonl", ROW, b"", bad, b"{", ROW))
    assert [line.split(": got")[0] for line in found] == [
        "3: query",
        "3: relevant_clip_ids",
        "3: relevant_windows",
        "3: qid",
        "4",
        "5: qid",
    ]
    assert found[1] == (
        "3: relevant_clip_ids: got 2 entries, expected 1, one for each of saliency_scores; "
        "got [9] more than once, expected each clip once; got [9, 9], expected 0 <= id < 5 (clips)"
    )
    assert found[-1] == "5: qid: got 7, already on line 1; expected each qid once"


def test_long_lists_of_problems_are_cut_and_counted(tmp_path: Path) -> None:
    found = problems(write(tmp_path / "a.jsonl", *[b"[]"] * 33))
    assert len(found) == 21
    assert found[-1] == "... and 13 more problems"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    assert problems(write(tmp_path / "a.jsonl", content)) == [
        " got an empty file, expected one JSON object a line"
    ]


def test_clip_seconds_decides_what_is_past_the_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ROW)
    assert read_annotations(path, clip_seconds=2.5)[0].clips == 4
    assert problems(path, clip_seconds=5.0) == [
        "1: relevant_clip_ids: got [3], expected 0 <= id < 2 (clips)"
    ]
    with pytest.raises(ValueError, match="clip_seconds is 0"):
        read_annotations(path, clip_seconds=0)


def test_a_row_may_have_clips_annotators_and_a_scale_of_its_own(tmp_path: Path) -> None:
    (row,) = read_annotations(write(tmp_path / "a.jsonl", RATED))
    assert (row.dataset, row.protocol, row.domain) == ("tvsum", "zero-shot", "VT")
    assert (row.clips, row.annotators, row.rating_scale) == (4, 2, (1, 5))
    assert row.clips_apart == ((0, 3.5), (1.5, 5), (5, 7), (6, 10))
    np.testing.assert_array_equal(row.clip_times(), RATED["clips"])
    np.testing.assert_array_equal(row.ratings(), [[1, 1], [5, 1], [1, 1], [2, 3]])
    assert row.ratings().dtype == np.int64


def test_a_row_may_have_a_length_of_clips_of_its_own() -> None:
    row = Annotation.model_validate(ROW | {"duration": 11, "clip_seconds": 2.5})
    assert row.clips == 4
    assert row.clips_apart == 2.5
    np.testing.assert_array_equal(row.clip_times()[-2:], [[5, 7.5], [7.5, 10]])
    same = Annotation.model_validate(ROW | {"clip_seconds": 2})
    assert same.clips_apart is None
    np.testing.assert_array_equal(same.clip_times()[-1], [8, 10])


def test_a_video_shorter_than_a_clip_has_one_where_clips_are_not_counted() -> None:
    blind = {key: ROW[key] for key in ("qid", "query", "vid")} | {"duration": 1.9}
    row = Annotation.model_validate(blind | {"dataset": "charades-sta"})
    assert row.clips == 1
    np.testing.assert_array_equal(row.clip_times(), [[0, 1.9]])


@pytest.mark.parametrize("row", [ROW, RATED, ROW | {"clip_seconds": 2.5, "duration": 20}])
def test_a_row_is_written_as_it_was_read(row: dict[str, Any]) -> None:
    read = Annotation.model_validate(row)
    written = json.loads(json.dumps(read.model_dump(mode="json")))
    assert written == row
    assert Annotation.model_validate(written) == read


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"dataset": "youtube-highlights"}, "dataset: got youtube-highlights, expected tvsum"),
        ({"protocol": None}, "protocol: got none, expected zero-shot"),
        ({"domain": None}, "domain: got none, expected some"),
        ({"rating_scale": [0, 5]}, "rating_scale: got (0, 5), expected (1, 5)"),
        (
            {"saliency_scores": [[5], [2]]},
            "saliency_scores: got 1 annotators, expected 2",
        ),
        (
            {"dataset": "tacos", "saliency_scores": None, "relevant_clip_ids": None},
            "dataset: got tacos, expected tvsum",
        ),
    ],
)
def test_rows_of_a_file_are_measured_alike(
    tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    path = write(tmp_path / "a.jsonl", RATED, RATED | {"qid": 8} | change)
    assert problems(path) == [f"2: {expected} as on line 1"]


def test_levels_are_ratings() -> None:
    assert list(LEVELS.values()) == [2, 3, 4]


@pytest.mark.parametrize(
    ("name", "rows", "videos"),
    [
        ("highlight_train_release.jsonl", 7218, 7100),
        ("highlight_val_release.jsonl", 1550, 1519),
        ("highlight_test_with_gt.jsonl", 1542, 1529),
    ],
)
def test_the_released_files_are_valid(
    qvhighlights_dir: Path, name: str, rows: int, videos: int
) -> None:
    annotations = read_annotations(qvhighlights_dir / name)
    assert len(annotations) == rows
    assert len({row.vid for row in annotations}) == videos
