"""Serve the page: where it listens, which files it keeps, and how it ends."""

import errno
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from hlclip.demo.upload import score_upload
from hlclip.highlights import Curve, Scorer
from hlclip.system import HlclipError


@contextmanager
def serving(
    scorer: Scorer, folder: Path, *, host: str, port: int, max_mb: int, max_minutes: float
) -> Iterator[str]:
    """Serve the page while the context lasts; at its end, wait for the request that runs.

    Args:
        scorer: its store must be `folder / "store"`.
        folder: private and empty; the caller removes it.
        host, port: where to listen, see `free_port`.
        max_mb: largest upload.
        max_minutes: longest video.

    Yields:
        The page's address.
    """
    # Gradio reads these variables when it is imported.
    os.environ |= {
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_ALLOWED_PATHS": "",
    }
    from hlclip.demo.page import APPEARANCE, build_page  # noqa: PLC0415 (Gradio, see above)

    busy = threading.Lock()

    def score(video: str | None, text: str) -> list[Curve]:
        with busy:
            try:
                return score_upload(scorer, video, text, max_minutes=max_minutes)
            finally:
                # Later queries need only the features; the tokens are far larger.
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
            **APPEARANCE,
        )
        yield url
    finally:
        page.close(verbose=False)
        with busy:
            pass


_PORTS = range(7860, 7960)
"""Tried in this order if no port is given."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server at `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def free_port(host: str, port: int | None) -> int:
    """Return `port`, or the first free one of `_PORTS`, after listening there for a moment.

    Raises:
        HlclipError: nothing can listen at this host and port.
    """
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
    ports = f"ports {_PORTS[0]} to {_PORTS[-1]}" if port is None else f"port {port}"
    raise HlclipError(f"cannot listen at {host}, {ports}: {reason}", "see --host and --port")
