"""timm's image towers inside open_clip's `TimmModel`, and all that hlclip knows of timm."""

from difflib import get_close_matches
from typing import Any

import timm
from timm.models import Eva, VisionTransformer
from torch import Tensor, nn

from hlclip.model.borrowed import AttentionPoolLatent, TimmModel
from hlclip.model.pools import AttentionPool, Average
from hlclip.model.tower_tail import Parts, Pool
from hlclip.model.weight_files import EncoderError

UPGRADE = "pip install --upgrade timm"


def check_timm_name(timm_name: Any, name: str) -> None:
    """`EncoderError` unless the installed timm has this model; nothing is built or fetched."""
    if not isinstance(timm_name, str) or not timm.is_model(timm_name):
        near = get_close_matches(str(timm_name), timm.list_models(), n=3, cutoff=0.6)
        raise EncoderError(
            f"{name}: its config names the image tower {timm_name!r}, which timm "
            f"{timm.__version__} does not have" + (f"; near it: {', '.join(near)}" if near else ""),
            f"correct `timm_model_name` in the config, or, if the tower is newer: {UPGRADE}",
        )


def timm_parts(visual: TimmModel, name: str) -> Parts:
    """The parts of a timm tower and of open_clip's projection behind it.

    `EncoderError` for a tower without such blocks, or one that pools in another way.
    """
    trunk: Any = visual.trunk
    # The exact classes: their subclasses compute other things between blocks and head.
    if type(trunk) not in (VisionTransformer, Eva):
        raise EncoderError(
            f"{name}: the image tower is timm's {type(trunk).__name__}; only open_clip's "
            "VisionTransformer and timm's VisionTransformer and Eva have blocks that can be cached "
            "and fine-tuned"
        )
    declared, size = tuple(visual.image_size), tuple(trunk.patch_embed.img_size)
    if declared != size and not trunk.dynamic_img_size:
        raise EncoderError(
            f"{name}: its config says images of {declared[0]}x{declared[1]}, but its image tower "
            f"takes {size[0]}x{size[1]}",
            f"correct `image_size` in a folder's config: {size[0]} (encoder.model: local-dir:PATH)",
        )
    return Parts(
        list(trunk.blocks),
        norm=trunk.norm,
        pool=_pool(trunk, name),
        fc_norm=trunk.fc_norm,
        projection=nn.Sequential(trunk.head, visual.head),
        rope=_rope(trunk),
    )


def _pool(trunk: Any, name: str) -> Pool:
    # Eva pools the class token and registers too.
    whole = isinstance(trunk, Eva) and trunk.attn_pool is not None
    whole = whole or getattr(trunk, "pool_include_prefix", False)
    prefix = 0 if whole else trunk.num_prefix_tokens
    if isinstance(trunk.attn_pool, AttentionPoolLatent):
        return AttentionPool(trunk.attn_pool, prefix=prefix)
    if trunk.attn_pool is None and trunk.global_pool == "token":
        return "first"
    if trunk.attn_pool is None and trunk.global_pool == "avg":
        return Average(prefix)
    raise EncoderError(
        f"{name}: the image tower pools by {trunk.global_pool!r}; only 'token', 'avg' and 'map' "
        "(attention with a learned query) are supported"
    )


def _rope(trunk: Any) -> Tensor | None:
    """Rotary embedding of each block, [blocks, ...], a constant of the image's shape."""
    if getattr(trunk, "rope", None) is None:
        return None
    rope = trunk.rope.get_embed(shape=trunk.patch_embed.grid_size).detach()
    return rope if trunk.rope_mixed else rope.expand(len(trunk.blocks), *rope.shape)
