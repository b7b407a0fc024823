"""evaluate: saliency pooling, moments, official metrics, submission files, and plots on val."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlclip.evaluation import (
    MOMENT_METRICS,
    Window,
    benchmark_of,
    complete,
    find_all_moments,
    ground_truth,
    has_truth,
    measure,
    moment_groups,
)
from hlclip.formats import (
    ZERO_SHOT,
    Origin,
    Prediction,
    SplitScores,
    check_origin,
    fine_tuned,
    pooled,
    read_scores,
    submission_name,
    unpooled,
    write_submission,
)
from hlclip.params import MomentsParams, Params, PoolParams, trains
from hlclip.pipeline.calibration import calibrate
from hlclip.pipeline.choices import (
    EvaluateError,
    choose_setting,
    choose_width,
    compare_rules,
    compare_widths,
    pooled_scores,
)
from hlclip.pipeline.examples import COLUMNS, example_rows
from hlclip.pipeline.figures import Metrics, entry, table
from hlclip.system import remove_leftovers, write_json, write_table

log = logging.getLogger(__name__)

SCORES = Path("outputs/score.safetensors")
FIGURES = "figures.json"
"""All figures, in the folder of outputs; metrics.json has the headline alone."""


def scores_input(params: Params) -> dict[str, SplitScores]:
    """The scores of the splits and variants that `params` names: split -> scores.

    Raises:
        DamagedFileError: the file is damaged.
        StaleFileError: it is of another run.
    """
    splits = read_scores(SCORES)
    trained = trains(params.encoder, params.train)
    tuned = [fine_tuned(params.train.blocks, params.train.temporal)] if trained else []
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
    outputs: Path,
    origin: Origin,
) -> dict[str, Metrics]:
    """Measure each variant without and with saliency pooling; reads scores only, no video.

    Highlights are measured where a split has ratings, moments where it has windows, too. The rows
    name their data set, which decides the metrics.

    Every row of a split counts. A row without video scores 0 everywhere; a clip without frame (the
    video ends before its annotation) gets its query's lowest score. So the submission files cover
    all queries and clips, as the official script expects.

    Args:
        metrics: JSON file to write, with the headline of the last variant with pooling alone.
        outputs: folder of the other files, which docs/data.md lists: `figures.json` has all
            figures. Files in its `predictions/` that are not written are removed.
        origin: of the scores, see `pipeline.calibration`.

    Returns:
        split -> figures; splits without ground truth are left out.
    """
    _check_one_data_set(splits)
    truths = {
        split: ground_truth(scores.rows)
        for split, scores in splits.items()
        if has_truth(scores.rows)
    }
    # Widths are compared on val only, so that none is chosen by its figures on test.
    compared = (
        compare_widths(splits["val"], truths["val"], pool, moments) if "val" in truths else {}
    )
    variants = next(iter(splits.values())).cosines
    widths = {name: choose_width(compared.get(name, {}), pool) for name in variants}
    rules_compared = (
        compare_rules(splits["val"], truths["val"], pool, widths)
        if "val" in truths and _has_windows(splits["val"])
        else {}
    )
    settings = {name: choose_setting(rules_compared.get(name, {}), moments) for name in variants}
    measured: dict[str, Metrics] = {}
    written: dict[str, dict[str, Any]] = {}
    example_lines: list[tuple[object, ...]] = []
    submissions: list[Path] = []
    all_matrices: dict[str, dict[str, NDArray[np.float32]]] = {}  # by split; complete
    for split, scores in splits.items():
        matrices = all_matrices.setdefault(split, {})
        for name in variants:
            matrices[name] = complete(scores.cosines[name], scores.lengths, scores.clips)
            matrices[pooled(name)] = pooled_scores(
                scores, name, pool.mode, widths[name], pool.border
            )
        if split in truths:
            measured[split] = {n: measure(truths[split], m) for n, m in matrices.items()}
            if split == "val" and truths[split].labels.size:
                example_lines += example_rows(scores, truths[split], matrices)
        for name, matrix in matrices.items():
            found = find_all_moments(scores.rows, list(matrix), settings[unpooled(name)])
            if split in truths and _has_windows(scores):
                measured[split][name] |= moment_groups(truths[split], found)
            submissions.append(outputs / "predictions" / submission_name(split, name))
            write_submission(submissions[-1], _answers(scores, matrix, found))
        written[split] = entry(scores, measured.get(split), next(iter(settings.values())))
    _remove_others(outputs / "predictions", submissions)
    key, width = pool.width
    if width == "best":
        written[key] = widths
        log.info("pool.%s chosen on val: %s", key, widths)
    if moments.rule == "best":
        written["moments"] = {name: setting._asdict() for name, setting in settings.items()}
        log.info("rules chosen on val: %s", {name: str(s) for name, s in settings.items()})
    written |= calibrate(splits, all_matrices, pool, widths, origin=origin, outputs=outputs)
    write_json(outputs / FIGURES, written)
    benchmark, last = benchmark_of(next(iter(splits.values())).rows), pooled(list(variants)[-1])
    write_json(metrics, {split: benchmark.headline(each[last]) for split, each in measured.items()})
    sweep = [
        ("val", name, mode, *(("", w) if mode == "gaussian" else (w, "")), *figures)
        for name, compared_on_val in compared.items()
        for (mode, w), figures in compared_on_val.items()
    ]
    write_table(
        outputs / "window.csv",
        [("split", "variant", "mode", "window", "sigma", "mAP", "HIT@1"), *sweep],
    )
    lines = [
        ("val", name, str(setting), *figures.values())
        for name, compared_on_val in rules_compared.items()
        for setting, figures in compared_on_val.items()
    ]
    columns = [list(figures) for by in rules_compared.values() for figures in by.values()]
    write_table(
        outputs / "moments.csv",
        [("split", "variant", "rule", *next(iter(columns), MOMENT_METRICS)), *lines],
    )
    write_table(outputs / "saliency.csv", [COLUMNS, *example_lines])
    if measured:
        references = {split: written[split].get("references", {}) for split in measured}
        log.info("%s", table(measured, benchmark, references))
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


def _check_one_data_set(splits: Mapping[str, SplitScores]) -> None:
    kinds = {
        split: (scores.rows[0].dataset, scores.rows[0].protocol or "no protocol")
        for split, scores in splits.items()
    }
    if len(set(kinds.values())) > 1:
        found = "; ".join(f"{split}: {', '.join(names)}" for split, names in kinds.items())
        raise EvaluateError(
            f"the splits are of several data sets or protocols ({found}), and their figures cannot "
            "stand together",
            "let data.annotations name the files of one",
        )


def _has_windows(scores: SplitScores) -> bool:
    return all(row.relevant_windows for row in scores.rows)


def _remove_others(folder: Path, files: Sequence[Path]) -> None:
    """Remove what an earlier run with other variants or splits left in the folder."""
    remove_leftovers(folder)
    for path in set(folder.glob("*.jsonl")) - set(files):
        path.unlink()
