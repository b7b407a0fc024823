"""The sample's second model: the first one with the modality gap of a real CLIP model."""

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.numpy import load_file

from hlclip.highlights.model_name import OF_THE_SAMPLE
from hlclip.model import Encoder, build_tail, load_encoder
from hlclip.video import extract_frames, frames_header
from sample.cones import find_biases
from sample.films import Film, plan_film
from sample.gap import BIASES, MODEL, WEIGHTS, make_model
from sample.pretrain import HELD_OUT, draw
from sample.render import encode

HEADER = frames_header(size=64, resize="shortest", interpolation="bicubic", clip_seconds=2.0)


@pytest.fixture(scope="module")
def with_gap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model-gap"
    make_model(folder)
    return folder


@pytest.fixture(scope="module")
def models(with_gap: Path) -> list[Encoder]:
    """Without and with the gap."""
    return [load_encoder(f"local-dir:{p}", None, cached_blocks=2) for p in (MODEL, with_gap)]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Film, np.ndarray]]:
    """Films of another seed than the sample's, and their frames as the pipeline takes them."""
    folder = tmp_path_factory.mktemp("films")
    films = [plan_film(f"film{number}", (7, number), seconds=60) for number in range(8)]
    for film in films:
        encode(film, folder)
    return [(film, extract_frames(folder / f"{film.vid}.mp4", HEADER)) for film in films]


def cosines(encoder: Encoder, films: list[tuple[Film, np.ndarray]]) -> torch.Tensor:
    """Zero-shot cosines [films, clips]."""
    tail = build_tail(encoder).requires_grad_(False)
    lines = []
    for film, frames in films:
        text = encoder.text_tokens(film.query)[None]
        image = encoder.image_tokens(frames, batch=25)
        owner = torch.zeros(len(frames), dtype=torch.int64)
        lines.append(tail(image, owner, text, torch.tensor([text.shape[1]])))
    return torch.stack(lines)


def test_it_is_the_same_bytes_in_every_run(with_gap: Path, tmp_path: Path) -> None:
    make_model(tmp_path / "again")
    for path in with_gap.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_it_differs_in_two_biases_alone(with_gap: Path) -> None:
    before, after = load_file(MODEL / WEIGHTS), load_file(with_gap / WEIGHTS)
    assert before.keys() == after.keys()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"visual.ln_post.bias", "ln_final.bias"} == load_file(BIASES).keys()


def test_the_trunk_computes_the_same_tokens(models: list[Encoder], films) -> None:
    before, after = models
    film, frames = films[0]
    assert torch.equal(before.image_tokens(frames, batch=25), after.image_tokens(frames, batch=25))
    assert torch.equal(before.text_tokens(film.query), after.text_tokens(film.query))
    assert before.fingerprint() != after.fingerprint()


def test_highlight_knows_the_bundled_models(models: list[Encoder]) -> None:
    assert tuple(model.fingerprint() for model in models) == OF_THE_SAMPLE


def test_cosines_are_narrow_around_a_positive_mean(models: list[Encoder], films) -> None:
    """As those of a real CLIP model, and unlike those of the first model."""
    before, after = (cosines(model, films) for model in models)
    assert before.std(1).mean() > 0.2
    assert after.std(1).mean() == pytest.approx(0.05, abs=0.015)
    assert after.mean() == pytest.approx(0.19, abs=0.03)


def test_the_ranking_of_clips_hardly_changes(models: list[Encoder], films) -> None:
    ranks = [cosines(model, films).argsort(1).argsort(1).double() for model in models]
    for before, after in zip(*ranks, strict=True):
        assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 0.9


@torch.inference_mode()
def test_pictures_hardly_vary_along_the_axis_of_the_texts() -> None:
    model: Any = open_clip.create_model(f"local-dir:{MODEL}")
    biases = find_biases(model, pictures=100)
    moved = (biases["ln_final.bias"].float() - model.ln_final.bias) @ model.text_projection
    axis = moved / moved.norm()
    features = model.encode_image(draw(HELD_OUT + 1000, 100)[0])  # other pictures
    assert (features @ axis).var() < 0.02 * features.var(0).mean()
