"""Figures of a run as outputs/figures.json and the log have them."""

from collections.abc import Mapping
from typing import Any

from hlclip.evaluation import Benchmark, Groups, Setting, benchmark_of, ground_truth, references
from hlclip.formats import SplitScores

Metrics = dict[str, Groups]
"""Variant -> figures in percent by group and metric, see `measure` and `moment_groups`."""


def entry(scores: SplitScores, measured: Metrics | None, setting: Setting) -> dict[str, Any]:
    """A split in figures.json: counts of queries, then the figures of each variant.

    For other data sets than QVHighlights also the `data set`, its `protocol` and, where there is
    ground truth, the `references` (see `references`).

    Args:
        setting: finds the moments of the reference rows.
    """
    row = scores.rows[0]
    counts = {"queries": len(scores.rows), "without video": int((scores.lengths == 0).sum())}
    if benchmark_of(scores.rows).kind == "levels":
        return counts | (measured or {})
    names = {"data set": row.dataset} | ({"protocol": row.protocol} if row.protocol else {})
    if not measured:
        return counts | names
    found = references(scores.rows, ground_truth(scores.rows), setting)
    return counts | names | measured | {"references": found}


def table(
    measured: Mapping[str, Metrics],
    benchmark: Benchmark,
    references: Mapping[str, Metrics] | None = None,
) -> str:
    """The headline's figures of all splits and variants as text, as Table 2 of the paper.

    Args:
        references: split -> figures of the reference rows, below those of the variants.
    """
    metrics = [benchmark.metric, *(["HIT@1"] if benchmark.kind == "levels" else [])]
    title = benchmark.group if benchmark.kind == "levels" else benchmark.title
    width = 12 if metrics[0] == "mAP" else 16
    heads = "".join(
        f"{f'{split} {metrics[0]}':>{width}}" + "".join(f"{each:>8}" for each in metrics[1:])
        for split in measured
    )
    lines = [f"{f'{title}, in percent':24}{heads}"]
    for part in (measured, references or {}):
        for variant in next(iter(part.values()), {}):
            of_splits = [part[split][variant][benchmark.group] for split in measured]
            cells = "".join(
                f"{figures[metrics[0]]:{width}.2f}"
                + "".join(f"{figures[each]:8.2f}" for each in metrics[1:])
                for figures in of_splits
            )
            lines.append(f"{variant:24}{cells}")
    return "\n".join(lines)
