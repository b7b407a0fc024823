"""open_clip's residual attention blocks, computed with only what training from the cache needs.

Outputs and gradients equal those of the blocks themselves; parameters stay where they are.
"""

from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

SLOPE = 1.702
"""Of QuickGELU, x * sigmoid(1.702 x)."""


def can_be_cut(block: nn.Module) -> bool:
    """Whether `entry_block` and `pooled_block` know how the block computes."""
    attention = getattr(block, "attn", None)
    norm = getattr(block, "ln_1", None)
    return (
        type(block).__name__ == "ResidualAttentionBlock"
        and isinstance(attention, nn.MultiheadAttention)
        and attention.in_proj_weight is not None
        and attention.in_proj_bias is not None
        and isinstance(norm, nn.LayerNorm)
        and norm.bias is not None
    )


def entry_block(block: Any, tokens: Tensor, *, causal: bool) -> Tensor:
    """A pre-norm residual attention block whose tokens need no gradient, because they are cached.

    The scale and shift of its first LayerNorm are folded into the attention's input projection.
    What the projection then reads needs no gradient either, so the backward pass never multiplies
    by its weights: the gradients of scale and shift come from that of the folded weights.

    Args:
        block: open_clip `ResidualAttentionBlock` for which `can_be_cut`.
        tokens: [items, tokens, width].
        causal: a token sees only itself and those before it.

    Returns:
        [items, tokens, width]: what the block gives.
    """
    attention, norm = block.attn, block.ln_1
    items, length, width = tokens.shape
    weight = attention.in_proj_weight * norm.weight
    bias = attention.in_proj_bias + attention.in_proj_weight @ norm.bias
    projected = F.linear(F.layer_norm(tokens, (width,), eps=norm.eps), weight, bias)
    query, key, value = projected.view(items, length, 3, attention.num_heads, -1).permute(
        2, 0, 3, 1, 4
    )
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
    out = attention.out_proj(mixed.transpose(1, 2).reshape(items, length, width))
    tokens = tokens + block.ls_1(out)
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))


def pooled_block(
    block: Any, tokens: Tensor, position: Tensor | int, lengths: Tensor | None
) -> Tensor:
    """A pre-norm residual attention block, computed for one token of each item.

    With a single query q per head, its logits against all tokens are x (W_k^T q) and its output is
    W_v (sum_t a_t x_t): neither keys nor values of the other tokens are ever formed. The key bias
    adds the same to every logit, which the softmax ignores.

    Args:
        block: open_clip `ResidualAttentionBlock`.
        tokens: [items, tokens, width].
        position: the token, one for all items or int64 [items]; it sees every real token.
        lengths: int64 [items], real tokens; None where all are.

    Returns:
        [items, width]: what the full block gives at `position`.
    """
    attention = block.attn
    items, length, width = tokens.shape
    heads = attention.num_heads
    depth = width // heads
    w_query, w_key, w_value = attention.in_proj_weight.view(3, heads, depth, width)
    b_query, _, b_value = attention.in_proj_bias.view(3, heads, depth)
    x = block.ln_1(tokens)
    query = torch.einsum("nw,hdw->nhd", pick(x, position), w_query) + b_query
    absorbed = torch.einsum("nhd,hdw->nhw", query, w_key) * depth**-0.5
    logits = absorbed @ x.transpose(1, 2)
    if lengths is not None:
        padding = torch.arange(length, device=tokens.device) >= lengths[:, None]
        logits = logits.masked_fill(padding[:, None], float("-inf"))
    mixed = torch.softmax(logits, dim=-1) @ x
    value = torch.einsum("nhw,hdw->nhd", mixed, w_value) + b_value
    out = pick(tokens, position) + block.ls_1(attention.out_proj(value.reshape(items, width)))
    return out + block.ls_2(block.mlp(block.ln_2(out)))


def pick(tokens: Tensor, position: Tensor | int) -> Tensor:
    """[items, width]: the token of each item at `position`, one for all or int64 [items]."""
    if isinstance(position, int):
        return tokens[:, position]
    return tokens[torch.arange(tokens.shape[0], device=tokens.device), position]


def fuse_activations(module: nn.Module) -> None:
    """Replace every QuickGELU inside `module` by `FusedQuickGELU`; it has no parameters."""
    for name, child in module.named_children():
        if isinstance(child, QuickGELU):
            setattr(module, name, FusedQuickGELU())
        else:
            fuse_activations(child)


class FusedQuickGELU(nn.Module):
    """x * sigmoid(1.702 x) as silu(1.702 x) / 1.702, for which torch has a single kernel.

    It goes through memory three times forward and twice backward where open_clip's goes three and
    five times, and keeps one tensor for the backward pass where open_clip's keeps two.
    """

    def forward(self, x: Tensor) -> Tensor:
        return _QuickGELU.apply(x)


class _QuickGELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.silu(x * SLOPE, inplace=True).div_(SLOPE)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,), (x,) = gradients, ctx.saved_tensors
        return torch.ops.aten.silu_backward(gradient, x * SLOPE)
