"""Scores of own videos as ratings: of this checkpoint's run, at the window that was measured."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlclip.evaluation import apply_map, pool
from hlclip.formats import (
    Calibration,
    DamagedFileError,
    Origin,
    Pooling,
    ScoreMap,
    StaleFileError,
    mean_of,
    write_calibration,
)
from hlclip.highlights import Answer, Curve, as_json, best_moments
from hlclip.highlights.model_cache import ModelFacts
from hlclip.highlights.output import write_csv
from hlclip.highlights.ratings import find_maps
from hlclip.system import HlclipError

RATING = ((-0.1, 0.25), (0.1, 0.75), (0.3, 3.25))
VERY_GOOD = ((0.0, 0.0), (0.4, 0.8))
TUNED = ScoreMap("HL-CLIP-2", mean_of(3), RATING, VERY_GOOD)
ZERO_SHOT = replace(TUNED, variant="zero-shot", rating=((0.0, 1.0),))
RUNS = replace(TUNED, pooling=Pooling("max", 3, "neighbours"))
ORIGIN = Origin("c" * 64, "w" * 64, 2.0)
CALIBRATION = Calibration(ORIGIN, 500, "", (ZERO_SHOT, TUNED, RUNS))
FACTS = ModelFacts({}, {"weights": "w" * 64}, {}, "c" * 64, 2.0, temporal=False)
SCORES = np.array([-0.5, 0.1, 0.9, 0.3, -0.2, -0.2, -0.2], np.float32)


def curve(**maps: object) -> Curve:
    return Curve(Path("v.mp4"), "a dog", SCORES, 13.2, 2.0, {3: TUNED} if not maps else {})


def saved(folder: Path, calibration: Calibration = CALIBRATION) -> Path:
    write_calibration(folder / "calibration.json", calibration)
    return folder / "calibration.json"


def test_the_maps_are_those_next_to_the_checkpoint(tmp_path: Path):
    assert find_maps(None, tmp_path / "train.safetensors", FACTS) == {}
    saved(tmp_path)
    assert find_maps(None, tmp_path / "train.safetensors", FACTS) == {3: TUNED}
    assert find_maps(None, None, FACTS) == {}


def test_zero_shot_scores_have_the_zero_shot_map(tmp_path: Path):
    zero_shot = replace(FACTS, variant="zero-shot")
    assert find_maps(saved(tmp_path), None, zero_shot) == {3: ZERO_SHOT}
    assert find_maps(None, tmp_path / "train.safetensors", zero_shot) == {3: ZERO_SHOT}


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (replace(FACTS, variant="d" * 64), "checkpoint"),
        (replace(FACTS, images={"weights": "v" * 64}), "weights"),
        (replace(FACTS, variant="zero-shot", images={"weights": "v" * 64}), "weights"),
        (replace(FACTS, clip_seconds=1.0), "clip_seconds"),
    ],
)
def test_a_map_of_another_model_is_not_applied(
    tmp_path: Path, facts: ModelFacts, says: str, caplog: pytest.LogCaptureFixture
):
    path = saved(tmp_path)
    assert find_maps(None, tmp_path / "train.safetensors", facts) == {}
    (said,) = caplog.messages
    assert said.startswith(f"{path}: is of another run: {says} is ")
    assert said.endswith("; scores are shown without ratings")
    with pytest.raises(StaleFileError, match=f"is of another run: {says} is ") as raised:
        find_maps(path, None, facts)
    assert "dvc" not in str(raised.value)  # it may be in no repository


def test_why_there_is_no_map_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = saved(tmp_path, Calibration(ORIGIN, 0, "val has 12 clips", ()))
    assert find_maps(None, tmp_path / "train.safetensors", FACTS) == {}
    assert "has no map: val has 12 clips" in caplog.text
    with pytest.raises(HlclipError, match="has no map: val has 12 clips"):
        find_maps(path, None, FACTS)
    saved(tmp_path, replace(CALIBRATION, maps=(ZERO_SHOT,)))
    with pytest.raises(HlclipError, match="has no map: none is of this model"):
        find_maps(path, None, FACTS)
    path.write_text("{")
    assert find_maps(None, tmp_path / "train.safetensors", FACTS) == {}
    with pytest.raises(DamagedFileError):
        find_maps(path, None, FACTS)
    with pytest.raises(OSError, match="No such file"):
        find_maps(tmp_path / "absent.json", None, FACTS)


def test_a_file_that_cannot_be_read_costs_the_ratings_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "calibration.json"
    for make, reason in (
        (lambda: path.symlink_to("gone"), "No such file or directory"),
        (path.mkdir, "Is a directory"),
    ):
        make()
        caplog.clear()
        assert find_maps(None, tmp_path / "train.safetensors", FACTS) == {}
        assert caplog.messages == [f"{path}: {reason}; scores are shown without ratings"]
        with pytest.raises(OSError, match=reason):
            find_maps(path, None, FACTS)
        if path.is_symlink():
            path.unlink()


def test_a_curve_has_the_ratings_of_its_pooled_scores():
    expected = curve().expected()
    assert expected is not None
    np.testing.assert_array_equal(expected.rating, apply_map(RATING, pool(SCORES, 3)))
    np.testing.assert_array_equal(expected.very_good, apply_map(VERY_GOOD, pool(SCORES, 3)))
    assert curve().expected(5) is None
    assert curve(none=True).expected() is None


def test_a_moment_has_the_rating_of_its_best_clip():
    for moment in best_moments(curve()):
        assert moment.rating == apply_map(RATING, moment.score)
        assert moment.very_good == apply_map(VERY_GOOD, moment.score)
    best = best_moments(curve(), top=1)[0]
    assert best.worth == "3.2 of 4"
    for without in (best_moments(curve(), window=5), best_moments(curve(none=True))):
        assert {(each.rating, each.very_good, each.worth) for each in without} == {(None, None, "")}
    plain = best_moments(curve(none=True), top=1)[0]
    assert replace(best, rating=None, very_good=None) == plain


def test_files_gain_columns_and_fields_where_there_is_a_map(tmp_path: Path):
    rated, plain = (
        Answer(1, "v", each, best_moments(each)) for each in (curve(), curve(none=True))
    )
    for name, answer in (("rated", rated), ("plain", plain)):
        write_csv(tmp_path / f"{name}.csv", [answer], window=3)
    with (tmp_path / "rated.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = curve().expected()
    assert expected is not None
    assert [float(row["rating"]) for row in rows] == expected.rating.round(4).tolist()
    assert [float(row["very_good"]) for row in rows] == expected.very_good.round(4).tolist()
    lines = (tmp_path / "rated.csv").read_text().splitlines()
    shorter = [line.rsplit(",", 2)[0] for line in lines]
    assert shorter == (tmp_path / "plain.csv").read_text().splitlines()
    found: Any = as_json([rated, plain], {}, [], window=3, facts={})["answers"]
    moments = [each["moments"] for each in found]
    for more, fewer in zip(*moments, strict=True):
        assert set(more) - set(fewer) == {"rating", "very_good"}
        assert fewer.items() <= more.items()
