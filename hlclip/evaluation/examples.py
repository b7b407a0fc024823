"""One query at a time: its average precision, the peaks of its scores, rows for a plot of both."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hlclip.evaluation.metrics import GROUPS, GroundTruth, average_precision, ground_truth
from hlclip.formats import ANNOTATORS, MAX_RATING, SplitScores, unpooled
from hlclip.system import write_table

EXAMPLES = {"hard": 0.1, "middling": 0.5, "easy": 0.9}
"""The plot's examples, and where each stands among the queries when zero-shot CLIP's AP sorts them.

By zero-shot CLIP, which training does not change: two experiments then show the same queries.
"""

COLUMNS = ("example", "qid", "query", "seconds", "series", "pooled", "saliency")


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


def example_rows(
    scores: SplitScores, variants: Mapping[str, NDArray[np.floating]], *, clip_seconds: float
) -> Iterator[tuple[str | int | float, ...]]:
    """Saliency curves of a hard, a middling and an easy query, and their ratings, as `COLUMNS`.

    `seconds` is the middle of a clip; `series` a variant or `annotator 1`, 2, 3; `pooled` yes or
    no. `saliency` is 0..1: a variant's cosine between the lowest and the highest of the query
    before pooling, as only their order counts; an annotator's rating divided by 4.

    Args:
        scores: the split; rows without video and rows that nobody found very good are no example.
        variants: name (`zero-shot`, `zero-shot (SP)`, ...) -> complete [queries, clips], zero-shot
            first.
    """
    if any(row.saliency_scores is None for row in scores.rows):
        return
    truth = ground_truth(scores.rows, clip_seconds)
    precision = query_precision(truth, next(iter(variants.values())))
    able = np.flatnonzero((scores.lengths > 0) & truth.labels[:, -1].any(axis=(1, 2)))
    ranked = able[np.argsort(precision[able], kind="stable")]
    for example, share in EXAMPLES.items():
        if len(ranked) == 0:
            return
        query = int(ranked[round(share * (len(ranked) - 1))])
        row = scores.rows[query]
        # DVC writes the rows into a script element as they are: no query may end it.
        head = (
            example,
            row.qid,
            row.query.replace("<", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}"),
        )
        seconds = (np.arange(row.clips(clip_seconds)) + 0.5) * clip_seconds
        for series, pooled, curve in _curves(scores, variants, query, clip_seconds):
            for second, saliency in zip(seconds.tolist(), curve.tolist(), strict=True):
                yield (*head, second, series, pooled, round(saliency, 4))


def write_examples(
    path: Path,
    scores: SplitScores | None,
    variants: Mapping[str, NDArray[np.floating]],
    *,
    clip_seconds: float,
) -> None:
    """Write `example_rows` as CSV, the header alone where there is no ground truth."""
    rows = [] if scores is None else example_rows(scores, variants, clip_seconds=clip_seconds)
    write_table(path, [COLUMNS, *rows])


def _curves(
    scores: SplitScores,
    variants: Mapping[str, NDArray[np.floating]],
    query: int,
    clip_seconds: float,
) -> Iterator[tuple[str, str, NDArray[np.floating]]]:
    """(series, pooled, [clips] in 0..1) of one query."""
    row = scores.rows[query]
    ratings = row.ratings(clip_seconds) / MAX_RATING
    for annotator in range(ANNOTATORS):
        yield f"annotator {annotator + 1}", "no", ratings[:, annotator]
    for name, matrix in variants.items():
        series = unpooled(name)
        raw = scores.cosines[series][query, : scores.lengths[query]]
        low, span = raw.min(), np.ptp(raw) or 1.0
        curve = np.clip((matrix[query, : len(ratings)] - low) / span, 0.0, 1.0)
        yield series, "no" if name == series else "yes", curve
