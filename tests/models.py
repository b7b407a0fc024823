"""Tiny real open_clip models with random weights, in the `local-dir:` layout."""

import json
from pathlib import Path
from typing import Any

import timm
import torch
from open_clip.model import CLIP, CustomTextCLIP
from safetensors.torch import load_file, save_file
from timm.models import register_model

PREPROCESS = {
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.3, 0.25],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def tiny_config(*, layers: int = 4, vision: dict[str, Any] | None = None) -> dict[str, Any]:
    """Built like ViT-B/32 with QuickGELU: class token, causal text, argmax pooling."""
    return {
        "embed_dim": 24,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 32,
            "patch_size": 8,
            "width": 64,
            "layers": layers,
            "head_width": 16,
            **(vision or {}),
        },
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 49408,
            "width": 32,
            "heads": 4,
            "layers": layers,
        },
    }


def small_timm(name: str, **sizes: Any) -> str:
    """Register timm's model `name` with other sizes, which open_clip's configs cannot give.

    Returns:
        the timm name of the small model.
    """
    small = "_".join([name, *(str(size) for size in sizes.values())])

    def build(pretrained: bool = False, **settings: Any) -> torch.nn.Module:
        return timm.create_model(name, pretrained=pretrained, **sizes, **settings)

    if not timm.is_model(small):
        build.__name__ = small
        register_model(build)
    return small


def built(config: dict[str, Any], *, seed: int = 0) -> CLIP | CustomTextCLIP:
    """A model with random weights.

    Zero biases, unit norms, and timm's small weights, with which attention hardly attends, would
    hide mistakes.
    """
    config = dict(config)
    custom = config.pop("custom_text", False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = (CustomTextCLIP if custom else CLIP)(**config)
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
        for parameter in getattr(model.visual, "trunk", torch.nn.Module()).parameters():
            if parameter.ndim == 2:
                parameter.data.normal_(std=parameter.shape[1] ** -0.5)
    return model.eval()


def save_model(
    folder: Path, config: dict[str, Any], *, seed: int = 0, resize_mode: str = "shortest"
) -> str:
    """Write config and random weights; returns the model name for open_clip."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"model_cfg": config, "preprocess_cfg": {**PREPROCESS, "resize_mode": resize_mode}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    save_file(built(config, seed=seed).state_dict(), folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def outlier_model(folder: Path, size: float) -> str:
    """A model of whose tokens one channel is `size`, as in the residual stream of large models.

    As there, the norms that read the stream make little of that channel and more of the others.
    """
    model = save_model(folder, tiny_config())
    path = folder / "open_clip_model.safetensors"
    weights = load_file(path)
    weights["visual.ln_pre.bias"][3] = size
    weights["positional_embedding"][:, 3] = size
    for name in weights:
        if name.endswith(("ln_1.weight", "ln_2.weight", "ln_post.weight", "ln_final.weight")):
            weights[name] *= size / 8
            weights[name][3] = 0
    save_file(weights, path)
    return model
