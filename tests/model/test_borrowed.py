"""What hlclip expects of names that open_clip and timm do not export."""

import ast
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from hlclip.model import borrowed
from tests.models import built, small_timm, tiny_config

ROOT = Path(__file__).parents[2]


def test_they_stand_in_one_place():
    inside = []
    for path in (ROOT / "hlclip").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            inside += [
                path.name
                for name in names
                if name.startswith(("open_clip.", "timm.")) and name not in PUBLIC
            ]
    assert set(inside) == {"borrowed.py"}


PUBLIC = ("timm.models",)
"""It exports what is imported from it."""

HAS = {
    "VisionTransformer": [
        *("attn_pool", "pool_type", "final_ln_after_pool", "ln_post", "proj"),
        *("transformer", "positional_embedding", "forward_intermediates"),
    ],
    "TextTransformer": [
        *("attn_mask", "cls_emb", "use_pad_mask", "pool_type", "eos_id", "token_embedding"),
        *("positional_embedding", "transformer", "ln_final", "text_projection"),
    ],
    "TimmModel": ["trunk", "head", "image_size", "forward_intermediates"],
    "ResidualAttentionBlock": ["ln_1", "attn", "ls_1", "ln_2", "mlp", "ls_2"],
    "TimmAttention": ["qkv", "q_norm", "k_norm", "norm", "proj", "num_heads"],
    "AttentionPoolLatent": [
        *("q", "kv", "q_norm", "k_norm", "latent", "latent_len", "pos_embed", "num_heads"),
        *("head_dim", "scale", "proj", "norm", "mlp"),
    ],
    "TimmBlock": ["norm1", "attn", "ls1", "norm2", "mlp", "ls2"],
}


@pytest.mark.parametrize("name", HAS)
def test_a_module_has_the_parts_that_are_read(name: str):
    native: Any = built({**tiny_config(), "custom_text": True})
    timm_name = small_timm("vit_base_patch16_siglip_224", depth=1, embed_dim=16, num_heads=2)
    visual: Any = borrowed.TimmModel(
        timm_name, embed_dim=16, image_size=224, pool="map", proj="none"
    )
    module = {
        "VisionTransformer": native.visual,
        "TextTransformer": native.text,
        "TimmModel": visual,
        "ResidualAttentionBlock": native.visual.transformer.resblocks[0],
        "TimmAttention": visual.trunk.blocks[0].attn,
        "AttentionPoolLatent": visual.trunk.attn_pool,
        "TimmBlock": visual.trunk.blocks[0],
    }[name]
    assert type(module) is getattr(borrowed, name)
    assert [part for part in HAS[name] if not hasattr(module, part)] == []


@pytest.mark.parametrize("tower", ["vit_base_patch16_siglip_224", "vit_pe_core_base_patch16_224"])
def test_a_trunk_of_timm_has_the_parts_that_are_read(tower: str):
    trunk: Any = timm.create_model(tower, depth=1, embed_dim=16, num_heads=2, num_classes=0)
    names = ["blocks", "norm", "attn_pool", "fc_norm", "head", "patch_embed", "global_pool"]
    names += ["num_prefix_tokens", "embed_dim", "dynamic_img_size"]
    if "pe_core" in tower:
        names += ["rope", "rope_mixed"]
        assert torch.equal(
            trunk.rope.get_embed(shape=trunk.patch_embed.grid_size), trunk.rope.get_embed()
        )
    assert [name for name in names if not hasattr(trunk, name)] == []


def test_quick_gelu_is_the_sigmoid_form():
    x = torch.linspace(-3, 3, 9)
    torch.testing.assert_close(borrowed.QuickGELU()(x), x * torch.sigmoid(1.702 * x))


def test_a_checkpoint_is_found_in_a_folder(tmp_path: Path):
    assert borrowed.find_checkpoint_in_dir(tmp_path) is None
    for name in ("other.safetensors", borrowed.HF_WEIGHTS_NAME, borrowed.HF_SAFE_WEIGHTS_NAME):
        (tmp_path / name).touch()
        assert borrowed.find_checkpoint_in_dir(tmp_path) == str(tmp_path / name)


def test_a_model_name_is_parsed():
    assert borrowed.parse_model_name("ViT-B-32") == (None, "ViT-B-32")
    assert borrowed.parse_model_name("local-dir:/a/b") == ("local-dir", "/a/b")
    assert borrowed.parse_model_name("hf-hub:a/b") == ("hf-hub", "a/b")
    with pytest.raises(ValueError, match="Empty path"):
        borrowed.parse_model_name("local-dir:")


def test_old_names_of_the_text_tower_are_converted():
    state = {"text_projection": torch.zeros(1), "visual.proj": torch.zeros(1)}
    new = borrowed.convert_to_custom_text_state_dict(state)
    assert sorted(new) == ["text.text_projection", "visual.proj"]
