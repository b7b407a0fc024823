"""Saliency curves of three example queries, as rows for a plot."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from hlclip.evaluation import GroundTruth, query_precision
from hlclip.formats import SplitScores, unpooled

EXAMPLES = {"hard": 0.1, "middling": 0.5, "easy": 0.9}
"""Example -> its place, 0..1, among the queries sorted by the AP of zero-shot CLIP.

Training does not change zero-shot CLIP, so two experiments show the same queries.
"""

COLUMNS = ("example", "qid", "query", "seconds", "series", "pooled", "saliency")


def example_rows(
    scores: SplitScores, truth: GroundTruth, variants: Mapping[str, NDArray[np.floating]]
) -> Iterator[tuple[str | int | float, ...]]:
    """Saliency curves of a hard, a middling and an easy query, and their ratings, as `COLUMNS`.

    `seconds` is the middle of a clip; `series` a variant or `annotator 1`, 2, ...; `pooled` yes or
    no. `saliency` is 0..1. For a variant, 0 and 1 are the lowest and the highest cosine of the
    query before pooling, because only the order of cosines counts; for an annotator, the lowest and
    the highest rating of the scale.

    Args:
        scores: the split. Rows without video, and rows without a clip that is a highlight (very
            good) for some annotator, are no examples.
        variants: name (`zero-shot`, `zero-shot (SP)`, ...) -> complete [queries, clips], zero-shot
            first.
    """
    precision = query_precision(truth, next(iter(variants.values())))
    highlights = truth.labels[:, -1].any(axis=(1, 2))  # [queries]
    candidates = np.flatnonzero((scores.lengths > 0) & highlights)
    if len(candidates) == 0:
        return
    ranked = candidates[np.argsort(precision[candidates], kind="stable")]
    for example, share in EXAMPLES.items():
        query = int(ranked[round(share * (len(ranked) - 1))])
        row = scores.rows[query]
        seconds = row.clip_times().mean(axis=1)
        for series, pooled, curve in _curves(scores, variants, query):
            for second, saliency in zip(seconds.tolist(), curve.tolist(), strict=True):
                yield example, row.qid, row.query, second, series, pooled, round(saliency, 4)


def _curves(
    scores: SplitScores, variants: Mapping[str, NDArray[np.floating]], query: int
) -> Iterator[tuple[str, str, NDArray[np.floating]]]:
    """(series, pooled, [clips] in 0..1) of one query."""
    row = scores.rows[query]
    low, high = row.rating_scale
    ratings = (row.ratings() - low) / (high - low)
    for annotator in range(row.annotators):
        yield f"annotator {annotator + 1}", "no", ratings[:, annotator]
    for name, matrix in variants.items():
        series = unpooled(name)
        raw = scores.cosines[series][query, : scores.lengths[query]]
        low, span = raw.min(), np.ptp(raw) or 1.0
        curve = np.clip((matrix[query, : len(ratings)] - low) / span, 0.0, 1.0)
        yield series, "no" if name == series else "yes", curve
