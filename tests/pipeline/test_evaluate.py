"""Pooled evaluation: every row and every clip counts, files agree with each other."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlclip.evaluation.benchmarks import BENCHMARKS
from hlclip.evaluation.metrics import evaluate, ground_truth
from hlclip.evaluation.pooling import pool
from hlclip.evaluation.splits import SETTINGS, Setting
from hlclip.formats.annotations import Annotation
from hlclip.formats.scores import SplitScores, pack, read_scores, write_scores
from hlclip.formats.submissions import read_answers, read_submission
from hlclip.formats.validation import DamagedFileError
from hlclip.params import MomentsParams, PoolParams
from hlclip.pipeline.choices import SIGMAS, WINDOWS, EvaluateError
from hlclip.pipeline.evaluate import complete, evaluate_splits, table
from tests.runs import ORIGIN

POOL = PoolParams(window=3, mode="mean", sigma=1, border="neighbours")
MOMENTS = MomentsParams(rule="consensus", focus=2)


def row(
    qid: int,
    clips: int,
    *,
    blind: bool = False,
    windows: Sequence[Sequence[float]] = ((0, 2),),
) -> Annotation:
    random = np.random.default_rng(qid)
    truth = {
        "relevant_clip_ids": [0, clips - 1],
        "saliency_scores": random.integers(2, 5, (2, 3)).tolist(),
        "relevant_windows": windows,
    }
    known = {} if blind else truth
    facts = {"qid": qid, "query": f"query {qid}", "vid": f"v{qid}", "duration": 2 * clips}
    return Annotation.model_validate(facts | known)


@pytest.fixture
def scores() -> SplitScores:
    """Four queries: whole, a video one clip short, one without video, one long."""
    rows = [row(1, 6), row(2, 5), row(3, 4), row(4, 9)]
    random = np.random.default_rng(0)
    lines: dict[int | str, Any] = {
        q: random.normal(size=n).astype(np.float32) for q, n in {1: 6, 2: 4, 4: 9}.items()
    }
    return pack(rows, {"zero-shot": lines, "HL-CLIP-2": {q: -line for q, line in lines.items()}})


def run(
    folder: Path,
    splits: dict[str, SplitScores],
    pool: PoolParams = POOL,
    moments: MomentsParams = MOMENTS,
):
    return evaluate_splits(
        splits,
        pool,
        moments,
        metrics=folder / "metrics.json",
        outputs=folder,
        origin=ORIGIN,
    )


def moved(scores: SplitScores, seed: int) -> SplitScores:
    """The same queries with other scores."""
    noise = np.random.default_rng(seed)
    others = {n: noise.normal(size=m.shape).astype(np.float32) for n, m in scores.cosines.items()}
    return SplitScores(scores.rows, scores.lengths, others)


def test_metrics_are_those_of_the_submission_files(tmp_path: Path, scores: SplitScores):
    measured = run(tmp_path, {"val": scores})
    truth = ground_truth(scores.rows)
    written = json.loads((tmp_path / "figures.json").read_text())["val"]
    assert written["queries"] == 4
    assert written["without video"] == 1
    files = {
        "zero-shot": "val-zero-shot",
        "zero-shot (SP)": "val-zero-shot-SP",
        "HL-CLIP-2": "val-HL-CLIP-2",
        "HL-CLIP-2 (SP)": "val-HL-CLIP-2-SP",
    }
    assert set(measured["val"]) == set(files)
    for variant, name in files.items():
        rows = read_answers(tmp_path / "predictions" / f"{name}.jsonl", scores.rows)
        assert [len(r.pred_saliency_scores or ()) for r in rows] == truth.clips.tolist()
        brief = evaluate(
            truth,
            scores=[r.pred_saliency_scores or () for r in rows],
            windows=[r.pred_relevant_windows or () for r in rows],
        )["brief"]
        levels = dict(measured["val"][variant])
        assert {f"MR-full-{name}": figure for name, figure in levels.pop("moments").items()} == {
            name: figure for name, figure in brief.items() if name.startswith("MR-full-")
        }
        assert written[variant]["moments"] == measured["val"][variant]["moments"]
        for level, figures in levels.items():
            assert figures["mAP"] == brief[f"HL-min-{level}-mAP"]
            assert figures["HIT@1"] == brief[f"HL-min-{level}-Hit1"]
            assert written[variant][level] == figures


def test_metrics_json_has_the_headline_alone(tmp_path: Path, scores: SplitScores):
    rows = [*scores.rows[:-1], row(4, 9, windows=[])]
    measured = run(
        tmp_path, {"val": scores, "test": SplitScores(rows, scores.lengths, scores.cosines)}
    )
    figures = {split: each["HL-CLIP-2 (SP)"] for split, each in measured.items()}
    assert json.loads((tmp_path / "metrics.json").read_text()) == {
        "val": {
            "mAP": figures["val"]["VeryGood"]["mAP"],
            "HIT@1": figures["val"]["VeryGood"]["HIT@1"],
            "MR-mAP": figures["val"]["moments"]["mAP"],
        },
        "test": figures["test"]["VeryGood"],  # not all of its queries have windows
    }


def test_submission_files_of_an_earlier_run_are_removed(tmp_path: Path, scores: SplitScores):
    old = tmp_path / "predictions" / "val-HL-CLIP-1.jsonl"
    old.parent.mkdir()
    old.touch()
    run(tmp_path, {"val": scores})
    assert not old.exists()
    assert len(list(old.parent.iterdir())) == 4


def test_scores_are_pooled_over_the_clips_that_exist(tmp_path: Path, scores: SplitScores):
    run(tmp_path, {"val": scores})
    rows = read_submission(tmp_path / "predictions" / "val-zero-shot-SP.jsonl")
    second = np.array(rows[1].pred_saliency_scores, np.float32)
    pooled = pool(scores.cosines["zero-shot"][1, :4], 3)
    np.testing.assert_array_equal(second[:4], pooled)
    assert second[4] == pooled.min()  # the clip that has no frame
    assert rows[2].pred_saliency_scores == (0.0,) * 4  # the row that has no video


def test_complete_pads_with_the_lowest_and_cuts():
    matrix = np.array([[3, -1, 2, 9], [1, 2, 0, 0], [0, 0, 0, 0]], np.float32)
    full = complete(matrix, np.array([3, 2, 0]), np.array([5, 2, 1]))
    np.testing.assert_array_equal(full, [[3, -1, 2, -1, -1], [1, 2, 0, 0, 0], [0, 0, 0, 0, 0]])


def test_the_window_plot_has_a_line_for_each_width(tmp_path: Path, scores: SplitScores):
    gaussian = POOL.model_copy(update={"mode": "gaussian"})
    for pool_params, modes in ((POOL, ["mean"]), (gaussian, ["mean", "gaussian"])):
        measured = run(tmp_path, {"val": scores}, pool_params)
        lines = list(csv.DictReader((tmp_path / "window.csv").open()))
        assert len(lines) == 2 * (len(WINDOWS) + len(SIGMAS))
        assert all(line["sigma" if line["mode"] == "mean" else "window"] == "" for line in lines)
        for mode in modes:
            by_width = {
                float(line["window"] or line["sigma"]): line
                for line in lines
                if (line["variant"], line["mode"]) == ("zero-shot", mode)
            }
            none, used = (0, 1) if mode == "gaussian" else (1, 3)
            for width, variant in ((none, "zero-shot"), (used, "zero-shot (SP)")):
                if width == none or mode == pool_params.mode:
                    figures = measured["val"][variant]["VeryGood"]
                    assert float(by_width[width]["mAP"]) == figures["mAP"]
                    assert float(by_width[width]["HIT@1"]) == figures["HIT@1"]


def test_windows_of_the_highest_score_are_compared_where_it_pools(
    tmp_path: Path, scores: SplitScores
):
    measured = run(tmp_path, {"val": scores}, POOL.model_copy(update={"mode": "max"}))
    lines = list(csv.DictReader((tmp_path / "window.csv").open()))
    assert {line["mode"] for line in lines} == {"max", "gaussian"}
    (used,) = (x for x in lines if (x["variant"], x["window"]) == ("zero-shot", "3"))
    assert float(used["mAP"]) == measured["val"]["zero-shot (SP)"]["VeryGood"]["mAP"]


@pytest.mark.parametrize(("mode", "key"), [("mean", "window"), ("gaussian", "sigma")])
def test_the_best_width_is_chosen_on_val_alone(
    mode: str, key: str, tmp_path: Path, scores: SplitScores
):
    """Whatever stands in test, widths and the plot are the same: it is not looked at."""
    others = [scores, moved(scores, 1)]
    best = POOL.model_copy(update={"mode": mode, "window": 3, "sigma": 1.0, key: "best"})
    chosen, plots = [], []
    for number, test in enumerate(others):
        measured = run(tmp_path / str(number), {"test": test, "val": scores}, best)
        written = json.loads((tmp_path / str(number) / "figures.json").read_text())
        assert {"window", "sigma"} & set(written) == {key}
        chosen.append(written[key])
        plots.append((tmp_path / str(number) / "window.csv").read_text())
        for variant, width in chosen[-1].items():
            fixed = best.model_copy(update={key: width})
            same = run(tmp_path / "fixed", {"test": test, "val": scores}, fixed)
            for split in ("val", "test"):
                sp = f"{variant} (SP)"
                assert measured[split][sp] == same[split][sp]
    assert chosen[0] == chosen[1]
    assert plots[0] == plots[1]
    lines = list(csv.DictReader((tmp_path / "0" / "window.csv").open()))
    assert {line["split"] for line in lines} == {"val"}
    for variant, width in chosen[0].items():
        figures = {
            float(line[key]): float(line["mAP"])
            for line in lines
            if (line["variant"], line["mode"]) == (variant, mode)
        }
        assert figures[width] == max(figures.values())
        assert all(figures[smaller] < figures[width] for smaller in figures if smaller < width)


def test_a_gaussian_mean_pools_the_clips_that_exist(tmp_path: Path, scores: SplitScores):
    run(tmp_path, {"val": scores}, POOL.model_copy(update={"mode": "gaussian", "sigma": 0.75}))
    rows = read_submission(tmp_path / "predictions" / "val-zero-shot-SP.jsonl")
    pooled = pool(scores.cosines["zero-shot"][1, :4], 0.75, mode="gaussian")
    np.testing.assert_array_equal(
        np.array(rows[1].pred_saliency_scores, np.float32), [*pooled, pooled.min()]
    )


@pytest.mark.parametrize(("mode", "key"), [("mean", "window"), ("gaussian", "sigma")])
def test_the_best_width_needs_ground_truth_on_val(mode: str, key: str, tmp_path: Path):
    blind = pack([row(1, 3, blind=True)], {"zero-shot": {1: np.ones(3, np.float32)}})
    with pytest.raises(EvaluateError, match=f"pool.{key} is best, .*val has no ground truth"):
        run(tmp_path, {"val": blind}, POOL.model_copy(update={"mode": mode, key: "best"}))
    other = {"window": "sigma", "sigma": "window"}[key]  # which this mode does not read
    run(tmp_path, {"val": blind}, POOL.model_copy(update={"mode": mode, other: "best"}))


def test_the_best_rule_is_chosen_on_val_alone(tmp_path: Path):
    """Whatever stands in test, the rules and the plot are the same: it is not looked at."""
    rows = [row(qid, 30, windows=[[2 * qid, 2 * qid + 12]]) for qid in range(1, 9)]
    random = np.random.default_rng(0)
    lines: dict[int | str, Any] = {
        r.qid: (random.normal(size=30) + 2 * (np.arange(30) // 3 == r.qid)).astype(np.float32)
        for r in rows
    }
    val = pack(rows, {"zero-shot": lines, "HL-CLIP-2": {q: -line for q, line in lines.items()}})
    best = MomentsParams(rule="best", focus=3)
    chosen, plots = [], []
    for number, test in enumerate((val, moved(val, 1))):
        folder = tmp_path / str(number)
        measured = run(folder, {"test": test, "val": val}, moments=best)
        chosen.append(json.loads((folder / "figures.json").read_text())["moments"])
        plots.append((folder / "moments.csv").read_text())
        for variant, setting in chosen[-1].items():
            same = run(
                tmp_path / "fixed", {"test": test, "val": val}, moments=MomentsParams(**setting)
            )
            for name in (variant, f"{variant} (SP)"):
                assert measured["test"][name]["moments"] == same["test"][name]["moments"]
                assert measured["val"][name]["moments"] == same["val"][name]["moments"]
    assert chosen[0] == chosen[1]
    assert plots[0] == plots[1]
    table_lines = list(csv.DictReader((tmp_path / "0" / "moments.csv").open()))
    assert {line["split"] for line in table_lines} == {"val"}
    for variant, setting in chosen[0].items():
        figures = {x["rule"]: float(x["mAP"]) for x in table_lines if x["variant"] == variant}
        assert list(figures) == [str(each) for each in SETTINGS]
        assert figures[str(Setting(**setting))] == max(figures.values())
    assert len(set(map(str, chosen[0].values()))) == 2  # the variants have different rules


def test_moments_are_measured_where_every_query_has_windows(tmp_path: Path, scores: SplitScores):
    rows = [*scores.rows[:-1], row(4, 9, windows=[])]
    some = SplitScores(rows, scores.lengths, scores.cosines)
    measured = run(tmp_path, {"val": scores, "test": some})
    assert set(measured["val"]["zero-shot"]) == {"Fair", "Good", "VeryGood", "moments"}
    assert set(measured["test"]["zero-shot"]) == {"Fair", "Good", "VeryGood"}
    predictions = read_submission(tmp_path / "predictions" / "test-zero-shot.jsonl")
    assert all(each.pred_relevant_windows for each in predictions)
    assert predictions[2].pred_relevant_windows == ((0, 8, 1),)  # the row that has no video
    with pytest.raises(EvaluateError, match="not all queries of val have relevant_windows"):
        run(tmp_path, {"val": some}, moments=MomentsParams(rule="best", focus=2))


def test_a_split_without_ground_truth_is_predicted_and_not_measured(tmp_path: Path):
    blind = pack([row(1, 3, blind=True)], {"zero-shot": {1: np.ones(3, np.float32)}})
    assert run(tmp_path, {"test": blind}) == {}
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written == {"test": {"queries": 1, "without video": 0}}
    assert json.loads((tmp_path / "metrics.json").read_text()) == {}
    assert (tmp_path / "predictions" / "test-zero-shot.jsonl").exists()
    assert list(csv.DictReader((tmp_path / "window.csv").open())) == []


def test_a_split_without_any_video_is_still_measured(tmp_path: Path):
    empty = pack([row(1, 3), row(2, 4)], {"zero-shot": {}})
    assert run(tmp_path, {"val": empty})["val"]["zero-shot"]["Fair"]["mAP"] > 0


def test_scores_survive_the_file_and_its_bytes_are_fixed(tmp_path: Path, scores: SplitScores):
    for name in ("a.safetensors", "b.safetensors"):
        write_scores(tmp_path / name, {"val": scores})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    splits = read_scores(tmp_path / "a.safetensors")
    assert splits["val"].rows == scores.rows
    assert list(splits["val"].cosines) == ["zero-shot", "HL-CLIP-2"]
    np.testing.assert_array_equal(splits["val"].lengths, scores.lengths)
    for variant, matrix in scores.cosines.items():
        np.testing.assert_array_equal(splits["val"].cosines[variant], matrix)
        assert splits["val"].cosines[variant].dtype == np.float32


def test_rows_keep_the_length_of_their_clips(tmp_path: Path):
    content = {"qid": 1, "query": "q", "vid": "v", "duration": 4}
    rows = [Annotation.model_validate(content, context={"clip_seconds": 0.5})]
    write_scores(tmp_path / "s.safetensors", {"val": pack(rows, {"zero-shot": {}})})
    (read,) = read_scores(tmp_path / "s.safetensors")["val"].rows
    assert (read.clip_seconds, read.clips) == (0.5, 8)


def test_no_flipped_byte_gives_another_score(tmp_path: Path, scores: SplitScores):
    path = tmp_path / "a.safetensors"
    write_scores(path, {"val": scores})
    whole = path.read_bytes()
    expected = read_scores(path)["val"]
    refused = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            splits = read_scores(path)
        except DamagedFileError:
            refused += 1
        else:  # safetensors pads its header with spaces
            assert splits["val"].rows == expected.rows
            assert all(
                np.array_equal(splits["val"].cosines[name], matrix)
                for name, matrix in expected.cosines.items()
            )
    assert refused > 0.95 * len(whole)
    for half in (b"", whole[: len(whole) // 2], whole[:-1], b"null"):
        path.write_bytes(half)
        with pytest.raises(
            DamagedFileError, match=f"{path}: damaged, .*\n`dvc repro --force score` makes it again"
        ):
            read_scores(path)


def test_the_table_shows_every_variant_and_split(tmp_path: Path, scores: SplitScores):
    measured = run(tmp_path, {"val": scores, "test": scores})
    text = table(measured, BENCHMARKS["qvhighlights"])
    assert len(text.splitlines()) == 5
    assert "val mAP" in text
    assert "test mAP" in text
