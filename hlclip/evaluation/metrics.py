"""The official metrics of QVHighlights, equal to Moment-DETR's `standalone_eval` to the last digit.

This module measures highlight detection; `moment_retrieval` measures moments. Ground truth is
prepared once, and any number of scores is measured against it. All queries are computed together,
as matrices with one row per query, padded beyond its last clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hlclip.evaluation.moment_retrieval import Figures, moment_metrics, percent, stack
from hlclip.system import HlclipError

if TYPE_CHECKING:  # the metrics need numpy alone at run time
    from hlclip.formats import Annotation

GROUPS = {"HL-min-Fair": 2, "HL-min-Good": 3, "HL-min-VeryGood": 4}
"""Group of the official report -> lowest rating that makes a clip a highlight."""


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Annotations in the form that the metrics read, prepared by `ground_truth`."""

    qids: tuple[int | str, ...]
    """Of every query, in the order of all axes named `queries` below."""
    labels: NDArray[np.bool_]
    """[queries, levels, annotators, clips]: does the annotator's rating reach the level?"""
    clips: NDArray[np.int64]
    """[queries], clips of each video."""
    windows: tuple[NDArray[np.float64], ...]
    """[windows, 2] of each query: start and end of its moments in seconds; may be empty."""


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
    rows = [annotation.ratings().astype(np.int8) for annotation in annotations]
    ratings = stack(rows).swapaxes(1, 2).copy()  # [queries, annotators, clips]
    labels = np.stack([ratings >= lowest for lowest in GROUPS.values()], axis=1)
    windows = tuple(
        np.array(annotation.relevant_windows or (), dtype=np.float64).reshape(-1, 2)
        for annotation in annotations
    )
    clips = np.array([len(row) for row in rows])
    return GroundTruth(tuple(a.qid for a in annotations), labels, clips, windows)


def pad(scores: Sequence[ArrayLike]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Stack scores of different lengths: [queries, longest], zero-padded, and lengths [queries]."""
    rows = [np.asarray(row, dtype=np.float64) for row in scores]
    return stack(rows), np.array([len(row) for row in rows])


def evaluate(
    truth: GroundTruth,
    *,
    scores: Sequence[ArrayLike] | None = None,
    windows: Sequence[Sequence[Sequence[float]]] | None = None,
) -> dict[str, Any]:
    """The official script's report, in its structure, key order and rounding.

    Args:
        scores: one [clips] a query, in the order of `truth.qids`; longer or shorter than the video
            is legal.
        windows: the predicted (start in seconds, end in seconds, confidence) of each query.

    Returns:
        Percentages: `brief` first, then a group for each level (`HL-min-...`) and for each range of
        moment lengths (`full`, `long`, ...). A range without ground truth is left out.

    Raises:
        HlclipError: the number of entries is not that of the queries, a score is not finite, or a
            query has no entry.
    """
    moments = {} if windows is None else moment_metrics(truth.windows, windows)
    highlights = {} if scores is None else highlight_metrics(truth, *pad(scores))
    brief: Figures = {}
    if moments:
        recall, precision = moments["full"]["MR-R1"], moments["full"]["MR-mAP"]
        brief |= {f"MR-full-R1@{t}": recall[t] for t in ("0.5", "0.7")}
        brief["MR-full-mAP"] = precision["average"]
        brief |= {f"MR-full-mAP@{t}": precision[t] for t in ("0.5", "0.75")}
        brief |= {f"MR-{name}-mAP": each["MR-mAP"]["average"] for name, each in moments.items()}
    for group, figures in highlights.items():
        brief |= {f"{group}-{name.removeprefix('HL-')}": v for name, v in figures.items()}
    return {"brief": brief, **dict(sorted((moments | highlights).items()))}


def highlight_metrics(
    truth: GroundTruth, scores: NDArray[np.floating[Any]], lengths: NDArray[np.int64]
) -> dict[str, Figures]:
    """HL-mAP and HL-Hit1 of each level, in percent with two decimals.

    Args:
        scores: [queries, clips], rows in the order of `truth.qids`; see `pad`.
        lengths: [queries], scores of each query; later columns are ignored.

    Raises:
        HlclipError: another number of queries, a query without scores, a score that is not finite.
    """
    queries, longest = scores.shape
    if queries != len(truth.qids) or lengths.shape != (queries,):
        raise HlclipError(f"got scores of {queries} queries, expected {len(truth.qids)}")
    if lengths.min() < 1:
        raise HlclipError(f"qid {truth.qids[int(lengths.argmin())]!r} has no scores")
    inside = _before(lengths, longest)
    if not np.isfinite(scores[inside]).all():
        raise HlclipError("scores must be finite, got NaN or infinity")

    # HL-Hit1: is the clip of the highest score a highlight for some annotator? The script does not
    # cut a list that is longer than the video: a best score beyond the last clip is a miss.
    best = np.where(inside, scores, -np.inf).argmax(axis=1)  # [queries]
    clips = truth.labels.shape[-1]
    chosen = truth.labels[np.arange(queries), :, :, np.minimum(best, clips - 1)]
    hit = chosen.any(axis=2) & (best < truth.clips)[:, None]  # [queries, levels]

    # HL-mAP reads one score a clip: the script cuts longer lists and fills shorter ones with zeros,
    # which may rank first.
    fitted = np.zeros((queries, clips))
    shared = min(clips, longest)
    fitted[:, :shared] = np.where(inside, scores, 0.0)[:, :shared]
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

    Clips with equal scores form one threshold. Precision and recall at a threshold are those of
    all clips at or above it. The result is the plain mean, over the thresholds where recall rises,
    of the best precision at that threshold or any lower one; it is 0 without a positive label.
    scikit-learn's `average_precision_score` differs: it weights by the rise of recall and takes
    the precision at the threshold itself.

    Args:
        labels: [queries, levels, annotators, clips].
        scores: finite [queries, clips].
        lengths: [queries], clips of each query; later columns are ignored.

    Returns:
        [queries, levels, annotators].
    """
    clips = scores.shape[1]
    # Ranks, best first; columns beyond a query's clips come last. [queries, clips]
    inside = _before(lengths, clips)
    order = np.where(inside, -scores, np.inf).argsort(axis=1)
    ranked = np.take_along_axis(scores, order, axis=1)
    # A threshold is the last rank of each run of equal scores. [queries, 1, 1, clips]
    threshold = inside.copy()
    threshold[:, :-1] &= (ranked[:, :-1] != ranked[:, 1:]) | ~inside[:, 1:]
    threshold = threshold[:, None, None]

    # Positive clips at or above each threshold, 0 between thresholds; below: all four axes.
    hits = np.take_along_axis(labels, order[:, None, None], axis=3)
    positives = np.where(threshold, hits.cumsum(axis=3), 0)
    # Precision divides by the clips at or above; its envelope is the best at this rank or later.
    precision: NDArray[np.float64] = positives / np.arange(1, clips + 1)
    envelope = np.maximum.accumulate(precision[..., ::-1], axis=3)[..., ::-1]
    # Recall rises where a threshold has more positives than all earlier ones. The script compares
    # recalls in float32, which differ wherever counts do, up to millions of clips.
    rises = np.diff(np.maximum.accumulate(positives, axis=3), axis=3, prepend=0) > 0
    # The mean of the envelope over those thresholds.
    return np.where(rises, envelope, 0.0).sum(axis=3) / np.maximum(rises.sum(axis=3), 1)


def query_precision(truth: GroundTruth, scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Average precision of each query at VeryGood, the mean over its annotators.

    The mean over the queries is the official VeryGood mAP.

    Args:
        scores: complete and finite [queries, clips], in the order of `truth.qids`.

    Returns:
        [queries], 0..1; 0 where no annotator rated a clip VeryGood.
    """
    very_good = list(GROUPS).index("HL-min-VeryGood")
    return average_precision(truth.labels, scores, truth.clips)[:, very_good].mean(axis=1)


def _before(lengths: NDArray[np.int64], columns: int) -> NDArray[np.bool_]:
    """[queries, columns]: is it among the first `lengths` columns of its row?"""
    return np.arange(columns, dtype=np.int64) < lengths[:, None]
