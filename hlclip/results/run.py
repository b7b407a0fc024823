"""The files of a finished run, read and checked to belong together."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dvc.utils.flatten import unflatten
from numpy.typing import NDArray

from hlclip.evaluation import (
    Benchmark,
    Groups,
    Knots,
    Setting,
    Window,
    benchmark_of,
    ground_truth,
    has_truth,
    measure,
    pad,
    pooling_text,
    query_moments,
    query_precision,
)
from hlclip.formats import (
    LOCK_FILE,
    Calibration,
    Index,
    Manifest,
    Pooling,
    SplitScores,
    mean_of,
    pooled,
    read_answers,
    read_calibration,
    read_facts,
    read_index,
    read_lock,
    read_manifests,
    read_scores,
    submission_name,
    unpooled,
)
from hlclip.params import Params, check_params
from hlclip.results.experiments import FIGURES_FILE, RESTORE
from hlclip.results.run_files import ReportError, read_csv, read_output

_EVALUATE = "run `dvc repro --force evaluate`"

_FILES = (
    FIGURES_FILE,
    "outputs/index.json",
    "outputs/frames.json",
    "outputs/train.csv",
    "outputs/train.safetensors",
    "outputs/score.safetensors",
    "outputs/predictions",
    "outputs/window.csv",
    "outputs/calibration.json",
    "outputs/reliability.csv",
)
"""Outputs that the report reads."""


@dataclass(frozen=True, eq=False)
class SplitRun:
    """One split: its annotation rows and the results of the run."""

    scores: SplitScores
    predictions: dict[str, NDArray[np.float32]]
    """Variant, with and without SP -> scores [queries, clips], 0 beyond a row's last clip."""
    precision: dict[str, NDArray[np.float64]]
    """The same variants -> AP [queries], 0..1, at VeryGood in QVHighlights; empty without
    ratings."""
    highlights: NDArray[np.bool_]
    """[queries]: has some annotator a highlight in the video? Empty without ratings."""
    windows: dict[str, list[tuple[Window, ...]]]
    """The same variants -> moments of each query, best first."""
    moments: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    """The same variants -> AP of the moments and IoU of the first one, both [queries], 0..1.

    Empty unless all queries have `relevant_windows`.
    """
    figures: dict[str, Groups]
    """The same variants -> group -> metric -> percent, as in figures.json; empty without ground
    truth."""
    references: dict[str, Groups]
    """Reference row -> its figures, see `hlclip.evaluation.reference_rows`."""


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run."""

    params: Params
    """Of the run that made the figures, whatever params.yaml says today."""
    variants: list[str]
    """`zero-shot` first, without SP."""
    widths: dict[str, float]
    """Variant -> pooling window or sigma, in clips, of its SP figures."""
    poolings: dict[str, str]
    """Variant -> its pooling in words."""
    rules: dict[str, Setting]
    """Variant -> rule for the moments of its predictions."""
    splits: dict[str, SplitRun]
    history: list[dict[str, float]]
    """A row for each epoch, as in outputs/train.csv, without the columns that were not measured."""
    kept_epoch: int | None
    """The epoch whose weights were kept; None when nothing was trained."""
    by_width: dict[str, list[dict[str, Any]]]
    """Mode of pooling -> a row for each variant and width compared on val: `mAP` in percent (the
    headline metric of the data set) and, of QVHighlights, `HIT@1`.

    `width` is the window in clips, of `gaussian` the sigma.
    """
    maps: dict[str, Knots]
    """Variant, with and without SP -> map from its scores to expected ratings, 0..4; may be empty.
    """
    without_maps: str
    """Why there are no maps; empty if there are some."""
    errors: dict[str, dict[str, dict[str, float]]]
    """split -> variant with SP -> errors of its map, see `hlclip.pipeline.calibration`."""
    reliability: list[dict[str, str]]
    """Rows of outputs/reliability.csv."""
    index: Index
    frames: Manifest

    @property
    def benchmark(self) -> Benchmark:
        """What the figures are of."""
        return benchmark_of(next(iter(self.splits.values())).scores.rows)

    @property
    def protocol(self) -> str:
        """How a data set with domains was split; empty if there is one way only."""
        return next(iter(self.splits.values())).scores.rows[0].protocol or ""


def read_run(folder: Path) -> Run:
    """Read the run that `dvc.lock` in `folder` describes: its `outputs/`.

    Raises:
        ReportError: a file is missing or malformed, or is not of this run.
        ParamsError, CheckpointError, SubmissionError: see those.
    """
    outputs = folder / "outputs"
    params = _params(folder)
    metrics = read_output(folder / FIGURES_FILE, lambda path: dict(json.loads(path.read_text())))
    splits = read_output(outputs / "score.safetensors", read_scores)
    facts = read_output(outputs / "train.safetensors", read_facts)
    if facts["train"] != params.train.facts():
        raise ReportError(
            f"{folder / LOCK_FILE}: section train differs from the parameters of "
            f"{outputs / 'train.safetensors'}",
            "run `dvc repro --force`, then the report",
        )
    variants = list(next(iter(splits.values())).cosines)
    key, width = params.pool.width
    widths = {name: metrics.get(key, {}).get(name, width) for name in variants}
    calibration = read_output(outputs / "calibration.json", read_calibration)
    return Run(
        params=params,
        variants=variants,
        widths=widths,
        poolings={name: pooling_text(params.pool.mode, width) for name, width in widths.items()},
        rules={
            name: Setting(**metrics.get("moments", {}).get(name, params.moments.model_dump()))
            for name in variants
        },
        splits={
            split: _read_split(split, scores, metrics.get(split, {}), folder)
            for split, scores in splits.items()
        },
        history=read_output(outputs / "train.csv", _read_history),
        kept_epoch=facts.get("chosen", {}).get("epoch"),
        by_width=read_output(outputs / "window.csv", _read_by_width),
        maps=_maps(calibration, params, widths),
        without_maps=calibration.missing,
        errors=metrics.get("calibration", {}),
        reliability=read_output(outputs / "reliability.csv", read_csv),
        index=read_output(outputs / "index.json", read_index),
        frames=read_output(
            outputs / "frames.json", lambda path: read_manifests(path, "frames")["frames"]
        ),
    )


def _maps(calibration: Calibration, params: Params, widths: dict[str, float]) -> dict[str, Knots]:
    poolings = {name: mean_of(1) for name in widths}
    for name, width in widths.items():
        poolings[pooled(name)] = Pooling(params.pool.mode, float(width), params.pool.border)
    found = {name: calibration.find(unpooled(name), by) for name, by in poolings.items()}
    return {name: each.rating for name, each in found.items() if each is not None}


def _params(folder: Path) -> Params:
    """The parameters of the run in dvc.lock, if the files that the report reads are its files."""
    path = folder / LOCK_FILE
    lock = read_output(path, read_lock)
    if unfinished := [name for name in _FILES if name not in lock.outputs]:
        raise ReportError(
            f"{path}: no stage has made {', '.join(unfinished)}", "run `dvc repro`, then the report"
        )
    if lock.mixed:
        raise ReportError(
            f"{path}: its stages are of several runs: {lock.mixed[0]}",
            "run `dvc repro`, then the report",
        )
    foreign = [folder / name for name in lock.foreign(folder, _FILES)]
    absent = [file for file in foreign if not file.exists()]
    if absent:
        raise ReportError(f"{', '.join(map(str, absent))}: not there", RESTORE)
    if foreign:
        raise ReportError(f"{', '.join(map(str, foreign))}: not of the run in {path}", RESTORE)
    return check_params(unflatten(lock.params), path, "run `dvc repro`, then the report")


def _read_split(split: str, scores: SplitScores, metrics: dict[str, Any], folder: Path) -> SplitRun:
    predictions: dict[str, NDArray[np.float32]] = {}
    windows: dict[str, list[tuple[Window, ...]]] = {}
    for variant in scores.cosines:
        for name in (variant, pooled(variant)):
            path = folder / "outputs" / "predictions" / submission_name(split, name)
            rows = read_output(path, lambda path: read_answers(path, scores.rows))
            matrix, lengths = pad([row.pred_saliency_scores or () for row in rows])
            if not np.array_equal(lengths, scores.clips):
                raise ReportError(f"{path}: not one score for each clip", _EVALUATE)
            predictions[name] = matrix.astype(np.float32)
            windows[name] = [row.pred_relevant_windows or () for row in rows]
            if not all(windows[name]):
                raise ReportError(f"{path}: not a moment for each query", _EVALUATE)
    precision: dict[str, NDArray[np.float64]] = {}
    moments: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    highlights = np.zeros(0, bool)
    expected: list[tuple[str, str, str, float]] = []  # variant, group, metric, figure
    if has_truth(scores.rows):
        truth = ground_truth(scores.rows)
        group, metric = truth.benchmark.group, truth.benchmark.metric
        if truth.labels.size:
            precision = {name: query_precision(truth, m) for name, m in predictions.items()}
            highlights = np.asarray(truth.labels[:, -1].any(axis=(1, 2)))
            for name, matrix in predictions.items():
                expected.append((name, group, metric, measure(truth, matrix)[group][metric]))
        if all(row.relevant_windows for row in scores.rows):
            moments = {name: query_moments(truth.windows, each) for name, each in windows.items()}
            for name, (each, _) in moments.items():
                expected.append((name, "moments", "mAP", 100 * float(each.mean())))
    for name, group, metric, value in expected:
        figure = metrics.get(name, {}).get(group, {}).get(metric)
        if figure is None or abs(value - figure) > 0.01:
            raise ReportError(
                f"{folder / FIGURES_FILE}: {split} {name} {group} {metric} is {figure}, but its "
                f"predictions give {value:.2f}",
                _EVALUATE,
            )
    figures = {name: metrics[name] for name in (precision or moments)}
    references = metrics.get("references", {})
    return SplitRun(
        scores, predictions, precision, highlights, windows, moments, figures, references
    )


def _read_history(path: Path) -> list[dict[str, float]]:
    return [{name: float(text) for name, text in row.items() if text} for row in read_csv(path)]


def _read_by_width(path: Path) -> dict[str, list[dict[str, Any]]]:
    by_mode: dict[str, list[dict[str, Any]]] = {}
    for row in read_csv(path):
        values = {name: float(row[name]) for name in ("mAP", "HIT@1") if row[name]}
        width = float(row["window"] or row["sigma"])
        by_mode.setdefault(row["mode"], []).append(
            {"variant": row["variant"], "width": width, **values}
        )
    return by_mode
