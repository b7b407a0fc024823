"""Files and JSON of the best moments."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlclip.evaluation.pooling import pool
from hlclip.formats.submissions import read_submission
from hlclip.highlights.moments import Curve, best_moments
from hlclip.highlights.output import Answer, as_json, name_videos, write_csv, write_jsonl

SCORES = np.array([0.1, 0.2, 0.9, 0.3, 0.1, 0.1, 0.1], np.float32)


def answer() -> Answer:
    curve = Curve(Path("videos/v.mp4"), "a dog, running", SCORES, 13.2, 2.0)
    return Answer(1, "v", curve, best_moments(curve, top=1))


def test_jsonl_is_a_submission(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "scores.jsonl", [answer()], window=3)
    (row,) = read_submission(tmp_path / "scores.jsonl")
    assert (row.qid, row.vid, row.query) == (1, "v", "a dog, running")
    assert row.pred_relevant_windows == ((2.0, 8.0, answer().moments[0].score),)
    np.testing.assert_array_equal(np.array(row.pred_saliency_scores, np.float32), pool(SCORES, 3))


def test_a_submission_has_moments_that_are_left_out(tmp_path: Path) -> None:
    """The format needs a window in every row."""
    whole = answer()
    nothing = replace(whole, moments=[], left_out=whole.moments)
    for name, each in {"whole": whole, "nothing": nothing}.items():
        write_jsonl(tmp_path / name, [each], window=3)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "nothing").read_bytes()
    found: Any = as_json([nothing], {}, [], window=3, facts={})["answers"]
    assert (found[0]["moments"], len(found[0]["left_out"])) == ([], 1)


def test_csv_has_a_line_a_clip(tmp_path: Path) -> None:
    write_csv(tmp_path / "scores.csv", [answer()], window=3)
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7
    assert rows[0]["query"] == "a dog, running"
    assert [(row["start"], row["end"]) for row in rows][-2:] == [("10", "12"), ("12", "13.2")]
    assert [np.float32(row["score"]) for row in rows] == SCORES.tolist()
    assert [np.float32(row["pooled"]) for row in rows] == pool(SCORES, 3).tolist()
    assert [row["moment"] for row in rows] == ["", "1", "1", "1", "", "", ""]


def test_a_folder_of_videos_with_any_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.mp4", "b\nc.MKV", "d.gif", "e.webp", "f.txt", ".g.mp4"):
        (tmp_path / name).touch()
    assert list(name_videos([tmp_path]).values()) == ["a", "b\nc", "d"]
    assert [record.args for record in caplog.records] == [(tmp_path / "e.webp",)]


def test_json() -> None:
    facts = {"generic": False}
    content: Any = as_json(
        [answer()], {"bad.mp4": "no video"}, [Path("a.png")], window=3, facts=facts
    )
    assert content["generic"] is False
    assert content["failed"] == {"bad.mp4": "no video"}
    assert content["files"] == ["a.png"]
    (row,) = content["answers"]
    assert (row["video"], row["duration"]) == ("videos/v.mp4", 13.2)
    assert [(m["start"], m["end"]) for m in row["moments"]] == [(2.0, 8.0)]
    assert row["clips"] == {"score": SCORES.tolist(), "pooled": pool(SCORES, 3).tolist()}
