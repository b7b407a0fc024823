"""The report: everything about a finished run on one HTML page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hlclip.formats import pooled
from hlclip.results import page_charts as charts
from hlclip.results import page_tables as tables
from hlclip.results.page_queries import SCALE, pack_split
from hlclip.results.run import Run
from hlclip.results.thumbnails import Thumbnails, make_thumbnails
from hlclip.system import write_whole


@dataclass(frozen=True)
class Figure:
    """A chart with its title and description."""

    name: str
    title: str
    spec: charts.Spec
    text: str
    """Description for screen readers, with the numbers."""


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
    training, windows = _training(run), _windows(run)
    figures = [*training, *windows]
    return environment.get_template("page.html").render(
        run=run,
        title=f"{run.variants[-1]} on {run.params.data.root}",
        version=version("hlclip"),
        facts=_facts(run),
        headlines=_headlines(run),
        summary=[*tables.summary(run), *further],
        training=training,
        history=tables.history(run),
        windows=windows,
        window_tables=[tables.over_windows(run, split) for split in run.by_window],
        coverage=tables.coverage(run),
        missing=tables.missing(run),
        parameters=tables.parameters(run),
        thumbnails=thumbnails,
        colours=dict(zip(run.variants, charts.COLOURS, strict=False)),
        data=_data(run, figures, thumbnails),
        vega=_vega(),
    )


def _training(run: Run) -> list[Figure]:
    titles = {
        "loss": "Training loss (mean squared error)",
        "val_mAP": "Validation mAP (%)",
        "val_HIT@1": "Validation HIT@1 (%)",
    }
    figures = []
    for column, title in titles.items():
        values = [row[column] for row in run.history if column in row]
        if values:
            spec = charts.over_epochs(run.history, column, title=title, kept_epoch=run.kept_epoch)
            text = (
                f"{title} over {len(values)} epochs: {values[0]:.4g} after the first, "
                f"{values[-1]:.4g} after the last, lowest {min(values):.4g}, highest "
                f"{max(values):.4g}. The weights of epoch {run.kept_epoch} were kept."
            )
            figures.append(Figure(column, title, spec, text))
    return figures


def _windows(run: Run) -> list[Figure]:
    figures = []
    for split, rows in run.by_window.items():
        texts = []
        for name in run.variants:
            best = max((row for row in rows if row["variant"] == name), key=lambda row: row["mAP"])
            texts.append(
                f"{name} is best at window {best['window']} with {best['mAP']:.2f}, "
                f"{run.windows[name]} is used"
            )
        spec = charts.over_windows(rows, run.variants, run.windows)
        title = f"{split}: Very Good mAP (%) over the pooling window"
        figures.append(Figure(f"window-{split}", title, spec, f"{title}: {'; '.join(texts)}."))
    return figures


def _facts(run: Run) -> dict[str, str]:
    """The parameters that usually differ between runs, in words."""
    p = run.params
    scale = "the cosine itself" if p.train.scale == "literal" else f"{p.train.scale} scale and bias"
    window = ", ".join(f"{name} {size}" for name, size in run.windows.items())
    sizes = set(run.windows.values())
    facts = {
        "model": p.encoder.model + (f", {p.encoder.pretrained}" if p.encoder.pretrained else ""),
        "data": p.data.root,
        "trained": f"last {p.train.blocks} of {p.encoder.cached_blocks} cached blocks, heads: "
        f"{p.train.heads}",
        "target": f"{p.train.target} rating, regressed by {scale}",
        "steps": f"{p.train.epochs} epochs of batches of {p.train.batch}, lr {p.train.lr:g} "
        f"({p.train.schedule}), seed {p.train.seed}",
        "kept": f"epoch {run.kept_epoch} ({p.train.select})",
        "pooling": f"{p.pool.mode} of {sizes.pop() if len(sizes) == 1 else window} clips, border: "
        f"{p.pool.border}",
    }
    if run.kept_epoch is None:
        facts = {name: facts[name] for name in ("model", "data", "pooling")}
    return facts


def _headlines(run: Run) -> list[dict[str, Any]]:
    """VeryGood figures of the last variant with SP on each split, and the gains in them."""
    first, last = run.variants[0], run.variants[-1]
    headlines = []
    for split, part in run.splits.items():
        if not part.figures:
            continue
        maps = {name: figures["VeryGood"]["mAP"] for name, figures in part.figures.items()}
        gains = {"from pooling": maps[pooled(last)] - maps[last]}
        if first != last:
            gains = {"from fine-tuning": maps[pooled(last)] - maps[pooled(first)], **gains}
        figures = part.figures[pooled(last)]["VeryGood"]
        headlines.append({"split": split, "name": pooled(last), **figures, "gains": gains})
    return headlines


def _data(run: Run, figures: Sequence[Figure], thumbnails: Thumbnails) -> dict[str, Any]:
    """The data for the page's script."""
    rated = any(part.precision for part in run.splits.values())
    return {
        "clipSeconds": run.index.clip_seconds,
        "scale": SCALE,
        "variants": run.variants,
        "charts": {figure.name: figure.spec for figure in figures},
        "saliency": charts.saliency(run.variants, rated=rated),
        "splits": {
            split: {**pack_split(run, split), "thumbnails": thumbnails.pictures.get(split, {})}
            for split in run.splits
        },
    }


def _vega() -> Markup:
    """JavaScript of Vega, Vega-Lite and Vega-Embed, in the version that Altair writes specs for."""
    number = re.match(r"v(\d+\.\d+)", alt.SCHEMA_VERSION)
    assert number is not None
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", number[1])
    assert "</script" not in bundle
    return Markup(bundle)  # noqa: S704 (the library's own script)
