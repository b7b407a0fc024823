"""The tail: the ends of both towers, their training, and their checkpoint.

The tail is all that HL-CLIP trains, and all that a score needs besides the cached tokens.
"""

import copy
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hlclip.formats import CheckpointError, read_arrays, read_facts, write_arrays
from hlclip.model.blocks import fuse_activations
from hlclip.model.encoder import Encoder
from hlclip.model.loading import load_encoder
from hlclip.model.temporal import TemporalHead
from hlclip.model.tower_tail import TowerTail
from hlclip.model.weight_files import EncoderError

Heads = Literal["frozen", "norm", "pool", "projection", "all"]

_TEMPORAL = "hlclip.temporal."
"""Begins the names of a temporal head's tensors in a checkpoint; open_clip has no such names."""


class Tail(nn.Module):
    """The tails of both towers: cached tokens in, cosines out."""

    def __init__(self, image: TowerTail, text: TowerTail, names: dict[str, str]) -> None:
        super().__init__()
        self.image = image
        self.text = text
        self.names = names
        """Parameter name in this module -> open_clip's name, which checkpoints use."""
        self.temporal: TemporalHead | None = None
        """Only a tail with a head compares the clips of a video; the paper's has none."""

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
        images = self.image_features(image_tokens)
        texts = self.text(text_tokens.float(), text_lengths)  # [queries, embedding], unit length
        return self.cosines(images, texts, image_query)

    @property
    def needs_whole_rows(self) -> bool:
        """Whether the cosine of a frame depends on the other frames of its video."""
        return self.temporal is not None

    def image_features(self, image_tokens: Tensor) -> Tensor:
        """What `cosines` needs of frames, [frames, embedding]; `image_tokens` as in `forward`.

        Unit features, or, for a temporal head, features before normalisation: to normalise twice
        would change the last bit.
        """
        if self.temporal is None:
            return self.image(image_tokens.float())
        return self.image.project(image_tokens.float())

    def cosines(self, images: Tensor, texts: Tensor, image_query: Tensor) -> Tensor:
        """Cosine of each frame with its query.

        Args:
            images: [frames, embedding], from `image_features`: all frames of a row in order, one
                row after another. Rows may be cut where `needs_whole_rows` is false.
            texts: float32 [queries, embedding], unit length.
            image_query: int64 [frames], index into `texts`; each row has its own query.

        Returns:
            float32 [frames], -1..1.
        """
        return (self.in_context(images, texts, image_query) * texts[image_query]).sum(-1)

    def in_context(self, images: Tensor, texts: Tensor, image_query: Tensor) -> Tensor:
        """Unit features of frames as the temporal head, if any, changes them for their query.

        Args:
            images, texts, image_query: as in `cosines`. `images` may have any length, for example
                unit length: the head looks at their direction.
        """
        if self.temporal is None:
            return images
        return F.normalize(self.temporal(images, texts[image_query], image_query), dim=-1)

    def add_temporal(self, *, width: int, kernel: int, depth: int, seed: int) -> "Tail":
        """Add a `TemporalHead` with initial weights, which changes no score yet."""
        norm: Any = self.text.norm
        weight: Tensor = norm.weight
        with torch.no_grad():  # both towers end in the same number of channels
            embedding = self.text(weight.new_zeros(1, 1, len(weight))).shape[-1]
        head = TemporalHead(embedding, width=width, kernel=kernel, depth=depth, seed=seed)
        self.temporal = head.to(weight.device)
        self.names |= {f"temporal.{name}": _TEMPORAL + name for name, _ in head.named_parameters()}
        return self

    def all_cosines(self, images: Tensor, texts: Tensor, image_query: Tensor) -> Tensor:
        """Cosine of each frame with every query, float32 [frames, queries].

        Args:
            images, texts, image_query: as in `cosines`.
        """
        if self.temporal is not None:
            # The head changes the frames for one query of each row at a time. With the same shift
            # for all rows, neighbouring rows still have different queries.
            shift = torch.arange(len(texts), device=images.device)
            queries = (image_query + shift[:, None]) % len(texts)  # [shifts, frames]
            shifted = torch.stack([self.cosines(images, texts, each) for each in queries])
            return shifted.T.gather(1, (shift - image_query[:, None]) % len(texts))
        with torch.autocast(images.device.type, enabled=False):  # bf16 has 3 digits
            return images @ texts.T

    def train_only(self, blocks: int, heads: Heads) -> "Tail":
        """Make only the last `blocks` blocks of both towers and the chosen heads trainable.

        With 0 blocks nothing trains, except in a tail without blocks, where the heads do. A
        temporal head always trains.

        Raises:
            EncoderError: `heads` is `pool`, and no tower has a pooling head.
        """
        self.requires_grad_(False)
        towers = (self.image, self.text)
        if heads == "pool" and not any(tower.heads()["pool"] for tower in towers):
            raise EncoderError(
                "train.heads is pool, but the model has no pooling head: it pools without weights",
                settings={"train.heads": "all"},
            )
        for tower in towers:
            tower.blocks[len(tower.blocks) - blocks :].requires_grad_(True)
            if blocks or not len(tower.blocks):
                for name, parameters in tower.heads().items():
                    for parameter in parameters:
                        parameter.requires_grad_(heads in (name, "all"))
        if self.temporal is not None:
            self.temporal.requires_grad_(True)
        return self

    def trained(self) -> dict[str, Tensor]:
        """The trainable parameters, by open_clip's names."""
        return {self.names[name]: p for name, p in self.named_parameters() if p.requires_grad}


def build_tail(encoder: Encoder) -> Tail:
    """Copy the cached blocks and the heads out of a loaded encoder."""
    cached = encoder.cached_blocks
    image, text = TowerTail(encoder.image.parts, cached), TowerTail(encoder.text.parts, cached)
    tail = Tail(image, text, {})
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
    fine-tuned CLIP of a pretrained one. It leaves out the tensors of a temporal head.

    Args:
        tensors: open_clip parameter name -> tensor.
        facts: JSON, see `read_facts`; `weights` must be the fingerprint of the fine-tuned model.
    """
    arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
    write_arrays(path, arrays, facts)


def load_tail(path: Path, tail: Tail, *, weights: str) -> None:
    """Put a checkpoint's parameters, and its temporal head, into a tail of the pretrained model.

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
    _, arrays = read_arrays(path)
    convolutions = [a for name, a in arrays.items() if name.startswith(_TEMPORAL) and a.ndim == 3]
    if convolutions:
        width, _, kernel = convolutions[0].shape
        tail.add_temporal(width=width, kernel=kernel, depth=len(convolutions), seed=0)
    parameters = {tail.names[name]: p for name, p in tail.named_parameters()}
    with torch.no_grad():
        for name, array in arrays.items():
            if name not in parameters or parameters[name].shape != array.shape:
                raise CheckpointError(
                    f"{path}: parameter {name} {array.shape} does not fit the tail",
                    "the checkpoint may need more cached blocks",
                    settings={"encoder.cached_blocks": facts["cached_blocks"]},
                )
            parameters[name].copy_(torch.from_numpy(array))
