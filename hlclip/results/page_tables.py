"""The report's tables that need computing; the template loops over the others itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hlclip.evaluation import Groups
from hlclip.formats import LEVELS
from hlclip.results.domains import SD, columns
from hlclip.results.experiments import WORKSPACE, Experiment
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
    """Metrics of each variant and reference row: a table for each split with ground truth."""
    title = ", ".join(part for part in (run.benchmark.title, run.protocol) if part)
    tables = []
    for split, part in run.splits.items():
        measured = {name: _groups(run, title, figures) for name, figures in part.figures.items()}
        if not measured:
            continue
        heads = {group: list(figures) for group, figures in next(iter(measured.values())).items()}
        best = {
            (group, head): max(figures[group][head] for figures in measured.values())
            for group, names in heads.items()
            for head in names
        }
        rows = {
            name: [
                Cell(f"{figures[group][head]:.2f}", figures[group][head] == top)
                for (group, head), top in best.items()
            ]
            for name, figures in measured.items()
        }
        for name, groups in part.references.items():
            found = columns(run.benchmark, groups, "VeryGood")
            sds = [f" ± {found[head + SD]:.2f}" if head + SD in found else "" for _, head in best]
            means = [f"{found[head]:.2f}" for _, head in best]
            rows[name] = _texts(*(mean + sd for mean, sd in zip(means, sds, strict=True)))
        named = split if run.benchmark.kind == "levels" else f"{title}, {split}"
        caption = f"{named}: {len(part.scores.rows)} queries, percent"
        tables.append(Table(caption, "variant", heads, rows))
    return tables


def _groups(run: Run, title: str, figures: Groups) -> Groups:
    """Head over several columns -> head of the column -> percent."""
    if run.benchmark.kind != "levels":
        return {title: columns(run.benchmark, figures, "VeryGood")}
    groups = {level.replace("VeryGood", "Very Good"): figures[level] for level in reversed(LEVELS)}
    return groups | ({"Moments": figures["moments"]} if "moments" in figures else {})


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
    benchmark = workspace.benchmark
    of = "Very Good" if benchmark.kind == "levels" else benchmark.group
    tables = []
    for split, variants in workspace.figures.items():
        metrics = list(benchmark.headline(next(iter(variants.values()))))
        shown = [line for line in averages if line.split == split and line.runs]
        if any(line.runs > 1 for line in shown):
            caption = f"{split}, {of}: mean ± standard deviation over seeds, percent"
            rows = {
                line.label: _texts(*(line.cell(metric) for metric in metrics), line.runs)
                for line in shown
            }
            tables.append(Table(caption, "variant", {"": [*metrics, "runs"]}, rows))
    return tables
