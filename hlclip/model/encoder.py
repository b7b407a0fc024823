"""A loaded CLIP model, cut: look at it, and run its frozen trunk.

Each tower is cut in front of its last `cached_blocks` transformer blocks: the *trunk*, frozen,
ends there and its tokens are cached, the *tail* (`hlclip.model.tail`) goes on from them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hlclip.model.hub import HubFile, cached, fetch
from hlclip.model.loading import (
    check_activation,
    load_model,
    load_tokenizer,
    read_config,
    untrained_model,
)
from hlclip.model.towers import build_empty, text_tower, vision_tower
from hlclip.model.weight_files import EncoderError
from hlclip.model.weights import find_weights, hub_config


@dataclass(frozen=True)
class Preprocess:
    """What the image tower wants: constants come from the loaded model."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str
    interpolation: str


class Encoder:
    """A loaded CLIP model, frozen, cut in front of its last `cached_blocks` blocks.

    Args:
        name: for messages.
        config: open_clip's, for the fingerprint.

    Raises:
        EncoderError: the model is of a kind that cannot be cut, or has too few blocks.
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
        self.visual = vision_tower(model, name)
        self.text = text_tower(model, name)
        self.cached_blocks = cached_blocks
        transformers: dict[str, Any] = {
            "image": self.visual.transformer,
            "text": self.text.transformer,
        }
        for tower, transformer in transformers.items():
            blocks = len(transformer.resblocks)
            if blocks <= cached_blocks:
                raise EncoderError(
                    f"{name}: cached_blocks is {cached_blocks}, but the {tower} tower has {blocks} "
                    "blocks, of which one must stay in the trunk",
                    settings={"encoder.cached_blocks": blocks - 1},
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
        """sha256 over all weights by name, and the config, which has what weights do not show.

        Heads and activation function, for example. Which kind of file the weights came in does
        not matter.
        """
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
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

    A model that cannot be cut is refused before its weights are fetched, and a file that is not
    the model's before it is read. docs/weights.md says which files are taken, from where.

    Args:
        model: open_clip model name, `local-dir:PATH` or `hf-hub:ORG/NAME`.
        pretrained: tag or weights file; None where the model brings its own.
        cached_blocks: blocks of each tower that belong to the tail.
        device: where the trunk runs.

    Raises:
        EncoderError: unknown model or tag, weights missing, damaged, unsafe or not for this model,
            activation function not the one the weights were trained with, or a model that cannot
            be cut.
    """
    found = find_weights(model, pretrained)
    own = model
    if isinstance(found, HubFile) and pretrained is None:
        own = (
            f"local-dir:{fetch(hub_config(found.repo)).parent}"  # the commit's files, in the cache
        )
    config = read_config(own, model)
    towers = Encoder(build_empty(config, model), None, name=model, cached_blocks=cached_blocks)
    check_activation(model, pretrained)
    tokenizer = load_tokenizer(own, model, config)
    path = found if isinstance(found, Path) else fetch(found)
    if pretrained is None:
        path = find_weights(own, None)  # of the folder's files, the one that open_clip will read
        assert isinstance(path, Path)
    expected = {key: tuple(tensor.shape) for key, tensor in towers.model.state_dict().items()}
    loaded = load_model(own, pretrained, path, expected=expected, model=model, device=device)
    return Encoder(loaded, tokenizer, name=model, cached_blocks=cached_blocks, config=config)


def untrained_encoder(
    model: str, pretrained: str | None, *, cached_blocks: int, device: str = "cpu"
) -> Encoder:
    """What `load_encoder` loads, with random weights: its shapes, its preprocessing, its speed.

    Nothing is fetched and no weights are read; the config of an `hf-hub:` model must be in the
    hub's cache.

    Raises:
        EncoderError: as `load_encoder`.
    """
    own = model
    if model.startswith("hf-hub:"):
        config_file = cached(hub_config(model.removeprefix("hf-hub:")))
        if config_file is None:
            raise EncoderError(f"{model}: not fetched yet, so nothing is known of its shape")
        own = f"local-dir:{config_file.parent}"
    config = read_config(own, model)
    build_empty(config, model)  # refuses what cannot be cut
    check_activation(model, pretrained)
    tokenizer = load_tokenizer(own, model, config)
    made = untrained_model(own, pretrained, device)
    return Encoder(made, tokenizer, name=model, cached_blocks=cached_blocks, config=config)


def _run(transformer: Any, tokens: Tensor, mask: Tensor | None, cached_blocks: int) -> Tensor:
    for block in transformer.resblocks[:-cached_blocks]:
        tokens = block(tokens, attn_mask=mask)
    return tokens


def _causal_mask(length: int, device: torch.device) -> Tensor:
    return torch.full((length, length), float("-inf"), device=device).triu_(1)
