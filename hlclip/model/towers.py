"""The two towers of an open_clip model, wherever its class keeps them, and whether they can be cut.

Decided by looking at the model's parts, never by its name.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import Tensor, nn

from hlclip.model.weight_files import EncoderError, first_line


@dataclass(frozen=True)
class TextTower:
    """The parts of a text tower, wherever the model class keeps them."""

    token_embedding: nn.Embedding
    positional_embedding: Tensor
    transformer: nn.Module
    ln_final: nn.Module
    projection: Tensor | nn.Linear | None
    causal: bool
    pool: str
    """How the pooled token is found: argmax or eos (end of text), last."""
    eos_id: int


def build_empty(config: Mapping[str, Any], name: str) -> CLIP | CustomTextCLIP:
    """The model of an open_clip config, without memory for its weights.

    Raises:
        EncoderError: a tower is another library's, the model is not CLIP's kind, or the config is
            not a model's.
    """
    config = copy.deepcopy(dict(config))
    custom_text = config.pop("custom_text", False)
    try:
        vision, text = config["vision_cfg"], config["text_cfg"]
        if "timm_model_name" in vision:
            raise EncoderError(
                f"{name}: the image tower is timm's {vision['timm_model_name']}; only open_clip's "
                "own VisionTransformer has blocks that can be cached and fine-tuned"
            )
        if "hf_model_name" in text:
            raise EncoderError(
                f"{name}: the text tower is {text['hf_model_name']} of transformers; only "
                "open_clip's own text transformer can be cached and fine-tuned"
            )
        if "multimodal_cfg" in config:
            raise EncoderError(
                f"{name}: is a CoCa model: it pools by attention and its text tower masks padding, "
                "which the cached tokens cannot reproduce"
            )
        with torch.device("meta"):
            return (CustomTextCLIP if custom_text else CLIP)(**config)
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        if isinstance(error, EncoderError):
            raise
        raise EncoderError(
            f"{name}: its config is not an open_clip model's: {type(error).__name__} "
            f"{first_line(error)}"
        ) from error


def vision_tower(model: nn.Module, name: str) -> VisionTransformer:
    visual = getattr(model, "visual", None)
    if not isinstance(visual, VisionTransformer):
        raise EncoderError(
            f"{name}: the image tower is a {type(visual).__name__}; only "
            "open_clip's VisionTransformer has blocks that can be cached and fine-tuned"
        )
    if visual.attn_pool is not None or visual.pool_type not in ("tok", "avg"):
        raise EncoderError(
            f"{name}: the image tower pools by attention or not at all; only class "
            "token and average pooling are supported"
        )
    return visual


def text_tower(model: nn.Module, name: str) -> TextTower:
    text: Any
    if isinstance(model, CLIP):
        text = model
        pool, eos_id, mask = text.text_pool_type, text.text_eos_id, text.attn_mask
    elif isinstance(model, CustomTextCLIP) and isinstance(model.text, TextTransformer):
        text = model.text
        pool, eos_id, mask = text.pool_type, text.eos_id, text.attn_mask
        if text.cls_emb is not None or text.use_pad_mask:
            raise EncoderError(
                f"{name}: its text tower masks padding (class token or pad mask), "
                "which the cached tokens cannot reproduce"
            )
    else:
        tower = getattr(model, "text", model)
        raise EncoderError(
            f"{name}: the text tower is a {type(tower).__name__}; only open_clip's "
            "own text transformer can be cached and fine-tuned"
        )
    cuttable = pool in ("argmax", "eos") if mask is not None else pool == "last"
    if not cuttable:
        kind = "causal" if mask is not None else "bidirectional"
        raise EncoderError(f"{name}: a {kind} text tower with {pool!r} pooling is not supported")
    return TextTower(
        text.token_embedding,
        text.positional_embedding,
        text.transformer,
        text.ln_final,
        text.text_projection,
        mask is not None,
        pool,
        eos_id,
    )
