"""Serves the page: what it keeps, and how it ends."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hlclip.demo.page import LOOK, build_page
from hlclip.demo.upload import score_upload
from hlclip.highlights.moments import Curve
from hlclip.highlights.scorer import Scorer


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
