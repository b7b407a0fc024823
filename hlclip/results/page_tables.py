"""The report's tables, as plain text cells: what was measured, what was run, what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hlclip.formats import LEVELS
from hlclip.results.experiments import METRICS, Experiment
from hlclip.results.run import Run
from hlclip.results.table import comparable, lines


@dataclass(frozen=True)
class Cell:
    text: str
    marked: bool = False
    """The best of its column, or the one in use."""


@dataclass(frozen=True)
class Table:
    """A table with a header column."""

    caption: str
    corner: str
    """Head of the header column."""
    groups: Mapping[str, Sequence[str]]
    """Head over several columns -> their heads; `""` for columns without one."""
    rows: Mapping[str, Sequence[Cell]]
    """Row head -> a cell for each column."""


def summary(run: Run) -> list[Table]:
    """A table for each split with ground truth: mAP and HIT@1 of each variant at each level."""
    levels = list(reversed(LEVELS))
    tables = []
    for split, part in run.splits.items():
        measured = {
            name: [figures[level][metric] for level in levels for metric in METRICS]
            for name, figures in part.figures.items()
        }
        best = [max(column) for column in zip(*measured.values(), strict=True)]
        if not measured:
            continue
        tables.append(
            Table(
                caption=f"{split}: {len(part.scores.rows)} queries, percent",
                corner="variant",
                groups={_spelt(level): METRICS for level in levels},
                rows={
                    name: [Cell(f"{f:.2f}", f == top) for f, top in zip(line, best, strict=True)]
                    for name, line in measured.items()
                },
            )
        )
    return tables


def history(run: Run) -> Table:
    """Loss and validation of each epoch; the epoch whose weights were kept is marked."""
    formats = {"loss": ".4f", "val_mAP": ".2f", "val_HIT@1": ".2f"}
    return Table(
        caption="Training, one row an epoch",
        corner="epoch",
        groups={"": [name.replace("_", " ") for name in formats]},
        rows={
            f"{row['epoch']:.0f}": [
                Cell(format(row[name], spec) if name in row else "", row["epoch"] == run.kept_epoch)
                for name, spec in formats.items()
            ]
            for row in run.history
        },
    )


def sweep(run: Run, split: str) -> Table:
    """VeryGood mAP of each variant over the pooling window; the window in use is marked."""
    measured = {
        (row["variant"], row["window"]): row["mAP"] for row in run.sweep if row["split"] == split
    }
    windows = sorted({window for _, window in measured})
    return Table(
        caption=f"{split}: Very Good mAP in percent over the pooling window",
        corner="window",
        groups={"": run.variants},
        rows={
            str(window): [
                Cell(f"{measured[name, window]:.2f}", window == run.windows[name])
                for name in run.variants
            ]
            for window in windows
        },
    )


def coverage(run: Run) -> Table:
    """Of each split of the data set: queries, videos, and what of them is missing."""
    rows = {}
    for split, queries in run.index.queries.items():
        vids = {row.vid for row in queries}
        absent = vids & run.frames.failed.keys()
        clips = {row.vid: row.clips(run.index.clip_seconds) for row in queries}
        short = [
            vid
            for vid, count in clips.items()
            if vid in run.frames.items and run.frames.items[vid].length < count
        ]
        rows[split] = _texts(
            len(queries),
            len(vids),
            len(absent),
            sum(row.vid in absent for row in queries),
            len(short),
        )
    heads = ("queries", "videos", "missing videos", "queries without video", "short videos")
    return Table("Coverage of the data set", "split", {"": heads}, rows)


def missing(run: Run) -> Table:
    """Every missing video by name, its splits and the reason."""
    splits: dict[str, list[str]] = {}
    for split, queries in run.index.queries.items():
        for vid in dict.fromkeys(row.vid for row in queries):
            splits.setdefault(vid, []).append(split)
    return Table(
        "Missing videos",
        "video",
        {"": ("split", "reason")},
        {
            vid: _texts(", ".join(splits.get(vid, [])), reason)
            for vid, reason in sorted(run.frames.failed.items())
        },
    )


def parameters(run: Run) -> Table:
    """Every parameter under the name that `dvc exp run -S` takes."""
    sections = run.params.model_dump()
    rows = {
        f"{section}.{name}": _texts("null" if value is None else value)
        for section, values in sections.items()
        for name, value in values.items()
    }
    return Table("All parameters", "parameter", {"": ("value",)}, rows)


def _texts(*values: object) -> list[Cell]:
    return [Cell(str(value)) for value in values]


def _spelt(level: str) -> str:
    return "Very Good" if level == "VeryGood" else level


def seed_tables(experiments: Sequence[Experiment]) -> list[Table]:
    """Mean and standard deviation over the seeds of the workspace's run; none for a single seed.

    Args:
        experiments: finished runs as DVC knows them, the workspace among them.
    """
    workspace = next((each for each in experiments if each.name == "workspace"), None)
    if workspace is None:
        return []

    def setting(experiment: Experiment) -> tuple[str, dict[str, str]]:
        free = {"train.blocks": "", "train.seed": ""}
        return experiment.data, experiment.params | free

    alike = [each for each in experiments if setting(each) == setting(workspace)]
    averages = lines(comparable(alike))
    return [
        Table(
            caption=f"{split}, Very Good: mean ± standard deviation over seeds, percent",
            corner="variant",
            groups={"": [*METRICS, "runs"]},
            rows={
                line.label: _texts(*(line.cell(metric) for metric in METRICS), line.runs)
                for line in averages
                if line.split == split
            },
        )
        for split in workspace.figures
        if any(line.runs > 1 for line in averages if line.split == split)
    ]
