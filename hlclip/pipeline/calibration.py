"""evaluate: maps from pooled scores to ratings, fitted on val and measured on the other splits."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hlclip.evaluation import (
    WINDOW,
    apply_map,
    calibration_error,
    complete,
    fit_map,
    pad,
    pool_padded,
    reliability,
)
from hlclip.formats import (
    CALIBRATION_FILE,
    MAX_RATING,
    Calibration,
    Origin,
    Pooling,
    ScoreMap,
    SplitScores,
    mean_of,
    pooled,
    write_calibration,
)
from hlclip.params import PoolParams
from hlclip.system import write_table

log = logging.getLogger(__name__)

LEAST_CLIPS = 200
"""Clips of val that a map needs."""

LEAST_VERY_GOOD = 10
"""Those among them that some annotator rates very good."""

COLUMNS = ("split", "variant", "scale", "expected", "observed", "clips")
RATING, VERY_GOOD = "mean rating, 0 to 4", "share of Very Good, 0 to 1"
"""The scales of the reliability plot."""

Matrices = Mapping[str, NDArray[np.float32]]
"""Variant, with and without SP -> complete scores [queries, clips]."""

Errors = dict[str, dict[str, dict[str, float]]]
"""split -> variant with SP -> `MAE`, the mean absolute error of the expected rating (0..4), and
`ECE`, the expected calibration error of the probability of Very Good, in percent."""


def calibrate(
    splits: Mapping[str, SplitScores],
    matrices: Mapping[str, Matrices],
    pool: PoolParams,
    widths: Mapping[str, float],
    *,
    origin: Origin,
    outputs: Path,
) -> dict[str, Errors]:
    """Fit the maps of each variant on val, and compare what they expect with the other splits.

    A variant has a map for its scores without pooling, for the pooling of this run, and for the
    default pooling of own videos. Clips without a frame have no part in it. A clip that nobody
    rated counts as rated 0, as in the metrics. Other data sets than QVHighlights have other scales:
    only splits that are rated 0..4 are used.

    Args:
        matrices: split -> its scores.
        widths: variant -> window or sigma of its scores with SP, in clips.
        origin: the model that made the scores.
        outputs: folder for calibration.json, which says so where val is too small for a map, and
            for reliability.csv: `COLUMNS`, a row for each bin of each split but val.

    Returns:
        The errors as `calibration`; empty if there are none.
    """
    poolings = {n: Pooling(pool.mode, float(width), pool.border) for n, width in widths.items()}
    rated = {split: _rated(scores) for split, scores in splits.items() if _has_ratings(scores)}
    missing = _too_little(rated.get("val"))
    maps = () if missing else _fit(splits["val"], matrices["val"], poolings, rated["val"])
    fitted = Calibration(origin, len(rated["val"].rating) if maps else 0, missing, maps)
    write_calibration(outputs / CALIBRATION_FILE, fitted)
    if missing:
        log.info("%s: no map from scores to ratings: %s", CALIBRATION_FILE, missing)
    errors: Errors = {}
    lines: list[tuple[object, ...]] = []
    for split, each in rated.items():
        for name, pooling in poolings.items() if split != "val" else ():
            found = fitted.find(name, pooling)
            if found and len(each.rating):
                scores = matrices[split][pooled(name)][each.inside]
                rating = apply_map(found.rating, scores)
                very_good = apply_map(found.very_good, scores)
                bins = {
                    RATING: reliability(rating, each.rating, highest=MAX_RATING),
                    VERY_GOOD: reliability(very_good, each.very_good, highest=1),
                }
                lines += [
                    (split, pooled(name), scale, round(expected, 4), round(observed, 4), clips)
                    for scale, rows in bins.items()
                    for expected, observed, clips in rows
                ]
                errors.setdefault(split, {})[pooled(name)] = {
                    "MAE": round(float(np.abs(rating - each.rating).mean()), 3),
                    "ECE": round(100 * calibration_error(bins[VERY_GOOD]), 2),
                }
    write_table(outputs / "reliability.csv", [COLUMNS, *lines])
    return {"calibration": errors} if errors else {}


class _Rated(NamedTuple):
    """The clips of a split that have a frame, and their ratings."""

    inside: NDArray[np.bool_]
    """[queries, most clips]: whether the clip has a frame."""
    rating: NDArray[np.float64]
    """Mean of the annotators, 0..4, [clips]."""
    very_good: NDArray[np.float64]
    """Share of the annotators who rate the clip 4, 0..1, [clips]."""


def _has_ratings(scores: SplitScores) -> bool:
    scale = (0, MAX_RATING)
    return all(r.saliency_scores is not None and r.rating_scale == scale for r in scores.rows)


def _rated(scores: SplitScores) -> _Rated:
    ratings = [row.ratings() for row in scores.rows]
    rating, clips = pad([each.mean(axis=1) for each in ratings])
    very_good, _ = pad([(each == MAX_RATING).mean(axis=1) for each in ratings])
    inside = np.arange(rating.shape[1]) < np.minimum(scores.lengths, clips)[:, None]
    return _Rated(inside, rating[inside], very_good[inside])


def _too_little(val: _Rated | None) -> str:
    """Why val gives no map; empty if it gives one."""
    if val is None:
        return "val was not evaluated, or has no ratings from 0 to 4"
    clips, very_good = len(val.rating), int(np.count_nonzero(val.very_good))
    if clips < LEAST_CLIPS or very_good < LEAST_VERY_GOOD:
        return (
            f"val has {clips} clips, of which {very_good} are rated very good; a map needs "
            f"{LEAST_CLIPS} and {LEAST_VERY_GOOD}"
        )
    return ""


def _fit(
    val: SplitScores, matrices: Matrices, poolings: Mapping[str, Pooling], rated: _Rated
) -> tuple[ScoreMap, ...]:
    maps: dict[tuple[str, Pooling], ScoreMap] = {}
    for name, pooling in poolings.items():
        own = pool_padded(val.cosines[name], val.lengths, WINDOW)
        for by, matrix in (
            (mean_of(1), matrices[name]),
            (mean_of(WINDOW), complete(own, val.lengths, val.clips)),
            (pooling, matrices[pooled(name)]),
        ):
            scores = matrix[rated.inside]
            knots = fit_map(scores, rated.rating), fit_map(scores, rated.very_good)
            maps[name, by] = ScoreMap(name, by, *knots)
    return tuple(maps.values())
