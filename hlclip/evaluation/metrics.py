"""The official metrics of QVHighlights, equal to Moment-DETR's `standalone_eval` to the last digit.

This module measures highlight detection; `moment_retrieval` measures moments, and `domain_metrics`
the highlights of TVSum and YouTube Highlights. Ground truth is prepared once, and any number of
scores is measured against it. All queries are computed together, as matrices with one row per
query, padded beyond its last clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hlclip.evaluation.benchmarks import Benchmark, benchmark_of, has_truth
from hlclip.evaluation.domain_metrics import trapezoid_precision
from hlclip.evaluation.moment_retrieval import (
    QVHIGHLIGHTS,
    RETRIEVAL,
    Figures,
    moment_metrics,
    percent,
    stack,
)
from hlclip.system import HlclipError

if TYPE_CHECKING:  # the metrics need numpy alone at run time
    from hlclip.formats import Annotation

GROUPS = {"HL-min-Fair": 2, "HL-min-Good": 3, "HL-min-VeryGood": 4}
"""Group of the official report -> lowest rating that makes a clip a highlight."""


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Annotations in the form that the metrics read, prepared by `ground_truth`."""

    benchmark: Benchmark
    """What is measured."""
    qids: tuple[int | str, ...]
    """Of every query, in the order of all axes named `queries` below."""
    domains: tuple[str, ...]
    """Of every query; empty texts where the data set has no domains."""
    labels: NDArray[np.bool_]
    """[queries, levels, annotators, clips]: is the clip a highlight for the annotator? Only
    QVHighlights has more than one level; without ratings there is none."""
    clips: NDArray[np.int64]
    """[queries], clips of each video."""
    windows: tuple[NDArray[np.float64], ...]
    """[windows, 2] of each query: start and end of its moments in seconds; may be empty."""


def ground_truth(annotations: Sequence[Annotation]) -> GroundTruth:
    """Prepare annotation rows of one data set for any number of evaluations.

    Raises:
        HlclipError: there are no rows, or one has no ratings (no moments, where only those count).
    """
    if not annotations:
        raise HlclipError("there are no annotations to evaluate against")
    benchmark = benchmark_of(annotations)
    blind = [a.qid for a in annotations if not has_truth([a])]
    if blind:
        needed = "relevant_windows" if benchmark.kind == "moments" else "saliency_scores"
        raise HlclipError(
            f"{len(blind)} of {len(annotations)} annotations have no {needed} to evaluate "
            f"against, first qid {blind[0]!r}"
        )
    low, high = annotations[0].rating_scale
    if benchmark.kind == "levels" and (low, high) != (0, max(GROUPS.values())):
        raise HlclipError(
            f"the ratings are on a scale from {low} to {high}, but Fair, Good and VeryGood are 2, "
            "3 and 4 on a scale from 0 to 4",
            "rate from 0 to 4, or name the data set of the rows (`dataset`)",
        )
    if benchmark.kind == "domains" and not all(a.domain for a in annotations):
        raise HlclipError(
            f"the rows are of {benchmark.title}, whose figures are means over domains, but have no "
            "domain",
            "convert the published files with `hlclip data`",
        )
    windows = tuple(
        np.array(annotation.relevant_windows or (), dtype=np.float64).reshape(-1, 2)
        for annotation in annotations
    )
    return GroundTruth(
        benchmark,
        tuple(a.qid for a in annotations),
        tuple(a.domain or "" for a in annotations),
        _labels(benchmark, annotations),
        np.array([a.clips for a in annotations]),
        windows,
    )


def _labels(benchmark: Benchmark, annotations: Sequence[Annotation]) -> NDArray[np.bool_]:
    """Highlights as `GroundTruth` has them."""
    if benchmark.kind == "moments":
        return np.zeros((len(annotations), 0, 0, max(a.clips for a in annotations)), bool)
    rows = [annotation.ratings().astype(np.int8) for annotation in annotations]
    if benchmark.positive:
        return stack([benchmark.positive(row) for row in rows]).swapaxes(1, 2)[:, None].copy()
    ratings = stack(rows).swapaxes(1, 2).copy()  # [queries, annotators, clips]
    return np.stack([ratings >= lowest for lowest in GROUPS.values()], axis=1)


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
    convention = RETRIEVAL if truth.benchmark.kind == "moments" else QVHIGHLIGHTS
    moments = {} if windows is None else moment_metrics(truth.windows, windows, convention)
    highlights = {} if scores is None else highlight_metrics(truth, *pad(scores))
    brief: Figures = {}
    if moments:
        recall, precision = moments["full"]["MR-R1"], moments["full"]["MR-mAP"]
        brief |= {f"MR-full-R1@{t}": recall[t] for t in ("0.3", "0.5", "0.7") if t in recall}
        brief |= {"MR-full-mIoU": recall["mIoU"]} if "mIoU" in recall else {}
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
    check_scores(truth, scores, lengths)
    queries, longest = scores.shape
    inside = _before(lengths, longest)

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


def check_scores(
    truth: GroundTruth, scores: NDArray[np.floating[Any]], lengths: NDArray[np.int64]
) -> None:
    """Refuse scores [queries, clips] that cannot be ranked; see `highlight_metrics`."""
    queries, longest = scores.shape
    if queries != len(truth.qids) or lengths.shape != (queries,):
        raise HlclipError(f"got scores of {queries} queries, expected {len(truth.qids)}")
    if lengths.min() < 1:
        raise HlclipError(f"qid {truth.qids[int(lengths.argmin())]!r} has no scores")
    if not np.isfinite(scores[_before(lengths, longest)]).all():
        raise HlclipError("scores must be finite, got NaN or infinity")


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
    """Average precision of each query at the headline's level, the mean over its annotators.

    The mean over the queries is the official VeryGood mAP of QVHighlights; of TVSum and YouTube
    Highlights it is the mean over the queries of each domain, and then over domains.

    Args:
        scores: complete and finite [queries, clips], in the order of `truth.qids`.

    Returns:
        [queries], 0..1; 0 where no annotator has a highlight.
    """
    if truth.benchmark.kind == "domains":
        labels, top = truth.labels[:, 0], truth.benchmark.top
        return trapezoid_precision(labels, scores, truth.clips, top=top).mean(axis=1)
    very_good = list(GROUPS).index("HL-min-VeryGood")
    return average_precision(truth.labels, scores, truth.clips)[:, very_good].mean(axis=1)


def _before(lengths: NDArray[np.int64], columns: int) -> NDArray[np.bool_]:
    """[queries, columns]: is it among the first `lengths` columns of its row?"""
    return np.arange(columns, dtype=np.int64) < lengths[:, None]
