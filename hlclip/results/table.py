"""The paper's tables: mean and standard deviation over comparable experiments, and their text."""

import csv
import io
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from tabulate import tabulate

from hlclip.formats import ZERO_SHOT, Level, unpooled
from hlclip.results.experiments import Experiment, ExperimentsError

METRICS = ("mAP", "HIT@1")

PAPER = {
    ("val", ZERO_SHOT): (37.01, 63.03),
    ("val", "HL-CLIP-1"): (39.70, 67.69),
    ("val", "HL-CLIP-1 (SP)"): (41.97, 71.64),
    ("val", "HL-CLIP-2"): (40.00, 68.99),
    ("val", "HL-CLIP-2 (SP)"): (42.40, 72.42),
    ("test", "HL-CLIP-2 (SP)"): (41.94, 70.60),
}
"""VeryGood mAP and HIT@1 on QVHighlights: arXiv 2404.01745, Table 2 (val) and Table 1 (test)."""

PAPER_QUERIES = {"val": 1550, "test": 1542}
"""The paper's figures stand beside runs on so many queries, and on no other data."""


@dataclass(frozen=True)
class Line:
    """One variant on one split."""

    split: str
    variant: str
    setting: str
    """Values of the compared parameters where they differ from the usual ones; else empty."""
    runs: int
    mean: dict[str, float]
    """`mAP`, `HIT@1` in percent."""
    deviation: dict[str, float] | None
    """Sample standard deviation over the runs; None for one run, and for what does not train."""
    paper: dict[str, float] | None


def comparable(runs: Sequence[Experiment], by: Sequence[str] = ()) -> list[Experiment]:
    """The runs without repetitions, if they can stand in one table.

    Args:
        runs: finished runs.
        by: parameters that may differ beside `train.blocks` and `train.seed`.

    Raises:
        ExperimentsError: no runs, several data sets, other parameters that differ, an unknown one
            in `by`, or one configuration with two results.
    """
    if not runs:
        raise ExperimentsError("no finished run: `dvc repro` or `dvc exp run` makes one")
    unknown = [key for key in by if key not in runs[0].params]
    if unknown:
        known = ", ".join(sorted(runs[0].params))
        raise ExperimentsError(f"unknown parameter {', '.join(unknown)}; expected one of {known}")
    if "train.seed" in by:
        raise ExperimentsError("train.seed is what is averaged over: compare something else")
    for key in by:
        values = {run.params[key] for run in runs}
        if len(values) == 1:
            raise ExperimentsError(
                f"nothing to compare: all runs have {key} = {values.pop()}; run others with "
                f"`dvc exp run -S {key}=...`"
            )
    _refuse("runs on different data sets", {"data": _values(runs, lambda run: run.data[:7])})
    free = {"train.blocks", "train.seed", *by}
    fixed = sorted({key for run in runs for key in run.params} - free)
    differing = {key: _values(runs, partial(_param, key)) for key in fixed}
    _refuse("runs with different parameters", differing)
    distinct: dict[tuple[object, ...], Experiment] = {}
    for run in runs:
        identity = tuple(run.params.get(key) for key in sorted(free))
        same = distinct.setdefault(identity, run)
        if same.figures != run.figures:
            raise ExperimentsError(
                f"{same.name} and {run.name} have the same parameters and different figures "
                f"({_code_difference(same, run)}): choose with --rev or run one of them again"
            )
    return list(distinct.values())


def lines(
    runs: Sequence[Experiment], *, level: Level = "VeryGood", by: Sequence[str] = ()
) -> list[Line]:
    """Average comparable runs over their seeds.

    With `by` only val is shown: a setting must not be chosen by its figures on test.

    Args:
        runs: as `comparable` returns them.
        level: lowest rating that makes a highlight.
        by: parameters whose values get lines of their own.
    """
    with_paper = level == "VeryGood" and on_qvhighlights(runs)
    groups: dict[tuple[str, str, str], list[Experiment]] = {}
    usual = {key: Counter(run.params[key] for run in runs).most_common(1)[0][0] for key in by}
    for run in runs:
        unusual = {key: run.params[key] for key in by if run.params[key] != usual[key]}
        for split in ["val"] if by else run.figures:
            for variant in run.figures.get(split, {}):
                setting = ", ".join(
                    f"{key}={value}"
                    for key, value in unusual.items()
                    if _trains(variant) or not key.startswith("train.")
                )
                groups.setdefault((split, variant, setting), []).append(run)
    return [
        _line(*group, members, level, with_paper=with_paper)
        for group, members in sorted(groups.items(), key=lambda item: _order(*item[0]))
    ]


def on_qvhighlights(runs: Sequence[Experiment]) -> bool:
    """As far as the number of queries can tell."""
    counts = runs[0].queries
    return all(counts[split] == n for split, n in PAPER_QUERIES.items() if split in counts)


def _line(
    split: str,
    variant: str,
    setting: str,
    runs: list[Experiment],
    level: Level,
    *,
    with_paper: bool,
) -> Line:
    figures = [run.figures[split][variant][level] for run in runs]
    if not _trains(variant):  # the same in every run
        figures = figures[:1]
    paper = PAPER.get((split, variant)) if with_paper and not setting else None
    return Line(
        split,
        variant,
        setting,
        runs=len(figures),
        mean={metric: statistics.fmean(f[metric] for f in figures) for metric in METRICS},
        deviation={metric: statistics.stdev(f[metric] for f in figures) for metric in METRICS}
        if len(figures) > 1
        else None,
        paper=dict(zip(METRICS, paper, strict=True)) if paper else None,
    )


def _trains(variant: str) -> bool:
    return not variant.startswith(ZERO_SHOT)


def _order(split: str, variant: str, setting: str) -> tuple[int, str, bool, str, str]:
    """val before test, CLIP before HL-CLIP-1 before HL-CLIP-2, each before its SP."""
    splits = ("train", "val", "test")
    model = unpooled(variant) if _trains(variant) else ""
    return splits.index(split), model, variant != unpooled(variant), setting, variant


def _values(runs: Sequence[Experiment], value: Callable[[Experiment], str]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for run in runs:
        names.setdefault(value(run), []).append(run.name)
    return names


def _param(key: str, run: Experiment) -> str:
    return run.params.get(key, "absent")


def _refuse(what: str, found: Mapping[str, dict[str, list[str]]]) -> None:
    differing = {key: values for key, values in found.items() if len(values) > 1}
    if not differing:
        return
    shown = [
        f"  {key} = {value}: {', '.join(names)}"
        for key, values in differing.items()
        for value, names in values.items()
    ]
    remedy = "choose the experiments of one commit or branch with --rev"
    if "data" not in differing:
        remedy = "choose some with --where KEY=VALUE or --rev"
        remedy += f", or compare them with {' '.join('--by ' + key for key in differing)}"
    raise ExperimentsError("\n".join([f"{what} are not averaged:", *shown, remedy]))


def _code_difference(one: Experiment, other: Experiment) -> str:
    changed = sorted(
        name for name in one.code | other.code if one.code.get(name) != other.code.get(name)
    )
    return f"their code differs in {', '.join(changed)}" if changed else "with the same code"


Format = Literal["terminal", "markdown", "csv"]

_TITLES = {"val": "Table 2 (val)", "test": "Table 1 (test)"}


def render(
    table: Sequence[Line], runs: Sequence[Experiment], *, style: Format, level: Level
) -> str:
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


def as_json(table: Sequence[Line], runs: Sequence[Experiment], *, level: Level) -> dict[str, Any]:
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


def notes(runs: Sequence[Experiment]) -> list[str]:
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
