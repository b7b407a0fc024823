"""Serve the page: where it listens, what it scores, which files it keeps, and how it ends."""

import errno
import logging
import os
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from tempfile import mkdtemp

from hlclip.demo.ratings import Annotating
from hlclip.highlights import Curve, Moment, Scorer, clock
from hlclip.system import HlclipError
from hlclip.video import VideoError, probe

log = logging.getLogger(__name__)

MAX_QUERIES = 8
"""Most queries of one request."""

_PORTS = range(7860, 7960)  # tried in this order if no port is given


@contextmanager
def serving(
    scorer: Scorer,
    folder: Path,
    *,
    host: str,
    port: int,
    max_mb: int,
    max_minutes: float,
    annotating: Annotating | None = None,
) -> Iterator[str]:
    """Serve the page at the address that is yielded; at the end, wait for the request that runs.

    Args:
        scorer: its store must be `folder / "store"`.
        folder: private and empty; the caller removes it.
        annotating: the ratings that the page's second tab takes; None is a page without it.
    """
    # Gradio reads these variables when it is imported.
    os.environ |= {
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_ALLOWED_PATHS": "",
    }
    from hlclip.demo.annotate_tab import serve_videos  # noqa: PLC0415 (Gradio, see above)
    from hlclip.demo.page import APPEARANCE, build_page  # noqa: PLC0415 (Gradio)

    busy = threading.Lock()

    def score(video: str | None, text: str) -> list[Curve]:
        with busy:
            try:
                return score_upload(scorer, video, text, max_minutes=max_minutes)
            finally:
                # Later queries need only the features; the tokens are far larger.
                shutil.rmtree(folder / "store" / "images", ignore_errors=True)

    def cut(video: Path, moments: Sequence[Moment]) -> Path:
        with busy:
            return cut_upload(video, moments, Path(mkdtemp(dir=folder)))

    page = build_page(
        score,
        cut,
        max_mb=max_mb,
        max_minutes=max_minutes,
        max_queries=MAX_QUERIES,
        annotating=annotating,
    )
    try:
        app, url, _ = page.launch(
            server_name=f"[{host}]" if ":" in host else host,
            server_port=port,
            max_file_size=max_mb * 2**20,
            share=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            run_history=False,
            enable_monitoring=False,
            footer_links=[],
            prevent_thread_lock=True,
            quiet=True,
            **APPEARANCE,
        )
        if annotating is not None:
            serve_videos(app, annotating)
        yield url
    finally:
        page.close(verbose=False)
        with busy:
            pass


def score_upload(
    scorer: Scorer, video: str | None, text: str, *, max_minutes: float
) -> list[Curve]:
    """Saliency of an uploaded video for each line of a text.

    Args:
        text: queries, one per line; blank lines and repetitions are ignored.

    Raises:
        HlclipError: the upload cannot be scored; the message shows no path of this machine.
    """
    if video is None:
        raise HlclipError("Upload a video first.")
    queries = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not queries:
        raise HlclipError("Type at least one query: what should the moments show?")
    if len(queries) > MAX_QUERIES:
        raise HlclipError(f"Got {len(queries)} queries, expected at most {MAX_QUERIES} at a time.")
    path = Path(video)
    _require_upload(path)
    try:
        seconds = probe(path).duration
        if seconds > max_minutes * 60:
            raise HlclipError(
                f"The video is {clock(seconds)} long, expected at most {max_minutes:g} minutes."
            )
        return scorer.score(path, queries)
    except VideoError as error:
        # The scorer puts the path in front of the reason, which is its cause.
        reason = error.__cause__ if isinstance(error.__cause__, VideoError) else error
        raise HlclipError(f"This file cannot be used as a video: {reason}") from error


def cut_upload(video: Path, moments: Sequence[Moment], folder: Path) -> Path:
    """An MP4 film of the moments of an upload, in `folder`.

    Raises:
        HlclipError: no film can be made; the message shows no path of this machine.
    """
    from hlclip.highlights.film import cut_moments  # noqa: PLC0415 (takes a second)

    _require_upload(video)
    film = folder / f"{video.stem}-moments.mp4"
    try:
        cut_moments(video, moments, film)
    except HlclipError as error:
        shutil.rmtree(folder, ignore_errors=True)
        log.warning("%s", error)
        raise HlclipError("No film of these moments can be made of this video.") from error
    return film


def _require_upload(video: Path) -> None:
    if not video.is_file():
        raise HlclipError("The video is no longer kept here: upload it again.")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server at `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def free_port(host: str, port: int | None) -> int:
    """Return `port`, or the first free one of `_PORTS`; HlclipError if nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reason = None
    for candidate in _PORTS if port is None else [port]:
        try:
            with socket.create_server((host, candidate), family=family):
                return candidate
        except OSError as error:
            reason = error.strerror
            if error.errno != errno.EADDRINUSE:
                break  # no other port of this host will do
        except (UnicodeError, TypeError):  # of Python's own encoding of a host's name
            reason = "this cannot be the name of a host"
            break
    ports = f"ports {_PORTS[0]} to {_PORTS[-1]}" if port is None else f"port {port}"
    raise HlclipError(f"cannot listen at {host}, {ports}: {reason}", "see --host and --port")
