"""The report of a run on another data set: its metrics, its words, its ratings and clip times."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlclip.results.page import render
from hlclip.results.page_queries import pack_split
from hlclip.results.page_tables import summary
from hlclip.results.run import read_run
from hlclip.results.thumbnails import Thumbnails
from tests.runs import finished_run

TITLES = {
    "tvsum": "TVSum, zero-shot",
    "youtube-highlights": "YouTube Highlights, zero-shot",
    "charades-sta": "Charades-STA",
}


@pytest.fixture(params=TITLES)
def page(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Any, str]:
    """Data set, run and page."""
    finished_run(tmp_path, queries=5, frame=None, dataset=request.param)
    run = read_run(tmp_path)
    return request.param, run, render(run, Thumbnails())


def test_the_page_has_the_words_of_the_data_set(page: tuple[str, Any, str]):
    dataset, _, html = page
    assert f"Metrics of {TITLES[dataset]}." in html
    shown = html[: html.index("<script")]
    for word in ("Very Good", "very good", "QVHighlights", "three annotators"):
        assert word not in shown
    assert ("top-5 mAP" in html) == (dataset == "tvsum")


def test_the_summary_ends_with_the_reference_rows(page: tuple[str, Any, str]):
    dataset, run, _ = page
    val, test = summary(run)
    assert val.caption == f"{TITLES[dataset]}, val: 5 queries, percent"
    assert test.caption == f"{TITLES[dataset]}, test: 5 queries, percent"
    heads = {
        "tvsum": ["top-5 mAP", "BK", "BT"],
        "youtube-highlights": ["mAP", "dog", "surfing"],
        "charades-sta": ["R1@0.3", "R1@0.5", "R1@0.7", "mIoU", "mAP@0.5", "mAP@0.75", "mAP"],
    }
    assert next(iter(val.groups.values()))[: len(heads[dataset])] == heads[dataset]
    best = "annotated moments" if dataset == "charades-sta" else "annotators' mean"
    assert list(val.rows)[-2:] == ["random", best]
    assert "±" in val.rows["random"][0].text
    assert not any(cell.marked for name in ("random", best) for cell in val.rows[name])
    figure = run.splits["val"].figures["zero-shot"][run.benchmark.group][heads[dataset][0]]
    assert val.rows["zero-shot"][0].text == f"{figure:.2f}"


def test_ratings_and_clip_times_reach_the_page(tmp_path: Path):
    finished_run(tmp_path, queries=5, clips=8, frame=None, dataset="youtube-highlights")
    run = read_run(tmp_path)
    packed = pack_split(run, "val")
    rows = run.splits["val"].scores.rows
    shown = np.frombuffer(base64.b64decode(packed["ratings"]), np.uint8)
    np.testing.assert_array_equal(shown, np.concatenate([r.ratings() for r in rows])[:, 0] + 1)
    assert packed["times"]["2"][1] == [1.5, 4.5]


def test_moments_alone_order_the_queries(tmp_path: Path):
    finished_run(tmp_path, queries=5, frame=None, dataset="tacos")
    packed = pack_split(read_run(tmp_path), "val")
    assert (packed["ratings"], packed["times"]) == (None, {})
    assert set(packed["orders"]) == {"moment AP", "IoU of the first moment"}
