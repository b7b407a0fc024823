"""The model says how frames are prepared; frames made in another way are refused."""

import json
from pathlib import Path

import pytest

from hlclip.formats import Index, Manifest
from hlclip.model import EncoderError, describe_encoder, load_encoder
from hlclip.params import EncoderParams
from hlclip.pipeline.activations import make_activations
from tests.models import PREPROCESS, save_model, tiny_config

FITTING = {"clip_seconds": 2.0, "size": 32, "resize": "shortest", "interpolation": "bicubic"}


def save(folder: Path, **preprocess: str) -> str:
    """A tiny model that prepares images in its own way."""
    model = save_model(folder, tiny_config())
    content = {"model_cfg": tiny_config(), "preprocess_cfg": PREPROCESS | preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    return model


def encode_nothing(model: str, folder: Path, **frames: int | str) -> None:
    params = EncoderParams.model_validate(
        {"model": model, "pretrained": None, "cached_blocks": 2, "dtype": "float16", "batch": 4}
    )
    index = Index(2.0, {"test": []}, {}, {})
    make_activations(index, Manifest(FITTING | frames, {}, {}), params, store=folder)


def test_all_values_that_contradict_the_model_are_named_before_its_weights_are_read(
    tmp_path: Path,
) -> None:
    model = save(tmp_path / "m", resize_mode="squash", interpolation="bilinear")
    (tmp_path / "m" / "open_clip_model.safetensors").write_bytes(b"")
    with pytest.raises(EncoderError) as caught:
        encode_nothing(model, tmp_path, size=224)
    assert str(caught.value).splitlines() == [
        "frames.size is 224, frames.resize is shortest, frames.interpolation is bicubic, but "
        f"{model} takes other frames",
        "-S frames.size=32 -S frames.resize=squash -S frames.interpolation=bilinear",
    ]
    with pytest.raises(EncoderError, match="is empty, expected a weights file"):
        encode_nothing(model, tmp_path, resize="squash", interpolation="bilinear")


def test_frames_that_fit_are_taken(tmp_path: Path) -> None:
    encode_nothing(save(tmp_path / "m"), tmp_path)
    # open_clip draws the interpolation in training alone, and evaluates with bicubic.
    encode_nothing(save(tmp_path / "random", interpolation="random"), tmp_path)


def test_a_way_of_resizing_that_frames_cannot_have_is_refused(tmp_path: Path) -> None:
    model = save(tmp_path / "m", resize_mode="longest")
    reason = "its images are resized by 'longest'; only 'shortest' and 'squash'"
    with pytest.raises(EncoderError, match=reason):
        encode_nothing(model, tmp_path)
    with pytest.raises(EncoderError, match=reason):
        describe_encoder(model)
    with pytest.raises(EncoderError, match=reason):
        _ = load_encoder(model, None, cached_blocks=2).preprocess
