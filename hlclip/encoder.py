"""open_clip's only door: load a CLIP model, look at it, and run its frozen trunk.

Each tower is cut in front of its last `cached_blocks` transformer blocks: the *trunk*, frozen,
ends there and its tokens are cached, the *tail* (`hlclip.tail`) goes on from them. Whether a model
can be cut is decided by looking at its modules, never by its name.
"""

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import Tensor, nn

from hlclip.errors import HlclipError

log = logging.getLogger(__name__)


class EncoderError(HlclipError):
    """The model cannot be loaded or cut; the message says which and why."""


@dataclass(frozen=True)
class Preprocess:
    """What the image tower wants: constants come from the loaded model."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str
    interpolation: str


@dataclass(frozen=True)
class TextTower:
    """The parts of a text tower, wherever the model class keeps them."""

    token_embedding: nn.Embedding
    positional_embedding: Tensor
    transformer: nn.Module
    ln_final: nn.Module
    projection: Tensor | nn.Linear | None
    causal: bool
    pool: str
    """How the pooled token is found: argmax or eos (end of text), last."""
    eos_id: int


class Encoder:
    """A loaded CLIP model, frozen, cut in front of its last `cached_blocks` blocks.

    Raises:
        EncoderError: the model is of a kind that cannot be cut, or has too few blocks.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, *, name: str, cached_blocks: int) -> None:
        self.name = name
        self.model: Any = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.visual = _vision_tower(model, name)
        self.text = _text_tower(model, name)
        self.cached_blocks = cached_blocks
        transformers: dict[str, Any] = {
            "image": self.visual.transformer,
            "text": self.text.transformer,
        }
        for tower, transformer in transformers.items():
            blocks = len(transformer.resblocks)
            if blocks <= cached_blocks:
                raise EncoderError(
                    f"{name}: encoder.cached_blocks is {cached_blocks}, but the {tower} tower has "
                    f"{blocks} blocks; at least one must stay in the trunk"
                )

    @property
    def preprocess(self) -> Preprocess:
        config = open_clip.get_model_preprocess_cfg(self.model)
        height, width = (
            config["size"]
            if isinstance(config["size"], (tuple, list))
            else (config["size"], config["size"])
        )
        if height != width:
            raise EncoderError(
                f"{self.name}: takes {height}x{width} images; only square ones are supported"
            )
        return Preprocess(
            height,
            tuple(config["mean"]),
            tuple(config["std"]),
            config["resize_mode"],
            config["interpolation"],
        )

    @property
    def image_shape(self) -> tuple[int, int]:
        """Tokens of a frame and their width, as they are cached."""
        tokens, width = self.visual.positional_embedding.shape
        return tokens, width

    @property
    def text_width(self) -> int:
        """Width of the tokens of a query, as they are cached."""
        return self.text.positional_embedding.shape[1]

    def text_length(self, query: str) -> int:
        """Tokens of a query, as they are cached: up to the pooled one."""
        return self._pooled_text(self.tokenizer([query])) + 1

    def fingerprint(self) -> str:
        """sha256 over all weights by name: which file format they came in does not matter."""
        digest = hashlib.sha256()
        for key, tensor in sorted(self.model.state_dict().items()):
            array = tensor.detach().cpu().contiguous().numpy()
            digest.update(f"{key} {array.dtype} {array.shape}".encode())
            digest.update(memoryview(array.reshape(-1)).cast("B"))
        return digest.hexdigest()

    @torch.inference_mode()
    def image_tokens(self, frames: NDArray[np.uint8], *, batch: int) -> Tensor:
        """Tokens entering the image tower's first cached block.

        Args:
            frames: uint8 [frames, height, width, RGB], 0..255, already resized.
            batch: frames per forward pass.

        Returns:
            float32 [frames, tokens, width], on the CPU.
        """
        device = self.visual.conv1.weight.device
        mean = torch.tensor(self.preprocess.mean, device=device).view(3, 1, 1)
        std = torch.tensor(self.preprocess.std, device=device).view(3, 1, 1)
        parts = []
        for start in range(0, len(frames), batch):
            pixels = torch.tensor(frames[start : start + batch], device=device)
            images = pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255).sub_(mean).div_(std)
            tokens = self.visual._embeds(images)
            parts.append(_run(self.visual.transformer, tokens, None, self.cached_blocks).cpu())
        return torch.cat(parts)

    @torch.inference_mode()
    def text_tokens(self, query: str) -> Tensor:
        """Tokens entering the text tower's first cached block, up to the pooled one.

        Under a causal mask nothing behind the pooled (end-of-text) token can reach it, so the rest
        is never computed; the pooled token is always the last. A query longer than the context is
        truncated by open_clip's tokenizer and keeps its end-of-text token.

        Returns:
            float32 [tokens, width], on the CPU.
        """
        text = self.text
        device = text.token_embedding.weight.device
        ids = self.tokenizer([query]).to(device)
        ids = ids[:, : self._pooled_text(ids) + 1]
        length = ids.shape[1]
        tokens = text.token_embedding(ids) + text.positional_embedding[:length]
        mask = _causal_mask(length, device) if text.causal else None
        return _run(text.transformer, tokens, mask, self.cached_blocks)[0].cpu()

    def _pooled_text(self, ids: Tensor) -> int:
        """Position of the token that is read out of [1, tokens] ids."""
        if self.text.pool == "last":
            return ids.shape[1] - 1
        ends = ids if self.text.pool == "argmax" else (ids == self.text.eos_id).int()
        return int(ends[0].argmax())


def load_encoder(
    model: str, pretrained: str | None, *, cached_blocks: int, device: str = "cpu"
) -> Encoder:
    """Load an open_clip model with its weights.

    Args:
        model: open_clip model name, `local-dir:PATH` or `hf-hub:ORG/NAME`.
        pretrained: tag or weights file; None where the model brings its own.
        cached_blocks: blocks of each tower that belong to the tail.
        device: where the trunk runs.

    Raises:
        EncoderError: unknown model or tag, weights missing or not for this model, activation
            function not the one the weights were trained with, or a model that cannot be cut.
    """
    _check_activation(model, pretrained)
    try:
        loaded = open_clip.create_model(
            model, pretrained, device=device, require_pretrained=True, weights_only=True
        )
        tokenizer = open_clip.get_tokenizer(model)
    except Exception as error:  # open_clip raises bare exceptions of many kinds
        what = f"model {model!r} with pretrained {pretrained!r}"
        raise EncoderError(f"encoder: open_clip cannot load {what}: {error}") from error
    return Encoder(loaded, tokenizer, name=model, cached_blocks=cached_blocks)


def untrained_encoder(
    model: str, pretrained: str | None, *, cached_blocks: int, device: str = "cpu"
) -> Encoder:
    """What `load_encoder` loads, with random weights: its shapes, its preprocessing, its speed.

    Weights are neither read nor fetched; an `hf-hub:` model must be in the hub's cache.

    Raises:
        EncoderError: as `load_encoder`.
    """
    _check_activation(model, pretrained)
    known = open_clip.get_pretrained_cfg(model, pretrained) if pretrained else None
    wanted = ("mean", "std", "interpolation", "resize_mode")
    preprocess = {name: known[name] for name in wanted if name in known} if known else None
    try:
        made = open_clip.create_model(
            model,
            None,
            load_weights=False,
            pretrained_text=False,
            force_preprocess_cfg=preprocess,
            device=device,
        )
        tokenizer = open_clip.get_tokenizer(model)
    except Exception as error:  # open_clip raises bare exceptions of many kinds
        raise EncoderError(f"encoder: open_clip cannot make model {model!r}: {error}") from error
    return Encoder(made, tokenizer, name=model, cached_blocks=cached_blocks)


def _check_activation(model: str, pretrained: str | None) -> None:
    """Refuse weights that were trained with the other GELU: open_clip only warns, after loading."""
    known = open_clip.get_pretrained_cfg(model, pretrained) if pretrained else None
    config = open_clip.get_model_config(model) if known else None
    if known and config and known.get("quick_gelu", False) != config.get("quick_gelu", False):
        wanted = (
            f"{model}-quickgelu" if known.get("quick_gelu") else model.removesuffix("-quickgelu")
        )
        raise EncoderError(
            f"encoder: pretrained {pretrained!r} was trained with another activation function than "
            f"model {model!r} has, its features would be wrong: set encoder.model to {wanted}"
        )


def _run(transformer: Any, tokens: Tensor, mask: Tensor | None, cached_blocks: int) -> Tensor:
    for block in transformer.resblocks[:-cached_blocks]:
        tokens = block(tokens, attn_mask=mask)
    return tokens


def _causal_mask(length: int, device: torch.device) -> Tensor:
    return torch.full((length, length), float("-inf"), device=device).triu_(1)


def _vision_tower(model: nn.Module, name: str) -> VisionTransformer:
    visual = getattr(model, "visual", None)
    if not isinstance(visual, VisionTransformer):
        raise EncoderError(
            f"{name}: the image tower is a {type(visual).__name__}; only "
            "open_clip's VisionTransformer has blocks that can be cached and fine-tuned"
        )
    if visual.attn_pool is not None or visual.pool_type not in ("tok", "avg"):
        raise EncoderError(
            f"{name}: the image tower pools by attention or not at all; only class "
            "token and average pooling are supported"
        )
    return visual


def _text_tower(model: nn.Module, name: str) -> TextTower:
    text: Any
    if isinstance(model, CLIP):
        text = model
        pool, eos_id, mask = text.text_pool_type, text.text_eos_id, text.attn_mask
    elif isinstance(model, CustomTextCLIP) and isinstance(model.text, TextTransformer):
        text = model.text
        pool, eos_id, mask = text.pool_type, text.eos_id, text.attn_mask
        if text.cls_emb is not None or text.use_pad_mask:
            raise EncoderError(
                f"{name}: its text tower masks padding (class token or pad mask), "
                "which the cached tokens cannot reproduce"
            )
    else:
        tower = getattr(model, "text", model)
        raise EncoderError(
            f"{name}: the text tower is a {type(tower).__name__}; only open_clip's "
            "own text transformer can be cached and fine-tuned"
        )
    cuttable = pool in ("argmax", "eos") if mask is not None else pool == "last"
    if not cuttable:
        kind = "causal" if mask is not None else "bidirectional"
        raise EncoderError(f"{name}: a {kind} text tower with {pool!r} pooling is not supported")
    return TextTower(
        text.token_embedding,
        text.positional_embedding,
        text.transformer,
        text.ln_final,
        text.text_projection,
        mask is not None,
        pool,
        eos_id,
    )
