"""Serves the page: where it listens, what it keeps, and how it ends."""

import errno
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from hlclip.demo.page import LOOK, build_page
from hlclip.demo.upload import score_upload
from hlclip.highlights import Curve, Scorer
from hlclip.system import HlclipError


@contextmanager
def serving(
    scorer: Scorer,
    folder: Path,
    *,
    host: str,
    port: int,
    max_mb: int,
    max_minutes: float,
) -> Iterator[str]:
    """Serve the page while the context lasts; a request that runs at its end is waited for.

    Args:
        scorer: its store must be `folder / "store"`.
        folder: private and empty; the caller removes it.
        host, port: where to listen, see `free_port`.
        max_mb: largest upload.
        max_minutes: longest video.

    Yields:
        The page's address.
    """
    busy = threading.Lock()

    def score(video: str | None, text: str) -> list[Curve]:
        with busy:
            try:
                return score_upload(scorer, video, text, max_minutes=max_minutes)
            finally:
                # The features are kept, which later queries need; the tokens are far larger.
                shutil.rmtree(folder / "store" / "images", ignore_errors=True)

    page = build_page(score, max_mb=max_mb, max_minutes=max_minutes)
    try:
        _, url, _ = page.launch(
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
            **LOOK,
        )
        yield url
    finally:
        page.close(verbose=False)
        with busy:
            pass


_PORTS = range(7860, 7960)
"""Tried one after another where none is asked for."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def free_port(host: str, port: int | None) -> int:
    """The port asked for, else the first free one, tried by listening there.

    Raises:
        HlclipError: nothing can listen at this host and port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    problem = "none is free"
    for candidate in _PORTS if port is None else [port]:
        try:
            with socket.create_server((host, candidate), family=family):
                return candidate
        except OSError as error:
            unknown = isinstance(error, socket.gaierror)
            problem = error.strerror if unknown else os.strerror(error.errno or 0)
            if error.errno != errno.EADDRINUSE:
                break  # the host, not the port
    ports = f"ports {_PORTS[0]} to {_PORTS[-1]}" if port is None else f"port {port}"
    raise HlclipError(f"cannot listen at {host}, {ports} ({problem}); see --host and --port")
