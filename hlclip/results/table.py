"""The paper's tables: mean and standard deviation over experiments that differ in their seed."""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from hlclip.formats import ZERO_SHOT, Level, unpooled
from hlclip.results.domains import SD, Columns, columns, mean_of_references, mean_over_domains
from hlclip.results.experiments import Experiment, ExperimentsError
from hlclip.results.selection import by_number, check_known, following

PAPER = {
    ("val", ZERO_SHOT): {"mAP": 37.01, "HIT@1": 63.03},
    ("val", "HL-CLIP-1"): {"mAP": 39.70, "HIT@1": 67.69},
    ("val", "HL-CLIP-1 (SP)"): {"mAP": 41.97, "HIT@1": 71.64},
    ("val", "HL-CLIP-2"): {"mAP": 40.00, "HIT@1": 68.99},
    ("val", "HL-CLIP-2 (SP)"): {"mAP": 42.40, "HIT@1": 72.42},
    ("test", "HL-CLIP-2 (SP)"): {"mAP": 41.94, "HIT@1": 70.60},
}
"""VeryGood figures on QVHighlights: arXiv 2404.01745, Table 2 (val) and Table 1 (test)."""

PAPER_QUERIES = {"val": 1550, "test": 1542}
"""split -> queries of QVHighlights: the paper's figures are shown for no other data."""

PAPER_LOSS = {"train.loss": "mse"}
"""What Eq. 4 fixes: a line of another value names it, and has no figures of the paper."""

_NAMED = 5
"""Most names of runs in a message."""


@dataclass(frozen=True)
class Line:
    """One variant on one split."""

    split: str
    variant: str
    setting: str
    """Compared encoder, and other compared values that are not the most frequent; may be empty."""
    runs: int
    """Of the pipeline; 0 in reference rows."""
    mean: dict[str, float]
    """Column -> percent, the headline metric first, see `columns`."""
    sd: dict[str, float] | None
    """Sample standard deviation over the runs, or over random scores; None for one run and for
    zero-shot."""
    paper: dict[str, float] | None

    @property
    def label(self) -> str:
        """Variant, as in metrics.json, and setting."""
        return f"{self.variant}, {self.setting}" if self.setting else self.variant

    def cell(self, metric: str) -> str:
        """Mean ± standard deviation in percent."""
        if metric not in self.mean:
            return ""
        mean = f"{self.mean[metric]:.2f}"
        return f"{mean} ± {self.sd[metric]:.2f}" if self.sd else mean


def comparable(
    experiments: Sequence[Experiment], by: Sequence[str] = ()
) -> tuple[list[Experiment], list[str]]:
    """The runs of one table, without repetitions, and why each other run is left out.

    Runs are of one table if they have the same data and parameters. (Where a protocol needs a run
    for each domain: the same data set, protocol and parameters.) The first run of `experiments`
    decides which runs these are; with `by`, the first one that others can be compared with.

    Args:
        experiments: as `finished_experiments` returns them.
        by: parameters that may differ in addition to `train.blocks` and `train.seed`, and with them
            those that follow from them, see `following`.

    Raises:
        ExperimentsError: no experiments, an unknown parameter in `by`, or nothing to compare.
    """
    if not experiments:
        raise ExperimentsError("no finished run", "`dvc repro` or `dvc exp run` makes one")
    check_known(experiments, by)
    if "train.seed" in by:
        raise ExperimentsError(
            "train.seed is the parameter that is averaged over", "compare another parameter"
        )
    for key in by:
        values = {experiment.params[key] for experiment in experiments}
        if len(values) == 1:
            raise ExperimentsError(
                f"nothing to compare: all runs have {key} = {values.pop()}",
                f"run others with `dvc exp run -S {key}=...`",
            )
    free = sorted({"train.blocks", "train.seed", *by, *following(by)})
    groups: dict[tuple[object, ...], list[Experiment]] = {}
    for experiment in experiments:
        fixed = sorted(set(experiment.params) - set(free))
        settings = ((key, experiment.params[key]) for key in fixed)
        groups.setdefault((experiment.source, *settings), []).append(experiment)
    usable = [
        group
        for group in groups.values()
        if all(len({experiment.params[key] for experiment in group}) > 1 for key in by)
    ]
    if not usable:
        differing = ", ".join(_differences(*(group[0] for group in groups.values()), free=free))
        raise ExperimentsError(
            f"nothing to compare: runs that differ in {', '.join(by)} differ in more: {differing}",
            "choose some with --where KEY=VALUE or --rev, or name these with --by, too",
        )
    shown = usable[0]
    left_out = [
        f"{_named(group)}: {', '.join(_differences(group[0], shown[0], free=free))}"
        for group in groups.values()
        if group is not shown
    ]
    distinct: dict[tuple[str | None, ...], Experiment] = {}
    for experiment in shown:
        identity = (experiment.domain, *(experiment.params.get(key) for key in free))
        same = distinct.setdefault(identity, experiment)
        if same.figures != experiment.figures:
            changed = sorted(dict(same.code.items() ^ experiment.code.items()))
            code = f"other code in {', '.join(changed)}" if changed else "the same code"
            code += " on other data" if same.data != experiment.data else ""
            left_out.append(
                f"{experiment.name}: the parameters of {same.name} and other figures, with {code}"
            )
    return list(distinct.values()), left_out


def lines(
    experiments: Sequence[Experiment], *, level: Level = "VeryGood", by: Sequence[str] = ()
) -> list[Line]:
    """Average comparable experiments over their seeds, and over domains that have a run each.

    With `by` only val is shown: a setting must not be chosen by its figures on test.

    Args:
        experiments: as `comparable` returns them.
        level: lowest rating that makes a highlight.
        by: parameters whose values get their own lines.

    Returns:
        val before test, zero-shot before HL-CLIP-1 before HL-CLIP-2, each before its SP, then the
        reference rows of the data set.
    """
    keys = [*by, *(key for key in following(by) if key.startswith("encoder."))]
    keys += [key for key in PAPER_LOSS if key not in keys and key in experiments[0].params]
    usual = {key: statistics.mode(each.params[key] for each in experiments) for key in keys}
    usual |= PAPER_LOSS
    benchmark = experiments[0].benchmark
    groups: dict[tuple[str, str, str], list[tuple[Experiment, Columns]]] = {}
    references: dict[tuple[str, str], dict[str, Columns]] = {}
    for experiment in experiments:
        for split in ["val"] if by else experiment.figures:
            for variant, figures in experiment.figures.get(split, {}).items():
                setting = ", ".join(
                    f"{key}={experiment.params[key]}"
                    for key in keys
                    if (experiment.params[key] != usual[key] or key.startswith("encoder."))
                    and (_trained(variant) or not key.startswith("train."))
                )
                run = experiment, columns(benchmark, figures, level)
                groups.setdefault((split, variant, setting), []).append(run)
            for name, figures in experiment.references.get(split, {}).items():
                by_domain = references.setdefault((split, name), {})
                by_domain.setdefault(experiment.domain, columns(benchmark, figures, level))
    paper = PAPER if level == "VeryGood" and on_qvhighlights(experiments) else {}
    domains = {experiment.domain for experiment in experiments}
    table = []
    for (split, variant, setting), runs in groups.items():
        trained = _trained(variant)
        if domains == {""}:  # zero-shot is the same in every run
            measured = [figures for _, figures in (runs if trained else runs[:1])]
        else:
            measured = mean_over_domains(runs, domains, seeds=trained)
        if not measured:
            continue
        values = {metric: [figures[metric] for figures in measured] for metric in measured[0]}
        table.append(
            Line(
                split,
                variant,
                setting,
                runs=len(measured),
                mean={metric: statistics.fmean(column) for metric, column in values.items()},
                sd={metric: statistics.stdev(column) for metric, column in values.items()}
                if len(measured) > 1
                else None,
                paper=None if setting else paper.get((split, variant)),
            )
        )
    for (split, name), by_domain in references.items():
        figures = mean_of_references(list(by_domain.values()))
        mean = {key: value for key, value in figures.items() if not key.endswith(SD)}
        sd = {key: figures[key + SD] for key in mean if key + SD in figures}
        table.append(Line(split, name, "", runs=0, mean=mean, sd=sd or None, paper=None))
    return sorted(table, key=_order)


def on_qvhighlights(experiments: Sequence[Experiment]) -> bool:
    """Whether the numbers of queries are those of QVHighlights."""
    counts = experiments[0].queries
    return experiments[0].benchmark.kind == "levels" and all(
        counts[split] == n for split, n in PAPER_QUERIES.items() if split in counts
    )


def _trained(variant: str) -> bool:
    return not variant.startswith(ZERO_SHOT)


def _order(line: Line) -> tuple[int, bool, str, bool, list[tuple[float, str]]]:
    model = unpooled(line.variant) if line.runs and _trained(line.variant) else ""
    sp = line.variant != unpooled(line.variant)
    splits = ("train", "val", "test")
    values = [by_number(part.partition("=")[2]) for part in line.setting.split(", ") if part]
    return splits.index(line.split), line.runs == 0, model, sp, values


def _differences(*experiments: Experiment, free: Sequence[str]) -> list[str]:
    """The data or parameters in which runs differ: `pool.window = 7, not 3`."""
    settings = [{"data": _short(each.source), **each.params} for each in experiments]
    differing = []
    for key in sorted(set().union(*settings) - set(free)):
        first, *others = dict.fromkeys(each.get(key, "absent") for each in settings)
        if others:
            differing.append(f"{key} = {first}, not {' or '.join(others)}")
    return differing


def _short(source: str) -> str:
    """With seven digits of an md5, as git shortens its hashes."""
    return re.sub("[0-9a-f]{32}", lambda md5: md5[0][:7], source)


def _named(experiments: Sequence[Experiment]) -> str:
    names = [experiment.name for experiment in experiments]
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
