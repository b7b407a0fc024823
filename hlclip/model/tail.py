"""The tail: the last blocks of both towers, their final LayerNorms and projections.

This is all that HL-CLIP trains, and all that a score needs besides the cached tokens. Each tower
reads out a single token, so its last block is computed for that token alone, and with one query the
key and value projections of the other tokens are absorbed into it (`pooled_block`). Outputs and
gradients equal those of open_clip's full blocks; blocks of another make run in full.
"""

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hlclip.model.blocks import can_be_cut, entry_block, fuse_activations, pick, pooled_block
from hlclip.model.encoder import Encoder, EncoderError, load_encoder

Heads = Literal["frozen", "norm", "projection", "all"]


class TowerTail(nn.Module):
    """The end of one tower.

    Args:
        blocks: open_clip's residual attention blocks, first to last.
        norm: final LayerNorm.
        projection: [width, embedding] matrix, linear layer, or None.
        pooled: the token that is read out: `first` (class token), `last` (end of text), or the
            `average` of all but the first.
        causal: a token sees only itself and those before it.
        norm_after_pooling: order of `norm` and averaging; the same for a single token.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        norm: nn.Module,
        projection: Tensor | nn.Linear | None,
        *,
        pooled: Literal["first", "last", "average"],
        causal: bool,
        norm_after_pooling: bool,
    ) -> None:
        super().__init__()
        self.blocks: Any = nn.ModuleList(blocks)
        self.norm = norm
        self.projection = projection
        self.pooled = pooled
        self.causal = causal
        self.norm_after_pooling = norm_after_pooling

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Unit features of cached tokens.

        Args:
            tokens: float [items, tokens, width] entering the first block, padded at the end.
            lengths: int64 [items], real tokens of each item; None where all are.

        Returns:
            float32 [items, embedding], L2 norm 1.
        """
        # Under a causal mask the padding, being at the end, cannot reach a real token.
        mask = _causal_mask(tokens) if self.causal else None
        for number, block in enumerate(self.blocks[:-1]):
            if number == 0 and can_be_cut(block):
                tokens = entry_block(block, tokens, causal=self.causal)
            else:
                tokens = block(tokens, attn_mask=mask)
        last = self.blocks[-1]
        if self.pooled == "average":
            tokens = last(tokens, attn_mask=mask)
            if self.norm_after_pooling:
                pooled = self.norm(tokens[:, 1:].mean(1))
            else:
                pooled = self.norm(tokens)[:, 1:].mean(1)
        elif can_be_cut(last):
            pooled = self.norm(pooled_block(last, tokens, self._position(tokens, lengths), lengths))
        else:
            tokens = last(tokens, attn_mask=mask)
            pooled = self.norm(pick(tokens, self._position(tokens, lengths)))
        if isinstance(self.projection, nn.Linear):
            pooled = self.projection(pooled)
        elif self.projection is not None:
            pooled = pooled @ self.projection
        return F.normalize(pooled.float(), dim=-1)

    def _position(self, tokens: Tensor, lengths: Tensor | None) -> Tensor | int:
        """Index of the token that is read out, for all items or for each."""
        if self.pooled == "first":
            return 0
        return tokens.shape[1] - 1 if lengths is None else lengths - 1


class Tail(nn.Module):
    """The tails of both towers: cached tokens in, cosines out."""

    def __init__(self, image: TowerTail, text: TowerTail, names: dict[str, str]) -> None:
        super().__init__()
        self.image = image
        self.text = text
        self.names = names
        """Own parameter name -> open_clip's, the names in a checkpoint."""

    def forward(
        self, image_tokens: Tensor, image_query: Tensor, text_tokens: Tensor, text_lengths: Tensor
    ) -> Tensor:
        """Cosine of each frame with its query; each query goes through its tower once.

        Args:
            image_tokens: [frames, tokens, width] of all videos of a batch, one after another.
            image_query: int64 [frames], index into the batch's queries.
            text_tokens: [queries, tokens, width], padded at the end.
            text_lengths: int64 [queries].

        Returns:
            float32 [frames], -1..1.
        """
        images = self.image(image_tokens.float())
        texts = self.text(text_tokens.float(), text_lengths)
        return (images * texts[image_query]).sum(-1)

    def train_only(self, blocks: int, heads: Heads) -> "Tail":
        """Let the last `blocks` blocks of both towers and the chosen heads train, nothing else."""
        self.requires_grad_(False)
        towers: tuple[Any, Any] = (self.image, self.text)
        for tower in towers:
            for block in list(tower.blocks)[len(tower.blocks) - blocks :]:
                block.requires_grad_(True)
            if blocks and heads in ("norm", "all"):
                tower.norm.requires_grad_(True)
            if blocks and heads in ("projection", "all") and tower.projection is not None:
                tower.projection.requires_grad_(True)
        return self

    def trained(self) -> dict[str, Tensor]:
        """The parameters that train, by open_clip's names."""
        return {
            self.names[name]: parameter
            for name, parameter in self.named_parameters()
            if parameter.requires_grad
        }


def build_tail(encoder: Encoder) -> Tail:
    """Copy the cached blocks and the heads out of a loaded encoder."""
    visual: Any = encoder.visual
    text: Any = encoder.text
    last = encoder.cached_blocks
    image_tail = TowerTail(
        list(visual.transformer.resblocks)[-last:],
        visual.ln_post,
        visual.proj,
        pooled="first" if visual.pool_type == "tok" else "average",
        causal=False,
        norm_after_pooling=visual.final_ln_after_pool,
    )
    text_tail = TowerTail(
        list(text.transformer.resblocks)[-last:],
        text.ln_final,
        text.projection,
        pooled="last",
        causal=text.causal,
        norm_after_pooling=False,
    )
    tail = Tail(image_tail, text_tail, {})
    full_names = {id(p): name for name, p in encoder.model.named_parameters()}
    tail.names = {name: full_names[id(p)] for name, p in tail.named_parameters()}
    tail = copy.deepcopy(tail).eval()
    fuse_activations(tail)
    return tail


def pretrained_tail(
    model: str, pretrained: str | None, *, cached_blocks: int, weights: str
) -> Tail:
    """The tail of a pretrained model, from the very weights whose trunk made the cache.

    Args:
        model, pretrained, cached_blocks: as in `load_encoder`.
        weights: fingerprint in the cache's header.

    Raises:
        EncoderError: the model cannot be loaded, or its weights are others.
    """
    encoder = load_encoder(model, pretrained, cached_blocks=cached_blocks)
    found = encoder.fingerprint()
    if found != weights:
        raise EncoderError(
            f"{model}: field 'weights' is {found}, the activations were made with {weights}; the "
            "weights were replaced: `dvc repro --force activations` encodes with the new ones"
        )
    return build_tail(encoder)


def _causal_mask(tokens: Tensor) -> Tensor:
    length = tokens.shape[1]
    return torch.full((length, length), float("-inf"), device=tokens.device).triu_(1)
