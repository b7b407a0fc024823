"""The report's table over seeds: runs that differ from this one in blocks and seed alone."""

from collections.abc import Sequence

from hlclip.results.experiments import Run
from hlclip.results.page_tables import METRICS, Cell, Table
from hlclip.results.table import Line, comparable, lines
from hlclip.results.table_text import cell, label

_FREE = ("train.blocks", "train.seed")


def seed_tables(runs: Sequence[Run]) -> list[Table]:
    """Mean and standard deviation over the seeds of the workspace's run; none for a single seed.

    Args:
        runs: finished runs as DVC knows them, the workspace among them.
    """
    here = next((run for run in runs if run.name == "workspace"), None)
    if here is None:
        return []
    alike = comparable([run for run in runs if _alike(run, here)])
    measured = lines(alike)
    return [
        _table(split, [line for line in measured if line.split == split])
        for split in here.figures
        if any(line.runs > 1 for line in measured if line.split == split)
    ]


def _alike(run: Run, here: Run) -> bool:
    def fixed(params: dict[str, str]) -> dict[str, str]:
        return {key: value for key, value in params.items() if key not in _FREE}

    return run.data == here.data and fixed(run.params) == fixed(here.params)


def _table(split: str, measured: Sequence[Line]) -> Table:
    return Table(
        caption=f"{split}, Very Good: mean ± standard deviation over seeds, percent",
        corner="variant",
        groups={"": [*METRICS, "runs"]},
        rows={
            label(line): [*(Cell(cell(line, metric)) for metric in METRICS), Cell(str(line.runs))]
            for line in measured
        },
    )
