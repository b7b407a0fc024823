"""The two towers of an open_clip model: their parts by one set of names, or why they are refused.

The model's parts decide, never its name. docs/weights.md lists the families.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from open_clip import CLIP, CustomTextCLIP
from torch import nn

from hlclip.model.borrowed import TextTransformer, TimmModel, VisionTransformer
from hlclip.model.pools import Average
from hlclip.model.timm_towers import check_timm_name, timm_parts
from hlclip.model.tower_tail import Parts
from hlclip.model.weight_files import EncoderError, short_reason


@dataclass(frozen=True)
class Tower:
    """A tower of any family."""

    module: Any
    """open_clip's module."""
    family: str
    shape: tuple[int, int]
    """Tokens that enter a block, at most, and their width."""
    prefix: int
    """Tokens of an image before its patches: class token and registers."""
    parts: Parts

    @property
    def pooling(self) -> str:
        """How the tower pools its tokens, in words."""
        match self.parts.pool:
            case "first":
                return "class token"
            case "last":
                return "end of text"
            case Average():
                return "average"
        return "attention"


def check_config(config: Mapping[str, Any], name: str) -> None:
    """Refuse, before anything is built, what the config alone shows.

    `EncoderError` for a text tower of another library, a CoCa model, or an image tower that the
    installed timm does not have.
    """
    try:
        vision, text = config["vision_cfg"], config["text_cfg"]
        if "hf_model_name" in text:
            raise _unsupported(name, "text", f"{text['hf_model_name']} of transformers")
        if "multimodal_cfg" in config:
            raise EncoderError(
                f"{name}: is a CoCa model: it pools by attention and its text tower masks padding, "
                "which the cached tokens cannot reproduce"
            )
        if "timm_model_name" in vision:
            check_timm_name(vision["timm_model_name"], name)
    except (KeyError, TypeError) as error:
        raise _no_model(name, error) from error


def build_empty(config: Mapping[str, Any], name: str) -> CLIP | CustomTextCLIP:
    """The model of an open_clip config, without memory for its weights.

    `EncoderError` where `check_config` refuses it, or the config is no model's.
    """
    check_config(config, name)
    config = copy.deepcopy(dict(config))
    custom_text = config.pop("custom_text", False)
    if "timm_model_name" in config["vision_cfg"]:
        config["vision_cfg"]["timm_model_pretrained"] = False  # or timm fetches weights
    try:
        with torch.device("meta"):
            return (CustomTextCLIP if custom_text else CLIP)(**config)
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise _no_model(name, error) from error


def image_tower(model: nn.Module, name: str) -> Tower:
    """The image tower of a model; `EncoderError` where it cannot be cut."""
    visual: Any = getattr(model, "visual", None)
    if isinstance(visual, TimmModel):
        trunk: Any = visual.trunk
        parts = timm_parts(visual, name)
        tokens = trunk.patch_embed.num_patches + trunk.num_prefix_tokens
        family = f"timm {type(trunk).__name__}"
        return Tower(visual, family, (tokens, trunk.embed_dim), trunk.num_prefix_tokens, parts)
    if not isinstance(visual, VisionTransformer):
        raise _unsupported(name, "image", f"a {type(visual).__name__}")
    if visual.attn_pool is not None or visual.pool_type not in ("tok", "avg"):
        raise EncoderError(
            f"{name}: the image tower pools by open_clip's own attention or not at all; only "
            "class token and average pooling are supported for it"
        )
    none = nn.Identity()
    norm, fc_norm = (none, visual.ln_post) if visual.final_ln_after_pool else (visual.ln_post, none)
    parts = Parts(
        list(visual.transformer.resblocks),
        norm=norm,
        pool="first" if visual.pool_type == "tok" else Average(prefix=1),
        fc_norm=fc_norm,
        projection=visual.proj,
    )
    tokens, width = visual.positional_embedding.shape
    return Tower(visual, "open_clip VisionTransformer", (tokens, width), 1, parts)


def text_tower(model: nn.Module, name: str) -> Tower:
    """The text tower of a model; `EncoderError` where it cannot be cut."""
    # CLIP has the parts itself, CustomTextCLIP in its `text`.
    text: Any = model.text if isinstance(model, CustomTextCLIP) else model
    if not isinstance(text, (CLIP, TextTransformer)):
        raise _unsupported(name, "text", f"a {type(text).__name__}")
    if isinstance(text, TextTransformer) and (text.cls_emb is not None or text.use_pad_mask):
        raise EncoderError(
            f"{name}: its text tower masks padding (class token or pad mask), "
            "which the cached tokens cannot reproduce"
        )
    pool, _ = text_pooling(text)
    if pool not in ("argmax", "eos", "last"):
        raise EncoderError(f"{name}: a text tower with {pool!r} pooling is not supported")
    module: Any = text
    causal = module.attn_mask is not None
    parts = Parts(
        list(module.transformer.resblocks),
        norm=module.ln_final,
        pool="last",
        projection=module.text_projection,
        causal=causal,
    )
    tokens, width = module.positional_embedding.shape
    return Tower(module, "causal" if causal else "bidirectional", (tokens, width), 0, parts)


def text_pooling(text: CLIP | TextTransformer) -> tuple[str, int]:
    """The pooled token, `argmax` or `eos` (end of text) or `last`, and the id of end of text."""
    prefix = "text_" if isinstance(text, CLIP) else ""
    return getattr(text, f"{prefix}pool_type"), getattr(text, f"{prefix}eos_id")


def _unsupported(name: str, tower: str, actual: str) -> EncoderError:
    supported = {
        "image": "open_clip's VisionTransformer and timm's VisionTransformer and Eva have",
        "text": "open_clip's own text transformer has",
    }
    return EncoderError(
        f"{name}: the {tower} tower is {actual}; only {supported[tower]} blocks that can be cached "
        "and fine-tuned"
    )


def _no_model(name: str, error: Exception) -> EncoderError:
    return EncoderError(
        f"{name}: its config is not an open_clip model's: {type(error).__name__} "
        f"{short_reason(error)}"
    )
