"""The report's tables that need computing; the template loops over the others itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hlclip.formats import LEVELS
from hlclip.results.experiments import METRICS, WORKSPACE, Experiment
from hlclip.results.run import Run
from hlclip.results.table import comparable, lines


@dataclass(frozen=True)
class Cell:
    text: str
    marked: bool = False
    """The best cell of its column, or the value in use."""


@dataclass(frozen=True)
class Table:
    """A table with a header column."""

    caption: str
    corner: str
    """Head of the header column."""
    groups: Mapping[str, Sequence[str]]
    """Head over several columns -> heads of the columns; `""` for columns without a group."""
    rows: Mapping[str, Sequence[Cell]]
    """Head of the row -> a cell for each column."""

    def transposed(self) -> "Table":
        """The same with a row for each column, for narrow screens."""
        heads = [
            f"{group} {name}".strip() for group, names in self.groups.items() for name in names
        ]
        columns = zip(*self.rows.values(), strict=True)
        rows = dict(zip(heads, columns, strict=True))
        return Table(self.caption, "metric", {"": list(self.rows)}, rows)


def summary(run: Run) -> list[Table]:
    """Metrics of each variant: a table for each split with ground truth."""
    levels = list(reversed(LEVELS))
    tables = []
    for split, part in run.splits.items():
        measured = {
            name: [
                *(figures[level][metric] for level in levels for metric in METRICS),
                *figures.get("moments", {}).values(),
            ]
            for name, figures in part.figures.items()
        }
        if not measured:
            continue
        moments = next(iter(part.figures.values())).get("moments", {})
        best = [max(column) for column in zip(*measured.values(), strict=True)]
        tables.append(
            Table(
                caption=f"{split}: {len(part.scores.rows)} queries, percent",
                corner="variant",
                groups={level.replace("VeryGood", "Very Good"): METRICS for level in levels}
                | ({"Moments": list(moments)} if moments else {}),
                rows={
                    name: [Cell(f"{f:.2f}", f == top) for f, top in zip(line, best, strict=True)]
                    for name, line in measured.items()
                },
            )
        )
    return tables


def errors(run: Run) -> list[Table]:
    """How far the maps from scores to ratings are off, a table for each split."""
    heads = ("MAE of the rating", "ECE of Very Good (%)")
    return [
        Table(
            caption=f"{split}: errors of the expected ratings",
            corner="variant",
            groups={"": heads},
            rows={
                n: _texts(f"{each['MAE']:.2f}", f"{each['ECE']:.2f}") for n, each in part.items()
            },
        )
        for split, part in run.errors.items()
    ]


def coverage(run: Run) -> Table:
    """Queries, videos and missing videos of each split of the data set."""
    rows = {}
    for split, queries in run.index.queries.items():
        clips = {row.vid: row.clips for row in queries}
        absent = clips.keys() & run.frames.failed.keys()
        items = run.frames.items
        short = sum(vid in items and items[vid].length < count for vid, count in clips.items())
        without_video = sum(row.vid in absent for row in queries)
        rows[split] = _texts(len(queries), len(clips), len(absent), without_video, short)
    heads = ("queries", "videos", "missing videos", "queries without video", "short videos")
    return Table("Coverage of the data set", "split", {"": heads}, rows)


def missing(run: Run) -> Table:
    """Every missing video with its splits and the reason."""
    vids = {split: {row.vid for row in rows} for split, rows in run.index.queries.items()}
    rows = {
        vid: _texts(", ".join(split for split in vids if vid in vids[split]), reason)
        for vid, reason in sorted(run.frames.failed.items())
    }
    return Table("Missing videos", "video", {"": ("split", "reason")}, rows)


def _texts(*values: object) -> list[Cell]:
    return [Cell(str(value)) for value in values]


def seed_tables(experiments: Sequence[Experiment]) -> list[Table]:
    """Mean and standard deviation over the seeds of the run in the workspace, if it has several."""
    workspace = next((each for each in experiments if each.name == WORKSPACE), None)
    if workspace is None:
        return []

    def setting(experiment: Experiment) -> tuple[str, dict[str, str]]:
        free = {"train.blocks": "", "train.seed": ""}
        return experiment.data, experiment.params | free

    alike = [each for each in experiments if setting(each) == setting(workspace)]
    averages = lines(comparable(alike)[0])
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
