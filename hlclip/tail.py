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

from hlclip.encoder import Encoder, EncoderError, load_encoder

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
        for block in self.blocks[:-1]:
            tokens = block(tokens, attn_mask=mask)
        last = self.blocks[-1]
        if self.pooled == "average":
            tokens = last(tokens, attn_mask=mask)
            if self.norm_after_pooling:
                pooled = self.norm(tokens[:, 1:].mean(1))
            else:
                pooled = self.norm(tokens)[:, 1:].mean(1)
        elif _absorbable(last):
            pooled = self.norm(pooled_block(last, tokens, self._position(tokens, lengths), lengths))
        else:
            tokens = last(tokens, attn_mask=mask)
            pooled = self.norm(_pick(tokens, self._position(tokens, lengths)))
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
    return copy.deepcopy(tail).eval()


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
    query = torch.einsum("nw,hdw->nhd", _pick(x, position), w_query) + b_query
    absorbed = torch.einsum("nhd,hdw->nhw", query, w_key) * depth**-0.5
    logits = absorbed @ x.transpose(1, 2)
    if lengths is not None:
        padding = torch.arange(length, device=tokens.device) >= lengths[:, None]
        logits = logits.masked_fill(padding[:, None], float("-inf"))
    mixed = torch.softmax(logits, dim=-1) @ x
    value = torch.einsum("nhw,hdw->nhd", mixed, w_value) + b_value
    out = _pick(tokens, position) + block.ls_1(attention.out_proj(value.reshape(items, width)))
    return out + block.ls_2(block.mlp(block.ln_2(out)))


def _absorbable(block: nn.Module) -> bool:
    attention = getattr(block, "attn", None)
    return (
        type(block).__name__ == "ResidualAttentionBlock"
        and isinstance(attention, nn.MultiheadAttention)
        and attention.in_proj_weight is not None
        and attention.in_proj_bias is not None
    )


def _pick(tokens: Tensor, position: Tensor | int) -> Tensor:
    if isinstance(position, int):
        return tokens[:, position]
    return tokens[torch.arange(tokens.shape[0], device=tokens.device), position]


def _causal_mask(tokens: Tensor) -> Tensor:
    length = tokens.shape[1]
    return torch.full((length, length), float("-inf"), device=tokens.device).triu_(1)
