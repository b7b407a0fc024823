"""The page: a visitor gives a video and queries, and sees curves and moments to click."""

import html
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes import Default
from gradio_client.utils import is_http_url_like

from hlclip.demo.annotate_tab import annotate_tab, template
from hlclip.demo.answer import answer_html, files_html
from hlclip.demo.ratings import Annotating
from hlclip.evaluation import RULES, Rule
from hlclip.highlights import MIN_RATING, WINDOW, Answer, Curve, Moment, best_moments
from hlclip.system import HlclipError

_DELETE_CACHE = (360, 3600)
"""Seconds between Gradio's checks, and the age in seconds at which it deletes an upload."""

APPEARANCE: dict[str, Any] = {
    # System fonts: those of Gradio's themes are loaded from Google.
    "theme": Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    "css": template("page.css"),
    # Makes the browser refuse everything that Gradio's code would load from another host.
    "head": """<meta http-equiv="Content-Security-Policy" content="default-src 'self' data: blob:
        'unsafe-inline' 'unsafe-eval'">""",
}
"""Arguments of `launch`."""

_WAITING = "Curves and moments appear here."
_FOUND = (
    "Click a moment to play it, or the chart to play from there. Scores are cosines: they compare "
    "moments of one query; a score alone means nothing."
)
_RATED = (
    " *3.1 of 4* is the rating that people are expected to give, on videos like those on which the "
    "model was measured, with a pooling window of {windows}."
)
_DOWNLOAD = "() => setTimeout(() => document.querySelector('#made').click(), 100)"
_EXAMPLES = ["a sunset over the sea", "people dancing", "a person speaks to the camera"]


def build_page(
    score: Callable[[str | None, str], list[Curve]],
    cut: Callable[[Path, Sequence[Moment]], Path],
    *,
    max_mb: int,
    max_minutes: float,
    max_queries: int,
    annotating: Annotating | None = None,
) -> gr.Blocks:
    """Build the page.

    Args:
        score: makes a curve of an uploaded file for each line of a text.
        cut: makes a film of an upload's moments, in a folder of its own that is then removed.
        annotating: what the second tab shows; None is a page without tabs.
    """
    with gr.Blocks(title="hlclip", analytics_enabled=False, delete_cache=_DELETE_CACHE) as page:
        limits = f"Up to {max_mb} MB and {max_minutes:g} minutes."
        if annotating is None:
            _find_tab(score, cut, limits, max_queries)
        else:
            with gr.Tabs():
                with gr.Tab("Find moments"):
                    _find_tab(score, cut, limits, max_queries)
                with gr.Tab("Annotate"):
                    annotate_tab(annotating)
    return page.queue(default_concurrency_limit=1, max_size=16)


def _find_tab(
    score: Callable[[str | None, str], list[Curve]],
    cut: Callable[[Path, Sequence[Moment]], Path],
    limits: str,
    max_queries: int,
) -> None:
    def find(
        video: str | None,
        text: str,
        progress: gr.Progress = gr.Progress(track_tqdm=True),  # noqa: B008 (Gradio reads the default)
    ) -> tuple[list[Curve], str]:
        with _in_words():
            curves = score(video, text)
            windows = " or ".join(map(str, sorted(curves[0].maps)))
            return curves, _FOUND + (_RATED.format(windows=windows) if windows else "")

    state = gr.State([])
    gr.Markdown(
        "# Find the moments of a video\n"
        f"{limits} The video goes to the computer that serves this page and nowhere else, and is "
        f"deleted after about {_DELETE_CACHE[1] // 60} minutes."
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
                answers: list[Answer] = []
                for number, curve in enumerate(curves, 1):
                    ranked = best_moments(curve, top=top, window=window, rule=rule, min_rating=0)
                    found = [moment for moment in ranked if moment.reaches(None, MIN_RATING)]
                    left = ranked[len(found) :]
                    answers.append(Answer(number, curve.video.stem, curve, found, left_out=left))
                for answer in answers:
                    with gr.Accordion(answer.curve.query):
                        gr.HTML(
                            answer_html(answer.curve, answer.moments, window),
                            js_on_load=template("answer.js"),
                            apply_default_css=False,
                        )
                if answers:
                    _downloads(answers, cut, window)

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


def _downloads(
    answers: Sequence[Answer], cut: Callable[[Path, Sequence[Moment]], Path], window: int
) -> None:
    """Buttons for the files of `hlclip highlight`, and for a film that is made when it is asked."""
    moments = [moment for answer in answers for moment in answer.moments]
    # As of `hlclip highlight --cut`.
    moments = [moment for moment in moments if moment.score >= 0] or moments

    def make() -> Iterator[str]:
        with _in_words():
            film = cut(answers[0].curve.video, moments)
        try:
            yield str(film)  # Gradio copies it to the uploads, which it deletes after a while
        finally:
            shutil.rmtree(film.parent, ignore_errors=True)

    with gr.Row(elem_classes="downloads"):
        gr.HTML(files_html(answers, window), apply_default_css=False, scale=0, min_width=220)
        made = gr.DownloadButton("Film", visible="hidden", elem_id="made")
        button = gr.Button("Film of the moments", elem_id="make", scale=0, visible=bool(moments))
        button.click(make, None, made, show_progress_on=button, api_visibility="private").success(
            None, js=_DOWNLOAD
        )


@contextmanager
def _in_words() -> Iterator[None]:
    """Show what was refused as a notice on the page."""
    try:
        yield
    except HlclipError as error:
        raise gr.Error(html.escape(str(error)), print_exception=False) from error


def _refuse_urls(film: gr.Video) -> None:
    """Accept only uploaded files: Gradio would fetch a URL that a forged request names."""
    move_to_cache = film.async_move_resource_to_block_cache

    async def move_file_to_cache(url_or_file_path: str | Path | None) -> str | None:
        if is_http_url_like(url_or_file_path):
            raise gr.Error("Only uploaded files are taken.", print_exception=False)
        return await move_to_cache(url_or_file_path)

    film.async_move_resource_to_block_cache = move_file_to_cache
