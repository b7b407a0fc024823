"""The paper's tables as text, Markdown, CSV and JSON, with notes on their figures."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from tabulate import tabulate

from hlclip.formats import Level
from hlclip.results.experiments import METRICS, Experiment
from hlclip.results.table import Line, on_qvhighlights
from hlclip.system import as_csv

Style = Literal["terminal", "markdown", "csv"]

_TITLES = {"val": "Table 2 (val)", "test": "Table 1 (test)"}


def render(
    table: Sequence[Line], experiments: Sequence[Experiment], *, style: Style, level: Level
) -> str:
    """The table as text; terminal and Markdown end with notes on the figures."""
    if style == "csv":
        return _as_csv(table, level)
    parts = []
    paper = METRICS if any(line.paper for line in table) else ()
    for split in sorted({line.split for line in table}, key=lambda name: _TITLES.get(name, name)):
        lines_of_split = [line for line in table if line.split == split]
        # Table 2 of the paper has no moments; where settings are compared, val stands in for test.
        compared = split != "val" or any(line.setting for line in table)
        metrics = list(lines_of_split[0].mean) if compared else METRICS
        heads = ["", *metrics, "runs", *(f"paper: {metric}" for metric in paper)]
        body = [
            [
                line.label,
                *(line.cell(metric) for metric in metrics),
                line.runs,
                *(f"{line.paper[metric]:.2f}" if line.paper else "" for metric in paper),
            ]
            for line in lines_of_split
        ]
        title = f"{_TITLES.get(split, split)}, highlights rated >= {level}, in percent"
        grid = "github" if style == "markdown" else "simple"
        left = 1 + len(metrics)
        align = (*["left"] * left, *["right"] * (len(heads) - left))
        parts.append(
            f"{title}\n\n{tabulate(body, heads, grid, colalign=align, disable_numparse=True)}"
        )
    return "\n\n".join([*parts, "\n".join(notes(experiments))])


def as_json(
    table: Sequence[Line],
    experiments: Sequence[Experiment],
    *,
    level: Level,
    left_out: Sequence[str] = (),
) -> dict[str, Any]:
    """The table for other programs: a row for each line, the names of the runs, and the notes.

    Args:
        left_out: a line for each run that the table leaves out.
    """
    return {
        "level": level,
        "rows": [asdict(line) for line in table],
        "runs": [experiment.name for experiment in experiments],
        "notes": notes(experiments),
        "left_out": list(left_out),
    }


def notes(experiments: Sequence[Experiment]) -> list[str]:
    """What a reader must know about the figures."""
    first = experiments[0]
    texts = [
        "± is the standard deviation (n - 1) over runs with different train.seed; zero-shot is "
        "CLIP before fine-tuning, which the paper calls CLIP."
    ]
    if not on_qvhighlights(experiments):
        counts = ", ".join(f"{n} {split} queries" for split, n in first.queries.items())
        texts.append(
            f"These runs are not on QVHighlights ({counts}): the paper's figures are left out."
        )
    texts += [
        f"{missing} of {first.queries[split]} {split} queries have no video: score 0."
        for split, missing in first.without_video.items()
        if missing
    ]
    others = [experiment.name for experiment in experiments if experiment.code != first.code]
    if others:
        texts.append(f"Made by other code than {first.name}: {', '.join(others)}.")
    return texts


def _as_csv(table: Sequence[Line], level: Level) -> str:
    measured = list(dict.fromkeys(metric for line in table for metric in line.mean))
    columns = [
        name.format(metric)
        for metric in measured
        for name in ("{}", "{}_sd", "paper_{}")
        if metric in METRICS or name != "paper_{}"
    ]
    rows: list[list[object]] = [["split", "variant", "setting", "level", "runs", *columns]]
    for line in table:
        row: list[object] = [line.split, line.variant, line.setting, level, line.runs]
        for metric in measured:
            row.append(f"{line.mean[metric]:.4f}" if metric in line.mean else "")
            row.append(f"{line.sd[metric]:.4f}" if line.sd and metric in line.sd else "")
            if metric in METRICS:
                row.append(f"{line.paper[metric]:.2f}" if line.paper else "")
        rows.append(row)
    return as_csv(rows).rstrip("\n")
