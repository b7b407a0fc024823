"""How a tower makes one vector of its tokens, where it does not take a single one."""

from typing import Any

import torch
from torch import Tensor, nn


class Average(nn.Module):
    """The mean of an image's tokens behind its first `prefix` ones (class token, registers)."""

    def __init__(self, prefix: int) -> None:
        super().__init__()
        self.prefix = prefix

    def forward(self, tokens: Tensor) -> Tensor:
        """[items, tokens, width] -> [items, width]."""
        return tokens[:, self.prefix :].mean(1)


class AttentionPool(nn.Module):
    """timm's `AttentionPoolLatent` behind the first `prefix` tokens, without keys and values.

    The query is learned, so it is the same for every item. The key projection is absorbed into it,
    and the value projection is applied after mixing: what remains per token is one product with
    [width, heads]. Outputs and gradients equal those of timm's module, whose parameters are read.
    """

    def __init__(self, pool: nn.Module, *, prefix: int) -> None:
        super().__init__()
        self.pool: Any = pool
        self.prefix = prefix

    def forward(self, tokens: Tensor) -> Tensor:
        """[items, tokens, width] -> [items, width]."""
        pool, x = self.pool, tokens[:, self.prefix :]
        if not can_be_absorbed(pool):
            return pool(x)
        items, _, width = x.shape
        heads, depth = pool.num_heads, pool.head_dim
        # [heads, depth, width] each. The key's bias adds the same q . b_k to all logits of a head,
        # which the softmax ignores.
        w_key, w_value = pool.kv.weight.view(2, heads, depth, width)
        query = pool.q(pool.latent).view(heads, depth) * pool.scale
        # q . (W_k x_t) = (W_k^T q) . x_t, where W_k^T q is [heads, width] for all items.
        absorbed = torch.einsum("hd,hdw->hw", query, w_key)
        weights = torch.softmax(x @ absorbed.T, dim=1)  # [items, tokens, heads], over tokens
        mixed = weights.transpose(1, 2) @ x  # [items, heads, width]
        # sum_t a_t (W_v x_t + b_v) = W_v (sum_t a_t x_t) + b_v, as the weights a_t sum to 1.
        value = torch.einsum("nhw,hdw->nhd", mixed, w_value)
        if pool.kv.bias is not None:
            value = value + pool.kv.bias.view(2, heads, depth)[1]
        out = pool.proj(value.reshape(items, heads * depth))
        return out if pool.mlp is None else out + pool.mlp(pool.norm(out))


def can_be_absorbed(pool: Any) -> bool:
    """Whether a pool has one query, and keys and values that are linear in the tokens."""
    plain = all(isinstance(norm, nn.Identity) for norm in (pool.q_norm, pool.k_norm))
    return plain and pool.latent_len == 1 and pool.pos_embed is None
