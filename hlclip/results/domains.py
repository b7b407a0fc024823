"""Figures of other data sets than QVHighlights as columns of a table, and means over domains."""

import math
import statistics
from collections.abc import Collection, Mapping, Sequence

from hlclip.evaluation import ALL, Benchmark, Groups
from hlclip.formats import Level
from hlclip.results.experiments import Experiment

SD = " sd"
"""Ends the name of a column that has a standard deviation (`hlclip.evaluation.reference_rows`)."""

Columns = dict[str, float]


def columns(benchmark: Benchmark, groups: Groups, level: Level) -> Columns:
    """The figures of a variant that a table shows, in percent.

    Of QVHighlights those of `level`, and moments as `MR-mAP` and the like; with domains the mean
    over domains under the name of the metric, and each domain under its own; of moments alone all
    lengths, and the mAP of each range of lengths.
    """
    if benchmark.kind == "levels":
        moments = {f"MR-{name}": value for name, value in groups.get("moments", {}).items()}
        return groups[level] | moments
    if benchmark.kind == "domains":
        return {
            (metric if group == ALL else metric.replace(benchmark.metric, group)): figure
            for group, figures in groups.items()
            for metric, figure in figures.items()
        }
    return groups["moments"] | {
        f"{group} {metric}": figures[metric]
        for group, figures in groups.items()
        for metric in (benchmark.metric, f"{benchmark.metric}{SD}")
        if group != "moments" and metric in figures
    }


def mean_over_domains(
    runs: Sequence[tuple[Experiment, Columns]], domains: Collection[str], *, seeds: bool
) -> list[Columns]:
    """Figures of each seed: the mean over its runs, which measure one of `domains` each.

    A seed that did not run on every domain is left out; `notes_on_domains` says so.

    Args:
        seeds: the figures depend on `train.seed`; those of zero-shot do not.
    """
    found: dict[str, dict[str, Columns]] = {}
    for experiment, figures in runs:
        seed = experiment.params["train.seed"] if seeds else ""
        found.setdefault(seed, {}).setdefault(experiment.domain, figures)
    return [_mean(list(each.values())) for each in found.values() if each.keys() == set(domains)]


def mean_of_references(parts: Sequence[Columns]) -> Columns:
    """A reference row over the domains that runs measure: means, and deviations of the mean.

    The random rankings of different runs are independent.
    """
    mean = _mean([{k: v for k, v in part.items() if not k.endswith(SD)} for part in parts])
    for name in list(mean):
        sds = [part[name + SD] for part in parts if name + SD in part]
        if sds:
            mean[name + SD] = math.hypot(*sds) / len(sds)
    return mean


def _mean(parts: Sequence[Mapping[str, float]]) -> Columns:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: statistics.fmean(part[name] for part in parts if name in part) for name in names}


def notes_on_domains(experiments: Sequence[Experiment]) -> list[str]:
    """What a reader must know about the protocol and the domains of a table."""
    first = experiments[0]
    if first.benchmark.kind == "levels":
        return []
    name = ", ".join(part for part in (first.benchmark.title, first.protocol) if part)
    texts = [
        f"{name}: random is the mean ± standard deviation of random scores; what the annotators "
        "themselves reach stands below it."
    ]
    if first.benchmark.kind != "domains":
        return texts
    found = sorted({group for each in experiments for group in _domains(each)})
    if len(found) < first.benchmark.domains:
        texts.append(
            f"The figures are of {len(found)} of {first.benchmark.domains} domains "
            f"({', '.join(found)}), not of the whole data set."
        )
    if first.protocol == "per-domain" and first.params.get("train.select") == "best":
        texts.append(
            "per-domain with train.select = best: the epoch was chosen on the videos of val, so "
            "figures on val are too high, as those that the field reports."
        )
    alike: dict[tuple[tuple[str, str], ...], list[Experiment]] = {}
    for each in experiments:
        alike.setdefault(tuple(each.params.items()), []).append(each)
    texts += [
        f"Left out of the means: {', '.join(each.name for each in runs)}, on {len(runs)} of "
        f"{len(found)} domains."
        for runs in alike.values()
        if first.domain and len(runs) < len(found)
    ]
    return texts


def _domains(experiment: Experiment) -> list[str]:
    if experiment.domain:
        return [experiment.domain]
    variants = next(iter(experiment.figures.values()))
    return [group for group in next(iter(variants.values())) if group != ALL]
