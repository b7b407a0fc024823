"""Names of open_clip and timm that their packages do not export, so that a release may move them.

No other module of hlclip imports from inside these packages; tests/model/test_borrowed.py has a
test for each name.
"""

from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.factory import _find_checkpoint_in_dir as find_checkpoint_in_dir
from open_clip.factory import parse_model_name
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.timm_model import TimmModel
from open_clip.transformer import (
    QuickGELU,
    ResidualAttentionBlock,
    TextTransformer,
    VisionTransformer,
)
from timm.layers.attention import Attention as TimmAttention
from timm.layers.attention_pool import AttentionPoolLatent
from timm.models.vision_transformer import Block as TimmBlock

__all__ = [
    "HF_SAFE_WEIGHTS_NAME",
    "HF_WEIGHTS_NAME",
    "AttentionPoolLatent",
    "QuickGELU",
    "ResidualAttentionBlock",
    "TextTransformer",
    "TimmAttention",
    "TimmBlock",
    "TimmModel",
    "VisionTransformer",
    "convert_to_custom_text_state_dict",
    "find_checkpoint_in_dir",
    "parse_model_name",
]
