"""The end of one tower, whatever library it comes from: cached tokens in, unit features out.

Blocks whose kind is known run without the computations that training does not need
(`hlclip.model.blocks`), all others as they are. Outputs and gradients equal the full tower's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hlclip.model.blocks import entry_block, known_parts, pick, pooled_block

Pool = Literal["first", "last"] | nn.Module
"""The `first` token (class token) or the `last` (end of text), or a module that pools all."""


@dataclass(frozen=True)
class Parts:
    """A tower's parts in the order in which tokens pass them."""

    blocks: Sequence[nn.Module]
    norm: nn.Module
    """Of each token, after the blocks."""
    pool: Pool
    projection: Tensor | nn.Module | None
    """[width, embedding] matrix, module, or None."""
    fc_norm: nn.Module = field(default_factory=nn.Identity)
    """Of the pooled vector."""
    causal: bool = False
    """A token attends only to itself and those before it."""
    rope: Tensor | None = None
    """Rotary embedding of each block, [blocks, ...]; None where blocks take none."""


class TowerTail(nn.Module):
    """The last `cached_blocks` blocks of a tower, and its head."""

    def __init__(self, parts: Parts, cached_blocks: int) -> None:
        super().__init__()
        first = len(parts.blocks) - cached_blocks
        self.blocks: Any = nn.ModuleList(parts.blocks[first:])
        self.norm = parts.norm
        self.pool = parts.pool
        self.fc_norm = parts.fc_norm
        self.projection = parts.projection
        self.causal = parts.causal
        rope = None if parts.rope is None else parts.rope[first:].clone()
        self.rope: Tensor | None
        self.register_buffer("rope", rope, persistent=False)

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Unit features of cached tokens.

        Args:
            tokens: float [items, tokens, width] entering the first block, padded at the end.
            lengths: int64 [items], tokens of each item before the padding; None without padding.

        Returns:
            float32 [items, embedding], L2 norm 1.
        """
        return F.normalize(self.project(tokens, lengths), dim=-1)

    def project(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features before normalisation, float32 [items, embedding]; arguments of `forward`."""
        blocks, pool = list(self.blocks), self.pool
        position: Tensor | int = 0
        if pool == "last":
            position = tokens.shape[1] - 1 if lengths is None else lengths - 1
        # The last block can be computed for the pooled token alone.
        last = known_parts(blocks[-1]) if blocks and isinstance(pool, str) else None
        # Each other block keeps the shape [items, tokens, width].
        for number, block in enumerate(blocks[:-1] if last else blocks):
            tokens = self._run(number, block, tokens)
        # The last block, the norms and the pool give [items, width].
        if isinstance(pool, nn.Module):
            pooled = pool(self.norm(tokens))
        elif last is not None:
            pooled = self.norm(pooled_block(last, tokens, position, lengths))
        else:
            pooled = self.norm(pick(tokens, position))
        pooled = self.fc_norm(pooled)
        # The projection gives [items, embedding].
        if isinstance(self.projection, nn.Module):
            pooled = self.projection(pooled)
        elif self.projection is not None:
            pooled = pooled @ self.projection
        return pooled.float()

    def heads(self) -> dict[str, list[Tensor]]:
        """Parameters behind the blocks: `norm`, `pool` (the pooling head) and `projection`."""
        parts = {
            "norm": (self.norm, self.fc_norm),
            "pool": (self.pool,),
            "projection": (self.projection,),
        }
        return {name: [p for part in of for p in _parameters(part)] for name, of in parts.items()}

    def _run(self, number: int, block: nn.Module, tokens: Tensor) -> Tensor:
        """A block in full, [items, tokens, width]; the tokens of the first need no gradient."""
        known = known_parts(block) if number == 0 else None
        if known is not None:
            return entry_block(known, tokens, causal=self.causal)
        # Under a causal mask the padding, being at the end, cannot reach the tokens before it.
        mask = causal_mask(tokens) if self.causal else None
        if self.rope is None:
            return block(tokens, attn_mask=mask)
        return block(tokens, attn_mask=mask, rope=self.rope[number])


def causal_mask(tokens: Tensor) -> Tensor:
    """float32 [tokens, tokens], added to attention logits: -inf where a key follows its query.

    Args:
        tokens: [items, tokens, width].
    """
    length = tokens.shape[1]
    return torch.full((length, length), float("-inf"), device=tokens.device).triu_(1)


def _parameters(part: Any) -> list[Tensor]:
    if isinstance(part, nn.Module):
        return list(part.parameters())
    return [part] if isinstance(part, Tensor) else []
