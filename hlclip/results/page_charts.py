"""The report's charts as Vega-Lite, made with Altair.

A chart takes its width, and the colours of text and grid, from the page, so that it follows dark
mode. A variant has the same colour in all charts.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt

from hlclip.formats import unpooled
from hlclip.results.page_queries import MOMENTS

COLOURS = ("#71808f", "#d9622b", "#2f7fb8", "#3c8f5a")
"""Colours of the variants in order, with a contrast of at least 3:1 on the light and dark page."""

RATED = "#2f9e83"
"""Colour of the annotators' ratings."""

TIME: dict[str, Any] = {
    "grid": False,
    "labelExpr": "floor(datum.value / 60) + ':' + format(datum.value % 60, '02d')",
    "labelFlush": False,
    "labelSeparation": 12,
    "tickMinStep": 1,
}
UNLABELLED: dict[str, Any] = {"grid": False, "labels": False, "ticks": False}

Spec = dict[str, Any]


def over_epochs(
    history: Sequence[dict[str, float]], column: str, *, title: str, kept_epoch: int | None
) -> Spec:
    """A column of the training history over the epochs; a ring marks the kept epoch."""
    rows = [
        {"epoch": row["epoch"], column: row[column], "marked": row["epoch"] == kept_epoch}
        for row in history
        if column in row
    ]
    x = alt.X("epoch:Q").title("epoch").axis(tickMinStep=1, format="d", grid=False)
    tooltip = ["epoch:Q", alt.Tooltip(f"{column}:Q").title(title).format(".4~f")]
    base = _base(rows, x, column).encode(tooltip=tooltip)
    return _marked_lines(base, height=200, color=COLOURS[1])


def over_widths(
    rows: Sequence[dict[str, Any]], variants: Sequence[str], widths: dict[str, float], *, title: str
) -> Spec:
    """VeryGood mAP over the width of the pooling; a ring marks that in use of each variant.

    Args:
        widths: variant -> width in use; empty where another mode of pooling is in use.
        title: of the x axis.
    """
    marked = [{**row, "marked": row["width"] == widths.get(row["variant"])} for row in rows]
    x = alt.X("width:Q").title(title)
    x = x.axis(values=sorted({row["width"] for row in rows}), format=".4~g", grid=False)
    scale = alt.Scale(domain=list(variants), range=list(COLOURS[: len(variants)]))
    base = _base(marked, x, "mAP").encode(
        color=alt.Color("variant:N").title(None).scale(scale),
        tooltip=["variant:N", alt.Tooltip("width:Q").title(title), "mAP:Q", "HIT@1:Q"],
    )
    return _marked_lines(base, height=240, rings=bool(widths))


def _base(rows: list[dict[str, Any]], x: alt.X, y: str) -> alt.Chart:
    return alt.Chart(alt.Data(values=rows)).encode(
        x=x.scale(padding=12, nice=False), y=alt.Y(f"{y}:Q").title(None).scale(zero=False)
    )


def _marked_lines(base: alt.Chart, *, height: int, rings: bool = True, **mark: Any) -> Spec:
    """Lines with a dot at each row, and a ring around the dot where `marked` is true."""
    chart = base.mark_line(**mark) + base.mark_point(filled=True, size=40, opacity=1, **mark)
    if rings:  # Vega warns of an axis without data
        ring = base.transform_filter("datum.marked")
        chart += ring.mark_point(size=190, strokeWidth=2, **mark)
    return chart.properties(width="container", height=height).to_dict()


def reliability(rows: Sequence[dict[str, str]], variants: Sequence[str]) -> Spec:
    """What scores promised over what annotators gave, of one split and scale; right on the line.

    Args:
        rows: of outputs/reliability.csv.
        variants: those without SP, in the order of their colours.
    """
    scale = alt.Scale(domain=list(variants), range=list(COLOURS[: len(variants)]))
    values = [
        {"expected": float(row["expected"]), "observed": float(row["observed"])}
        | {"variant": unpooled(row["variant"]), "clips": int(row["clips"])}
        for row in rows
    ]
    base = alt.Chart(alt.Data(values=values)).encode(
        x=alt.X("expected:Q").title("expected"), y=alt.Y("observed:Q").title("given by annotators")
    )
    equal = base.mark_line(color=COLOURS[0], strokeDash=[4, 4]).encode(y="expected:Q")
    drawn = base.encode(
        color=alt.Color("variant:N").title(None).scale(scale),
        tooltip=["variant:N", "expected:Q", "observed:Q", "clips:Q"],
    )
    points = drawn.mark_point(filled=True, opacity=1).encode(
        size=alt.Size("clips:Q").legend(None).scale(range=[30, 300])
    )
    chart = equal + drawn.mark_line(strokeWidth=1) + points
    return chart.properties(width="container", height=240).to_dict()


def saliency(
    variants: Sequence[str], *, annotators: int, rating_scale: tuple[int, int], expected: bool
) -> Spec:
    """Curves of one query before and after pooling; below them ratings and moments.

    The script of the page fills in the width and three data sets for the query that is opened:
    `clips` with `start`, `end`, `middle` in seconds, the score `raw<n>` and the pooled score
    `sp<n>` of variant n, if `expected` also its expected rating `worth<n>`, and `ratings` as text;
    `ratings` with `start`, `end`, `annotator`, `rating`; `peaks` with `middle`, `letter` and the
    pooled score `sp`; `moments` with `start`, `end`, and `row`: `truth` or the rank of a
    prediction. A query without ratings leaves out the panel after the variants.

    Args:
        annotators: 0 if no query has ratings.
        rating_scale: lowest and highest rating.
        expected: the run has maps from scores to ratings.
    """
    panels = [
        _panel(number, name, last=name == variants[-1], expected=expected)
        for number, name in enumerate(variants)
    ]
    strips = [_ratings(annotators, rating_scale)] if annotators else []
    strips.append(_moments(len(variants) - 1))
    chart = alt.vconcat(*panels, *strips, spacing=8).resolve_scale(x="shared")
    return chart.to_dict()


def _panel(
    number: int, variant: str, *, last: bool, expected: bool
) -> alt.LayerChart | alt.FacetChart:
    x = alt.X("middle:Q").title(None).scale(nice=False).axis(**UNLABELLED)
    colour = COLOURS[number % len(COLOURS)]
    clips = alt.Chart(alt.NamedData("clips"))

    def height(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q").title(variant).scale(zero=False).axis(tickCount=4)

    layers: list[alt.Chart] = [
        clips.mark_line(color=colour, strokeWidth=1, opacity=0.65).encode(
            x, height(f"raw{number}")
        ),
        clips.mark_line(color=colour, strokeWidth=2.5).encode(x, height(f"sp{number}")),
    ]
    if last:
        dots = alt.Chart(alt.NamedData("peaks")).encode(x, height("sp"))
        layers += [
            dots.mark_point(color=colour, filled=True, size=70, opacity=1),
            dots.mark_text(dy=-13, fontWeight="bold", color=colour).encode(text="letter:N"),
        ]
    worth = alt.Tooltip(f"worth{number}:Q").title("expected rating, of 4").format(".1f")
    hover = clips.mark_rect(opacity=0).encode(
        x=alt.X("start:Q"),
        x2="end:Q",
        tooltip=[
            alt.Tooltip("time:N"),
            alt.Tooltip(f"raw{number}:Q").title(variant).format(".3f"),
            alt.Tooltip(f"sp{number}:Q").title("pooled").format(".3f"),
            *([worth] if expected else []),
            alt.Tooltip("ratings:N"),
        ],
    )
    return alt.layer(*layers, hover).properties(height=110)


def _ratings(annotators: int, rating_scale: tuple[int, int]) -> alt.Chart:
    return (
        alt.Chart(alt.NamedData("ratings"))
        .mark_rect(color=RATED)
        .encode(
            x=alt.X("start:Q").title(None).axis(**UNLABELLED).scale(nice=False),
            x2="end:Q",
            y=alt.Y("annotator:O")
            .title("rated by")
            .scale(domain=list(range(1, annotators + 1)))
            .axis(ticks=False, domain=False),
            opacity=alt.Opacity("rating:Q")
            .scale(domain=list(rating_scale), range=[0, 1])
            .legend(None),
            tooltip=["annotator:O", "rating:Q"],
        )
        .properties(height=48)
    )


def _moments(number: int) -> alt.Chart:
    """The annotators' moments in the first row, then those of variant `number`, best first."""
    rows = ["truth", *(str(rank + 1) for rank in range(MOMENTS))]
    colours = [RATED, *[COLOURS[number % len(COLOURS)]] * MOMENTS]
    return (
        alt.Chart(alt.NamedData("moments"))
        .mark_bar(height={"band": 0.7})
        .encode(
            x=alt.X("start:Q").title(None).axis(**TIME).scale(nice=False),
            x2="end:Q",
            y=alt.Y("row:N").title("moments").sort(rows).axis(ticks=False, domain=False),
            color=alt.Color("row:N").scale(domain=rows, range=colours).legend(None),
            tooltip=[alt.Tooltip("row:N").title("moment"), alt.Tooltip("time:N")],
        )
        .properties(height={"step": 12})
    )
