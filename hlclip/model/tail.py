"""The tail: the last blocks of both towers, their final LayerNorms and projections.

The tail is all that HL-CLIP trains, and all that a score needs besides the cached tokens. Where a
tower pools a single token, its last block is computed for that token alone (`pooled_block`).
Outputs and gradients equal those of open_clip's full blocks; blocks of other kinds run in full.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hlclip.formats import CheckpointError, read_arrays, read_facts, write_arrays
from hlclip.model.blocks import can_be_cut, entry_block, fuse_activations, pick, pooled_block
from hlclip.model.encoder import Encoder
from hlclip.model.loading import load_encoder
from hlclip.model.towers import causal_mask
from hlclip.model.weight_files import EncoderError

Heads = Literal["frozen", "norm", "projection", "all"]


class TowerTail(nn.Module):
    """The end of one tower.

    Args:
        blocks: open_clip's residual attention blocks, first to last.
        norm: final LayerNorm.
        projection: [width, embedding] matrix, linear layer, or None.
        pooling: takes the `first` token (class token) or the `last` (end of text), or averages all
            but the first, either `norm_then_average` or `average_then_norm`.
        causal: a token attends only to itself and those before it.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        norm: nn.Module,
        projection: Tensor | nn.Linear | None,
        *,
        pooling: Literal["first", "last", "norm_then_average", "average_then_norm"],
        causal: bool,
    ) -> None:
        super().__init__()
        self.blocks: Any = nn.ModuleList(blocks)
        self.norm = norm
        self.projection = projection
        self.pooling = pooling
        self.causal = causal

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Unit features of cached tokens.

        Args:
            tokens: float [items, tokens, width] entering the first block, padded at the end.
            lengths: int64 [items], tokens of each item before the padding; None without padding.

        Returns:
            float32 [items, embedding], L2 norm 1.
        """
        # Under a causal mask the padding, being at the end, cannot reach the tokens before it.
        mask = causal_mask(tokens) if self.causal else None
        # Every block but the last keeps the shape [items, tokens, width].
        for number, block in enumerate(self.blocks[:-1]):
            if number == 0 and can_be_cut(block):
                tokens = entry_block(block, tokens, causal=self.causal)
            else:
                tokens = block(tokens, attn_mask=mask)
        # The last block, the norm and the pooling give [items, width].
        last = self.blocks[-1]
        position: Tensor | int = 0
        if self.pooling == "last":
            position = tokens.shape[1] - 1 if lengths is None else lengths - 1
        if self.pooling == "average_then_norm":
            pooled = self.norm(last(tokens, attn_mask=mask)[:, 1:].mean(1))
        elif self.pooling == "norm_then_average":
            pooled = self.norm(last(tokens, attn_mask=mask))[:, 1:].mean(1)
        elif can_be_cut(last):
            pooled = self.norm(pooled_block(last, tokens, position, lengths))
        else:
            pooled = self.norm(pick(last(tokens, attn_mask=mask), position))
        # The projection gives [items, embedding].
        if isinstance(self.projection, nn.Linear):
            pooled = self.projection(pooled)
        elif self.projection is not None:
            pooled = pooled @ self.projection
        return F.normalize(pooled.float(), dim=-1)


class Tail(nn.Module):
    """The tails of both towers: cached tokens in, cosines out."""

    def __init__(self, image: TowerTail, text: TowerTail, names: dict[str, str]) -> None:
        super().__init__()
        self.image = image
        self.text = text
        self.names = names
        """Parameter name in this module -> open_clip's name, which checkpoints use."""

    def forward(
        self, image_tokens: Tensor, image_query: Tensor, text_tokens: Tensor, text_lengths: Tensor
    ) -> Tensor:
        """Cosine of each frame with its query; each query passes through the text tail once.

        Args:
            image_tokens: [frames, tokens, width] of all videos of a batch, one after another.
            image_query: int64 [frames], index into the batch's queries.
            text_tokens: [queries, tokens, width], padded at the end.
            text_lengths: int64 [queries], tokens of each query before the padding.

        Returns:
            float32 [frames], -1..1.
        """
        images = self.image(image_tokens.float())  # [frames, embedding], unit length
        texts = self.text(text_tokens.float(), text_lengths)  # [queries, embedding], unit length
        return (images * texts[image_query]).sum(-1)

    def train_only(self, blocks: int, heads: Heads) -> "Tail":
        """Make only the last `blocks` blocks of both towers and the chosen heads trainable."""
        self.requires_grad_(False)
        for tower in (self.image, self.text):
            tower.blocks[len(tower.blocks) - blocks :].requires_grad_(True)
            if blocks and heads in ("norm", "all"):
                tower.norm.requires_grad_(True)
            if blocks and heads in ("projection", "all") and tower.projection is not None:
                tower.projection.requires_grad_(True)
        return self

    def trained(self) -> dict[str, Tensor]:
        """The trainable parameters, by open_clip's names."""
        return {self.names[name]: p for name, p in self.named_parameters() if p.requires_grad}


def build_tail(encoder: Encoder) -> Tail:
    """Copy the cached blocks and the heads out of a loaded encoder."""
    visual, text, last = encoder.visual, encoder.text, encoder.cached_blocks
    average = "average_then_norm" if visual.final_ln_after_pool else "norm_then_average"
    image_tail = TowerTail(
        list(visual.transformer.resblocks)[-last:],
        visual.ln_post,
        visual.proj,
        pooling="first" if visual.pool_type == "tok" else average,
        causal=False,
    )
    text_tail = TowerTail(
        list(text.transformer.resblocks)[-last:],
        text.ln_final,
        text.text_projection,
        pooling="last",
        causal=text.attn_mask is not None,
    )
    tail = Tail(image_tail, text_tail, {})
    # The tail shares its parameters with the model until it is copied: same object, same parameter.
    full_names = {id(p): name for name, p in encoder.model.named_parameters()}
    tail.names = {name: full_names[id(p)] for name, p in tail.named_parameters()}
    tail = copy.deepcopy(tail).eval()
    fuse_activations(tail)
    return tail


def pretrained_tail(
    model: str, pretrained: str | None, *, cached_blocks: int, weights: str
) -> Tail:
    """The tail of a pretrained model; `EncoderError` where it has other weights than the cache.

    Args:
        model, pretrained, cached_blocks: as in `load_encoder`.
        weights: fingerprint in the cache's header.
    """
    encoder = load_encoder(model, pretrained, cached_blocks=cached_blocks)
    fingerprint = encoder.fingerprint()
    if fingerprint != weights:
        raise EncoderError(
            f"{model}: field 'weights' is {fingerprint}, the activations were made with {weights}; "
            "the weights were replaced",
            "`dvc repro --force activations` encodes with the new ones",
        )
    return build_tail(encoder)


def save_tail(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write the trained parameters under open_clip's names, whole or not at all.

    `open_clip_model.load_state_dict(safetensors.torch.load_file(path), strict=False)` makes the
    fine-tuned CLIP of a pretrained one.

    Args:
        tensors: open_clip parameter name -> tensor.
        facts: JSON, see `read_facts`; `weights` must be the fingerprint of the fine-tuned model.
    """
    arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
    write_arrays(path, arrays, facts)


def load_tail(path: Path, tail: Tail, *, weights: str) -> None:
    """Put a checkpoint's parameters into a tail of the model that was fine-tuned.

    Args:
        tail: from `build_tail`; changed in place.
        weights: fingerprint of the model of `tail`.

    Raises:
        CheckpointError: damaged, or made from other weights or another architecture.
    """
    facts = read_facts(path)
    if facts["weights"] != weights:
        raise CheckpointError(
            f"{path}: field 'weights' is {facts['weights']}, expected {weights}: "
            "the checkpoint was fine-tuned from other weights",
            "name the model and weights that it was fine-tuned from",
        )
    parameters = {tail.names[name]: p for name, p in tail.named_parameters()}
    _, arrays = read_arrays(path)
    with torch.no_grad():
        for name, array in arrays.items():
            if name not in parameters or parameters[name].shape != array.shape:
                raise CheckpointError(
                    f"{path}: parameter {name} {array.shape} does not fit the tail",
                    "the checkpoint may need more cached blocks",
                    settings={"encoder.cached_blocks": facts["cached_blocks"]},
                )
            parameters[name].copy_(torch.from_numpy(array))


def autocast(device: torch.device, precision: Literal["auto", "fp32", "bf16"]) -> torch.autocast:
    """Autocast context of the tail; `auto` is bf16 on CUDA and fp32 elsewhere."""
    bf16 = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)
