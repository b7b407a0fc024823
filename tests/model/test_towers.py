"""Towers of timm: what is refused, when, and what an encoder is without its weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from hlclip.formats import CheckpointError
from hlclip.model import (
    EncoderError,
    build_tail,
    describe_encoder,
    load_encoder,
    load_tail,
    save_tail,
)
from tests.models import save_model, small_timm, tiny_config


def config_of(timm_name: str, **vision: Any) -> dict[str, Any]:
    tower = {"timm_model_name": timm_name, "image_size": 32, "timm_pool": "map"} | vision
    plain = {"quick_gelu": False, "custom_text": True}
    return {**tiny_config(), **plain, "embed_dim": 32, "vision_cfg": tower}


def tiny_vit(**changes: Any) -> str:
    sizes = {"depth": 3, "img_size": 32, "embed_dim": 32, "num_heads": 2, **changes}
    return small_timm("vit_base_patch16_siglip_224", **sizes)


def written(folder: Path, config: dict[str, Any]) -> str:
    """A model without weights: whoever reads its file fails."""
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    (folder / "open_clip_model.safetensors").touch()
    return f"local-dir:{folder}"


@pytest.mark.parametrize(
    ("vision", "says"),
    [
        (
            {"timm_model_name": "vit_base_patch16_siglip_225"},
            rf"'vit_base_patch16_siglip_225', which timm {timm.__version__} does not have; near "
            r"it: vit_base_patch16_siglip_.*\n.*pip install --upgrade timm",
        ),
        ({"timm_model_name": 3}, "names the image tower 3, which timm"),
        ({"timm_model_name": "hf-hub:org/model"}, "names the image tower 'hf-hub:org/model', wh"),
        ({"timm_model_name": "fastvit_t8", "timm_pool": "avg"}, "image tower is timm's FastVit"),
        ({"image_size": 64}, r"config says images of 64x64, but its image tower takes 32x32"),
        ({"timm_pool": "max"}, "the image tower pools by 'max'; only 'token', 'avg' and 'map'"),
    ],
)
def test_a_tower_is_refused_before_its_weights_are_read(
    tmp_path: Path, vision: dict[str, Any], says: str
):
    name = written(tmp_path, config_of(tiny_vit(), **vision))
    for use in (load_encoder, describe_encoder):
        with pytest.raises(EncoderError, match=says):
            use(name, None, cached_blocks=2)


def test_weights_that_the_config_asks_timm_for_are_not_fetched(tmp_path: Path):
    name = save_model(tmp_path, config_of(tiny_vit()))
    file = tmp_path / "open_clip_config.json"
    content = json.loads(file.read_text())
    content["model_cfg"]["vision_cfg"]["timm_model_pretrained"] = True
    file.write_text(json.dumps(content))
    # timm would ask the network, which the tests do not have, for a quarter of a minute.
    assert describe_encoder(name).blocks == (3, 4)
    assert load_encoder(name, None, cached_blocks=2).image_shape == (4, 32)


def test_a_description_equals_the_loaded_encoder(tmp_path: Path):
    name = save_model(tmp_path, config_of(tiny_vit()))
    description, encoder = describe_encoder(name), load_encoder(name, None, cached_blocks=2)
    assert description.family == "timm VisionTransformer"
    assert description.pooling == "attention"
    assert description.preprocess == encoder.preprocess
    assert description.image_shape == encoder.image_shape == (4, 32)
    assert description.text_shape == (16, encoder.text_width)
    tail = sum(p.numel() for p in build_tail(encoder).parameters())
    assert description.tail_parameters == tail
    everything = sum(p.numel() for p in encoder.model.parameters())
    assert description.trunk_parameters == everything - tail


def test_a_checkpoint_of_another_tower_with_equal_shapes_is_refused(tmp_path: Path):
    """The same weights with other attention heads: no shape shows it."""
    encoders = {}
    for heads in (2, 4):
        name = save_model(tmp_path / str(heads), config_of(tiny_vit(num_heads=heads)))
        encoders[heads] = load_encoder(name, None, cached_blocks=2)
    one, other = (encoder.model.state_dict() for encoder in encoders.values())
    assert all(torch.equal(one[key], other[key]) for key in one | other)
    tail = build_tail(encoders[2]).train_only(2, "all")
    facts = {"weights": encoders[2].fingerprint(), "cached_blocks": 2, "train": {"blocks": 2}}
    save_tail(tmp_path / "tail.safetensors", tail.trained(), facts)
    load_tail(tmp_path / "tail.safetensors", tail, weights=encoders[2].fingerprint())
    with pytest.raises(CheckpointError, match="was fine-tuned from other weights"):
        load_tail(
            tmp_path / "tail.safetensors",
            build_tail(encoders[4]),
            weights=encoders[4].fingerprint(),
        )
