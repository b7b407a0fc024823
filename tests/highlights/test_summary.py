"""The best moments of all videos."""

import csv
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from hlclip.highlights import Answer, Curve, Moment
from hlclip.highlights.generic import MEASURE
from hlclip.highlights.summary import rank_moments, write_summary_csv, write_summary_page
from tests.films import film

MODEL = {"checkpoint": None, "model": "tiny", "pretrained": "none"}


def answer(
    video: str, *scores: float, query: str = "a dog", name: str = "", generic: bool = False
) -> Answer:
    moments = [
        Moment(4.0 * n, 4.0 * n + 4, score, range(2 * n, 2 * n + 2))
        for n, score in enumerate(scores)
    ]
    saliency = np.repeat(np.array([*scores, 0], np.float32), 2)
    curve = Curve(Path(video), query, saliency, 2.0 * len(saliency), 2.0)
    if generic:
        curve = replace(curve, measure=MEASURE)
    return Answer(1, Path(video).stem, curve, moments, name)


def places(answers: list[Answer]) -> list[tuple[int, str, float]]:
    (found,) = rank_moments(answers).values()
    return [(each.place, each.answer.vid, each.moment.score) for each in found]


def test_the_scores_of_a_query_rank_the_moments_of_all_videos() -> None:
    assert places([answer("a.mp4", 0.4, 0.1), answer("b.mp4", 0.5), answer("c.mp4")]) == [
        (1, "b", 0.5),
        (2, "a", 0.4),
        (3, "a", 0.1),
    ]


def test_without_a_query_the_best_of_each_video_come_first() -> None:
    """A dull video is like itself everywhere, so its scores are high."""
    dull, lively = answer("a.mp4", 0.9, 0.8, generic=True), answer("b.mp4", 0.3, generic=True)
    assert places([dull, lively]) == [(1, "a", 0.9), (2, "b", 0.3), (3, "a", 0.8)]


def test_csv(tmp_path: Path) -> None:
    answers = [answer("v/a.mp4", 0.5, name="dogs"), answer("v/a.mp4", -0.5, query="=cat()")]
    write_summary_csv(tmp_path / "summary.csv", rank_moments(answers))
    with (tmp_path / "summary.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["name", "query", "place", "video", "start", "end", "score", "rating", "very_good"],
        ["dogs", "a dog", "1", "v/a.mp4", "0", "4", "0.5", "", ""],
        ["'=cat()", "'=cat()", "1", "v/a.mp4", "0", "4", "-0.5", "", ""],
    ]


class Links(HTMLParser):
    """Addresses that the page names, by attribute."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [(tag, value or "") for name, value in attrs if name in ("href", "src")]


def page(folder: Path, answers: list[Answer], failed: dict[str, str]) -> str:
    out = folder / "out" / "summary.html"
    write_summary_page(out, answers, rank_moments(answers), failed, model=MODEL)
    return out.read_text(encoding="utf-8")


def test_the_page_links_videos_at_the_second_and_has_their_pictures(tmp_path: Path) -> None:
    video = film(tmp_path / "a#1 <b>.mp4", seconds=8)
    answers = [answer(str(video), 0.5, query="<i>a dog"), answer(str(video), query="<i>a dog")]
    written = page(tmp_path, answers, {"bad.mp4": "bad.mp4: no <video>"})
    icon, link, picture = Links(written).found
    assert icon == ("link", "data:,")
    assert link == ("a", "../a%231%20%3Cb%3E.mp4#t=0,4")
    assert picture[0] == "img"
    assert picture[1].startswith("data:image/jpeg;base64,")
    assert "<i>" not in written
    assert "Nothing found in a#1 &lt;b&gt;.mp4." in written
    assert "bad.mp4: no &lt;video&gt;" in written


def test_a_video_without_pictures_is_named_and_its_moments_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as one that was deleted meanwhile."""
    gone = str(tmp_path / "gone.mp4")
    failed: dict[str, str] = {}
    written = page(tmp_path, [answer(gone, 0.5, -0.5)], failed)
    assert list(failed) == [gone]
    assert failed[gone] in caplog.text
    assert [tag for tag, _ in Links(written).found] == ["link", "a", "a"]
    assert written.count(">no picture<") == 2
    assert written.count('<li class="doubtful">') == 1
    assert "score -0.5000, below 0" in written


def test_videos_of_one_name_are_told_apart(tmp_path: Path) -> None:
    answers = [answer("x/a.mp4", 0.5), answer("y/a.mp4"), answer("y/b.mp4")]
    written = page(tmp_path, answers, {})
    assert "<span>x/a.mp4</span>" in written
    assert "Nothing found in y/a.mp4, b.mp4." in written
