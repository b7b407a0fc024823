"""evaluate: saliency pooling, moments, official metrics, submission files, and plots on val."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlclip.evaluation import (
    MOMENT_METRICS,
    Border,
    GroundTruth,
    Mode,
    Setting,
    Window,
    best_setting,
    compare_settings,
    complete,
    find_all_moments,
    ground_truth,
    measure,
    measure_moments,
    pool_padded,
)
from hlclip.formats import (
    ZERO_SHOT,
    Origin,
    Prediction,
    SplitScores,
    check_origin,
    pooled,
    read_scores,
    submission_name,
    unpooled,
    write_submission,
)
from hlclip.params import MomentsParams, Params, PoolParams, trains
from hlclip.pipeline.calibration import calibrate
from hlclip.pipeline.examples import COLUMNS, example_rows
from hlclip.system import HlclipError, remove_leftovers, write_json, write_table

log = logging.getLogger(__name__)

SCORES = Path("outputs/score.safetensors")

WINDOWS = range(1, 16, 2)
"""Pooling windows that are compared on val, for the plot and for `pool.window: best`."""

SIGMAS = (0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""Sigmas in clips that are compared on val, for the plot and for `pool.sigma: best`."""


Width = tuple[Mode, float]
"""Mode of a pooling, and its window or sigma in clips."""


class EvaluateError(HlclipError):
    """`best` is chosen on val, and val has no ground truth."""


Metrics = dict[str, dict[str, dict[str, float]]]
"""Variant -> level (`Fair`, `Good`, `VeryGood`) -> `mAP`, `HIT@1` in percent.

Where all queries have `relevant_windows`, also `moments` -> `R1@0.5`, `R1@0.7`, `mAP@0.5`,
`mAP@0.75`, `mAP`.
"""


def scores_input(params: Params) -> dict[str, SplitScores]:
    """The scores of the splits and variants that `params` names: split -> scores.

    Raises:
        DamagedFileError: the file is damaged.
        StaleFileError: it is of another run.
    """
    splits = read_scores(SCORES)
    trained = trains(params.encoder, params.train)
    tuned = [f"HL-CLIP-{params.train.blocks}"] if trained else []
    clip_seconds = {row.clip_seconds for scores in splits.values() for row in scores.rows}
    found = {
        "evaluate.splits": list(splits),
        "variants": next(list(scores.cosines) for scores in splits.values()),
        "data.clip_seconds": next(iter(clip_seconds)),
    }
    expected = {
        "evaluate.splits": params.evaluate.splits,
        "variants": [ZERO_SHOT, *tuned],
        "data.clip_seconds": params.data.clip_seconds,
    }
    check_origin(SCORES, found, expected)
    return splits


def evaluate_splits(
    splits: dict[str, SplitScores],
    pool: PoolParams,
    moments: MomentsParams,
    *,
    metrics: Path,
    predictions: Path,
    plot: Path,
    rules: Path,
    examples: Path,
    origin: Origin,
    calibration: Path,
    reliability: Path,
) -> dict[str, Metrics]:
    """Measure each variant without and with saliency pooling; reads scores only, no video.

    Highlights are measured where a split has ratings, moments where it has windows, too.

    Every row of a split counts. A row without video scores 0 everywhere; a clip without frame (the
    video ends before its annotation) gets its query's lowest score. So the submission files cover
    all queries and clips, as the official script expects.

    Args:
        metrics: JSON file to write.
        predictions: folder for `<split>-<variant>.jsonl`, in the QVHighlights submission format;
            other files in it are removed.
        plot: CSV file to write: split (val), variant, mode, window or sigma, mAP, HIT@1 at
            VeryGood.
        rules: CSV file to write: split (val), variant, rule, and the moment retrieval metrics of
            the pooled scores.
        examples: CSV file to write: saliency of three queries of val, see `pipeline.examples`.
        origin, calibration, reliability: see `pipeline.calibration`.

    Returns:
        split -> figures; splits without ground truth are left out.
    """
    truths = {
        split: ground_truth(scores.rows)
        for split, scores in splits.items()
        if all(row.saliency_scores is not None for row in scores.rows)
    }
    # Widths are compared on val only, so that none is chosen by its figures on test.
    compared = _compare_widths(splits["val"], truths["val"], pool) if "val" in truths else {}
    variants = next(iter(splits.values())).cosines
    widths = {name: _choose_width(compared.get(name, {}), pool) for name in variants}
    rules_compared = (
        _compare_rules(splits["val"], truths["val"], pool, widths)
        if "val" in truths and _has_windows(splits["val"])
        else {}
    )
    settings = {name: _choose_setting(rules_compared.get(name, {}), moments) for name in variants}
    measured: dict[str, Metrics] = {}
    written: dict[str, Any] = {}
    example_lines: list[tuple[object, ...]] = []
    submissions: list[Path] = []
    all_matrices: dict[str, dict[str, NDArray[np.float32]]] = {}  # by split; complete
    for split, scores in splits.items():
        matrices = all_matrices.setdefault(split, {})
        for name in variants:
            matrices[name] = complete(scores.cosines[name], scores.lengths, scores.clips)
            matrices[pooled(name)] = _pooled(scores, name, pool.mode, widths[name], pool.border)
        if split in truths:
            measured[split] = {n: measure(truths[split], m) for n, m in matrices.items()}
            if split == "val":
                example_lines += example_rows(scores, truths[split], matrices)
        for name, matrix in matrices.items():
            found = find_all_moments(scores.rows, list(matrix), settings[unpooled(name)])
            if split in truths and _has_windows(scores):
                measured[split][name]["moments"] = measure_moments(truths[split], found)
            submissions.append(predictions / submission_name(split, name))
            write_submission(submissions[-1], _answers(scores, matrix, found))
        without_video = int((scores.lengths == 0).sum())
        counts = {"queries": len(scores.rows), "without video": without_video}
        written[split] = counts | measured.get(split, {})
    _remove_others(predictions, submissions)
    key, width = pool.width
    if width == "best":
        written[key] = widths
        log.info("pool.%s chosen on val: %s", key, widths)
    if moments.rule == "best":
        written["moments"] = {name: setting._asdict() for name, setting in settings.items()}
        log.info("rules chosen on val: %s", {name: str(s) for name, s in settings.items()})
    written |= calibrate(
        splits, all_matrices, pool, widths, origin=origin, calibration=calibration, plot=reliability
    )
    write_json(metrics, written)
    sweep = [
        ("val", name, mode, *(("", w) if mode == "gaussian" else (w, "")), *figures.values())
        for name, compared_on_val in compared.items()
        for (mode, w), figures in compared_on_val.items()
    ]
    write_table(plot, [("split", "variant", "mode", "window", "sigma", "mAP", "HIT@1"), *sweep])
    lines = [
        ("val", name, str(setting), *figures.values())
        for name, compared_on_val in rules_compared.items()
        for setting, figures in compared_on_val.items()
    ]
    write_table(rules, [("split", "variant", "rule", *MOMENT_METRICS), *lines])
    write_table(examples, [COLUMNS, *example_lines])
    if measured:
        log.info("%s", table(measured))
    return measured


def _answers(
    scores: SplitScores, matrix: NDArray[np.float32], found: Sequence[Sequence[Window]]
) -> Iterator[Prediction]:
    lines = zip(scores.rows, matrix.tolist(), scores.clips, found, strict=True)
    for row, line, clips, windows in lines:
        yield Prediction(
            qid=row.qid,
            query=row.query,
            vid=row.vid,
            pred_relevant_windows=tuple(windows),
            pred_saliency_scores=line[:clips],
        )


def _has_windows(scores: SplitScores) -> bool:
    return all(row.relevant_windows for row in scores.rows)


def _remove_others(folder: Path, files: Sequence[Path]) -> None:
    """Remove what an earlier run with other variants or splits left in the folder."""
    remove_leftovers(folder)
    for path in set(folder.glob("*.jsonl")) - set(files):
        path.unlink()


def _pooled(
    scores: SplitScores, variant: str, mode: Mode, width: float, border: Border
) -> NDArray[np.float32]:
    matrix, lengths = scores.cosines[variant], scores.lengths
    matrix = pool_padded(matrix, lengths, width, mode=mode, border=border)
    return complete(matrix, lengths, scores.clips)


def _compare_widths(
    val: SplitScores, truth: GroundTruth, pool: PoolParams
) -> dict[str, dict[Width, dict[str, float]]]:
    """Variant -> width -> VeryGood figures on val."""
    windows: Mode = "max" if pool.mode == "max" else "mean"
    sweep: list[Width] = [
        *((windows, window) for window in WINDOWS),
        *(("gaussian", sigma) for sigma in SIGMAS),
    ]
    return {
        name: {
            width: measure(truth, _pooled(val, name, *width, pool.border))["VeryGood"]
            for width in sweep
        }
        for name in val.cosines
    }


def _choose_width(compared: Mapping[Width, Mapping[str, float]], pool: PoolParams) -> float:
    """The window or sigma of params.yaml, or the best on val by mAP, the smallest of equals."""
    key, width = pool.width
    if width != "best":
        return width
    if not compared:
        raise EvaluateError(
            f"pool.{key} is best, which is chosen on val, but val has no ground truth",
            f"give pool.{key} as a number",
        )
    widths = [width for width in compared if width[0] == pool.mode]
    return max(widths, key=lambda width: compared[width]["mAP"])[1]


def _compare_rules(
    val: SplitScores, truth: GroundTruth, pool: PoolParams, widths: Mapping[str, float]
) -> dict[str, dict[Setting, dict[str, float]]]:
    """Variant -> setting -> moment retrieval metrics of the pooled scores on val."""
    return {
        name: compare_settings(
            val.rows, truth, list(_pooled(val, name, pool.mode, widths[name], pool.border))
        )
        for name in val.cosines
    }


def _choose_setting(
    compared: Mapping[Setting, Mapping[str, float]], moments: MomentsParams
) -> Setting:
    """The rule of params.yaml, or the best on val by MR mAP."""
    if moments.rule != "best":
        return Setting(moments.rule, moments.focus)
    if not compared:
        raise EvaluateError(
            "moments.rule is best, which is chosen on val, but not all queries of val have "
            "relevant_windows",
            "name a rule as moments.rule, such as consensus",
        )
    return best_setting(compared)


def table(measured: dict[str, Metrics]) -> str:
    """VeryGood figures of all splits and variants as text, laid out as Table 2 of the paper."""
    heads = "".join(f"{split + ' mAP':>12}{'HIT@1':>8}" for split in measured)
    lines = [f"{'VeryGood, in percent':24}{heads}"]
    for variant in next(iter(measured.values()), {}):
        figures = [measured[split][variant]["VeryGood"] for split in measured]
        cells = "".join(f"{figure['mAP']:12.2f}{figure['HIT@1']:8.2f}" for figure in figures)
        lines.append(f"{variant:24}{cells}")
    return "\n".join(lines)
