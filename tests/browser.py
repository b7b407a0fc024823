"""A real browser for the tests of pages, and what it finds wrong with them."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Playwright's own Chromium where it was installed, else the machine's."""
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        found = own if own.exists() else next(filter(None, map(shutil.which, NAMES)), None)
        if found is None:
            pytest.skip("no Chromium: `playwright install chromium` or `apt-get install chromium`")
        # As root, as in a container, Chromium's sandbox cannot start.
        arguments = ["--disable-gpu", "--disable-background-networking"]
        arguments += ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


def watch(page: Page, *, home: str) -> list[str]:
    """A list that fills with errors, and with requests that leave `home`, while the page is open."""
    faults: list[str] = []
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request",
        lambda r: (
            None
            if r.url.startswith((home, "data:", "blob:"))
            else faults.append(f"request {r.url}")
        ),
    )
    return faults
