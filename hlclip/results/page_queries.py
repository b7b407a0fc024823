"""Every query of a run in compact form: what the page's script sorts, filters and draws."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlclip.formats import pooled
from hlclip.results.run import Run, SplitRun

SCALE = 30_000
"""Scores travel as int16, in units of 1 / SCALE: a cosine to four digits."""

PEAKS = 3
"""Peaks marked in each query's curve."""

APART = 2
"""Clips that a peak surpasses on each side."""


def pack_split(run: Run, split: str) -> dict[str, Any]:
    """One split as JSON: a list entry for each query, curves and ratings as base64.

    `curves`: variant -> int16 little-endian, the queries' clips one after the other. `ratings`:
    uint8, three of each clip. `precision`: variant -> VeryGood AP in percent. `orders`: what the
    queries can be sorted by; null where there is nothing to say. `peaks`: clips, highest first, in
    the curve of the last variant with SP. `missing`: query -> why there is no video.
    """
    part = run.splits[split]
    rows = part.scores.rows
    clips = part.scores.clips
    rated = bool(part.precision)
    ratings = [row.ratings() for row in rows] if rated else []
    return {
        "qids": [str(row.qid) for row in rows],
        "queries": [row.query for row in rows],
        "vids": [row.vid for row in rows],
        "clips": clips.tolist(),
        "missing": {
            str(query): run.frames.failed.get(rows[query].vid, "no video")
            for query in np.flatnonzero(part.scores.lengths == 0).tolist()
        },
        "precision": {
            name: np.round(100 * each, 2).tolist() for name, each in part.precision.items()
        },
        "orders": {
            name: [None if np.isnan(value) else round(value, 2) for value in values.tolist()]
            for name, values in orders(run, part).items()
        },
        "curves": {name: _curves(matrix, clips) for name, matrix in part.predictions.items()},
        "ratings": _base64(np.concatenate(ratings).astype(np.uint8)) if rated else None,
        "peaks": [query_peaks(run, part, query) for query in range(len(rows))],
        "favourites": [favourite(each) for each in ratings],
    }


def orders(run: Run, part: SplitRun) -> dict[str, NDArray[np.float64]]:
    """What queries can be sorted by, in percent [queries].

    NaN where nothing can be said: the video is missing, or nobody found any clip very good, so that
    the AP is 0 whatever the scores.
    """
    if not part.precision:
        return {}
    last = run.variants[-1]
    ap = part.precision
    able = part.scores.lengths > 0
    able &= np.array([4 in np.array(row.saliency_scores or ()) for row in part.scores.rows])
    found = {"AP": ap[pooled(last)]}
    if len(run.variants) > 1:
        found["gain from fine-tuning"] = ap[pooled(last)] - ap[pooled(run.variants[0])]
    found["gain from pooling"] = ap[pooled(last)] - ap[last]
    return {name: np.where(able, 100 * values, np.nan) for name, values in found.items()}


def query_peaks(run: Run, part: SplitRun, query: int) -> list[int]:
    """Clips of the highest peaks of the last variant with SP; none without video."""
    if part.scores.lengths[query] == 0:
        return []
    count = part.scores.rows[query].clips
    curve = part.predictions[pooled(run.variants[-1])][query, :count]
    return peaks(curve, count=PEAKS, apart=APART)


def peaks(scores: NDArray[np.floating], *, count: int, apart: int) -> list[int]:
    """The highest local maxima of one query's scores [clips], highest first.

    Args:
        count: at most so many.
        apart: a peak is nowhere surpassed within so many clips, and no two peaks are as near.
    """
    found: list[int] = []
    for clip in np.argsort(-scores, kind="stable").tolist():
        if len(found) == count:
            break
        around = scores[max(clip - apart, 0) : clip + apart + 1]
        if scores[clip] >= around.max() and all(abs(clip - other) > apart for other in found):
            found.append(clip)
    return found


def favourite(ratings: NDArray[np.int64]) -> int | None:
    """The first of the clips that the annotators rated highest together; None if all are 0.

    Args:
        ratings: [clips, annotators].
    """
    together = ratings.sum(axis=1)
    return int(together.argmax()) if together.any() else None


def shown_first(orders: Mapping[str, NDArray[np.float64]], queries: int) -> NDArray[np.int64]:
    """[queries]: the best place a query has in any order, from either end, counted from 0."""
    if not orders:
        return np.arange(queries)
    place = np.full(queries, queries)
    for values in orders.values():
        able = np.flatnonzero(~np.isnan(values))
        ranked = able[np.argsort(values[able], kind="stable")]
        from_start = np.arange(len(ranked))
        place[ranked] = np.minimum(place[ranked], np.minimum(from_start, from_start[::-1]))
    return place


def _curves(matrix: NDArray[np.float32], clips: NDArray[np.int64]) -> str:
    given = np.arange(matrix.shape[1]) < clips[:, None]
    limit = np.iinfo(np.int16).max
    return _base64(np.clip(np.rint(matrix[given] * SCALE), -limit, limit).astype("<i2"))


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()
