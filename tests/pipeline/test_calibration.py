"""Maps from scores to ratings: fitted on val alone, measured on the other splits."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlclip.evaluation import WINDOW, apply_map, fit_map, pool
from hlclip.formats import (
    Annotation,
    Calibration,
    Pooling,
    ScoreMap,
    SplitScores,
    mean_of,
    pack,
    read_calibration,
    read_submission,
    submission_name,
)
from hlclip.params import MomentsParams, PoolParams
from hlclip.pipeline.calibration import COLUMNS, LEAST_CLIPS, LEAST_VERY_GOOD
from hlclip.pipeline.evaluate import evaluate_splits
from tests.runs import ORIGIN

CLIPS = 10
POOL = PoolParams(mode="mean", window=3, sigma=1, border="neighbours")


def split(seed: int, queries: int = 60, *, highest: int = 4, blind: bool = False) -> SplitScores:
    """Two rated clips a row; the first row has no video, the second lacks its last two frames."""
    random = np.random.default_rng(seed)
    rows: list[Annotation] = []
    lines: dict[int | str, Any] = {}
    for qid in range(queries):
        rated = sorted(random.choice(CLIPS, 2, replace=False).tolist())
        ratings = random.integers(0, highest + 1, (2, 3))
        facts = {"qid": qid, "query": "a boat", "vid": f"v{qid}", "duration": 2.0 * CLIPS}
        truth = {"relevant_clip_ids": rated, "saliency_scores": ratings.tolist()}
        rows.append(Annotation.model_validate(facts if blind else facts | truth))
        curve = random.normal(0, 0.05, CLIPS)
        curve[rated] += ratings.mean(axis=1) / 20
        if qid:
            lines[qid] = curve[: CLIPS - 2 * (qid == 1)].astype(np.float32)
    return pack(rows, {"zero-shot": lines, "HL-CLIP-2": {q: 2 * each for q, each in lines.items()}})


def run(folder: Path, splits: dict[str, SplitScores], pooling: PoolParams = POOL) -> Calibration:
    evaluate_splits(
        splits,
        pooling,
        MomentsParams(rule="threshold", focus=2),
        metrics=folder / "metrics.json",
        outputs=folder,
        origin=ORIGIN,
    )
    return read_calibration(folder / "calibration.json")


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "figures.json").read_text())


def found(calibration: Calibration, variant: str, window: int) -> ScoreMap:
    each = calibration.find(variant, mean_of(window))
    assert each is not None
    return each


def test_a_map_is_fitted_on_the_clips_of_val_that_have_a_frame(tmp_path: Path):
    val = split(0)
    calibration = run(tmp_path, {"val": val, "test": split(1)})
    assert (calibration.origin, calibration.missing) == (ORIGIN, "")
    assert calibration.clips == 59 * CLIPS - 2
    for window in (1, 3):
        scores, rating, very_good = [], [], []
        for row, line, length in zip(val.rows, val.cosines["HL-CLIP-2"], val.lengths, strict=True):
            scores += pool(line[:length], window).tolist()
            rating += row.ratings().mean(axis=1)[:length].tolist()
            very_good += (row.ratings() == 4).mean(axis=1)[:length].tolist()
        each = found(calibration, "HL-CLIP-2", window)
        assert each.rating == fit_map(np.array(scores, np.float32), np.array(rating))
        assert each.very_good == fit_map(np.array(scores, np.float32), np.array(very_good))
    assert found(calibration, "zero-shot", 3) != found(calibration, "HL-CLIP-2", 3)


def test_test_changes_no_map_and_maps_change_no_other_figure(tmp_path: Path):
    val = split(0)
    for name, test in (("a", split(1)), ("b", split(2)), ("c", split(1, blind=True))):
        run(tmp_path / name, {"val": val, "test": test})
    maps = [(tmp_path / name / "calibration.json").read_bytes() for name in "abc"]
    assert maps[0] == maps[1] == maps[2]
    assert metrics(tmp_path / "a")["calibration"] != metrics(tmp_path / "b")["calibration"]
    assert "calibration" not in metrics(tmp_path / "c")
    few = {"val": split(0, 5), "test": split(1)}  # too few for a map
    run(tmp_path / "few", few)
    assert metrics(tmp_path / "few")["test"] == metrics(tmp_path / "a")["test"]
    names = submission_name("test", "HL-CLIP-2 (SP)"), submission_name("test", "zero-shot")
    for name in names:
        files = [tmp_path / run / "predictions" / name for run in ("a", "few")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_the_errors_are_those_of_the_predictions(tmp_path: Path):
    test = split(1)
    calibration = run(tmp_path, {"val": split(0), "test": test})
    answers = read_submission(tmp_path / "predictions" / submission_name("test", "zero-shot (SP)"))
    each = found(calibration, "zero-shot", 3)
    gaps, promised, given = [], [], []
    for row, answer, length in zip(test.rows, answers, test.lengths, strict=True):
        scores = (answer.pred_saliency_scores or ())[:length]
        for score, ratings in zip(scores, row.ratings(), strict=False):
            gaps.append(abs(float(apply_map(each.rating, score)) - sum(ratings) / 3))
            promised.append(float(apply_map(each.very_good, score)))
            given.append(sum(rating == 4 for rating in ratings) / 3)
    error = 0.0
    for number in range(10):
        inside = [n for n, p in enumerate(promised) if number == min(int(10 * p), 9)]
        error += abs(sum(promised[n] - given[n] for n in inside)) / len(promised)
    figures = metrics(tmp_path)["calibration"]["test"]["zero-shot (SP)"]
    assert figures == {"MAE": pytest.approx(sum(gaps) / len(gaps), abs=6e-4),
                       "ECE": pytest.approx(100 * error, abs=6e-3)}  # fmt: skip
    assert list(metrics(tmp_path)["calibration"]) == ["test"]
    rows = list(csv.DictReader((tmp_path / "reliability.csv").open()))
    assert {(row["split"], row["variant"]) for row in rows} == {
        ("test", "zero-shot (SP)"),
        ("test", "HL-CLIP-2 (SP)"),
    }
    for variant in ("zero-shot (SP)", "HL-CLIP-2 (SP)"):
        clips = sum(int(row["clips"]) for row in rows if row["variant"] == variant)
        assert clips == 2 * len(gaps)  # on both scales


@pytest.mark.parametrize(
    "pooling",
    [
        PoolParams(mode="mean", window=7, sigma=1, border="neighbours"),
        PoolParams(mode="max", window=3, sigma=1, border="zero"),
        PoolParams(mode="mean", window="best", sigma=1, border="edge"),
        PoolParams(mode="gaussian", window=3, sigma=1, border="neighbours"),
    ],
)
def test_own_videos_and_the_run_have_a_map_each(tmp_path: Path, pooling: PoolParams):
    """Whatever the run pools with, own videos are pooled by the mean of three clips, or not."""
    val = split(0)
    calibration = run(tmp_path, {"val": val}, pooling)
    default = run(tmp_path / "default", {"val": val})
    chosen = metrics(tmp_path).get("window", {})
    for name in ("zero-shot", "HL-CLIP-2"):
        for window in (1, WINDOW):
            assert found(calibration, name, window) == found(default, name, window)
        width = chosen.get(name, pooling.width[1])
        assert calibration.find(name, Pooling(pooling.mode, width, pooling.border)) is not None
    assert len(calibration.maps) == 6
    assert len(default.maps) == 4


@pytest.mark.parametrize(
    ("splits", "says"),
    [
        ({"val": split(0, LEAST_CLIPS // CLIPS)}, f"val has {LEAST_CLIPS - CLIPS - 2} clips"),
        ({"val": split(0, highest=3)}, r"0 are rated very good; a map needs 200 and 10"),
        (
            {"val": split(0, blind=True), "test": split(1)},
            "val was not evaluated, or has no r",
        ),
        ({"test": split(1)}, "val was not evaluated"),
    ],
)
def test_too_little_of_val_gives_no_map_and_says_so(
    tmp_path: Path, splits: dict[str, SplitScores], says: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", logger="hlclip")
    calibration = run(tmp_path, splits)
    assert (calibration.maps, calibration.clips) == ((), 0)
    assert says.split("\\", maxsplit=1)[0] in calibration.missing
    assert f"no map from scores to ratings: {calibration.missing}" in caplog.text
    assert "calibration" not in metrics(tmp_path)
    assert (tmp_path / "reliability.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_ratings_on_another_scale_give_no_map(tmp_path: Path):
    val = split(0)
    other_set = {"rating_scale": (0, 5), "dataset": "tvsum", "domain": "BK"}
    rows = [row.model_copy(update=other_set) for row in val.rows]
    other = SplitScores(rows, val.lengths, val.cosines)
    assert "no ratings from 0 to 4" in run(tmp_path, {"val": other}).missing
    assert "calibration" not in metrics(tmp_path)


def test_the_limit_is_what_is_said(tmp_path: Path):
    val = split(0, LEAST_CLIPS // CLIPS + 2)
    assert run(tmp_path, {"val": val}).missing == ""
    assert sum(4 in np.array(row.saliency_scores) for row in val.rows) >= LEAST_VERY_GOOD
