"""The rehearsal's own arithmetic, and the videos that it draws."""

from pathlib import Path

import pytest

from bench.rehearsal import Cost, as_table, by_tower, choose, colours, draw, summary
from hlclip.formats.annotations import Annotation
from hlclip.video.container import probe


def rows(split: str, count: int) -> list[Annotation]:
    facts = {"query": "a cat", "duration": 150}
    return [
        Annotation.model_validate({"qid": n, "vid": f"{split}{n}", **facts}) for n in range(count)
    ]


ROWS = {"train": rows("train", 70), "val": rows("val", 20), "test": rows("test", 10)}


def cost(stage: str, *, seconds: float = 10.0, stored: int = 1000) -> Cost:
    return Cost(stage, seconds, 2 * seconds, peak_rss=10**9, store_bytes=stored)


def test_the_choice_is_the_same_every_time_and_of_all_splits():
    drawn = choose(ROWS, 30)
    assert drawn == choose(ROWS, 30)
    assert len(drawn) == 30
    assert {vid.rstrip("0123456789") for vid in drawn} == {"train", "val", "test"}
    assert choose(ROWS, 20).items() <= drawn.items()  # more videos keep those that are there


def test_costs_grow_with_what_they_depend_on():
    drawn = choose(ROWS, 25)
    present = {split: sum(r.vid in drawn for r in part) for split, part in ROWS.items()}
    full = summary([cost(s) for s in ("frames", "train", "evaluate")], ROWS, drawn)
    assert full["rows with a drawn video"] == present
    assert full["extrapolated"]["frames"]["wall_seconds"] == pytest.approx(10 * 100 / 25)
    assert full["extrapolated"]["train"]["wall_seconds"] == pytest.approx(
        10 * 70 / present["train"]
    )
    assert full["extrapolated"]["evaluate"]["wall_seconds"] == 10
    assert "| frames" in as_table([cost("frames")], full)


def test_activations_are_told_apart_by_tower(tmp_path: Path):
    for tower in ("images", "texts"):
        (tmp_path / tower).mkdir()
        (tmp_path / tower / "a.h5").write_bytes(b"1234")
    written = (tmp_path / "images" / "a.h5").stat().st_mtime
    images, texts = by_tower(cost("activations"), tmp_path, began=written - 4)
    assert images.stage == "activations: images"
    assert images.wall_seconds == pytest.approx(4, abs=0.01)
    assert texts.wall_seconds == pytest.approx(6, abs=0.01)
    assert texts.store_bytes == 4


def test_a_drawn_video_has_the_annotated_duration(tmp_path: Path):
    one, other = tmp_path / "a_0.0_6.0.mp4", tmp_path / "b_0.0_6.0.mp4"
    for path in (one, other):
        draw(path, 6)
    assert probe(one).duration == pytest.approx(6, abs=0.2)
    assert one.read_bytes() != other.read_bytes()


def test_no_two_videos_have_the_same_colours():
    assert len({colours(f"vid{n}") for n in range(10_148)}) == 10_148
