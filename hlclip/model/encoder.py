"""The frozen trunk of a loaded CLIP model, and what identifies the tokens that it computes.

Each tower is cut in front of its last `cached_blocks` transformer blocks. The *trunk*, frozen, ends
there and its tokens are cached; the *tail* (`hlclip.model.tail`) continues from them.
"""

import hashlib
import json
import logging
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hlclip.formats import Header
from hlclip.model.precision import check_range
from hlclip.model.tower_tail import causal_mask
from hlclip.model.towers import image_tower, text_pooling, text_tower
from hlclip.model.weight_files import SUFFIXES, EncoderError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preprocess:
    """How frames are prepared for the image tower, as the loaded model says."""

    size: int
    """Height and width in pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str
    """`shortest` or `squash`, see `FramesParams`."""
    interpolation: str
    """`bicubic` or `bilinear`."""

    def corrections(self, frames: Mapping[str, object]) -> dict[str, object]:
        """Parameters that must change so that frames fit the model -> the value that fits.

        Args:
            frames: `size`, `resize` and `interpolation` of the frames.
        """
        fitting = {name: getattr(self, name) for name in ("size", "resize", "interpolation")}
        return {f"frames.{k}": value for k, value in fitting.items() if frames[k] != value}


class Encoder:
    """A loaded CLIP model, frozen, cut in front of its last `cached_blocks` blocks.

    Args:
        name: the model's name in messages.
        config: open_clip's config of the model, part of the fingerprint.

    Raises:
        EncoderError: the model is of a kind that cannot be cut, or has too few blocks.

    Example:
        >>> encoder = load_encoder("ViT-B-32-quickgelu", "openai", cached_blocks=2)
        >>> encoder.image_tokens(frames, batch=25).shape  # frames: uint8 [75, 224, 224, 3]
        torch.Size([75, 50, 768])
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        *,
        name: str,
        cached_blocks: int,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.config = config or {}
        self.model: Any = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.image = image_tower(model, name)
        self.text = text_tower(model, name)
        self.cached_blocks = cached_blocks
        for tower, parts in {"image": self.image.parts, "text": self.text.parts}.items():
            blocks = len(parts.blocks)
            if blocks <= cached_blocks:
                raise EncoderError(
                    f"{name}: cached_blocks is {cached_blocks}, but the {tower} tower has {blocks} "
                    "blocks, of which one must stay in the trunk",
                    settings={"encoder.cached_blocks": blocks - 1},
                )

    @property
    def preprocess(self) -> Preprocess:
        config = open_clip.get_model_preprocess_cfg(self.model)
        size = config["size"]
        height, width = size if isinstance(size, (tuple, list)) else (size, size)
        if height != width:
            raise EncoderError(
                f"{self.name}: takes {height}x{width} images; only square ones are supported"
            )
        resize, interpolation = config["resize_mode"], config["interpolation"]
        if resize not in ("shortest", "squash"):
            raise EncoderError(
                f"{self.name}: its images are resized by {resize!r}; only 'shortest' and 'squash' "
                "are supported"
            )
        if interpolation == "random":  # in training alone: open_clip evaluates with bicubic
            interpolation = "bicubic"
        if interpolation not in ("bicubic", "bilinear"):
            raise EncoderError(
                f"{self.name}: its images are resized by {interpolation!r} interpolation; only "
                "'bicubic' and 'bilinear' are supported"
            )
        mean, std = (_channels(config[key], key, self.name) for key in ("mean", "std"))
        if min(std) <= 0:
            raise EncoderError(f"{self.name}: std of its images is {std}, expected above 0")
        return Preprocess(height, mean, std, resize, interpolation)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Number of cached tokens of a frame, and their width."""
        return self.image.shape

    @property
    def text_width(self) -> int:
        """Width of the cached tokens of a query."""
        return self.text.shape[1]

    def text_length(self, query: str) -> int:
        """Number of cached tokens of a query."""
        return self._text_length(self.tokenizer([query]))

    def fingerprint(self) -> str:
        """sha256 over the config and all weights by name, whatever file they were read from.

        The config holds what the weights do not show: the number of heads, the activation function.
        """
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for key, tensor in sorted(self.model.state_dict().items()):
            array = tensor.detach().cpu().contiguous().numpy()
            digest.update(f"{key} {array.dtype} {array.shape}".encode())
            digest.update(memoryview(array.reshape(-1)).cast("B"))
        return digest.hexdigest()

    @torch.inference_mode()
    def image_tokens(
        self,
        frames: NDArray[np.uint8],
        *,
        batch: int,
        dtype: str = "float32",
        name: str = "frames",
    ) -> Tensor:
        """Tokens entering the image tower's first cached block.

        A GPU rounds them, and copies them back while it computes the next batch.

        Args:
            frames: uint8 [frames, height, width, RGB], 0..255, already resized.
            batch: frames per forward pass.
            dtype: of the result: `float16`, `bfloat16` or `float32`.
            name: the video, for the error.

        Returns:
            [frames, tokens, width] in `dtype`, on the CPU.

        Raises:
            EncoderError: a value does not fit into `dtype`, or is no finite number to begin with.
        """
        visual, prefix = self.image.module, self.image.prefix
        device = next(visual.parameters()).device
        pinned = device.type == "cuda"  # only from and to such memory a GPU copies by itself
        largest = torch.zeros((), device=device)
        mean = torch.tensor(self.preprocess.mean, device=device).view(3, 1, 1)
        std = torch.tensor(self.preprocess.std, device=device).view(3, 1, 1)
        last = len(self.image.parts.blocks) - self.cached_blocks - 1  # block of the trunk
        parts = []
        for start in range(0, len(frames), batch):
            pixels = torch.tensor(frames[start : start + batch], pin_memory=pinned)
            pixels = pixels.to(device, non_blocking=True)
            images = pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255).sub_(mean).div_(std)
            after = visual.forward_intermediates(
                images,
                indices=[last],
                stop_early=True,
                intermediates_only=True,
                output_fmt="NLC",
                output_extra_tokens=prefix > 0,
            )
            patches = after["image_intermediates"]
            tokens = [*after["image_intermediates_prefix"], *patches] if prefix else patches
            joined = torch.cat(tokens, dim=1)
            largest = torch.maximum(largest, joined.abs().max())
            parts.append(joined.to(getattr(torch, dtype)).to("cpu", non_blocking=True))
        check_range(largest, dtype, name)  # waits for the GPU, and so for all copies
        return torch.cat(parts)

    @torch.inference_mode()
    def text_tokens(self, query: str) -> Tensor:
        """Tokens entering the text tower's first cached block; the pooled one is the last.

        Under a causal mask no token behind the pooled (end-of-text) token can reach it, so those
        tokens are never computed. Without a mask all tokens of the context are needed. The order
        of tokens then means nothing to the blocks, so the pooled token is moved to the end. A query
        longer than the context is truncated by open_clip's tokenizer and keeps its end-of-text
        token.

        Returns:
            float32 [tokens, width], on the CPU.
        """
        _warn_if_cut(self.tokenizer, query)
        text, parts = self.text.module, self.text.parts
        ids = self.tokenizer([query]).to(text.token_embedding.weight.device)
        pooled, length = self._pooled_position(ids), self._text_length(ids)
        tokens = text.token_embedding(ids[:, :length]) + text.positional_embedding[:length]
        mask = causal_mask(tokens) if parts.causal else None
        for block in parts.blocks[: len(parts.blocks) - self.cached_blocks]:
            tokens = block(tokens, attn_mask=mask)
        order = [*range(pooled), *range(pooled + 1, length), pooled]
        return tokens[0, order].cpu()

    def _pooled_position(self, ids: Tensor) -> int:
        """Position of the pooled token in ids [1, tokens]."""
        pool, eos_id = text_pooling(self.text.module)
        if pool == "last":
            return ids.shape[1] - 1
        ends = ids if pool == "argmax" else (ids == eos_id).int()
        return int(ends[0].argmax())

    def _text_length(self, ids: Tensor) -> int:
        """Number of cached tokens of ids [1, tokens]."""
        return self._pooled_position(ids) + 1 if self.text.parts.causal else ids.shape[1]


def _channels(value: Any, key: str, name: str) -> tuple[float, ...]:
    """A preprocessing constant of red, green and blue; one number stands for all three."""
    channels = tuple(value) if isinstance(value, (list, tuple)) else (value,) * 3
    if len(channels) != 3 or not all(isinstance(c, (int, float)) for c in channels):
        raise EncoderError(
            f"{name}: {key} of its images is {value!r}, expected one or three numbers"
        )
    return channels


def encoder_header(encoder: Encoder, pretrained: str | None) -> dict[str, str | int | float]:
    """Identify a trunk: names for people, the fingerprint for certainty.

    Paths are left out, as the same weights in another file give the same activations.
    """
    preprocess = encoder.preprocess
    pretrained = pretrained or "none"
    prefix, colon, folder = encoder.name.rpartition(":")
    absolute = Path(folder).is_absolute()
    return {
        "model": prefix + colon + Path(folder).name if absolute else encoder.name,
        "pretrained": "file" if Path(pretrained).suffix in SUFFIXES else pretrained,
        "weights": encoder.fingerprint(),
        "cached_blocks": encoder.cached_blocks,
        "mean": ",".join(f"{value:.9g}" for value in preprocess.mean),
        "std": ",".join(f"{value:.9g}" for value in preprocess.std),
    }


def image_header(encoder: Header, dtype: str, clip_seconds: float) -> dict[str, str | int | float]:
    """Header of a video's tokens, made from `encoder_header`."""
    return {**encoder, "dtype": dtype, "tower": "image", "clip_seconds": clip_seconds}


def _warn_if_cut(tokenizer: Any, query: str) -> None:
    """Say that a query is longer than the context; tokenizers cut it off silently."""
    ids = tokenizer([query])
    context = ids.shape[1]
    # With room for one token more, the last one of the context is not the end if it goes on.
    if not torch.equal(tokenizer([query], context_length=context + 1)[:, :context], ids):
        log.warning(
            "query %s: the model reads its first %d tokens, the rest is ignored",
            reprlib.repr(query),
            context,
        )


def text_header(encoder: Header, dtype: str) -> dict[str, str | int | float]:
    """Header of a query's tokens, made from `encoder_header`."""
    return {**encoder, "dtype": dtype, "tower": "text"}
