"""calibration.json: what is read is what was written, and nothing else is read."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlclip.evaluation import apply_map, fit_map
from hlclip.formats import (
    Calibration,
    DamagedFileError,
    Origin,
    ScoreMap,
    mean_of,
    read_calibration,
    write_calibration,
)

KNOTS = ((-0.012345, 0.0), (0.1, 0.333333), (0.2, 1.0))
MAP = ScoreMap("HL-CLIP-2", mean_of(3), KNOTS, KNOTS)
CALIBRATION = Calibration(Origin("a" * 64, "b" * 64, 2.0), 500, "", (MAP,))


def test_what_is_read_is_what_was_written(tmp_path: Path):
    path = tmp_path / "calibration.json"
    random = np.random.default_rng(0)
    scores = random.normal(size=3000).astype(np.float32)
    knots = fit_map(scores, np.clip(scores + 2, 0, 4))
    written = replace(CALIBRATION, maps=(MAP, replace(MAP, variant="zero-shot", rating=knots)))
    write_calibration(path, written)
    read = read_calibration(path)
    assert read == written
    found = read.find("zero-shot", mean_of(3))
    assert found is not None
    np.testing.assert_array_equal(apply_map(found.rating, scores), apply_map(knots, scores))
    assert read.find("zero-shot", mean_of(5)) is None
    assert read.find("HL-CLIP-1", mean_of(3)) is None
    before = path.read_bytes()
    write_calibration(path, read)
    assert path.read_bytes() == before


def edited(path: Path, *keys: Any, value: Any) -> None:
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("keys", "value", "says"),
    [
        (("maps", 0, "rating"), [[0.1, 2], [0.2, 1]], "got a map that falls"),
        (("maps", 0, "rating"), [[0.1, 1], [0.1, 2]], "got a map that falls"),
        (("maps", 0, "pooling", "width"), float("inf"), "width: got inf, expected a finite number"),
        (("maps", 0, "rating"), [[0.1, 4.5]], "less than or equal to 4"),
        (("maps", 0, "very_good"), [[0.1, 1.5]], "less than or equal to 1"),
        (("maps", 0, "very_good"), [], "very_good"),
        (("maps", 0, "rating", 0, 0), float("nan"), "finite number"),
        (("origin",), {}, "checkpoint: missing"),
        (("maps",), None, "maps"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, keys: tuple[Any, ...], value: Any, says: str):
    path = tmp_path / "calibration.json"
    write_calibration(path, CALIBRATION)
    edited(path, *keys, value=value)
    with pytest.raises(DamagedFileError, match=rf"{path}: damaged.*{says}.*\n.*force evaluate"):
        read_calibration(path)


def test_half_a_file_is_refused(tmp_path: Path):
    path = tmp_path / "calibration.json"
    write_calibration(path, CALIBRATION)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DamagedFileError, match="damaged"):
        read_calibration(path)
