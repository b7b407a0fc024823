"""The tail: the ends of both towers, their training, and their checkpoint.

The tail is all that HL-CLIP trains, and all that a score needs besides the cached tokens.
"""

import copy
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hlclip.formats import CheckpointError, read_arrays, read_facts, write_arrays
from hlclip.model.blocks import fuse_activations
from hlclip.model.encoder import Encoder
from hlclip.model.loading import load_encoder
from hlclip.model.tower_tail import TowerTail
from hlclip.model.weight_files import EncoderError

Heads = Literal["frozen", "norm", "pool", "projection", "all"]


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
        images = self.image_features(image_tokens)
        texts = self.text(text_tokens.float(), text_lengths)  # [queries, embedding], unit length
        return self.cosines(images, texts, image_query)

    @property
    def needs_whole_rows(self) -> bool:
        """Whether the cosine of a frame depends on the other frames of its video."""
        return False

    def image_features(self, image_tokens: Tensor) -> Tensor:
        """What `cosines` needs of frames, [frames, embedding]; `image_tokens` as in `forward`."""
        return self.image(image_tokens.float())

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
        return (images * texts[image_query]).sum(-1)

    def all_cosines(self, images: Tensor, texts: Tensor, image_query: Tensor) -> Tensor:
        """Cosine of each frame with every query, float32 [frames, queries].

        Args:
            images, texts, image_query: as in `cosines`.
        """
        with torch.autocast(images.device.type, enabled=False):  # bf16 has 3 digits
            return images @ texts.T

    def train_only(self, blocks: int, heads: Heads) -> "Tail":
        """Make only the last `blocks` blocks of both towers and the chosen heads trainable.

        With 0 blocks nothing trains, except in a tail without blocks, where the heads do.

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
