"""What an encoder is and costs, from its shapes alone: no weights are needed."""

from dataclasses import dataclass

from hlclip.model.encoder import Preprocess
from hlclip.model.loading import empty_encoder
from hlclip.model.tail import build_tail


@dataclass(frozen=True)
class EncoderDescription:
    """An encoder that can be cut."""

    name: str
    family: str
    """Class of the image tower, and the library that it comes from."""
    pooling: str
    """How the image tower pools: class token, average or attention."""
    preprocess: Preprocess
    image_shape: tuple[int, int]
    """Cached tokens of a frame, and their width."""
    text_shape: tuple[int, int]
    """Cached tokens of a query, at most, and their width."""
    blocks: tuple[int, int]
    """Of the image tower and of the text tower."""
    trunk_parameters: int
    tail_parameters: int
    tokenizer: str
    """A hub repository whose tokenizer transformers loads; empty for open_clip's own."""


def describe_encoder(
    model: str, pretrained: str | None = None, *, cached_blocks: int = 2
) -> EncoderDescription:
    """What `load_encoder` would load; no weights, tokenizer or network are needed.

    Raises:
        EncoderError: the model is unknown or cannot be cut, with the reason.
    """
    encoder = empty_encoder(model, pretrained, cached_blocks=cached_blocks)
    tail = sum(p.numel() for p in build_tail(encoder).parameters())
    image, text = encoder.image, encoder.text
    return EncoderDescription(
        name=model,
        family=image.family,
        pooling=image.pooling,
        preprocess=encoder.preprocess,
        image_shape=encoder.image_shape,
        text_shape=text.shape,
        blocks=(len(image.parts.blocks), len(text.parts.blocks)),
        trunk_parameters=sum(p.numel() for p in encoder.model.parameters()) - tail,
        tail_parameters=tail,
        tokenizer=encoder.config.get("text_cfg", {}).get("hf_tokenizer_name", ""),
    )
