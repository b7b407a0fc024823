"""The report in a real browser: it draws, filters, and can be read on a phone and by keyboard."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect

from hlclip.evaluation import apply_map
from hlclip.results.page import write_report
from hlclip.results.run import read_run
from tests.runs import GONE, finished_run

expect.set_options(timeout=60_000)  # five seconds are too few where others use the machine
SIZE = ViewportSize(width=1100, height=800)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    finished = finished_run(tmp_path_factory.mktemp("run"), text=HOSTILE)
    path = finished.folder / "report.html"
    write_report(read_run(finished.folder), path, store=finished.store, thumbnails=60)
    return path


@contextmanager
def opened(browser: Browser, report: Path) -> Iterator[tuple[Page, list[str]]]:
    """The report, and the errors, requests and dialogs that come while it is open."""
    page = browser.new_page(viewport=SIZE, color_scheme="light")
    faults = watch(page)
    page.goto(report.as_uri())
    yield page, faults
    page.close()
    assert faults == [f"request {report.as_uri()}"]


@pytest.fixture(scope="module")
def shared(browser: Browser, report: Path) -> Iterator[tuple[Page, list[str]]]:
    """Opened once: that takes longer than a test."""
    with opened(browser, report) as page:
        yield page


@pytest.fixture
def page(shared: tuple[Page, list[str]]) -> Page:
    """The report as it opens; fails when it logged an error, asked for anything or opened a dialog.

    Only its charts of the whole run, and what is best and worst, stay as the last test left them.
    """
    page, faults = shared
    assert len(faults) == 1
    page.set_viewport_size(SIZE)
    page.mouse.move(0, 0)
    for name in ("split", "sort", "direction"):
        page.locator(f"#{name}").select_option(index=0)
    page.locator("#search").fill("")
    return page


@pytest.fixture
def new_page(browser: Browser, report: Path) -> Iterator[Page]:
    """A page of its own, for what a reset would not undo."""
    with opened(browser, report) as (page, _):
        yield page


def watch(page: Page) -> list[str]:
    faults: list[str] = []

    def dialog(opened) -> None:
        faults.append(f"dialog {opened.message}")
        opened.dismiss()

    page.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", dialog)
    page.on(
        "request",
        lambda r: None if r.url.startswith("data:") else faults.append(f"request {r.url}"),
    )
    return faults


def items(page: Page) -> Locator:
    return page.locator("#list > li")


def numbers(page: Page, label: str = "highlight AP") -> list[float]:
    """A badge of each query that is listed, as a number; queries without it are left out."""
    texts = page.locator("#list .badges > span", has_text=label).all_inner_texts()
    return [float(text.removeprefix(label)) for text in texts]


def test_every_chart_is_drawn(page: Page):
    for name in ("loss", "val_mAP", "val_HIT@1", "pooling-mean", "pooling-gaussian"):
        chart = page.locator(f'[data-chart="{name}"]')
        expect(chart.locator("svg")).to_be_visible()
        assert chart.locator(".mark-line path").count() >= 1
        assert chart.get_attribute("role") == "img"
        assert len(chart.get_attribute("aria-label") or "") > 40
    expect(page.locator("#extremes .chart svg")).to_have_count(4)


def test_the_widths_on_an_axis_are_not_rounded(page: Page):
    for mode, widths in (
        ("mean", ["1", "3", "5", "7", "9", "11", "13", "15"]),
        ("gaussian", ["0", "0.5", "0.75", "1", "1.25", "1.5", "1.75", "2"]),
    ):
        labels = page.locator(f'[data-chart="pooling-{mode}"] .role-axis-label').first
        expect(labels).to_be_visible()
        assert labels.locator("text").all_text_contents() == widths


def test_the_reliability_is_drawn(page: Page):
    charts = page.locator("#worth [data-chart]")
    expect(charts).to_have_count(2)  # rating and share of Very Good, on test
    for chart in charts.all():
        expect(chart.locator("svg")).to_be_visible()
        assert chart.locator(".mark-symbol path").count() >= 4


def test_a_clip_shows_the_rating_that_its_score_is_worth(page: Page, report: Path):
    run = read_run(report.parent)
    item = items(page).first
    item.locator("summary").click()
    seen: set[str] = set()
    for clip in (1, 5, 9):
        item.locator("svg .mark-rect path").nth(clip).hover(force=True)
        tooltip = page.locator("#vg-tooltip-element")
        expect(tooltip).to_contain_text("expected rating, of 4")
        cells = [row.locator("td").all_inner_texts() for row in tooltip.locator("tr").all()]
        shown = {key.removesuffix(":"): value for key, value in cells}
        score = float(shown["pooled"].replace("\N{MINUS SIGN}", "-"))
        low, high = apply_map(run.maps["zero-shot (SP)"], [score - 0.0005, score + 0.0005])
        assert low - 0.051 <= float(shown["expected rating, of 4"]) <= high + 0.051
        seen.add(shown["time"])
    assert len(seen) > 1


def test_best_and_worst_are_by_highlights_and_by_moments(page: Page):
    for order in ("highlight AP", "moment AP"):
        best, worst = (
            [
                float(badge.inner_text().removeprefix(order))
                for badge in column.locator(".badges > span", has_text=order).all()
            ]
            for column in page.locator(f'[data-order="{order}"] ol').all()
        )
        assert len(best) == len(worst) == 3
        assert best == sorted(best, reverse=True)
        assert worst == sorted(worst)
        assert min(best) > max(worst)


def test_moments_of_equal_precision_are_ordered_by_their_first(page: Page):
    page.locator("#sort").select_option("moment AP")
    pairs = list(zip(numbers(page, "moment AP"), numbers(page, "IoU"), strict=True))
    assert len({precision for precision, _ in pairs}) < 20  # some are equal
    assert pairs == sorted(pairs, reverse=True)


def test_queries_are_sorted_and_shown_twenty_at_a_time(page: Page):
    expect(items(page)).to_have_count(20)
    expect(page.locator("#page")).to_have_text("Page 1 of 2")
    highest = numbers(page)
    assert len(highest) == 20
    assert highest == sorted(highest, reverse=True)

    page.locator("#next").click()
    expect(items(page)).to_have_count(10)
    expect(page.locator("#next")).to_be_disabled()
    rest = numbers(page)
    assert len(rest) == 8  # one has no video, one no very good clip: they stand last
    assert max(rest) <= min(highest)

    page.locator("#direction").select_option("lowest first")
    expect(page.locator("#page")).to_have_text("Page 1 of 2")
    assert numbers(page)[:8] == sorted(rest)
    page.locator("#sort").select_option("gain from pooling")
    assert numbers(page, "pooling") == sorted(numbers(page, "pooling"))


def test_the_search_filters(page: Page):
    page.locator("#search").fill("number 7")
    expect(page.locator("#count")).to_have_text("3 of 30 queries")  # 7, 17 and 27
    texts = items(page).locator(".text").all_inner_texts()
    assert all("number" in text and "7" in text for text in texts)
    page.locator("#search").fill("val_0003")
    expect(items(page)).to_have_count(1)
    page.locator("#search").fill("no such words")
    expect(page.locator("#count")).to_have_text("0 of 30 queries")
    expect(items(page)).to_have_count(0)
    expect(page.locator("#nothing")).to_be_visible()
    page.locator("#search").fill("")
    expect(items(page)).to_have_count(20)
    expect(page.locator("#nothing")).to_be_hidden()


def test_the_split_is_chosen(page: Page):
    page.locator("#split").select_option("test")
    page.locator("#search").fill("test_0005")
    expect(items(page)).to_have_count(1)
    items(page).locator("summary").click()
    expect(items(page).locator(".about")).to_contain_text("qid t5 · video test_0005")


def test_a_query_opens_to_its_curves_and_pictures(page: Page):
    item = items(page).first
    expect(item.locator(".chart")).to_be_hidden()
    item.locator("summary").click()
    lines = item.locator("svg .mark-line path")
    expect(lines).to_have_count(4)  # two variants, before and after pooling
    label = item.locator(".chart").get_attribute("aria-label") or ""
    assert "Highest peaks of HL-CLIP-2 with pooling" in label
    assert re.search(r"best first: truth, 0:\d\d to 0:\d\d; 1, 0:\d\d to", label)
    rows = item.locator("svg .mark-rect path")
    truth = [bar for bar in rows.all() if "truth" in (bar.get_attribute("aria-label") or "")]
    assert len(truth) == 1
    pictures = item.locator(".pictures img")
    assert 1 <= pictures.count() <= 4
    for picture in pictures.all():
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64


def test_a_query_without_video_says_so(page: Page):
    page.locator("#search").fill(GONE.split()[0])
    expect(items(page)).to_have_count(1)
    expect(items(page).locator(".badges")).to_have_text("no video")
    items(page).locator("summary").click()
    expect(items(page).locator(".about")).to_contain_text("no video (no <file>)")
    expect(items(page).locator(".pictures img, .chart")).to_have_count(0)
    expect(page.locator("#coverage")).to_contain_text(GONE)


def test_a_query_that_looks_like_a_script_is_text(page: Page):
    expect(items(page).first.locator(".text")).to_contain_text(HOSTILE)
    assert page.evaluate("document.querySelectorAll('.text script, .text img').length") == 0


def test_all_is_reached_by_keyboard(new_page: Page):
    page = new_page
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.locator("#search").focus()
    page.keyboard.type("number 12")
    expect(items(page)).to_have_count(1)
    for _ in range(4):  # split, sort, order, the query
        page.keyboard.press("Tab")
    summary = items(page).locator("summary")
    expect(summary).to_be_focused()
    assert summary.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(items(page).locator("svg")).to_be_visible()


@pytest.mark.parametrize("width", [320, 360, 800, 1060])
def test_nothing_is_wider_than_a_phone(page: Page, width: int):
    page.set_viewport_size({"width": width, "height": 740})
    items(page).first.locator("summary").click()
    chart = items(page).first.locator("svg")
    expect(chart).to_be_visible()
    page.wait_for_function(
        "[...document.querySelectorAll('.chart svg')].every(e => "
        "e.getBoundingClientRect().right <= innerWidth)"
    )
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # All levels of all variants are seen without scrolling.
    for table in page.locator("#results .scroll:visible").all():
        assert table.evaluate("e => e.scrollWidth - e.clientWidth") == 0


def test_dark_mode_reaches_page_and_charts(new_page: Page):
    page = new_page
    text = page.locator('[data-chart="loss"] svg .role-axis-label text').first
    expect(text).to_be_visible()
    light = (text.get_attribute("fill"), background(page))
    page.emulate_media(color_scheme="dark")
    expect(text).not_to_have_attribute("fill", light[0] or "")
    dark = (text.get_attribute("fill"), background(page))
    assert brightness(light[1]) > 200
    assert brightness(dark[1]) < 60


def background(page: Page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def brightness(colour: str) -> float:
    """Mean of `rgb(r, g, b)`."""
    parts = [float(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    return sum(parts) / len(parts)


def test_the_figures_can_be_read_without_javascript(browser: Browser, report: Path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    expect(page.locator("#results table:visible")).to_have_count(2)
    expect(page.locator("noscript p")).to_be_visible()
    context.close()
