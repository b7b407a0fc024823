"""The page: a visitor gives a video and queries, and sees curves and moments to click."""

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd
from gradio.themes import Default
from gradio_client.utils import is_http_url_like

from hlclip.evaluation import RULES, Rule, pool
from hlclip.highlights import WINDOW, Curve, Moment, best_moments, clock
from hlclip.system import HlclipError

_DELETE_CACHE = (360, 3600)
"""Seconds between Gradio's checks, and the age in seconds at which it deletes an upload."""

APPEARANCE: dict[str, Any] = {
    # System fonts: those of Gradio's themes are loaded from Google.
    "theme": Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    # Hides the trimming tool, which is loaded from a content delivery network.
    "css": """
        #film video { max-height: 55vh; object-fit: contain; }
        #film [aria-label="Trim video to selection"],
        #film [aria-label="Reset video to initial value"] { display: none; }
        .label-wrap > span { text-align: left; }
        .moments { gap: 4px; }
        .moments button {
            justify-content: flex-start; white-space: pre;
            font-weight: normal; font-variant-numeric: tabular-nums;
        }
    """,
    # Makes the browser refuse everything that Gradio's code would load from another host.
    "head": """<meta http-equiv="Content-Security-Policy" content="default-src 'self' data: blob:
        'unsafe-inline' 'unsafe-eval'">""",
}
"""Arguments of `launch`."""

_WAITING = "Curves and moments appear here."
_FOUND = (
    "Click a moment to play it. Scores are cosines: they compare moments of one query; a score "
    "alone means nothing."
)
_RATED = (
    " *3.1 of 4* is the rating that people are expected to give, on videos like those on which the "
    "model was measured, with a pooling window of {windows}."
)
_EXAMPLES = ["a sunset over the sea", "people dancing", "a person speaks to the camera"]

_PLAY = """() => {
    const video = document.querySelector("#film video");
    if (!video) return;
    video.currentTime = %s;
    video.scrollIntoView({ behavior: "smooth", block: "nearest" });
    video.play().catch(() => {});
}"""
"""JavaScript that runs when a moment is clicked; %s is the second to play from."""


def build_page(
    score: Callable[[str | None, str], list[Curve]],
    *,
    max_mb: int,
    max_minutes: float,
    max_queries: int,
) -> gr.Blocks:
    """Build the page; `score` makes a curve of an uploaded file for each line of a text."""

    def find(
        video: str | None,
        text: str,
        progress: gr.Progress = gr.Progress(track_tqdm=True),  # noqa: B008 (Gradio reads the default)
    ) -> tuple[list[Curve], str]:
        try:
            curves = score(video, text)
            windows = " or ".join(map(str, sorted(curves[0].maps)))
            return curves, _FOUND + (_RATED.format(windows=windows) if windows else "")
        except HlclipError as error:
            raise gr.Error(html.escape(str(error)), print_exception=False) from error

    with gr.Blocks(title="hlclip", analytics_enabled=False, delete_cache=_DELETE_CACHE) as page:
        state = gr.State([])
        gr.Markdown(
            "# Find the moments of a video\n"
            f"Up to {max_mb} MB and {max_minutes:g} minutes. The video goes to the computer that "
            "serves this page and nowhere else, and is deleted after about "
            f"{_DELETE_CACHE[1] // 60} minutes."
        )
        with gr.Row():
            with gr.Column():
                film = gr.Video(label="Video", sources=["upload"], elem_id="film")
                _refuse_urls(film)
                queries = gr.Textbox(
                    label=f"Queries, one per line, up to {max_queries}",
                    placeholder="a dog on the beach",
                    lines=2,
                    max_lines=max_queries,
                    max_length=2000,
                )
                gr.Examples(_EXAMPLES, queries, label="For example", api_visibility="private")
                with gr.Accordion("Advanced", open=False):
                    top = gr.Slider(1, 20, value=5, step=1, label="Moments a query, at most")
                    window = gr.Slider(
                        1, 15, value=WINDOW, step=2, label="Pooling window, in clips of 2 s"
                    )
                    rule = gr.Radio(
                        [(f"{name}: {meaning}", name) for name, meaning in RULES.items()],
                        value="consensus",
                        label="A moment is",
                    )
                button = gr.Button("Find moments", variant="primary")
            with gr.Column():
                status = gr.Markdown(_WAITING, min_height=64)

                # Not in the queue, which may be full when an answer is to be shown.
                @gr.render(inputs=[state, top, window, rule], queue=False, show_progress="hidden")
                def show(curves: list[Curve], top: int, window: int, rule: Rule) -> None:
                    for curve in curves:
                        moments = best_moments(curve, top=top, window=window, rule=rule)
                        with gr.Accordion(curve.query):
                            _show_curve(curve, moments, window)

        gr.on(
            [button.click, queries.submit],
            find,
            [film, queries],
            [state, status],
            show_progress_on=status,
            api_visibility="private",
        )
        gr.on(
            [film.upload, film.clear],
            lambda: ([], _WAITING),
            None,
            [state, status],
            concurrency_limit=None,  # waits for no film; outside the queue nothing is drawn again
            show_progress="hidden",
            api_visibility="private",
        )
    return page.queue(default_concurrency_limit=1, max_size=16)


def _show_curve(curve: Curve, moments: list[Moment], window: int) -> None:
    table = _table(curve, moments, window)
    gr.LinePlot(
        table,
        x=table.columns[1],
        y="saliency",
        color="part",
        color_map={"video": "#9ca3af", "moments": "#ea580c"},
        colors_in_legend=[],
        height=220,
    )
    spans = [f"{clock(m.start_seconds)} - {clock(m.end_seconds)}" for m in moments]
    if not moments:
        gr.Markdown("Nothing found: no clip is expected to be rated 1 of 4 or better.")
        return
    width = max(map(len, spans))
    with gr.Column(elem_classes="moments"):
        for rank, (span, moment) in enumerate(zip(spans, moments, strict=True), start=1):
            # Figure spaces are as wide as digits, which aligns the scores.
            text = f"{rank:\u2007>2}   {span:\u2007<{width}}   {moment.score:.4f}   {moment.worth}"
            gr.Button(text.rstrip(), size="md").click(None, js=_PLAY % moment.start_seconds)


def _table(curve: Curve, moments: list[Moment], window: int) -> pd.DataFrame:
    """Rows (part, time, saliency): the pooled curve, and above it a line for each moment."""
    pooled = pool(curve.saliency, window)
    middles = (np.arange(len(pooled)) + 0.5) * curve.clip_seconds
    points = [("video", *point) for point in zip(middles, pooled, strict=True)]
    for moment in moments:
        inside = middles[moment.clips.start : moment.clips.stop]
        times = [moment.start_seconds, *inside, moment.end_seconds]
        heights = np.interp(times, middles, pooled)
        points += [("moments", *point) for point in zip(times, heights, strict=True)]
        points.append(("moments", moment.end_seconds, None))  # a gap after the line
    unit, seconds = ("minutes", 60) if curve.duration > 180 else ("seconds", 1)
    table = pd.DataFrame(points, columns=["part", unit, "saliency"])
    table[unit] /= seconds
    return table


def _refuse_urls(film: gr.Video) -> None:
    """Accept only uploaded files: Gradio would fetch a URL that a forged request names."""
    move_to_cache = film.async_move_resource_to_block_cache

    async def move_file_to_cache(url_or_file_path: str | Path | None) -> str | None:
        if is_http_url_like(url_or_file_path):
            raise gr.Error("Only uploaded files are taken.", print_exception=False)
        return await move_to_cache(url_or_file_path)

    film.async_move_resource_to_block_cache = move_file_to_cache
