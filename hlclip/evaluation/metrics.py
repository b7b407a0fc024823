"""The official metrics of QVHighlights, equal to Moment-DETR's `standalone_eval` to the last digit.

Highlight detection is here, moment retrieval in `moment_retrieval`. Ground truth is prepared once
and many sets of scores are measured against it. All queries are computed together, as matrices with
one row a query, padded beyond its last clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hlclip.evaluation.moment_retrieval import Figures, moment_metrics, percent
from hlclip.system import HlclipError

if TYPE_CHECKING:  # the metrics need numpy alone at run time
    from hlclip.formats import Annotation

GROUPS = {"HL-min-Fair": 2, "HL-min-Good": 3, "HL-min-VeryGood": 4}
"""The official script's figures, and the rating from which a clip is a highlight in each."""

_MOMENT_BRIEF = {
    "MR-full-R1@0.5": ("full", "MR-R1", "0.5"),
    "MR-full-R1@0.7": ("full", "MR-R1", "0.7"),
    "MR-full-mAP": ("full", "MR-mAP", "average"),
    "MR-full-mAP@0.5": ("full", "MR-mAP", "0.5"),
    "MR-full-mAP@0.75": ("full", "MR-mAP", "0.75"),
    "MR-long-mAP": ("long", "MR-mAP", "average"),
    "MR-middle-mAP": ("middle", "MR-mAP", "average"),
    "MR-short-mAP": ("short", "MR-mAP", "average"),
}


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What scores are measured against, prepared by `ground_truth`."""

    qids: tuple[int | str, ...]
    """The queries, in the order of every other axis named so."""
    labels: NDArray[np.bool_]
    """[queries, levels, annotators, clips]: a highlight in that figure for that annotator?"""
    clips: NDArray[np.int64]
    """[queries], clips of each video."""
    windows: tuple[NDArray[np.float64], ...]
    """One [windows, 2] a query: start and end of the relevant moments in seconds; may be empty."""


def ground_truth(annotations: Sequence[Annotation]) -> GroundTruth:
    """Prepare annotation rows for any number of evaluations.

    Raises:
        HlclipError: there are no rows, or one has no ratings.
    """
    if not annotations:
        raise HlclipError("there are no annotations to evaluate against")
    blind = [a.qid for a in annotations if a.saliency_scores is None]
    if blind:
        raise HlclipError(
            f"{len(blind)} of {len(annotations)} annotations have no saliency_scores to evaluate "
            f"against, first qid {blind[0]!r}"
        )
    rows = [annotation.ratings() for annotation in annotations]
    clips = np.array([len(row) for row in rows])
    ratings = np.zeros((len(rows), rows[0].shape[1], clips.max()), dtype=np.int8)
    for query, row in enumerate(rows):
        ratings[query, :, : len(row)] = row.T
    labels = np.stack([ratings >= lowest for lowest in GROUPS.values()], axis=1)
    windows = tuple(
        np.array(annotation.relevant_windows or (), dtype=np.float64).reshape(-1, 2)
        for annotation in annotations
    )
    return GroundTruth(tuple(a.qid for a in annotations), labels, clips, windows)


def pad(scores: Sequence[ArrayLike]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Stack scores of different lengths: [queries, longest], zero-padded, and lengths [queries]."""
    rows = [np.asarray(row, dtype=np.float64) for row in scores]
    lengths = np.array([len(row) for row in rows])
    matrix = np.zeros((len(rows), lengths.max(initial=0)))
    for query, row in enumerate(rows):
        matrix[query, : len(row)] = row
    return matrix, lengths


def evaluate(
    truth: GroundTruth,
    *,
    scores: Sequence[ArrayLike] | None = None,
    windows: Sequence[Sequence[Sequence[float]]] | None = None,
) -> dict[str, Any]:
    """Everything that the official script reports, in its structure, key order and rounding.

    Args:
        scores: one [clips] a query, in the order of `truth.qids`; longer or shorter than the video
            is legal.
        windows: the predicted (start in seconds, end in seconds, confidence) of each query.

    Returns:
        Percentages: `brief` first, then a group for each level (`HL-min-...`) and for each range of
        moment lengths (`full`, `long`, `middle`, `short`). A range without ground truth is left
        out: there is nothing to average.

    Raises:
        HlclipError: not one entry a query, not-a-number scores, or a query without what it needs.
    """
    groups: dict[str, Any] = {}
    brief: Figures = {}
    if windows is not None:
        moments = moment_metrics(truth.windows, windows)
        groups |= moments
        for name, (group, metric, threshold) in _MOMENT_BRIEF.items():
            if group in moments:
                brief[name] = moments[group][metric][threshold]
    if scores is not None:
        highlights = highlight_metrics(truth, *pad(scores))
        groups |= highlights
        for group, figures in highlights.items():
            brief |= {f"{group}-{name.removeprefix('HL-')}": v for name, v in figures.items()}
    return {"brief": brief, **dict(sorted(groups.items()))}


def highlight_metrics(
    truth: GroundTruth, scores: NDArray[np.floating[Any]], lengths: NDArray[np.int64]
) -> dict[str, Figures]:
    """HL-mAP and HL-Hit1 of each level, in percent with two decimals.

    Args:
        scores: [queries, clips], rows in the order of `truth.qids`; see `pad`.
        lengths: [queries], scores of each query; those beyond are ignored.

    Raises:
        HlclipError: another number of queries, a query without scores, a score that is not finite.
    """
    queries, longest = scores.shape
    if queries != len(truth.qids) or lengths.shape != (queries,):
        raise HlclipError(f"got scores of {queries} queries, expected {len(truth.qids)}")
    if lengths.min() < 1:
        raise HlclipError(f"qid {truth.qids[int(lengths.argmin())]!r} has no scores")
    given = _before(lengths, longest)
    if not np.isfinite(scores[given]).all():
        raise HlclipError("scores must be finite, got NaN or infinity")

    # Hit1 ranks the list as it came: a best score beyond the video is a miss, it is not cut away.
    best = np.where(given, scores, -np.inf).argmax(axis=1)
    clips = truth.labels.shape[-1]
    chosen = truth.labels[np.arange(queries), :, :, np.minimum(best, clips - 1)]
    hit = chosen.any(axis=2) & (best < truth.clips)[:, None]  # some annotator agrees

    # AP wants one score a clip: more are cut, and missing ones are zeros (which may rank first).
    fitted = np.zeros((queries, clips))
    shared = min(clips, longest)
    fitted[:, :shared] = np.where(given, scores, 0.0)[:, :shared]
    precision = average_precision(truth.labels, fitted, truth.clips)

    return {
        group: {
            "HL-mAP": percent(precision[:, level].mean()),
            "HL-Hit1": percent(hit[:, level].mean()),
        }
        for level, group in enumerate(GROUPS)
    }


def average_precision(
    labels: NDArray[np.bool_], scores: NDArray[np.floating[Any]], lengths: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The official script's average precision, 0..1, of many rankings at once.

    Clips with equal scores form one threshold. From the highest threshold down, let precision[i]
    and recall[i] be those of all clips at or above threshold i. The result is the plain mean, over
    the thresholds where recall rises, of the best precision at that threshold or any lower one. It
    is 0 without a positive label. This is not scikit-learn's `average_precision_score`, which
    weights by the rise of recall and takes precision as it is.

    The script compares recalls in float32, which tells all apart up to millions of clips; here
    counts are compared.

    Args:
        labels: [queries, levels, annotators, clips].
        scores: finite [queries, clips].
        lengths: [queries], clips of each query; what is beyond is ignored.

    Returns:
        [queries, levels, annotators].
    """
    clips = scores.shape[1]
    inside = _before(lengths, clips)
    order = np.where(inside, -scores, np.inf).argsort(axis=1)
    ranked = np.take_along_axis(scores, order, axis=1)
    threshold = inside.copy()  # the last clip of each run of equal scores
    threshold[:, :-1] &= (ranked[:, :-1] != ranked[:, 1:]) | ~inside[:, 1:]
    threshold = threshold[:, None, None]

    hits = np.take_along_axis(labels, order[:, None, None], axis=3)
    found = np.where(threshold, hits.cumsum(axis=3), 0)
    precision: NDArray[np.float64] = found / np.arange(1, clips + 1)
    envelope = np.maximum.accumulate(precision[..., ::-1], axis=3)[..., ::-1]
    before = np.maximum.accumulate(found, axis=3)
    rises = np.empty(found.shape, dtype=bool)
    rises[..., 0] = found[..., 0] > 0
    rises[..., 1:] = found[..., 1:] > before[..., :-1]
    return np.where(rises, envelope, 0.0).sum(axis=3) / np.maximum(rises.sum(axis=3), 1)


def query_precision(truth: GroundTruth, scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Average precision of each query at VeryGood, the mean over its annotators.

    The mean over the queries is the official VeryGood mAP.

    Args:
        truth: see `hlclip.evaluation.metrics.ground_truth`.
        scores: complete and finite [queries, clips], in the order of `truth.qids`.

    Returns:
        [queries], 0..1; 0 where no annotator found a clip very good.
    """
    very_good = list(GROUPS).index("HL-min-VeryGood")
    return average_precision(truth.labels, scores, truth.clips)[:, very_good].mean(axis=1)


def _before(lengths: NDArray[np.int64], columns: int) -> NDArray[np.bool_]:
    """[queries, columns]: is the column one of the first `lengths` of its row?"""
    return np.arange(columns, dtype=np.int64) < lengths[:, None]
