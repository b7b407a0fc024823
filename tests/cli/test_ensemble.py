"""`hlclip ensemble`: the mean of several files, and files that do not belong together."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hlclip.cli import app
from hlclip.evaluation.ensembling import ensemble
from hlclip.formats.submissions import read_submission


def run(*arguments: str | Path, command: str = "ensemble") -> Result:
    return CliRunner().invoke(app, [command, *map(str, arguments)])


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def system(seed: int, *, names: bool = True) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [
        {"qid": qid, "pred_saliency_scores": (seed * random.normal(size=5 + qid)).tolist()}
        | ({"query": f"query {qid} ☃", "vid": f"v{qid}"} if names else {})
        | {"pred_relevant_windows": [[0, 2, 1]]}
        for qid in range(4)
    ]


def test_the_mean_of_the_files_is_written_in_the_order_of_the_first(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", system(1))
    second = write(tmp_path / "b.jsonl", system(2, names=False)[::-1])
    out = tmp_path / "out.jsonl"
    for options, weights in (((), ()), (("--weights", "1,3"), (1, 3))):
        result = run(first, second, *options, "-o", out)
        assert result.exit_code == 0, result.output
        assert result.output == f"wrote {out}: mean saliency of 2 files, 4 queries\n"
        for row, a, b in zip(read_submission(out), system(1), system(2), strict=True):
            assert (row.qid, row.query, row.vid) == (a["qid"], a["query"], a["vid"])
            assert row.pred_relevant_windows is None
            expected = ensemble([a["pred_saliency_scores"], b["pred_saliency_scores"]], weights)
            np.testing.assert_array_equal(
                np.array(row.pred_saliency_scores, np.float32), expected.astype(np.float32)
            )


def changed(at: int, **values: Any) -> list[dict[str, Any]]:
    rows = system(2)
    rows[at] |= values
    return rows


@pytest.mark.parametrize(
    ("other", "messages"),
    [
        (changed(1, qid=9), ["its qids are not those of {a}", "no prediction: 1", "unknown: 9"]),
        (system(2)[:3], ["{b}: its qids are not those of {a}:", "1 of 4 have no prediction: 3"]),
        (changed(1, vid="w"), ["{b}:2: vid: got 'w', expected 'v1' as qid 1 has in {a}"]),
        (changed(2, query="else"), ["{b}:3: query: got 'else'", "as qid 2 has in {a}"]),
        (
            changed(3, pred_saliency_scores=[1, 2]),
            ["{b}: qid 3 has 2 scores, expected 8 as in {a}", "in 4 rows: 1"],
        ),
        (
            [{k: v for k, v in row.items() if k != "pred_saliency_scores"} for row in system(2)],
            ["{b}: got rows without pred_saliency_scores"],
        ),
    ],
)
def test_files_that_do_not_belong_together_are_named(
    other: list[dict[str, Any]], messages: list[str], tmp_path: Path
) -> None:
    paths = {name: tmp_path / f"{name}.jsonl" for name in "abc"}
    write(paths["a"], system(1))
    write(paths["b"], other)
    write(paths["c"], system(3))
    result = run(paths["a"], paths["c"], paths["b"], "-o", tmp_path / "out.jsonl")
    assert result.exit_code == 2
    for message in messages:
        assert message.format(**paths) in result.output
    assert "official script" not in result.output
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{a}"], "got 1 submission file\nname two or more"),
        (["{a}", "{c}", "-o", "{a}"], "is an input"),
        (["{a}", "{c}", "{a}"], "a.jsonl: got it twice"),
        (["{a}", "{c}", "--weights", "1"], "expected 2 positive numbers"),
        (["{a}", "{c}", "--weights", "1,x"], "expected 2 positive numbers"),
        (["{a}", "{c}", "--weights", "1,-1"], "expected 2 positive numbers"),
        (["{a}", "{c}", "--weights", "1,inf"], "expected 2 positive numbers"),
    ],
)
def test_a_wrong_command_is_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    paths = {name: write(tmp_path / f"{name}.jsonl", system(1)) for name in "ac"}
    before = paths["a"].read_bytes()
    out = [] if "-o" in arguments else ["-o", tmp_path / "out.jsonl"]
    result = run(*(each.format(**paths) for each in arguments), *out)
    assert result.exit_code == 2
    assert message in result.output
    assert paths["a"].read_bytes() == before
    assert not (tmp_path / "out.jsonl").exists()


def test_published_scores_in_another_range_give_the_published_figures(
    qvhighlights_dir: Path, tmp_path: Path
) -> None:
    published = qvhighlights_dir / "predictions/moment_detr_val.jsonl"
    rows = [json.loads(line) for line in published.read_text().splitlines()]
    for row in rows:
        row["pred_saliency_scores"] = [5 * score - 3 for score in row["pred_saliency_scores"]]
    other = write(tmp_path / "other.jsonl", rows)
    out, report = tmp_path / "out.jsonl", tmp_path / "report.json"
    assert run(published, other, "-o", out).exit_code == 0
    truth = qvhighlights_dir / "highlight_val_release.jsonl"
    assert run(out, truth, "--json", report, command="evaluate").exit_code == 0
    brief = json.loads(report.read_text())["brief"]
    # The official script fills the 13 lists that are shorter than their video with zeros, which
    # have another rank among z-scores.
    assert brief["HL-min-VeryGood-mAP"] == pytest.approx(35.65, abs=0.02)
    assert brief["HL-min-VeryGood-Hit1"] == 55.55
