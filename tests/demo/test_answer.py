"""The HTML of an answer: the axes of the chart of `--plot`, moments, the files."""

import base64
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from hlclip.demo.answer import answer_html, files_html
from hlclip.formats import ScoreMap, mean_of
from hlclip.highlights import Answer, Curve, best_moments
from hlclip.highlights.curve_axes import chart_scales
from hlclip.highlights.drawings import plot_curve
from tests.films import film


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory) -> Curve:
    video = film(tmp_path_factory.mktemp("film") / "v.mp4", seconds=20)
    saliency = np.array([-0.2, -0.1, 0.3, 0.4, 0.1, -0.3, -0.1, 0.2, 0.2, -0.4], np.float32)
    return Curve(video, "<b>a dog</b>", saliency, duration=20, clip_seconds=2.0)


def test_the_chart_has_the_axes_of_the_drawn_one(
    curve: Curve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = best_moments(curve)
    drawn: list[Figure] = []
    save = Figure.savefig

    def kept(figure: Figure, *arguments: Any, **options: Any) -> None:
        drawn.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", kept)
    plot_curve(curve, moments, tmp_path / "chart.png")
    axes = drawn[0].axes[0]
    time, value = chart_scales(curve, moments)
    for scale, axis, limits in (
        (time, axes.xaxis, axes.get_xlim()),
        (value, axes.yaxis, axes.get_ylim()),
    ):
        assert (scale.low, scale.high) == limits
        labels = {
            float(place): label.get_text()
            for place, label in zip(
                axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True
            )
            if limits[0] <= place <= limits[1]
        }
        assert scale.ticks == labels
    page = answer_html(curve, moments, 3)
    for at, label in time.ticks.items():
        assert f'class="time" style="left:{at / 20:.3%}">{label}<' in page
    assert f"<figcaption>{axes.get_ylabel()} <span>" in page


def test_a_clip_that_ends_after_its_video_is_drawn_to_the_end_of_the_axis(curve: Curve) -> None:
    page = answer_html(replace(curve, duration=19.2), [], 3)
    lines = re.findall(r'points="([^"]*)"', page)
    last = [float(line.split()[-1].split(",")[0]) for line in lines]
    assert last == [100, pytest.approx(100 * 19 / 19.2, abs=1e-3)]


def test_moments_have_rank_time_score_and_picture(curve: Curve) -> None:
    moments = best_moments(curve, top=2)
    page = answer_html(curve, moments, 3)
    cards = re.findall(r"<button data-second=.*?</button>", page)
    assert len(cards) == len(moments) == 2
    for rank, (card, moment) in enumerate(zip(cards, moments, strict=True), 1):
        assert f'data-second="{moment.start_seconds}"' in card
        assert f"<b>{rank}</b>" in card
        assert f"{moment.score:.4f}" in card
        assert 'src="data:image/jpeg;base64,' in card
    assert "<b>a dog" not in page  # text, no markup


def test_what_is_below_zero_is_grey_and_what_is_not_found_is_said(curve: Curve) -> None:
    below = replace(curve, saliency=curve.saliency - 1)
    page = answer_html(below, best_moments(below, top=1), 3)
    assert '<button data-second="4.0" class="doubt">' in page
    assert "below 0" in page
    bad = ScoreMap("zero-shot", mean_of(3), ((0.0, 0.2),), ((0.0, 0.1),))
    rated = replace(curve, maps={3: bad})
    assert "Nothing found" in answer_html(rated, best_moments(rated), 3)


def test_a_video_that_is_gone_leaves_the_moments(curve: Curve) -> None:
    gone = replace(curve, video=Path("gone.mp4"))
    page = answer_html(gone, best_moments(gone), 3)
    assert "<button data-second=" in page
    assert "<img" not in page


def test_files_are_those_of_the_command(curve: Curve) -> None:
    page = files_html([Answer(1, "v", curve, best_moments(curve))], 3)
    contents = [base64.b64decode(data).decode() for data in re.findall(r'base64,([^"]+)"', page)]
    assert contents[0].startswith('{"qid": 1, "query": "<b>a dog</b>", "vid": "v"')
    assert contents[1].startswith("qid,vid,query,start,end,score,pooled,moment\n1,v,")
