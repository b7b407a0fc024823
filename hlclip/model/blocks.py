"""Attention blocks of open_clip and timm, without the computations that training does not need.

Outputs and gradients equal those of the blocks themselves. The functions read the block's own
parameters, so an optimizer trains the block.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hlclip.model.borrowed import QuickGELU, ResidualAttentionBlock, TimmAttention, TimmBlock

SLOPE = 1.702
"""QuickGELU is x * sigmoid(SLOPE * x)."""


@dataclass(frozen=True)
class PreNormBlock:
    """The parts of a pre-norm residual attention block, in the order in which tokens pass them."""

    norm_1: nn.LayerNorm
    weight: Tensor
    """Input projection of the attention, [3 width, width]: queries, keys, values."""
    bias: Tensor
    """[3 width]"""
    heads: int
    out: nn.Module
    """Output projection of the attention."""
    scale_1: nn.Module
    norm_2: nn.Module
    mlp: nn.Module
    scale_2: nn.Module


def known_parts(block: Any) -> PreNormBlock | None:
    """The parts of a block that `entry_block` and `pooled_block` can compute, else None.

    Dropout and stochastic depth are left out: a tail stays in evaluation mode.
    """
    attention: Any = getattr(block, "attn", None)
    if type(block) is ResidualAttentionBlock and isinstance(attention, nn.MultiheadAttention):
        names = ("ln_1", "ls_1", "ln_2", "mlp", "ls_2")
        projection = attention.in_proj_weight, attention.in_proj_bias
        out = attention.out_proj
    elif type(block) is TimmBlock and type(attention) is TimmAttention:
        if not all(
            isinstance(attention.get_submodule(n), nn.Identity)
            for n in ("q_norm", "k_norm", "norm")
        ):
            return None
        names = ("norm1", "ls1", "norm2", "mlp", "ls2")
        projection = attention.qkv.weight, attention.qkv.bias
        out = attention.proj
    else:
        return None
    norm_1, scale_1, norm_2, mlp, scale_2 = (getattr(block, name) for name in names)
    weight, bias = projection
    plain = isinstance(norm_1, nn.LayerNorm) and norm_1.bias is not None
    square = weight is not None and weight.shape[0] == 3 * weight.shape[1]
    if not plain or not square or bias is None or getattr(attention, "gate", None) is not None:
        return None
    heads = attention.num_heads
    return PreNormBlock(norm_1, weight, bias, heads, out, scale_1, norm_2, mlp, scale_2)


def entry_block(block: PreNormBlock, tokens: Tensor, *, causal: bool) -> Tensor:
    """A pre-norm residual attention block whose input tokens need no gradient, as they are cached.

    LayerNorm is n(x) * scale + shift, where n(x) has no parameters. Scale and shift are folded into
    the attention's input projection, which then reads n(x). As n(x) needs no gradient either, the
    backward pass saves a product with the projection's weights: autograd derives the gradients of
    scale, shift and projection from those of the folded weights.

    Args:
        block: parts of the block.
        tokens: float [items, tokens, width].
        causal: a token attends only to itself and those before it.

    Returns:
        [items, tokens, width], the block's output.
    """
    norm = block.norm_1
    items, length, width = tokens.shape
    # W (n * scale + shift) + b = (W diag(scale)) n + (W shift + b), where W is [3 width, width].
    weight = block.weight * norm.weight
    bias = block.bias + block.weight @ norm.bias
    # n(x) is [items, tokens, width]; projected is [items, tokens, 3 width].
    projected = F.linear(F.layer_norm(tokens, (width,), eps=norm.eps), weight, bias)
    # query, key and value are [items, heads, tokens, depth] each; width = heads * depth.
    query, key, value = projected.view(items, length, 3, block.heads, -1).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
    # The heads are concatenated: [items, tokens, heads * depth] = [items, tokens, width].
    out = block.out(mixed.transpose(1, 2).reshape(items, length, width))
    return _finish(block, tokens, out)


def pooled_block(
    block: PreNormBlock, tokens: Tensor, position: Tensor | int, lengths: Tensor | None
) -> Tensor:
    """A pre-norm residual attention block, computed for one token of each item.

    With a single query per head, the keys and values of the other tokens are never computed: the
    key projection is absorbed into the query, and the value projection is applied after mixing.

    Args:
        block: parts of the block.
        tokens: float [items, tokens, width].
        position: index of the token, one for all items or int64 [items]; it attends to all tokens
            of its item but the padding.
        lengths: int64 [items], tokens of each item before the padding; None without padding.

    Returns:
        [items, width], the full block's output at `position`.
    """
    items, length, width = tokens.shape
    heads = block.heads
    depth = width // heads
    # [heads, depth, width] and [heads, depth] each. The key's bias adds the same q . b_k to all
    # logits of a head, which the softmax ignores.
    w_query, w_key, w_value = block.weight.view(3, heads, depth, width)
    b_query, _, b_value = block.bias.view(3, heads, depth)
    x = block.norm_1(tokens)  # [items, tokens, width]
    # q = W_q x_position + b_q: [items, heads, depth].
    query = torch.einsum("nw,hdw->nhd", pick(x, position), w_query) + b_query
    # q . (W_k x_t) = (W_k^T q) . x_t: W_k^T q [items, heads, width] takes the place of all keys.
    absorbed = torch.einsum("nhd,hdw->nhw", query, w_key) * depth**-0.5
    logits = absorbed @ x.transpose(1, 2)  # [items, heads, tokens]
    if lengths is not None:
        padding = torch.arange(length, device=tokens.device) >= lengths[:, None]  # [items, tokens]
        logits = logits.masked_fill(padding[:, None], float("-inf"))
    # sum_t a_t (W_v x_t + b_v) = W_v (sum_t a_t x_t) + b_v, as the attention weights a_t sum to 1.
    mixed = torch.softmax(logits, dim=-1) @ x  # [items, heads, width]
    value = torch.einsum("nhw,hdw->nhd", mixed, w_value) + b_value  # [items, heads, depth]
    return _finish(block, pick(tokens, position), block.out(value.reshape(items, width)))


def _finish(block: PreNormBlock, tokens: Tensor, attended: Tensor) -> Tensor:
    """The block's output from its input and its attention's, [..., width]."""
    tokens = tokens + block.scale_1(attended)
    return tokens + block.scale_2(block.mlp(block.norm_2(tokens)))


def pick(tokens: Tensor, position: Tensor | int) -> Tensor:
    """[items, width]: the token of each item at `position`, one for all or int64 [items]."""
    if isinstance(position, int):
        return tokens[:, position]
    return tokens[torch.arange(tokens.shape[0], device=tokens.device), position]


def fuse_activations(module: nn.Module) -> None:
    """Replace every QuickGELU inside `module` by `FusedQuickGELU`, which has no parameters."""
    for name, child in module.named_children():
        if isinstance(child, QuickGELU):
            setattr(module, name, FusedQuickGELU())
        else:
            fuse_activations(child)


class FusedQuickGELU(nn.Module):
    """QuickGELU as silu(SLOPE * x) / SLOPE, for which torch has a single kernel.

    It passes through memory three times forward and twice backward, open_clip's module three and
    five times, and it saves one tensor for the backward pass instead of two.
    """

    def forward(self, x: Tensor) -> Tensor:
        return _QuickGELU.apply(x)


class _QuickGELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        # silu(z) = z sigmoid(z), so silu(SLOPE x) / SLOPE = x sigmoid(SLOPE x); any shape.
        return F.silu(x * SLOPE, inplace=True).div_(SLOPE)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,), (x,) = gradients, ctx.saved_tensors
        # d/dx silu(SLOPE x) / SLOPE = silu'(SLOPE x): the factors SLOPE and 1 / SLOPE cancel.
        return torch.ops.aten.silu_backward(gradient, x * SLOPE)
