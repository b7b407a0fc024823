"""Submission files: what is read and written, and what is refused."""

import bz2
import gzip
import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hlclip.formats.annotations import Annotation
from hlclip.formats.submissions import (
    Prediction,
    SubmissionError,
    read_answers,
    read_submission,
    write_submission,
)

ROW: dict[str, Any] = {
    "qid": 7,
    "query": "a cat jumps",
    "vid": "abc_0.0_150.0",
    "pred_relevant_windows": [[0, 10.0, 0.9], [70, 70, 0.1]],
    "pred_saliency_scores": [1, -0.5, 0.25],
}
BARE = {"qid": 8, "pred_saliency_scores": [1.0]}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(SubmissionError) as caught:
        read_submission(path)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).split("\n")]


def float32(row: Prediction) -> NDArray[np.float32]:
    return np.asarray(row.pred_saliency_scores, dtype=np.float32)


def test_reads_integers_extra_keys_and_windows_without_length(tmp_path: Path) -> None:
    (row,) = read_submission(write(tmp_path / "p.jsonl", ROW | {"extra": None}))
    assert row.pred_saliency_scores == (1.0, -0.5, 0.25)
    assert row.pred_relevant_windows == ((0.0, 10.0, 0.9), (70.0, 70.0, 0.1))


def test_either_kind_of_prediction_is_enough(tmp_path: Path) -> None:
    assert read_submission(write(tmp_path / "s.jsonl", BARE))[0].pred_relevant_windows is None
    row = {"qid": 1, "pred_relevant_windows": [[0, 2, 1]]}
    assert read_submission(write(tmp_path / "w.jsonl", row))[0].pred_saliency_scores is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"pred_saliency_scores": [0.1, float("nan")]},
            "1: pred_saliency_scores[1]: got nan, expected a finite number",
        ),
        (
            {"pred_saliency_scores": [float("-inf")]},
            "1: pred_saliency_scores[0]: got -inf, expected a finite number",
        ),
        (
            {"pred_saliency_scores": ["0.5"]},
            "1: pred_saliency_scores[0]: got '0.5', expected a valid number",
        ),
        (
            {"pred_saliency_scores": []},
            "1: pred_saliency_scores: got [], expected at least one entry",
        ),
        (
            {"pred_relevant_windows": []},
            "1: pred_relevant_windows: got [], expected at least one entry",
        ),
        (
            {"pred_relevant_windows": [[0, 2]]},
            "1: pred_relevant_windows[0][2]: missing, expected a value",
        ),
        (
            {"pred_relevant_windows": [[0, 2, 1, 1]]},
            "1: pred_relevant_windows[0]: got [0, 2, 1, 1], expected 3 entries",
        ),
        (
            {"pred_relevant_windows": [[0, float("inf"), 1]]},
            "1: pred_relevant_windows[0][1]: got inf, expected a finite number",
        ),
        (
            {"pred_relevant_windows": [0, 2, 1]},
            "1: pred_relevant_windows[0]: got 0, expected a list",
        ),
    ],
)
def test_names_what_came_and_what_was_expected(
    tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    assert problems(write(tmp_path / "p.jsonl", ROW | change))[0] == expected


def test_repeated_qids_are_named_with_both_lines(tmp_path: Path) -> None:
    assert problems(write(tmp_path / "p.jsonl", ROW, BARE, ROW)) == [
        "3: qid: got 7, already on line 1; expected each qid once"
    ]


def test_all_rows_predict_the_same_things(tmp_path: Path) -> None:
    windows_only = {"qid": 9, "pred_relevant_windows": [[0, 2, 1]]}
    assert problems(write(tmp_path / "p.jsonl", BARE, windows_only)) == [
        "2: pred_relevant_windows: got one, expected none as on line 1",
        "2: pred_saliency_scores: got none, expected one as on line 1",
    ]
    assert problems(write(tmp_path / "p.jsonl", {"qid": 1}))[0].startswith("1: got neither")


def test_float32_scores_survive_to_the_bit(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    scores[:3] = 0.1, np.finfo(np.float32).tiny, np.finfo(np.float32).max
    rows = [Prediction(qid=1, query="héllo", vid="v", pred_saliency_scores=tuple(scores.tolist()))]
    path = tmp_path / "deep" / "p.jsonl"
    write_submission(path, rows)
    assert '"pred_saliency_scores": [0.1, ' in path.read_text(encoding="utf-8")
    back = read_submission(path)[0]
    assert back.query == "héllo"
    assert float32(back).tobytes() == scores.tobytes()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("old")
    rows = [Prediction(qid=1, pred_saliency_scores=(1.0,))]

    def interrupted() -> Iterator[Prediction]:
        yield from rows
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_submission(path, interrupted())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    write_submission(path, rows)
    assert read_submission(path)[0].qid == 1


def asked(*qids: int | str, **facts: str) -> list[Annotation]:
    facts = {"query": "a cat jumps", "vid": "abc_0.0_150.0", **facts}
    return [Annotation.model_validate({"qid": qid, "duration": 150, **facts}) for qid in qids]


def test_predictions_come_in_the_order_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", *(BARE | {"qid": qid} for qid in (3, 1, 2)))
    assert [row.qid for row in read_answers(path, asked(1, 2, 3))] == [1, 2, 3]


def test_missing_and_unknown_qids_are_named_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", *(BARE | {"qid": qid} for qid in ("1", 50)))
    with pytest.raises(SubmissionError) as caught:
        read_answers(path, asked(*range(1, 9)))
    assert str(caught.value).split("\n")[1:] == [
        "  8 of 8 have no prediction: 1, 2, 3, 4, 5, ...",
        "  2 of 2 are unknown: '1', 50",
        "  some differ only in type: a number in one file, a text in the other",
    ]


@pytest.mark.parametrize("name", ["vid", "query"])
def test_answers_to_other_queries_of_the_same_qid_are_refused(tmp_path: Path, name: str) -> None:
    bare = {key: value for key, value in ROW.items() if key not in ("vid", "query")}
    path = write(tmp_path / "p.jsonl", bare | {"qid": 8}, ROW, ROW | {"qid": 9})
    queries = asked(7, 8, 9)
    assert len(read_answers(path, queries)) == 3  # a row without vid and query is accepted
    others = [*queries[1:], *asked(7, **{name: "another"})]
    with pytest.raises(SubmissionError) as caught:
        read_answers(path, others)
    first, counted, remedy = str(caught.value).split("\n")
    expected = f"got {ROW[name]!r}, expected 'another' as qid 7 has in the annotations"
    assert first == f"{path}:2: {name}: {expected}"
    assert counted.startswith("such differences in 3 rows: 1; the official script compares qids")
    assert "remove vid and query" in remedy


COMPRESSED = {
    "gzip": (gzip.compress, "gunzip"),
    "bzip2": (bz2.compress, "bunzip2"),
    "xz": (lzma.compress, "unxz"),
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_compressed_file_is_called_what_it_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / "p.jsonl"
    compress, unpack = COMPRESSED[name]
    path.write_bytes(compress(json.dumps(ROW).encode()))
    assert problems(path) == [
        f" got compressed with {name}, expected one JSON object a line",
        f"unpack it (`{unpack}`)",
    ]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (json.dumps([ROW, BARE]), "one JSON list"),
        (json.dumps([ROW, BARE], indent=1), "one JSON list"),
        (f"[\n{json.dumps(ROW)},\n{json.dumps(BARE)}\n]\n", "one JSON list"),
        (json.dumps(ROW, indent=1), "JSON with an object over several lines"),
        ("\n".join(json.dumps(row, indent=1) for row in (ROW, BARE)), "JSON with an object over"),
        ("<!doctype html>\n<p>Log in</p>", "HTML or XML"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0", "a pointer of Git LFS"),
        ("\N{BYTE ORDER MARK}{}".encode("utf-16-le"), "text in UTF-16"),
        (b"\x89HDF\r\n\x1a\n\0\0", "no text"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(
    tmp_path: Path, content: str | bytes, kind: str
) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    what, to_do = problems(path)
    assert what.startswith(f" got {kind}")
    assert to_do


def test_a_wrong_line_is_still_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(f"[1]\n{json.dumps(ROW)}\n")
    assert problems(path)[0].startswith("1: got [1], expected an object")


def test_the_golden_submissions_are_valid(qvhighlights_dir: Path, tmp_path: Path) -> None:
    rows = read_submission(qvhighlights_dir / "predictions" / "moment_detr_val.jsonl")
    assert len(rows) == 1550
    write_submission(tmp_path / "again.jsonl", rows)
    for before, after in zip(rows, read_submission(tmp_path / "again.jsonl"), strict=True):
        assert after.pred_relevant_windows == before.pred_relevant_windows
        np.testing.assert_array_equal(float32(before), float32(after))
