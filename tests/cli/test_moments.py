"""`hlclip moments`: the file it writes is the input with windows, and the official figures hold."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hlclip.cli import app
from hlclip.evaluation.moments import find_moments


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["moments", *map(str, arguments)])


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def system(tmp_path: Path) -> tuple[Path, Path]:
    """A system whose scores rise by steps towards each moment, and the ground truth."""
    random = np.random.default_rng(0)
    predictions, annotations = [], []
    for qid in range(6):
        start, end = 2 * qid, 2 * qid + 12
        inside = (np.arange(30) >= start / 2) & (np.arange(30) < end / 2)
        scores = 0.1234567890123 * inside + 0.01 * random.normal(size=30)
        facts = {"qid": qid, "query": f"query {qid} ☃", "vid": f"v{qid}"}
        predictions.append(
            facts | {"pred_saliency_scores": scores.tolist(), "note": {"of": "the system"}}
        )
        annotations.append(
            facts
            | {
                "duration": 60,
                "relevant_windows": [[start, end]],
                "relevant_clip_ids": [0],
                "saliency_scores": [[4, 4, 4]],
            }
        )
    return write(tmp_path / "p.jsonl", predictions), write(tmp_path / "a.jsonl", annotations)


def test_the_input_gets_windows_and_keeps_all_else(
    system: tuple[Path, Path], tmp_path: Path
) -> None:
    result = run(system[0], "-o", tmp_path / "out.jsonl", "--rule", "threshold")
    assert result.exit_code == 0, result.output
    assert "windows of 6 queries, rule threshold" in result.output
    for before, after in zip(read(system[0]), read(tmp_path / "out.jsonl"), strict=True):
        windows = after.pop("pred_relevant_windows")
        assert after == before
        assert windows == [
            list(window)
            for window in find_moments(before["pred_saliency_scores"], rule="threshold")
        ]


def test_a_wrong_value_is_shown_with_what_is_expected(tmp_path: Path) -> None:
    for option, value, expected in (
        ("--rule", "median", "'median' is not one of 'consensus'"),
        ("--focus", "-1", "got '-1', expected greater than or equal to 0"),
        ("--focus", "high", "got 'high', expected a valid number"),
    ):
        result = run("p.jsonl", "-o", tmp_path / "out.jsonl", option, value)
        assert result.exit_code == 2
        assert f"Invalid value for '{option}': {expected}" in result.output


def test_a_file_of_the_user_that_is_absent_is_not_made_by_the_pipeline(tmp_path: Path) -> None:
    for name, remedy in (
        ("p.jsonl", "name a file that is there"),
        ("outputs/predictions/val.jsonl", "`dvc repro` runs every stage"),
    ):
        result = run(tmp_path / name, "-o", tmp_path / "out.jsonl")
        assert result.exit_code == 2
        assert f"{name}: No such file or directory" in result.output
        assert remedy in result.output
        assert ("dvc" in result.output) == name.startswith("outputs")


def test_the_rule_is_the_best_on_val(system: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, annotations = system
    out = tmp_path / "out.jsonl"
    val = ("--val-predictions", predictions, "--val-annotations", annotations)
    result = run(predictions, *val, "-o", out)
    assert result.exit_code == 0, result.output
    (chosen,) = (line for line in result.output.splitlines() if line.endswith("chosen"))
    figures = [
        float(line.removesuffix("chosen").split()[-1])
        for line in result.output.splitlines()
        if "MR-mAP on val" in line
    ]
    assert len(figures) == 9
    figure = float(chosen.removesuffix("chosen").split()[-1])
    assert figure == max(figures)
    report = tmp_path / "report.json"
    CliRunner().invoke(app, ["evaluate", str(out), str(annotations), "--json", str(report)])
    assert json.loads(report.read_text())["brief"]["MR-full-mAP"] == figure


def test_what_cannot_be_right_is_refused(system: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, annotations = system
    out = tmp_path / "out.jsonl"
    windows = write(
        tmp_path / "w.jsonl", [{"qid": 1, "query": "q", "pred_relevant_windows": [[0, 2, 1]]}]
    )
    blind = write(
        tmp_path / "b.jsonl",
        [{k: v for k, v in row.items() if k != "relevant_windows"} for row in read(annotations)],
    )
    val = ("--val-predictions", predictions)
    for arguments, message in (
        ((predictions, "-o", predictions), "is an input"),
        ((predictions, "-o", out, "--clip-seconds", 0), "clip_seconds is 0.0, expected a positive"),
        ((predictions, "-o", out, "--rule", "peaks", "--focus", 3), "--rule peaks has none"),
        ((predictions, *val, "-o", out), "need each other"),
        ((predictions, *val, "--val-annotations", annotations, "--focus", 2, "-o", out), "leave"),
        ((predictions, *val, "--val-annotations", blind, "-o", out), "have no relevant_windows"),
        ((windows, "-o", out), "without pred_saliency_scores"),
    ):
        result = run(*map(str, arguments))
        assert result.exit_code == 2
        assert message in result.output
    assert not out.exists()
    assert len(read(predictions)) == 6
