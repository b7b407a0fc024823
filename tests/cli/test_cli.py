"""The command line: what it prints, writes and refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hlclip.cli import app
from hlclip.formats import CLIP_SECONDS
from hlclip.highlights import WINDOW

ANNOTATION: dict[str, Any] = {
    "qid": 1,
    "query": "a cat jumps",
    "vid": "v",
    "duration": 4,
    "relevant_clip_ids": [0],
    "saliency_scores": [[4, 4, 4]],
    "relevant_windows": [[0, 2]],
}


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    return write(tmp_path / "annotations.jsonl", ANNOTATION)


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    return write(tmp_path / "predictions.jsonl", {"qid": 1, "pred_saliency_scores": [0.5, 0.25]})


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_evaluate_prints_an_aligned_table(predictions: Path, annotations: Path) -> None:
    result = run("evaluate", predictions, annotations)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "HL-min-Fair-mAP       100.00",
        "HL-min-Fair-Hit1      100.00",
        "HL-min-Good-mAP       100.00",
        "HL-min-Good-Hit1      100.00",
        "HL-min-VeryGood-mAP   100.00",
        "HL-min-VeryGood-Hit1  100.00",
    ]


def test_evaluate_writes_the_official_report(
    tmp_path: Path, predictions: Path, annotations: Path
) -> None:
    out = tmp_path / "metrics.json"
    assert run("evaluate", predictions, annotations, "--json", out).exit_code == 0
    report = json.loads(out.read_text())
    assert list(report) == ["brief", "HL-min-Fair", "HL-min-Good", "HL-min-VeryGood"]
    assert report["HL-min-Fair"] == {"HL-mAP": 100.0, "HL-Hit1": 100.0}


def test_evaluate_replaces_none_of_its_inputs(predictions: Path, annotations: Path) -> None:
    for path in (predictions, annotations):
        before = path.read_bytes()
        result = run("evaluate", predictions, annotations, "--json", path)
        assert result.exit_code == 2
        assert f"--json {path}: is an input" in result.output
        assert path.read_bytes() == before


def test_evaluate_prints_json(predictions: Path, annotations: Path, tmp_path: Path) -> None:
    result = run("evaluate", predictions, annotations, "--json", "-")
    assert json.loads(result.stdout)["HL-min-Fair"] == {"HL-mAP": 100.0, "HL-Hit1": 100.0}
    assert {path.name for path in tmp_path.iterdir()} == {predictions.name, annotations.name}


def test_evaluate_says_how_many_score_lists_do_not_fit(tmp_path: Path) -> None:
    rows = [ANNOTATION | {"qid": qid} for qid in range(4)]
    annotations = write(tmp_path / "annotations.jsonl", *rows)
    lists = [[0.5], [0.5, 0.25], [0.5, 0.25, 0.75], [0.5]]
    scores = [{"qid": qid, "pred_saliency_scores": given} for qid, given in enumerate(lists)]
    result = run("evaluate", write(tmp_path / "p.jsonl", *scores), annotations)
    assert result.exit_code == 0
    assert result.stderr.startswith("of 4 score lists 2 are shorter than their video has clips")
    assert "and 1 longer (cut)" in result.stderr


def test_the_package_is_found_from_the_folder_that_holds_the_clone(tmp_path: Path) -> None:
    (tmp_path / "hlclip" / "hlclip").mkdir(parents=True)  # the clone, which is no package
    code = "from hlclip import best_moments"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--version"], 0),
        (["--help"], 0),
        (["nothing"], 2),
        (["highlight"], 2),
        (["highlight", "none.mp4", "a dog"], 2),
        (["evaluate", "none.jsonl", "none.jsonl"], 2),
        (["doctor", "--params", "none.yaml"], 2),
        (["init", "none", "--preset", "nothing"], 2),
        (["models", "none"], 2),
        (["report", "none"], 2),
        (["table", "--rev", "none"], 2),
        (["data", "qvhighlights", "none", "--archive", "none.tar.gz"], 2),
        (["data", "qvhighlights", "none", "--check"], 1),
        (["data", "qvhighlights", "none", "--check", "--json"], 1),
    ],
)
def test_exit_status(
    arguments: list[str], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    assert status != 2 or result.stdout == ""
    assert not status or "none" not in {path.name for path in tmp_path.iterdir()}


def test_the_help_explains_the_exit_status() -> None:
    text = run("--help").stdout
    for status in ("  0    done\n", "  1    done, but", "  2    nothing was done", "  130  interr"):
        assert status in text


def test_windows_alone_are_evaluated(tmp_path: Path, annotations: Path) -> None:
    row = {"qid": 1, "pred_relevant_windows": [[0, 2, 1]]}
    result = run("evaluate", write(tmp_path / "windows.jsonl", row), annotations)
    assert result.exit_code == 0
    assert result.stdout.startswith("MR-full-R1@0.5    100.00\n")
    assert "HL" not in result.stdout


def test_windows_without_ground_truth_are_left_out(tmp_path: Path, annotations: Path) -> None:
    row = {"qid": 1, "pred_relevant_windows": [[0, 2, 1]], "pred_saliency_scores": [0.5, 0.25]}
    truth = {key: value for key, value in ANNOTATION.items() if key != "relevant_windows"}
    blind = write(tmp_path / "blind.jsonl", truth)
    result = run("evaluate", write(tmp_path / "both.jsonl", row), blind)
    assert result.exit_code == 0
    assert "1 of 1 queries have no relevant_windows in the annotations: MR" in result.stderr
    assert result.stdout.startswith("HL-min-Fair-mAP")
    both = run("evaluate", tmp_path / "both.jsonl", annotations)
    assert both.stdout.startswith("MR-full-R1@0.5")


def test_clip_seconds(tmp_path: Path, predictions: Path) -> None:
    row = ANNOTATION | {"relevant_clip_ids": [3]}
    annotations = write(tmp_path / "annotations.jsonl", row)
    assert run("evaluate", predictions, annotations).exit_code == 2
    result = run("evaluate", predictions, annotations, "--clip-seconds", "1")
    assert result.exit_code == 0


def test_bad_input_is_a_line_on_stderr(tmp_path: Path, annotations: Path) -> None:
    path = write(tmp_path / "bad.jsonl", {"qid": 1, "pred_saliency_scores": [float("nan")]})
    result = run("evaluate", path, annotations)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == (
        f"{path}:1: pred_saliency_scores[0]: got nan, expected a finite number\n"
    )


def test_other_queries_are_named(tmp_path: Path, annotations: Path) -> None:
    path = write(tmp_path / "other.jsonl", {"qid": 2, "pred_saliency_scores": [1]})
    result = run("evaluate", path, annotations)
    assert result.exit_code == 2
    assert "1 of 1 have no prediction: 1" in result.stderr
    assert "1 of 1 are unknown: 2" in result.stderr


def test_absent_files_are_named(tmp_path: Path, annotations: Path) -> None:
    result = run("evaluate", tmp_path / "none.jsonl", annotations)
    assert result.exit_code == 2
    what, to_do = result.stderr.splitlines()
    assert what == f"{tmp_path / 'none.jsonl'}: No such file or directory"
    assert "name a file that is there" in to_do


def test_debug_shows_where(tmp_path: Path, annotations: Path) -> None:
    result = run("--debug", "evaluate", tmp_path / "none.jsonl", annotations)
    assert result.exit_code == 2
    assert "Traceback (most recent call last)" in result.stderr
    assert "FileNotFoundError" in result.stderr


def test_a_bug_keeps_its_traceback_and_asks_for_a_report(
    monkeypatch: pytest.MonkeyPatch, predictions: Path, annotations: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LookupError("no such thing")

    monkeypatch.setattr("hlclip.evaluation.report", broken)
    result = run("evaluate", predictions, annotations)
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("this is a bug of hlclip: please report")


def test_ctrl_c_is_one_line(
    monkeypatch: pytest.MonkeyPatch, predictions: Path, annotations: Path
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hlclip.evaluation.report", interrupted)
    result = run("evaluate", predictions, annotations)
    assert result.exit_code == 130
    assert len(result.stderr.splitlines()) == 1


def test_a_failed_evaluation_keeps_the_old_report(tmp_path: Path, annotations: Path) -> None:
    out = tmp_path / "metrics.json"
    out.write_text("old")
    assert run("evaluate", annotations, annotations, "--json", out).exit_code == 2
    assert out.read_text() == "old"


@pytest.mark.parametrize("arguments", [["--help"], ["evaluate", "--help"]])
def test_help_teaches_by_example(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 0
    assert "  hlclip evaluate predictions.jsonl highlight_val_release.jsonl\n" in result.stdout


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("hlclip.cli", ["numpy", "pydantic", "h5py", "av", "requests", "torch", "dvc", "gradio"]),
        ("hlclip.demo", ["gradio", "torch"]),
    ],
)
def test_help_waits_for_no_slow_import(module: str, slow: list[str]) -> None:
    code = f"import sys, {module}; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_defaults_named_in_the_help_are_those_of_the_library() -> None:
    words = " ".join(run("highlight", "--help").stdout.split())
    assert f"Pooling window; odd, 1 for no pooling. Default: {WINDOW}." in words
    words = " ".join(run("evaluate", "--help").stdout.split())
    assert f"Length of a clip. Default: {CLIP_SECONDS:g}." in words


def test_evaluates_real_submissions(qvhighlights_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "metrics.json"
    result = run(
        "evaluate",
        qvhighlights_dir / "predictions" / "moment_detr_val.jsonl",
        qvhighlights_dir / "highlight_val_release.jsonl",
        "--json",
        out,
    )
    assert "HL-min-VeryGood-Hit1   55.55\n" in result.stdout
    golden = (qvhighlights_dir / "predictions" / "moment_detr_val.metrics.json").read_text()
    assert json.loads(out.read_text()) == json.loads(golden)


def test_json_names_a_file_whose_name_is_not_utf8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HLCLIP_STORE", str(tmp_path))
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    path.write_text("not an item")
    result = run("store", "status", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["foreign"] == [str(path)]
