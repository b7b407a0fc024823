"""The tab in which visitors rate clips (Gradio)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from hlclip.demo.ratings import Annotating, Asked
from hlclip.formats import CLIP_SECONDS, problems_of
from hlclip.system import HlclipError

_TEMPLATES = Path(__file__).parent / "templates"


def annotate_tab(annotating: Annotating) -> None:
    """Add the tab's content; `serve_videos` must follow when the page is served."""

    def begin(_: object) -> dict[str, Any]:
        videos = [
            {"vid": vid, "clips": film.clips, "url": f"annotate/{number}"}
            for number, (vid, film) in enumerate(annotating.films.items())
        ]
        facts = {"annotators": annotating.annotators, "file": annotating.out.name}
        return {"videos": videos, "seconds": CLIP_SECONDS, **facts}

    functions = [annotating.look, annotating.ask, annotating.rate, annotating.pictures]
    gr.HTML(
        html_template=template("annotate.html"),
        js_on_load=template("annotate.js"),
        elem_id="annotate",
        apply_default_css=False,
        server_functions=[begin, *map(_answering, functions)],
    )


def serve_videos(app: FastAPI, annotating: Annotating) -> None:
    """Serve the videos under numbers, so that a request can name no other file."""
    paths = [film.path for film in annotating.films.values()]

    def video(request: Request) -> Response:
        number = request.path_params["number"]
        return FileResponse(paths[number]) if number < len(paths) else Response(status_code=404)

    # Before Gradio's own routes, one of which takes every path.
    app.router.routes.insert(0, Route("/annotate/{number:int}", video))


def template(name: str) -> str:
    """A file of the page."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _answering(function: Callable[[Asked], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """A function of the page: what it refuses is an answer, in words."""

    def answer(asked: object) -> dict[str, Any]:
        try:
            return function(Asked.model_validate(asked))
        except ValidationError as error:
            return {"error": problems_of(error)[0]}
        except HlclipError as error:
            return {"error": str(error)}

    answer.__name__ = function.__name__
    return answer
