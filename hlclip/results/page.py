"""The report: everything about a finished run on one HTML page."""

import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hlclip.evaluation import RULES, Benchmark
from hlclip.formats import pooled
from hlclip.results import page_charts as charts
from hlclip.results import page_tables as tables
from hlclip.results.page_queries import FIRST_IOU, HIGHLIGHT_AP, MOMENT_AP, SCALE, pack_split
from hlclip.results.run import Run
from hlclip.results.thumbnails import Thumbnails, make_thumbnails
from hlclip.system import write_whole

TITLES = {
    "loss": "Training loss",
    "val_mAP": "Validation mAP (%)",
    "val_HIT@1": "Validation HIT@1 (%)",
}
"""Column of the training history -> title of its chart."""


def write_report(
    run: Run, path: Path, *, store: Path, thumbnails: int, further: Sequence[tables.Table] = ()
) -> Thumbnails:
    """Write the report whole or not at all; the same run and store give the same bytes.

    Args:
        store: root of the store, for thumbnails; frames may have been deleted.
        thumbnails: number of queries with pictures; about 10 kB for each query.
        further: tables shown below the figures of the run, for example over several seeds.
    """
    pictures = make_thumbnails(run, store=store, queries=thumbnails)
    page = render(run, pictures, further=further)
    write_whole(path, page.encode())
    return pictures


def render(run: Run, thumbnails: Thumbnails, *, further: Sequence[tables.Table] = ()) -> str:
    """The page as HTML. All text of the run is escaped, also inside the embedded JSON."""
    environment = Environment(
        loader=PackageLoader("hlclip.results"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment.get_template("page.html").render(
        run=run,
        version=version("hlclip"),
        headlines=_headlines(run),
        levels=run.benchmark.kind == "levels",
        metric=_metric(run.benchmark),
        protocol=", ".join(part for part in (run.benchmark.title, run.protocol) if part),
        measures=_measures(run),
        meanings=RULES,
        summary=[*tables.summary(run), *further],
        titles=TITLES,
        reliability=_reliability(run),
        errors=tables.errors(run),
        coverage=tables.coverage(run),
        missing=tables.missing(run),
        thumbnails=thumbnails,
        colours=dict(zip(run.variants, charts.COLOURS, strict=False)),
        data=_data(run, thumbnails),
        vega=_vega(),
    )


def _headlines(run: Run) -> list[dict[str, Any]]:
    """Headline figures of the last variant with SP on each split, and what they gain or lose."""
    first, last = run.variants[0], run.variants[-1]
    headlines = []
    for split, part in run.splits.items():
        if not part.figures:
            continue
        figures = {name: run.benchmark.headline(each) for name, each in part.figures.items()}
        shown = figures[pooled(last)]
        before = {"from pooling": figures[last]}
        if first != last:
            before = {"from fine-tuning": figures[pooled(first)], **before}
        gains = {
            name: {metric: figure - other[metric] for metric, figure in shown.items()}
            for name, other in before.items()
        }
        of = "Very Good" if run.benchmark.kind == "levels" else run.benchmark.group
        headlines.append(
            {"split": split, "name": pooled(last), "of": of, "figures": shown, "gains": gains}
        )
    return headlines


def _metric(benchmark: Benchmark) -> str:
    """The metric by which epochs and windows are compared, in words."""
    before = {"levels": "Very Good ", "domains": "", "moments": "MR-"}[benchmark.kind]
    return f"{before}{benchmark.metric}"


def _measures(run: Run) -> list[tuple[str, str, str]]:
    """What makes a query one of the best or worst: heading, name of the order, explanation."""
    highlights = (
        "By highlights",
        HIGHLIGHT_AP,
        "Average precision at Very Good. Queries for which no annotator rated a clip very good are "
        "left out."
        if run.benchmark.kind == "levels"
        else "Average precision. Queries without a highlight are left out.",
    )
    moments = (
        "By moments",
        MOMENT_AP,
        "Average precision of the moments, of equals by the IoU of the first moment.",
    )
    measured = any(part.moments for part in run.splits.values())
    if run.benchmark.kind == "moments":
        return [moments]
    return [highlights, moments] if measured else [highlights]


def _data(run: Run, thumbnails: Thumbnails) -> dict[str, Any]:
    """The data for the page's script."""
    specs = {
        column: charts.over_epochs(run.history, column, title=title, kept_epoch=run.kept_epoch)
        for column, title in TITLES.items()
        if any(column in row for row in run.history)
    }
    for mode, rows in run.by_width.items():
        specs[f"pooling-{mode}"] = charts.over_widths(
            rows,
            run.variants,
            run.widths if mode == run.params.pool.mode else {},
            title=f"{'sigma' if mode == 'gaussian' else 'window'} (clips)",
        )
    for name, rows in _reliability(run).items():
        specs[name] = charts.reliability(rows, run.variants)
    rated = next((part.scores.rows for part in run.splits.values() if part.precision), [])
    annotators = rated[0].annotators if rated else 0
    rating_scale = rated[0].rating_scale if rated else (0, 1)
    return {
        "clipSeconds": run.index.clip_seconds,
        "scale": SCALE,
        "orders": {"highlights": HIGHLIGHT_AP, "moments": MOMENT_AP, "first": FIRST_IOU},
        "variants": run.variants,
        "charts": specs,
        "annotators": annotators,
        "lowest": rating_scale[0],
        "saliency": charts.saliency(
            run.variants,
            annotators=annotators,
            rating_scale=rating_scale,
            expected=bool(run.maps),
        ),
        "maps": run.maps,
        "splits": {
            split: {**pack_split(run, split), "thumbnails": thumbnails.pictures.get(split, {})}
            for split in run.splits
        },
    }


def _reliability(run: Run) -> dict[str, list[dict[str, str]]]:
    """Name of the chart of each split and scale -> its rows."""
    charts: dict[str, list[dict[str, str]]] = {}
    for row in run.reliability:
        charts.setdefault(f"{row['split']}: {row['scale']}", []).append(row)
    return charts


@cache
def _vega() -> Markup:
    """JavaScript of Vega, Vega-Lite and Vega-Embed, in the version that Altair writes specs for."""
    number = re.match(r"v(\d+\.\d+)", alt.SCHEMA_VERSION)
    assert number is not None
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", number[1])
    assert "</script" not in bundle
    return Markup(bundle)  # noqa: S704 (the library's own script)
