"""The demo: what it takes and refuses, and the page in a real browser on real films."""

import csv
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import requests
from typer.testing import CliRunner

from hlclip.cli import app
from hlclip.formats import (
    Calibration,
    Origin,
    ScoreMap,
    mean_of,
    read_annotations,
    read_submission,
    write_calibration,
)
from hlclip.highlights.scorer import Scorer, load_scorer
from hlclip.model import load_encoder
from hlclip.system.errors import HlclipError
from hlclip.video import probe
from tests.films import copy, film
from tests.models import save_model, tiny_config

if find_spec("gradio") is None:
    pytest.skip("no Gradio: pip install -e '.[demo]'", allow_module_level=True)

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from hlclip.demo import free_port, is_loopback
from hlclip.demo.server import score_upload
from tests.browser import watch

SAMPLE = Path(__file__).parents[2] / "sample" / "model"
COMMAND = [sys.executable, "-m", "hlclip", "demo"]
expect.set_options(timeout=60_000)  # five seconds are too few where others use the machine
HOSTILE = "<img src=x onerror=alert(1)> **soldier**"


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    folder = tmp_path_factory.mktemp("model")
    return load_scorer(model=save_model(folder / "m", tiny_config()), store=folder / "store")


def test_a_line_is_a_query(scorer: Scorer, tmp_path: Path) -> None:
    video = film(tmp_path / "v.mp4")
    text = "a dog\n\n  people dancing \r\na dog\n"
    curves = score_upload(scorer, str(video), text, max_minutes=1)
    assert [curve.query for curve in curves] == ["a dog", "people dancing"]
    assert [len(curve.saliency) for curve in curves] == [3, 3]


@pytest.mark.parametrize(
    ("text", "max_minutes", "message"),
    [
        (" \n", 1, "Type at least one query"),
        ("a\nb\nc\nd\ne\nf\ng\nh\ni", 1, "Got 9 queries, expected at most 8"),
        ("a dog", 0.05, "The video is 0:06 long, expected at most 0.05 minutes"),
    ],
)
def test_limits(
    text: str, max_minutes: float, message: str, scorer: Scorer, tmp_path: Path
) -> None:
    video = film(tmp_path / "v.mp4")
    with pytest.raises(HlclipError, match=message):
        score_upload(scorer, str(video), text, max_minutes=max_minutes)


def test_bad_uploads_are_named_without_their_folder(scorer: Scorer, tmp_path: Path) -> None:
    notes = tmp_path / "notes.mp4"
    notes.write_text("no video")
    short = film(tmp_path / "short.mp4", seconds=0.5)
    playlist = tmp_path / "list.mp4"
    playlist.write_text("#EXTM3U\n#EXTINF:6,\nshort.mp4\n#EXT-X-ENDLIST\n")
    for path, reason in (
        (notes, "not readable as a video"),
        (playlist, "not readable as a video"),
        (short, "no frame could be decoded"),
    ):
        with pytest.raises(HlclipError, match=f"^This file cannot be used.*: {reason}") as caught:
            score_upload(scorer, str(path), "a dog", max_minutes=1)
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(HlclipError, match="Upload a video first"):
        score_upload(scorer, None, "a dog", max_minutes=1)
    with pytest.raises(HlclipError, match="upload it again"):
        score_upload(scorer, str(tmp_path / "gone.mp4"), "a dog", max_minutes=1)


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.7", "example.org")))


def test_a_taken_port_and_an_open_host_are_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        model = f"local-dir:{SAMPLE}"
        arguments = ["demo", "--model", model, "--host", "0.0.0.0", "--port", port]
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    warning, error, remedy = result.stderr.splitlines()
    assert warning.startswith("--host 0.0.0.0: everyone who can reach this machine can upload")
    assert error.startswith(f"cannot listen at 0.0.0.0, port {port}: Address already in use")
    assert remedy == "see --host and --port"


def test_what_cannot_be_a_host_is_named() -> None:
    with pytest.raises(HlclipError, match="this cannot be the name of a host"):
        free_port("caf\udce9", None)


def test_without_gradio_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 2
    assert result.stderr == "hlclip demo needs Gradio\npip install 'hlclip[demo]'\n"


@dataclass
class Server:
    url: str
    process: subprocess.Popen[str]
    folder: Path
    """Holds `run/`, where it was started, and `tmp/`, its folder for temporary files."""

    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


@contextmanager
def started(folder: Path, *options: str) -> Iterator[Server]:
    for name in ("run", "tmp"):
        (folder / name).mkdir()
    log = folder / "stderr"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [*COMMAND, "--model", f"local-dir:{SAMPLE}", "--device", "cpu", *options],
            cwd=folder / "run",
            env={**os.environ, "TMPDIR": str(folder / "tmp")},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            address = re.match(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
            assert address, log.read_text()
            yield Server(address[0], process, folder)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file for annotation rows, in a data set with videos `a` and `b.c` of 3 clips each."""
    root = tmp_path_factory.mktemp("mine")
    (root / "videos").mkdir()
    drawn = film(root / "film.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p")
    for name in ("a.mp4", "b.c.mp4"):
        copy(drawn, root / "videos" / name)
    return root / "annotations" / "train.jsonl"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, annotations: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("demo")
    weights = load_encoder(f"local-dir:{SAMPLE}", None, cached_blocks=2).fingerprint()
    worth = ScoreMap("zero-shot", mean_of(3), ((0.0, 1.5),), ((0.0, 0.1),))
    file = tmp_path_factory.mktemp("run") / "calibration.json"
    write_calibration(file, Calibration(Origin("", weights, 2.0), 500, "", (worth,)))
    options = ["--max-mb", "4", "--max-minutes", "2", "--calibration", str(file)]
    options += ["--annotations", str(annotations), "--annotators", "2"]
    with started(folder, *options) as server:
        yield server
        end(server, signal.SIGTERM)  # after all that the tests uploaded and were refused


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """One visitor, whose browser keeps Gradio's scripts: megabytes that each new one compiles."""
    with browser.new_context() as context:
        yield context


@pytest.fixture
def page(context: BrowserContext, server: Server, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page, opened; fails when it logs an error or asks anything of another host."""
    page = context.new_page()
    page.set_viewport_size({"width": getattr(request, "param", 1280), "height": 900})
    faults = watch(page, home=server.url)
    page.goto(server.url)
    expect(queries(page)).to_be_visible(timeout=60_000)
    yield page
    page.close()
    assert faults == []


def queries(page: Page):
    return page.get_by_label("Queries, one per line")


def ask(page: Page, video: Path, text: str) -> None:
    page.locator("#film input[type=file]").set_input_files(video)
    expect(page.locator("#film video")).to_be_visible(timeout=60_000)
    queries(page).fill(text)
    page.get_by_role("button", name="Find moments").click()


@pytest.mark.slow
@pytest.mark.parametrize("page", [1280, 390], indirect=True, ids=["desktop", "phone"])
def test_moments_of_a_real_film_are_found_and_played(page: Page, footage_dir: Path) -> None:
    expect(page.get_by_text("Up to 4 MB and 2 minutes")).to_be_visible()
    ask(page, footage_dir / "videos/tears_of_steel_battle.webm", f"a robotic arm\n{HOSTILE}")
    moments = page.locator(".moments button")
    expect(page.locator(".chart svg")).to_have_count(2)
    expect(moments.nth(5)).to_be_visible()  # of both queries, which have at most five each
    assert moments.count() <= 10
    expect(page.get_by_text(HOSTILE, exact=True).last).to_be_visible()  # as text

    words = re.fullmatch(
        r"2\s*(\d):(\d\d) - \S+\s*0\.\d{4} · 1\.5 of 4", moments.nth(1).inner_text()
    )
    assert words, moments.nth(1).inner_text()
    second = int(words[1]) * 60 + int(words[2])
    assert moments.nth(1).locator("img").evaluate("image => image.naturalWidth") > 96
    expect(page.get_by_text("is the rating that people are expected to give")).to_be_visible()
    expect(page.get_by_text("measured, with a pooling window of 3.")).to_be_visible()
    assert landing(page, moments.nth(1).click) == pytest.approx(second, abs=0.5)
    page.wait_for_function(
        "second => document.querySelector('#film video').currentTime > second", arg=second
    )
    chart = page.locator("[data-seconds]").first
    duration = float(chart.get_attribute("data-seconds") or "")
    width = chart.evaluate("chart => chart.clientWidth")
    third = landing(page, lambda: chart.click(position={"x": width / 3, "y": 90}))
    assert third == pytest.approx(duration / 3, abs=duration / 100)

    page.get_by_role("button", name="Advanced").click()
    page.get_by_label("number input for Moments a query").fill("2")
    page.keyboard.press("Tab")
    expect(moments).to_have_count(4)  # redrawn without another click

    page.get_by_label("Pooling window").last.scroll_into_view_if_needed()
    width = page.viewport_size["width"] if page.viewport_size else 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width

    page.get_by_role("button", name="Clear").click()
    expect(moments).to_have_count(0)


def landing(page: Page, click: Callable[[], None]) -> float:
    """The second at which the film lands after a click.

    The page notes it: the film plays on while a loaded machine gets round to asking.
    """
    page.evaluate(
        """() => {
            const video = document.querySelector("#film video");
            const landed = done => () => done(video.currentTime);
            window.landed = new Promise(
                done => video.addEventListener("seeked", landed(done), { once: true })
            );
        }"""
    )
    click()
    return page.evaluate("window.landed")


@pytest.mark.slow
def test_files_of_an_answer_are_downloaded(page: Page, tmp_path: Path) -> None:
    ask(page, film(tmp_path / "v.mp4"), "a dog\n=1+1")
    saved = {}
    links = [page.get_by_role("link", name=name) for name in ("scores.jsonl", "scores.csv")]
    for wanted in (*links, page.get_by_role("button", name="Film of the moments")):
        with page.expect_download(timeout=60_000) as download:
            wanted.click()
        saved[download.value.suggested_filename] = Path(download.value.path())
    assert [*saved] == ["scores.jsonl", "scores.csv", "v-moments.mp4"]
    rows = read_submission(saved["scores.jsonl"])
    assert [(row.qid, row.vid, row.query) for row in rows] == [(1, "v", "a dog"), (2, "v", "=1+1")]
    lines = [*csv.DictReader(saved["scores.csv"].read_text().splitlines())]
    assert [line["query"] for line in lines] == ["a dog"] * 3 + ["'=1+1"] * 3
    spans = [window for row in rows for window in row.pred_relevant_windows or ()]
    seconds = {second for start, end, _ in spans for second in range(int(start), int(end))}
    assert probe(saved["v-moments.mp4"]).duration == pytest.approx(len(seconds), abs=0.2)


@pytest.mark.slow
def test_another_rule_finds_other_moments(page: Page, footage_dir: Path) -> None:
    ask(page, footage_dir / "videos/tears_of_steel_battle.webm", "a robot")
    moments = page.locator(".moments button")
    expect(moments.first).to_be_visible()
    before = moments.all_inner_texts()
    page.get_by_role("button", name="Advanced").click()
    expect(page.get_by_role("radio", name="consensus: ")).to_be_checked()
    page.get_by_role("radio", name="histogram: ").check()
    expect(moments).not_to_have_text(before)  # redrawn without another click


def annotate(page: Page, name: str) -> Locator:
    """The second tab, opened as an annotator."""
    page.get_by_role("tab", name="Annotate").click()
    tab = page.locator("#annotate")
    expect(tab.locator(".clips img[src]")).to_have_count(3)
    tab.get_by_label("Your name").fill(name)
    page.keyboard.press("Tab")
    return tab


@pytest.mark.slow
def test_two_annotators_rate_clips_and_index_reads_the_rows(
    page: Page, browser: Browser, server: Server, annotations: Path
) -> None:
    query = "a grid <b>at</b> dawn"
    ann = annotate(page, "Ann")
    status = ann.get_by_role("status")
    ann.get_by_label("New query for this video").fill(query)
    ann.get_by_role("button", name="Add").click()
    expect(ann.get_by_role("combobox", name="Query")).to_have_value(query)
    ann.get_by_role("button", name="3 Good").click()
    expect(ann.get_by_role("button", name="0:00 - 0:02: Good")).to_be_visible()
    # The next clip is marked, played to its end, and shown again.
    page.wait_for_function(
        """() => {
            const video = document.querySelector("#annotate video");
            const seen = [...Array(video.played.length).keys()].map(at => video.played.end(at));
            return video.paused && video.currentTime === 2 && seen.some(end => end >= 4 && end < 5);
        }"""
    )
    page.keyboard.press("4")
    expect(status).to_contain_text("You rated 2 of 3 clips; nobody has finished, 2 must.")

    context = browser.new_context()  # another visitor
    other = context.new_page()
    other.goto(server.url)
    ben = annotate(other, "Ben")
    ben.get_by_role("combobox", name="Query").select_option(query)
    expect(ben.get_by_role("status")).to_contain_text("You rated 0 of 3 clips")
    ben.get_by_role("button", name="0:04 - 0:06: not rated").click()
    ben.get_by_role("button", name="2 Fair").click()
    expect(ben.get_by_role("status")).to_contain_text("You rated 1 of 3 clips")
    ann.get_by_role("button", name="Rate the other 1 clips").click()
    expect(status).to_contain_text("You rated 3 of 3 clips; finished: Ann (1 of 2)")
    context.close()

    context = browser.new_context()  # who closed the browser goes on by name
    other = context.new_page()
    other.goto(server.url)
    ben = annotate(other, "Ben")
    ben.get_by_role("combobox", name="Query").select_option(query)
    expect(ben.get_by_role("button", name="0:04 - 0:06: Fair")).to_be_visible()
    ben.get_by_role("button", name="Rate the other 2 clips").click()
    expect(ben.get_by_role("status")).to_contain_text("finished: Ann, Ben (2 of 2)")
    context.close()
    rows = {row.query: row for row in read_annotations(annotations)}
    assert rows[query].vid == "a"
    assert rows[query].ratings().tolist() == [[3, 0], [4, 0], [0, 2]]

    cleo = ann
    cleo.get_by_label("Your name").fill("Cleo")
    page.keyboard.press("Tab")
    expect(status).to_contain_text("You rated 0 of 3 clips")
    cleo.get_by_role("button", name="1 Bad").click()
    expect(status).to_have_text("This query has its 2 annotators: Ann, Ben.")
    cleo.get_by_role("combobox", name="Video").select_option("b.c")
    expect(cleo.get_by_role("button", name="1 Bad")).to_be_hidden()  # no query of this video
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_keys_rate_without_a_button_and_what_is_not_saved_is_said(
    browser: Browser, server: Server
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.url)
    tab = annotate(page, "Dan")
    for query in ("keys", "a second query"):
        tab.get_by_label("New query for this video").fill(query)
        tab.get_by_role("button", name="Add").click()
        expect(tab.locator("p").first).to_have_text(f"How well does each clip show this: {query}")
        expect(tab.locator("[aria-current]")).to_have_accessible_name("0:00 - 0:02: not rated")
        tab.get_by_role("button", name="0:04 - 0:06: not rated").click()
        tab.get_by_role("button", name="Rate the other 3 clips").click()  # and it hides
        expect(tab.get_by_role("button", name="0:04 - 0:06: Very bad")).to_be_visible()
        page.keyboard.press("3")
        expect(tab.get_by_role("button", name="0:04 - 0:06: Good")).to_be_visible()
    context.set_offline(True)
    tab.get_by_role("button", name="1 Bad").click()
    expect(tab.get_by_role("status")).to_contain_text("Not saved: the server does not answer.")
    context.close()


@pytest.mark.slow
def test_videos_to_annotate_are_served_in_parts_and_no_other_file_is(
    server: Server, annotations: Path
) -> None:
    content = (annotations.parents[1] / "videos" / "a.mp4").read_bytes()
    part = requests.get(f"{server.url}annotate/0", headers={"Range": "bytes=100-199"}, timeout=60)
    assert (part.status_code, part.content) == (206, content[100:200])
    for wrong in ("annotate/2", "annotate/-1", "annotate/../../etc/passwd", "annotate/a.mp4"):
        assert requests.get(f"{server.url}{wrong}", timeout=60).status_code == 404


@pytest.mark.slow
def test_a_text_file_is_refused_in_words(page: Page, tmp_path: Path) -> None:
    notes = tmp_path / "<b>notes.mp4"
    notes.write_text("no video")
    ask(page, notes, "a dog")
    toast = page.get_by_test_id("toast-body")
    expect(toast).to_contain_text("This file cannot be used as a video: not readable as a video")
    assert "Traceback" not in toast.inner_text()
    toast.get_by_role("button").last.click()
    queries(page).fill("  ")
    page.get_by_role("button", name="Find moments").click()
    expect(toast).to_contain_text("Type at least one query")


@pytest.mark.slow
def test_a_large_file_is_refused_in_words(page: Page, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(5 * 2**20))
    page.locator("#film input[type=file]").set_input_files(large)
    expect(page.get_by_test_id("toast-body")).to_contain_text("maximum allowed size of 4.0 Mb")


@pytest.mark.slow
def test_the_browser_asks_no_other_host(context: BrowserContext, server: Server) -> None:
    page = context.new_page()
    page.goto(server.url)
    expect(queries(page)).to_be_visible(timeout=60_000)
    refused = page.evaluate(
        """() => new Promise(done => {
            document.addEventListener("securitypolicyviolation", e => done(e.blockedURI));
            fetch("http://127.0.0.2:9/").catch(() => {});
        })"""
    )
    page.close()
    assert refused.startswith("http://127.0.0.2:9")


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/etc/passwd", "http://127.0.0.1:9/film.mp4"])
def test_made_up_requests_reach_no_other_file(path: str, server: Server) -> None:
    film = {"path": path, "meta": {"_type": "gradio.FileData"}}
    answer = call(server, "find", [film, "a dog"], session=re.sub(r"\W", "", path))
    assert answer["success"] is False
    assert "root:" not in json.dumps(answer)
    if path.startswith("http"):
        assert answer["output"]["error"] == "Only uploaded files are taken."
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{server.url}gradio_api/file=/etc/passwd")


def call(server: Server, name: str, data: list[Any], *, session: str) -> dict[str, Any]:
    """What a page's event brings, asked for without the page."""
    join(server, name, data, session=session)
    stream = f"{server.url}gradio_api/queue/data?session_hash={session}"
    with urllib.request.urlopen(stream, timeout=60) as lines:
        for line in lines:
            message = json.loads(line.removeprefix(b"data: ")) if line.strip() else {}
            if message.get("msg") == "process_completed":
                return message
    raise AssertionError("the stream ended without an answer")


def join(server: Server, name: str, data: list[Any], *, session: str) -> None:
    """Ask for it without waiting for what it brings."""
    event = event_id(server.url, name)
    body = json.dumps({"data": data, "fn_index": event, "session_hash": session}).encode()
    request = urllib.request.Request(
        f"{server.url}gradio_api/queue/join", body, {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request).close()


@cache
def event_id(url: str, name: str) -> int:
    with urllib.request.urlopen(f"{url}config") as answer:
        events = json.load(answer)["dependencies"]
    (event,) = (event["id"] for event in events if event["api_name"] == name)
    return event


@pytest.mark.slow
def test_twenty_others_fill_the_queue_and_an_answer_is_shown_all_the_same(
    context: BrowserContext, server: Server, tmp_path: Path
) -> None:
    video = film(tmp_path / "v.mp4")
    with video.open("rb") as file:
        answer = requests.post(f"{server.url}gradio_api/upload", files={"files": file}, timeout=60)
    upload = {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}
    full, done = threading.Event(), threading.Event()

    def ask_again_and_again(visitor: int) -> None:
        for number in itertools.takewhile(lambda _: not done.wait(0.1), range(1000)):
            try:
                join(server, "find", [upload, f"{visitor} {number}"], session=f"{visitor}")
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                full.set()

    page = context.new_page()
    faults = watch(page, home=server.url)
    page.goto(server.url)
    with ThreadPoolExecutor(20) as pool:
        visitors = [pool.submit(ask_again_and_again, number) for number in range(20)]
        try:
            assert full.wait(60)
            page.locator("#film input[type=file]").set_input_files(video)
            expect(page.locator("#film video")).to_be_visible()
            queries(page).fill("a dog")
            toast = page.get_by_test_id("toast-body")
            found = page.get_by_text("Click a moment to play it")
            while not found.count():
                page.get_by_role("button", name="Find moments").click()
                expect(toast.or_(found).first).to_be_visible()
                if toast.count():
                    expect(toast).to_contain_text("currently busy. Please try again")
                    # It may close by itself meanwhile.
                    toast.get_by_role("button").last.dispatch_event("click")
                    expect(toast).to_have_count(0)
            expect(page.locator(".moments button").first).to_be_visible()
        finally:
            done.set()
    page.close()
    assert all("503" in fault for fault in faults)
    for visitor in visitors:
        visitor.result()


@pytest.mark.slow
def test_an_interrupt_in_the_middle_of_the_work_leaves_nothing(
    footage_dir: Path, tmp_path: Path
) -> None:
    with started(tmp_path) as server:
        video = footage_dir / "videos/tears_of_steel_battle.webm"
        with video.open("rb") as file:
            url = f"{server.url}gradio_api/upload"
            answer = requests.post(url, files={"files": file}, timeout=60)
        film = {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}
        join(server, "find", [film, "a robot"], session="s")
        while not list((tmp_path / "tmp").glob("*/store/images/locks/*")):
            assert server.process.poll() is None
            time.sleep(0.01)
        assert any(path.suffix == ".webm" for path in server.files())
        end(server, signal.SIGINT)
    (line,) = (tmp_path / "stderr").read_text().splitlines()
    assert line.startswith(
        f"model: local-dir:{SAMPLE.name}, zero-shot, which has seen drawn scenes only"
    )


def end(server: Server, number: signal.Signals) -> None:
    """End the server, and check that its uploads and everything made from them are gone."""
    (private,) = (server.folder / "tmp").iterdir()
    assert private.stat().st_mode & 0o777 == 0o700
    server.process.send_signal(number)
    assert server.process.wait(60) == 0
    assert list((server.folder / "tmp").iterdir()) == []
    assert server.files() == [server.folder / "stderr"]
