"""What the page shows of a query: the chart of `hlclip highlight --plot`, and its moments."""

import base64
import html
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hlclip.evaluation import pool
from hlclip.highlights import (
    Answer,
    Curve,
    Moment,
    ScoreFiles,
    clock,
    data_url,
    moment_pictures,
)
from hlclip.highlights.curve_axes import Scale, chart_scales
from hlclip.video import VideoError

_PICTURE_HEIGHT = 96


def answer_html(curve: Curve, moments: Sequence[Moment], window: int) -> str:
    """The chart and the moments of a query; a click on either plays the video there."""
    if not moments:
        cards = "Nothing found: no clip is expected to be rated 1 of 4 or better."
        return f'{_chart(curve, moments, window)}<p class="moments">{cards}</p>'
    cards = "".join(
        f'<button data-second="{moment.start_seconds}"{_doubt(moment)}>{picture}<b>{rank}</b>'
        f"<span>{clock(moment.start_seconds)} - {clock(moment.end_seconds)}</span>"
        f"<small>{' · '.join(filter(None, (f'{moment.score:.4f}', moment.worth)))}</small></button>"
        for rank, (moment, picture) in enumerate(
            zip(moments, _pictures(curve, tuple(moments), window), strict=True), 1
        )
    )
    return f'{_chart(curve, moments, window)}<div class="moments">{cards}</div>'


def files_html(answers: Sequence[Answer], window: int) -> str:
    """Links that hold the files of `hlclip highlight`."""
    with TemporaryDirectory() as folder:
        files = ScoreFiles(Path(folder), window=window)
        files.answers += answers
        files.write()
        links = [
            f'<a download="{path.name}" href="data:{kind};base64,'
            f'{base64.b64encode(path.read_bytes()).decode()}">{path.name}</a>'
            for path, kind in zip(files.paths, ("application/jsonl", "text/csv"), strict=True)
        ]
    return f'<div class="files">{"".join(links)}</div>'


@lru_cache(maxsize=64)
def _pictures(curve: Curve, moments: tuple[Moment, ...], window: int) -> list[str]:
    """An image of each moment; an empty one where the upload is gone, or cannot be decoded."""
    try:
        drawn = moment_pictures(curve, moments, window=window, height=_PICTURE_HEIGHT)
    except VideoError:
        return ["<i></i>" for _ in moments]
    return [f'<img alt="" src="{data_url(picture)}">' for picture in drawn]


def _chart(curve: Curve, moments: Sequence[Moment], window: int) -> str:
    time, value = chart_scales(curve, moments, window=window)

    def x(seconds: float) -> str:
        # The last clip may end after its video, where the axis ends.
        return f"{100 * _share(time, min(seconds, curve.duration)):.3f}"

    def y(cosine: float) -> str:
        return f"{100 * (1 - _share(value, cosine)):.3f}"

    edges = np.arange(len(curve.saliency) + 1) * curve.clip_seconds
    pooled = pool(curve.saliency, window)
    steps = " ".join(
        f"{x(edge)},{y(cosine)}"
        for start, end, cosine in zip(edges, edges[1:], curve.saliency, strict=False)
        for edge in (start, end)
    )
    line = " ".join(
        f"{x(middle)},{y(mean)}"
        for middle, mean in zip(edges + curve.clip_seconds / 2, pooled, strict=False)
    )
    spans = [(float(x(m.start_seconds)), float(x(m.end_seconds))) for m in moments]
    shades = "".join(
        f'<rect x="{start}" width="{end - start:.3f}" height="100"{_doubt(moment)}/>'
        for (start, end), moment in zip(spans, moments, strict=True)
    )
    numbers = _labels(
        "number", "left", (((s + e) / 2, str(n)) for n, (s, e) in enumerate(spans, 1))
    )
    below = _labels("time", "left", ((float(x(at)), label) for at, label in time.ticks.items()))
    left = _labels("value", "top", ((float(y(at)), label) for at, label in value.ticks.items()))
    legend = "clip" + (f" <b>&#9473;</b> mean of {window} clips" if window > 1 else "")
    return f"""<figure class="chart">
<figcaption>{curve.measure} <span><i>&#9473;</i> {legend}</span></figcaption>
<div data-seconds="{curve.duration}" role="img"
  aria-label="Scores of the clips for {html.escape(curve.query)}; a click plays the video there">
<svg viewBox="0 0 100 100" preserveAspectRatio="none">{shades}
<polyline class="clips" points="{steps}"/>{f'<polyline points="{line}"/>' if window > 1 else ""}
</svg>{numbers}{below}{left}</div></figure>"""


def _doubt(moment: Moment) -> str:
    return ' class="doubt"' if moment.doubtful else ""


def _share(scale: Scale, number: float) -> float:
    return (number - scale.low) / (scale.high - scale.low)


def _labels(kind: str, side: str, labels: Iterable[tuple[float, str]]) -> str:
    return "".join(
        f'<span class="{kind}" style="{side}:{place:.3f}%">{html.escape(label)}</span>'
        for place, label in labels
    )
