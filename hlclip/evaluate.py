"""Pooled evaluation of the scores: metrics, submission files, and the metric over the window."""

import csv
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hlclip.files import replacing, write_json
from hlclip.metrics import GROUPS, GroundTruth, ground_truth, highlight_metrics
from hlclip.params import Pool
from hlclip.pooling import pool_padded
from hlclip.predictions import Prediction, write_submission
from hlclip.scores import SplitScores

log = logging.getLogger(__name__)

SWEEP = range(1, 16, 2)
"""Windows of the plot of metric over window."""

Metrics = dict[str, dict[str, dict[str, float]]]
"""Variant -> level (`Fair`, `Good`, `VeryGood`) -> `mAP`, `HIT@1` in percent."""


def evaluate_splits(
    splits: dict[str, SplitScores],
    pool: Pool,
    *,
    clip_seconds: float,
    metrics: Path,
    predictions: Path,
    plot: Path,
) -> dict[str, Metrics]:
    """Measure each variant without and with saliency pooling.

    Every row of a split counts. A row without video scores 0 everywhere; a clip without frame (the
    video ends before its annotation) gets its query's lowest score. The official script sees files
    that cover all queries and clips.

    Args:
        splits: see `hlclip.scores`.
        pool: window, mode and border.
        metrics: JSON file to write.
        predictions: folder for `<split>-<variant>.jsonl`, in the QVHighlights submission format.
        plot: CSV file to write: split, variant, window, mAP, HIT@1 at VeryGood.

    Returns:
        split -> what was measured; splits without ground truth are left out.
    """
    measured: dict[str, Metrics] = {}
    counts: dict[str, dict[str, int]] = {}
    sweep: list[list[str | int | float]] = []
    for split, scores in splits.items():
        counts[split] = {
            "queries": len(scores.rows),
            "without video": int((scores.lengths == 0).sum()),
        }
        truth = None
        if all(row.saliency_scores is not None for row in scores.rows):
            truth = ground_truth(scores.rows, clip_seconds)
            measured[split] = {}
        for name, matrix in _variants(scores, pool, clip_seconds):
            _write_predictions(
                predictions / f"{split}-{_file_name(name)}.jsonl", scores, matrix, clip_seconds
            )
            if truth is not None:
                measured[split][name] = measure(truth, matrix)
        if truth is not None:
            sweep += _sweep(split, scores, truth, pool, clip_seconds)
    write_json(metrics, {split: {**counts[split], **measured.get(split, {})} for split in splits})
    with replacing(plot) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["split", "variant", "window", "mAP", "HIT@1"])
        writer.writerows(sweep)
    if measured:
        log.info("%s", table(measured))
    return measured


def measure(truth: GroundTruth, scores: NDArray[np.float32]) -> dict[str, dict[str, float]]:
    """Official highlight metrics of complete scores [queries, clips], by level."""
    figures = highlight_metrics(truth, scores, truth.clips)
    return {
        group.removeprefix("HL-min-"): {
            "mAP": figures[group]["HL-mAP"],
            "HIT@1": figures[group]["HL-Hit1"],
        }
        for group in GROUPS
    }


def complete(
    scores: NDArray[np.float32], lengths: NDArray[np.int64], clips: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Give every annotated clip a score.

    Args:
        scores: [queries, clips], any width.
        lengths: [queries], clips that have a score.
        clips: [queries], clips of the annotation.

    Returns:
        float32 [queries, most clips]: scores, then the query's lowest score for clips without
        frame; 0 where a query has no score at all, and beyond its clips.
    """
    full = np.zeros((len(clips), clips.max(initial=0)), np.float32)
    for line, given, length, count in zip(full, scores, lengths, clips, strict=True):
        if length:
            line[:length] = given[:length]
            line[length:count] = given[:length].min()
    return full


def _variants(
    scores: SplitScores, pool: Pool, clip_seconds: float
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for name in scores.cosines:
        yield name, _pooled(scores, name, pool, 1, clip_seconds)
        yield f"{name} (SP)", _pooled(scores, name, pool, pool.window, clip_seconds)


def _pooled(
    scores: SplitScores, variant: str, pool: Pool, window: int, clip_seconds: float
) -> NDArray[np.float32]:
    matrix = scores.cosines[variant].copy()
    present = scores.lengths > 0
    if present.any():
        matrix[present] = pool_padded(
            matrix[present],
            scores.lengths[present],
            window=window,
            mode=pool.mode,
            border=pool.border,
        )
    return complete(matrix, scores.lengths, _clips(scores, clip_seconds))


def _sweep(
    split: str, scores: SplitScores, truth: GroundTruth, pool: Pool, clip_seconds: float
) -> Iterator[list[str | int | float]]:
    for name in scores.cosines:
        for window in SWEEP:
            figures = measure(truth, _pooled(scores, name, pool, window, clip_seconds))["VeryGood"]
            yield [split, name, window, figures["mAP"], figures["HIT@1"]]


def _clips(scores: SplitScores, clip_seconds: float) -> NDArray[np.int64]:
    return np.array([row.clips(clip_seconds) for row in scores.rows])


def _write_predictions(
    path: Path, scores: SplitScores, matrix: NDArray[np.float32], clip_seconds: float
) -> None:
    write_submission(
        path,
        (
            Prediction(
                qid=row.qid,
                query=row.query,
                vid=row.vid,
                pred_saliency_scores=tuple(line[:count].tolist()),
            )
            for row, line, count in zip(
                scores.rows, matrix, _clips(scores, clip_seconds), strict=True
            )
        ),
    )


def _file_name(variant: str) -> str:
    return variant.replace(" (SP)", "-SP")


def table(measured: dict[str, Metrics]) -> str:
    """The VeryGood figures of all splits and variants, in the layout of the paper's Table 2."""
    heads = "".join(f"{split + ' mAP':>12}{'HIT@1':>8}" for split in measured)
    lines = [f"{'VeryGood, in percent':24}{heads}"]
    for variant in next(iter(measured.values()), {}):
        figures = [measured[split][variant]["VeryGood"] for split in measured]
        cells = "".join(f"{figure['mAP']:12.2f}{figure['HIT@1']:8.2f}" for figure in figures)
        lines.append(f"{variant:24}{cells}")
    return "\n".join(lines)
