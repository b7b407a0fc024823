"""Where the tests find real data: `HLCLIP_TEST_DATA`, a folder of data that hlclip may not ship."""

import logging
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import imageio_ffmpeg
import pytest
from hypothesis import settings
from platformdirs import user_cache_path

from hlclip.video.ffmpeg_process import ffmpeg_executable

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome", "chrome")

# A shell that starts the tests in the background has SIGINT ignored, also in what they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("hlclip", derandomize=True, deadline=None, max_examples=150)
settings.load_profile("hlclip")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no worker is left with one at the end."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)


@pytest.fixture(scope="session", autouse=True)
def users_own_store() -> Iterator[None]:
    """Tests leave the cache of whoever runs them alone: they name a store, or another cache."""
    own = user_cache_path("hlclip")
    before = set(own.rglob("*"))
    yield
    assert set(own.rglob("*")) == before, "a test without HLCLIP_STORE wrote into the user's cache"


def _test_data(name: str) -> Path:
    root = os.environ.get("HLCLIP_TEST_DATA")
    if not root:
        pytest.skip(f"HLCLIP_TEST_DATA is not set to a folder that holds {name}/")
    folder = Path(root) / name
    if not folder.is_dir():
        pytest.skip(f"HLCLIP_TEST_DATA is {root}, which holds no {name}/")
    return folder


@pytest.fixture(scope="session")
def qvhighlights_dir() -> Path:
    """The released annotation files and golden `predictions/`."""
    return _test_data("qvhighlights")


@pytest.fixture(scope="session")
def other_benchmarks_dir() -> Path:
    """Published annotation files of TVSum, YouTube Highlights and moment retrieval sets."""
    return _test_data("other_benchmarks")


@pytest.fixture(scope="session")
def footage_dir() -> Path:
    """Real films in the QVHighlights layout: `annotations/`, `videos/`."""
    return _test_data("footage")


@pytest.fixture(scope="session")
def videos_dir() -> Path:
    """Files for decoding: many codecs, rotated, corrupt, several streams."""
    return _test_data("videos")


@pytest.fixture(scope="session", autouse=True)
def pinned_ffmpeg(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Test with the ffmpeg that comes with the install, whatever this machine has on PATH."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
    ffmpeg_executable.cache_clear()


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """`hlclip doctor` silences the log of its process, which here goes on."""
    level = logging.root.level
    yield
    logging.root.setLevel(level)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Playwright's own Chromium where it was installed, else the machine's."""
    playwright_api = pytest.importorskip("playwright.sync_api", reason="no playwright")
    with playwright_api.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        found = own if own.exists() else next(filter(None, map(shutil.which, CHROMIUM)), None)
        if found is None:
            pytest.skip("no Chromium: `playwright install chromium` or `apt-get install chromium`")
        # As root, as in a container, Chromium's sandbox cannot start.
        arguments = ["--disable-gpu", "--disable-background-networking"]
        arguments += ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()
