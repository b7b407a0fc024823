"""Presets: complete parameter files that say what they are for and fit their model."""

from pathlib import Path
from typing import Any

import open_clip

from hlclip.datasets.qvhighlights import ANNOTATIONS
from hlclip.params import load_params

ROOT = Path(__file__).parents[1]
PRESET = ROOT / "presets" / "qvhighlights.yaml"


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in content.items():
        nested = isinstance(value, dict)
        found |= flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return found


def test_the_preset_differs_from_the_sample_only_where_it_must():
    """Whoever changes a default changes it in both files, or says here why not."""
    sample = flat(load_params(ROOT / "params.yaml").model_dump())
    preset = flat(load_params(PRESET).model_dump())
    assert set(preset) == set(sample)
    assert {key for key in sample if sample[key] != preset[key]} == {
        "data.root",
        "data.annotations.train",
        "data.annotations.val",
        "data.annotations.test",
        "frames.size",
        "encoder.model",
        "encoder.pretrained",
        "train.lr",
        "train.epochs",
        "train.micro_batch",  # of ViT-B/32 on a CPU
        "pool.window",
        "moments.rule",
    }


def test_the_preset_fits_the_model_and_its_weights():
    params = load_params(PRESET)
    model, pretrained = params.encoder.model, params.encoder.pretrained
    assert pretrained is not None
    config = open_clip.get_model_config(model)
    weights = open_clip.get_pretrained_cfg(model, pretrained)
    assert config is not None
    assert config["vision_cfg"]["image_size"] == params.frames.size
    assert config["quick_gelu"] is weights["quick_gelu"] is True
    assert weights["interpolation"] == params.frames.interpolation
    assert weights["resize_mode"] == params.frames.resize


def test_the_preset_names_the_released_files():
    named = load_params(PRESET).data.annotations
    assert {split: Path(name).name for split, name in named.items()} == {
        release.split: release.name for release in ANNOTATIONS
    }
