"""The bundled sample: its drawings, its films and the model that comes with it."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from hlclip.formats.annotations import read_annotations
from sample.captions import query
from sample.films import CLIP_SECONDS, FPS, Film, annotate, draw_film, plan_film
from sample.picture import HEIGHT, WIDTH
from sample.places import PLACES
from sample.render import encode, render
from sample.scenes import Pose, Thing, draw_place, draw_thing
from sample.shapes import SUBJECTS
from sample.snapshots import snapshot

MODEL = Path("sample/model")
SHOWN_WORDS = {"close", "near", "far", "small", "dancing", "lively", "sparkling", "glitter", "best"}


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_subject_leaves_a_mark_of_its_size(subject: str) -> None:
    covered = []
    for radius in (0.15, 0.3):
        picture = np.full((HEIGHT, WIDTH, 3), 0.5, np.float32)
        thing = Thing(subject, "red")
        draw_thing(picture, thing, Pose(radius=radius), np.random.default_rng(0))
        covered.append((picture != 0.5).any(2).mean())
    assert 0.01 < covered[0] < covered[1] / 2
    assert covered[1] < 0.5


@pytest.mark.parametrize("place", PLACES)
def test_every_place_is_a_picture(place: str) -> None:
    picture = draw_place(place, np.random.default_rng(0))
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert picture.std() > 0.05


def test_a_thing_may_leave_the_picture() -> None:
    picture = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    draw_thing(picture, Thing("star", "red"), Pose(x=5, sparkles=9), np.random.default_rng(0))
    assert not picture.any()


def test_a_snapshot_depends_on_its_seed_alone() -> None:
    first, same, other = (snapshot(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first[1] == same[1]
    np.testing.assert_array_equal(first[0], same[0])
    assert first[0].dtype == np.uint8
    assert first[0].shape == (HEIGHT, WIDTH, 3)
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("source", ["caption", "query"])
def test_words_never_tell_how_a_thing_is_shown(source: str) -> None:
    rng = np.random.default_rng(0)
    if source == "caption":
        texts = [snapshot(rng)[1] for _ in range(100)]
    else:
        thing = Thing("star", "red")
        texts = [query(thing, place, rng) for place in PLACES for _ in range(20)]
    words = {word.strip(".,!").lower() for text in texts for word in text.split()}
    assert not words & SHOWN_WORDS


def test_a_film_has_as_many_frames_as_it_lasts() -> None:
    film = plan_film("v", (0, 1), seconds=30)
    frames = list(draw_film(film))
    assert len(frames) == 30 * FPS
    assert frames[0].shape == (HEIGHT, WIDTH, 3)
    assert frames[0].dtype == np.uint8


@pytest.mark.parametrize("number", range(8))
def test_shots_fill_the_film_and_only_moments_show_what_is_asked_for(number: int) -> None:
    film = plan_film("v", (1, number))
    starts, ends = [s.start for s in film.shots], [s.end for s in film.shots]
    assert starts == [0, *ends[:-1]]
    assert ends[-1] == film.seconds
    assert film.seconds % CLIP_SECONDS == 0
    assert 30 <= film.seconds <= 150
    assert len({(s.thing, s.place) for s in film.shots if s.asked_for}) == 1
    wanted = next((s.thing, s.place) for s in film.shots if s.asked_for)
    assert all(s.asked_for == ((s.thing, s.place) == wanted) for s in film.shots)


def test_ratings_do_not_depend_on_what_is_shown() -> None:
    """Only on how: recoloured, the same film is rated the same."""
    film = plan_film("v", (2, 0))
    other = tuple(dataclasses.replace(s, thing=Thing("ball", "pink")) for s in film.shots)
    assert annotate(dataclasses.replace(film, shots=other), 0) == annotate(film, 0)


def test_raters_agree_within_a_moment_but_not_fully() -> None:
    correlations = []
    for number in range(60):
        ratings = np.array(annotate(plan_film("v", (4, number)), 0)["saliency_scores"], float)
        if len(ratings) >= 8 and ratings.std(0).min() > 0:
            correlations.append(np.corrcoef(ratings.T)[np.triu_indices(3, 1)].mean())
    assert 0.1 < np.mean(correlations) < 0.9


def test_rendering_gives_the_same_bytes_with_any_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch, seconds=8)
    for name, workers in (("one", 1), ("two", 2)):
        render(tmp_path / name, {"train": 2, "val": 1}, workers=workers)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one == two
    assert sorted(one) == [
        "annotations/train.jsonl",
        "annotations/val.jsonl",
        "videos/train_0000.mp4",
        "videos/train_0001.mp4",
        "videos/val_0000.mp4",
    ]


def test_annotations_are_valid_and_name_the_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sample.render.encode", touch)
    render(tmp_path, {"train": 6, "test": 4}, workers=1)
    rows = {split: read_annotations(tmp_path / f"annotations/{split}.jsonl")
            for split in ("train", "test")}  # fmt: skip
    assert [len(rows["train"]), len(rows["test"])] == [6, 4]
    assert len({row.qid for part in rows.values() for row in part}) == 10
    raw = json.loads((tmp_path / "annotations/train.jsonl").read_text().splitlines()[0])
    assert raw["duration"] == 150
    for start, end in raw["relevant_windows"]:
        clips = range(start // CLIP_SECONDS, end // CLIP_SECONDS)
        assert set(clips) <= set(raw["relevant_clip_ids"])
    assert sum(end - start for start, end in raw["relevant_windows"]) == CLIP_SECONDS * len(
        raw["relevant_clip_ids"]
    )


def test_the_model_is_small_enough_to_bundle() -> None:
    assert sum(path.stat().st_size for path in MODEL.iterdir()) <= 8_000_000


def test_the_model_names_what_it_sees() -> None:
    """A picture is nearer to its own caption than to another picture's, nearly always."""
    created: Any = open_clip.create_model_and_transforms(f"local-dir:{MODEL}")
    model, _, preprocess = created
    tokenizer = open_clip.get_tokenizer(f"local-dir:{MODEL}")
    rng = np.random.default_rng(2**41)
    pictures, captions = zip(*(snapshot(rng) for _ in range(64)), strict=True)
    images = torch.stack([preprocess(Image.fromarray(picture)) for picture in pictures])
    with torch.inference_mode():
        image = model.eval().encode_image(images, normalize=True)
        text = model.encode_text(tokenizer(list(captions)), normalize=True)
    torch.testing.assert_close(image.norm(dim=1), torch.ones(64))
    cosines = image @ text.T
    assert (cosines.diag() > cosines.roll(1, dims=1).diag()).float().mean() > 0.9
    assert (cosines.argmax(1) == torch.arange(64)).float().mean() > 0.3


def shorten(monkeypatch: pytest.MonkeyPatch, *, seconds: int) -> None:
    plan: Callable[..., Film] = plan_film
    monkeypatch.setattr(
        "sample.render.plan_film",
        lambda vid, seed, **_: plan(vid, seed, seconds=seconds),
    )


def touch(film: Film, folder: Path) -> None:
    (folder / f"{film.vid}.mp4").touch()


def test_encoding_the_same_film_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    film = plan_film("again", (3, 0), seconds=8)
    copies = []
    for _ in range(2):
        encode(film, tmp_path)
        copies.append((tmp_path / "again.mp4").read_bytes())
    assert copies[0] == copies[1]
