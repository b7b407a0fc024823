"""The site of docs/: it builds, a dead link ends the build, and it needs no other host."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser, Page, expect

import hlclip
from tests.browser import watch
from tests.docs import ROOT


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """As `make docs`."""
    command = [str(Path(sys.executable).parent / "zensical"), "build", "--clean", "--strict"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the site is made of; the folder `site` is its result."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    for name in ("docs", "hlclip"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    built = build(folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture
def page(browser: Browser, project: Path) -> Iterator[Page]:
    """The first page, served; fails when a page logs an error or asks another host for anything."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = partial(Quiet, directory=str(project / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        home = f"http://127.0.0.1:{server.server_port}/"
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        faults = watch(page, home=home)
        page.goto(home)
        yield page
        page.close()
        server.shutdown()
    assert faults == []


def test_search_leads_to_the_page_that_has_the_word(page: Page) -> None:
    page.get_by_role("button", name="Search").click()
    page.get_by_role("combobox", name="Search").fill("isotonic")
    page.get_by_role("option", name="What a score is worth").click()
    expect(page).to_have_url(re.compile(r"own-video\.html"))


def test_dark_mode_is_a_click(page: Page) -> None:
    body = page.locator("body")
    expect(body).to_have_attribute("data-md-color-scheme", "default")
    page.get_by_title("Dark mode").click()
    expect(body).to_have_attribute("data-md-color-scheme", "slate")


def test_a_tutorial_is_one_click_away_and_fits_a_phone(page: Page) -> None:
    page.get_by_role("link", name="Your own videos in five minutes").first.click()
    expect(page.locator("h1")).to_have_text(re.compile("^Your own videos in five minutes"))
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_reference_has_every_public_name_with_its_arguments(page: Page) -> None:
    page.goto(page.url + "api.html")
    headings = page.locator("h2").all_inner_texts()
    assert {text.split()[0].rstrip("¶") for text in headings} >= set(hlclip.PUBLIC)
    scorer = page.locator(".doc-object", has=page.locator("h2", has_text="load_scorer"))
    expect(scorer.first).to_contain_text("calibration")


def test_a_dead_link_ends_the_build(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "site", ignore=shutil.ignore_patterns("site"))
    with (copy / "docs/python.md").open("a") as file:
        file.write("\n[text](data.md#nowhere) [text](nothing.md)\n")
    built = build(copy)
    assert built.returncode != 0
    assert "2 issues found" in built.stdout + built.stderr
