"""Pooled evaluation of the scores: metrics, submission files, and the metric over the window."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlclip.evaluation import (
    GROUPS,
    GroundTruth,
    ground_truth,
    highlight_metrics,
    pool_padded,
    write_examples,
)
from hlclip.formats import Prediction, SplitScores, pooled, submission_name, write_submission
from hlclip.params import PoolParams
from hlclip.system import HlclipError, write_json, write_table

log = logging.getLogger(__name__)

SWEEP = range(1, 16, 2)
"""Windows that are compared on val: for the plot, and for `pool.window: best` to choose from."""


class EvaluateError(HlclipError):
    """The window is to be chosen on val, and val has no ground truth."""


Metrics = dict[str, dict[str, dict[str, float]]]
"""Variant -> level (`Fair`, `Good`, `VeryGood`) -> `mAP`, `HIT@1` in percent."""


def evaluate_splits(
    splits: dict[str, SplitScores],
    pool: PoolParams,
    *,
    clip_seconds: float,
    metrics: Path,
    predictions: Path,
    plot: Path,
    examples: Path,
) -> dict[str, Metrics]:
    """Measure each variant without and with saliency pooling; no video is read, only scores.

    Every row of a split counts. A row without video scores 0 everywhere; a clip without frame (the
    video ends before its annotation) gets its query's lowest score. The official script sees files
    that cover all queries and clips.

    Windows are compared on val and nowhere else, so none can be chosen by its figures on test.

    Args:
        splits: see `hlclip.formats.scores`.
        pool: window, mode and border.
        metrics: JSON file to write.
        predictions: folder for `<split>-<variant>.jsonl`, in the QVHighlights submission format.
        plot: CSV file to write: split (val), variant, window, mAP, HIT@1 at VeryGood.
        examples: CSV file to write: saliency of three queries of val, see `evaluation.examples`.

    Returns:
        split -> what was measured; splits without ground truth are left out.

    Raises:
        EvaluateError: `pool.window` is `best` and val has no ground truth.
    """
    compared = _compare_windows(splits.get("val"), pool, clip_seconds)
    variants = next(iter(splits.values())).cosines
    windows = {name: _choose_window(name, compared, pool) for name in variants}
    measured: dict[str, Metrics] = {}
    counts: dict[str, dict[str, int]] = {}
    for split, scores in splits.items():
        counts[split] = {
            "queries": len(scores.rows),
            "without video": int((scores.lengths == 0).sum()),
        }
        truth = _truth(scores, clip_seconds)
        if truth is not None:
            measured[split] = {}
        for name, matrix in _variants(scores, pool, windows, clip_seconds):
            path = predictions / submission_name(split, name)
            _write_predictions(path, scores, matrix, clip_seconds)
            if truth is not None:
                measured[split][name] = measure(truth, matrix)
    written: dict[str, Any] = {
        split: {**counts[split], **measured.get(split, {})} for split in splits
    }
    if pool.window == "best":
        written["window"] = windows
        log.info("windows chosen on val: %s", windows)
    write_json(metrics, written)
    columns = ["split", "variant", "window", "mAP", "HIT@1"]
    lines = (("val", *place, each["mAP"], each["HIT@1"]) for place, each in compared.items())
    write_table(plot, [columns, *lines])
    val = splits.get("val")
    curves = {} if val is None else dict(_variants(val, pool, windows, clip_seconds))
    write_examples(examples, val, curves, clip_seconds=clip_seconds)
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


def _truth(scores: SplitScores, clip_seconds: float) -> GroundTruth | None:
    if any(row.saliency_scores is None for row in scores.rows):
        return None
    return ground_truth(scores.rows, clip_seconds)


def _variants(
    scores: SplitScores, pool: PoolParams, windows: Mapping[str, int], clip_seconds: float
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for name in scores.cosines:
        yield name, _pooled(scores, name, pool, 1, clip_seconds)
        yield pooled(name), _pooled(scores, name, pool, windows[name], clip_seconds)


def _pooled(
    scores: SplitScores, variant: str, pool: PoolParams, window: int, clip_seconds: float
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


def _compare_windows(
    val: SplitScores | None, pool: PoolParams, clip_seconds: float
) -> dict[tuple[str, int], dict[str, float]]:
    """(variant, window) -> VeryGood figures on val; nothing where val has no ground truth."""
    truth = None if val is None else _truth(val, clip_seconds)
    if val is None or truth is None:
        return {}
    return {
        (name, window): measure(truth, _pooled(val, name, pool, window, clip_seconds))["VeryGood"]
        for name in val.cosines
        for window in SWEEP
    }


def _choose_window(
    variant: str, compared: Mapping[tuple[str, int], dict[str, float]], pool: PoolParams
) -> int:
    """The given window, or the best on val by mAP, the smallest of equals."""
    if pool.window != "best":
        return pool.window
    if not compared:
        raise EvaluateError(
            "pool.window is best, which is chosen on val, but val has no ground truth: give "
            "pool.window as a number"
        )
    return max(SWEEP, key=lambda window: compared[variant, window]["mAP"])


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


def table(measured: dict[str, Metrics]) -> str:
    """The VeryGood figures of all splits and variants, in the layout of the paper's Table 2."""
    heads = "".join(f"{split + ' mAP':>12}{'HIT@1':>8}" for split in measured)
    lines = [f"{'VeryGood, in percent':24}{heads}"]
    for variant in next(iter(measured.values()), {}):
        figures = [measured[split][variant]["VeryGood"] for split in measured]
        cells = "".join(f"{figure['mAP']:12.2f}{figure['HIT@1']:8.2f}" for figure in figures)
        lines.append(f"{variant:24}{cells}")
    return "\n".join(lines)
