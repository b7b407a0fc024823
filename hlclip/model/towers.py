"""The two towers of an open_clip model, and whether they can be cut.

The model's parts decide, never its name.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import Tensor, nn

from hlclip.model.weight_files import EncoderError, short_reason


def build_empty(config: Mapping[str, Any], name: str) -> CLIP | CustomTextCLIP:
    """The model of an open_clip config, without memory for its weights.

    `EncoderError` for a tower of another library, a CoCa model, or a config that is no model's.
    """
    config = copy.deepcopy(dict(config))
    custom_text = config.pop("custom_text", False)
    try:
        vision, text = config["vision_cfg"], config["text_cfg"]
        if "timm_model_name" in vision:
            raise _unsupported(name, "image", f"timm's {vision['timm_model_name']}")
        if "hf_model_name" in text:
            raise _unsupported(name, "text", f"{text['hf_model_name']} of transformers")
        if "multimodal_cfg" in config:
            raise EncoderError(
                f"{name}: is a CoCa model: it pools by attention and its text tower masks padding, "
                "which the cached tokens cannot reproduce"
            )
        with torch.device("meta"):
            return (CustomTextCLIP if custom_text else CLIP)(**config)
    except EncoderError:
        raise
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise EncoderError(
            f"{name}: its config is not an open_clip model's: {type(error).__name__} "
            f"{short_reason(error)}"
        ) from error


def vision_tower(model: nn.Module, name: str) -> VisionTransformer:
    """The image tower of a model; `EncoderError` where it cannot be cut."""
    visual = getattr(model, "visual", None)
    if not isinstance(visual, VisionTransformer):
        raise _unsupported(name, "image", f"a {type(visual).__name__}")
    if visual.attn_pool is not None or visual.pool_type not in ("tok", "avg"):
        raise EncoderError(
            f"{name}: the image tower pools by attention or not at all; only class "
            "token and average pooling are supported"
        )
    return visual


def text_tower(model: nn.Module, name: str) -> CLIP | TextTransformer:
    """The module with the parts of the text tower; `EncoderError` where it cannot be cut."""
    # CLIP has the parts itself, CustomTextCLIP in its `text`.
    text = model.text if isinstance(model, CustomTextCLIP) else model
    if not isinstance(text, (CLIP, TextTransformer)):
        raise _unsupported(name, "text", f"a {type(text).__name__}")
    if isinstance(text, TextTransformer) and (text.cls_emb is not None or text.use_pad_mask):
        raise EncoderError(
            f"{name}: its text tower masks padding (class token or pad mask), "
            "which the cached tokens cannot reproduce"
        )
    causal = text.attn_mask is not None
    pool, _ = text_pooling(text)
    if pool not in (("argmax", "eos") if causal else ("last",)):
        kind = "causal" if causal else "bidirectional"
        raise EncoderError(f"{name}: a {kind} text tower with {pool!r} pooling is not supported")
    return text


def text_pooling(text: CLIP | TextTransformer) -> tuple[str, int]:
    """The pooled token, `argmax` or `eos` (end of text) or `last`, and the id of end of text."""
    prefix = "text_" if isinstance(text, CLIP) else ""
    return getattr(text, f"{prefix}pool_type"), getattr(text, f"{prefix}eos_id")


def causal_mask(tokens: Tensor) -> Tensor:
    """float32 [tokens, tokens], added to attention logits: -inf where a key follows its query.

    Args:
        tokens: [items, tokens, width].
    """
    length = tokens.shape[1]
    return torch.full((length, length), float("-inf"), device=tokens.device).triu_(1)


def _unsupported(name: str, tower: str, actual: str) -> EncoderError:
    supported = "VisionTransformer" if tower == "image" else "own text transformer"
    return EncoderError(
        f"{name}: the {tower} tower is {actual}; only open_clip's {supported} has blocks that can "
        "be cached and fine-tuned"
    )
