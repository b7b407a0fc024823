"""All queries of a run in compact form, which the script of the page sorts, filters and draws."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlclip.formats import MAX_RATING, pooled
from hlclip.results.run import Run, SplitRun

SCALE = 30_000
"""Scores are stored as int16 in units of 1 / SCALE: a cosine has four digits."""

MOMENTS = 5
"""Moments of a query that are shown, at most."""

HIGHLIGHT_AP = "highlight AP"
MOMENT_AP = "moment AP"
FIRST_IOU = "IoU of the first moment"

PEAKS = 3
"""Peaks marked in the curve of a query, at most."""

APART = 2
"""A peak is the highest of this many clips on each side."""


def pack_split(run: Run, split: str) -> dict[str, Any]:
    """One split as JSON: lists with an entry for each query, curves and ratings as base64.

    `curves`: variant -> int16 little-endian, the clips of all queries in a row. `ratings`: uint8,
    three for each clip. `precision`: variant -> VeryGood AP in percent. `orders`: see `orders`,
    null for NaN. `peaks`: clips of the highest peaks, see `query_peaks`. `favourites`: see
    `favourite`. `predicted`: the first moments of the last variant with SP, and `annotated`: those
    of the annotators, null without ground truth; start and end in seconds. `missing`: query -> why
    it has no video.
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
        "predicted": [
            [window[:2] for window in windows[:MOMENTS]]
            for windows in part.windows[pooled(run.variants[-1])]
        ],
        "annotated": [row.relevant_windows for row in rows] if part.moments else None,
    }


def orders(run: Run, part: SplitRun) -> dict[str, NDArray[np.float64]]:
    """The values by which the page sorts queries: name -> [queries], AP and gains in percent.

    NaN where the video is missing. Values of highlights are also NaN where no annotator found a
    clip very good: then the AP is 0 for all scores.
    """
    if not part.precision:
        return {}
    last = run.variants[-1]
    ap = part.precision
    filmed = part.scores.lengths > 0
    rated = [MAX_RATING in np.array(row.saliency_scores or ()) for row in part.scores.rows]
    shares = {HIGHLIGHT_AP: ap[pooled(last)]}
    if len(run.variants) > 1:
        shares["gain from fine-tuning"] = ap[pooled(last)] - ap[pooled(run.variants[0])]
    shares["gain from pooling"] = ap[pooled(last)] - ap[last]
    found = {name: np.where(filmed & rated, 100 * each, np.nan) for name, each in shares.items()}
    if part.moments:
        precision, iou = part.moments[pooled(last)]
        found[MOMENT_AP] = np.where(filmed, 100 * precision, np.nan)
        found[FIRST_IOU] = np.where(filmed, iou, np.nan)
    return found


def query_peaks(run: Run, part: SplitRun, query: int) -> list[int]:
    """Clips of the highest peaks of the last variant with SP, best first; empty without video."""
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
    """The clip with the highest sum of ratings, the first of equals; None if all ratings are 0.

    Args:
        ratings: 0..4 [clips, annotators].
    """
    sums = ratings.sum(axis=1)
    return int(sums.argmax()) if sums.any() else None


def shown_first(orders: Mapping[str, NDArray[np.float64]], queries: int) -> NDArray[np.int64]:
    """The best rank of each query in any order, from either end, counted from 0: [queries]."""
    if not orders:
        return np.arange(queries)
    rank = np.full(queries, queries)
    for values in orders.values():
        ascending = np.argsort(values, kind="stable")[: np.count_nonzero(~np.isnan(values))]
        from_start = np.arange(len(ascending))
        rank[ascending] = np.minimum(rank[ascending], np.minimum(from_start, from_start[::-1]))
    return rank


def _curves(matrix: NDArray[np.float32], clips: NDArray[np.int64]) -> str:
    inside = np.arange(matrix.shape[1]) < clips[:, None]
    limit = np.iinfo(np.int16).max
    return _base64(np.clip(np.rint(matrix[inside] * SCALE), -limit, limit).astype("<i2"))


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()
