"""A table of results as text: for the terminal, as Markdown, CSV or JSON."""

import csv
import io
from collections.abc import Sequence
from typing import Any, Literal

from tabulate import tabulate

from hlclip.results.experiments import Run
from hlclip.results.table import METRICS, Level, Line, on_qvhighlights

Format = Literal["terminal", "markdown", "csv"]

_TITLES = {"val": "Table 2 (val)", "test": "Table 1 (test)"}


def render(table: Sequence[Line], runs: Sequence[Run], *, style: Format, level: Level) -> str:
    """The table as text; terminal and Markdown end with notes on what the figures are."""
    if style == "csv":
        return _as_csv(table, level)
    parts = []
    paper = METRICS if any(line.paper for line in table) else ()
    for split in dict.fromkeys(line.split for line in table):
        here = [line for line in table if line.split == split]
        heads = ["", *METRICS, "runs", *(f"paper: {metric}" for metric in paper)]
        body = [
            [
                label(line),
                *(cell(line, metric) for metric in METRICS),
                line.runs,
                *(f"{line.paper[metric]:.2f}" if line.paper else "" for metric in paper),
            ]
            for line in here
        ]
        title = f"{_TITLES.get(split, split)}, highlights rated >= {level}, in percent"
        grid = "github" if style == "markdown" else "simple"
        align = ("left", "left", "left", *["right"] * (len(heads) - 3))
        parts.append(
            f"{title}\n\n{tabulate(body, heads, grid, colalign=align, disable_numparse=True)}"
        )
    return "\n\n".join([*parts, "\n".join(notes(runs))])


def as_json(table: Sequence[Line], runs: Sequence[Run], *, level: Level) -> dict[str, Any]:
    """The same for other programs: a row a line, the names of the runs, and the notes."""
    return {
        "level": level,
        "rows": [
            {
                "split": line.split,
                "variant": line.variant,
                "setting": line.setting,
                "runs": line.runs,
                "mean": line.mean,
                "sd": line.deviation,
                "paper": line.paper,
            }
            for line in table
        ],
        "runs": [run.name for run in runs],
        "notes": notes(runs),
    }


def label(line: Line) -> str:
    """What a line is called: variant, as in metrics.json, and setting."""
    return f"{line.variant}, {line.setting}" if line.setting else line.variant


def cell(line: Line, metric: str) -> str:
    """Mean ± deviation, in percent."""
    mean = f"{line.mean[metric]:.2f}"
    return f"{mean} ± {line.deviation[metric]:.2f}" if line.deviation else mean


def notes(runs: Sequence[Run]) -> list[str]:
    """What a reader must know about the figures."""
    found = [
        "± is the standard deviation (n - 1) over runs with different train.seed; zero-shot is "
        "CLIP before fine-tuning, which the paper calls CLIP."
    ]
    queries = runs[0].queries
    if not on_qvhighlights(runs):
        counts = ", ".join(f"{n} {split} queries" for split, n in queries.items())
        found.append(
            f"These runs are not on QVHighlights ({counts}): the paper's figures are left out."
        )
    for split, missing in runs[0].without_video.items():
        if missing:
            found.append(f"{missing} of {queries[split]} {split} queries have no video: score 0.")
    versions = [run for run in runs if run.code != runs[0].code]
    if versions:
        names = ", ".join(run.name for run in versions)
        found.append(f"Made by other code than {runs[0].name}: {names}.")
    return found


def _as_csv(table: Sequence[Line], level: Level) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ("split", "variant", "setting", "level", "runs")
    of_metric = ("{}", "{}_sd", "paper_{}")
    writer.writerow([*names, *(name.format(m) for m in METRICS for name in of_metric)])
    for line in table:
        row = [line.split, line.variant, line.setting, level, line.runs]
        for metric in METRICS:
            row.append(f"{line.mean[metric]:.4f}")
            row.append(f"{line.deviation[metric]:.4f}" if line.deviation else "")
            row.append(f"{line.paper[metric]:.2f}" if line.paper else "")
        writer.writerow(row)
    return out.getvalue().rstrip("\n")
