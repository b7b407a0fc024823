"""Tokens as the store keeps them: what identifies them, and their precision."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hlclip.formats import Header
from hlclip.model.encoder import Encoder
from hlclip.model.weight_files import SUFFIXES, EncoderError


def image_header(encoder: Header, dtype: str, clip_seconds: float) -> dict[str, str | int | float]:
    """Header of a video's tokens, from `encoder_header`."""
    return {**encoder, "dtype": dtype, "tower": "image", "clip_seconds": clip_seconds}


def text_header(encoder: Header, dtype: str) -> dict[str, str | int | float]:
    """Header of a query's tokens, from `encoder_header`."""
    return {**encoder, "dtype": dtype, "tower": "text"}


def encoder_header(encoder: Encoder, pretrained: str | None) -> dict[str, str | int | float]:
    """What identifies a trunk: names for people, the fingerprint for certainty.

    A file has no name here: the same weights in another file give the same activations.
    """
    preprocess = encoder.preprocess
    pretrained = pretrained or "none"
    return {
        "model": _portable(encoder.name),
        "pretrained": "file" if Path(pretrained).suffix in SUFFIXES else pretrained,
        "weights": encoder.fingerprint(),
        "cached_blocks": encoder.cached_blocks,
        "mean": ",".join(f"{value:.9g}" for value in preprocess.mean),
        "std": ",".join(f"{value:.9g}" for value in preprocess.std),
    }


def _portable(name: str) -> str:
    """A model's name without the folders of this machine."""
    prefix, separator, rest = name.rpartition(":")
    return prefix + separator + Path(rest).name if Path(rest).is_absolute() else name


def cast_tokens(tokens: Tensor, dtype: str, name: str) -> np.ndarray:
    """Tokens as they are stored.

    Raises:
        EncoderError: a value does not fit into `dtype`; says which item by `name`.
    """
    array = tokens.to(getattr(torch, dtype)).numpy()
    if not np.isfinite(array).all():
        raise EncoderError(
            f"{name}: tokens do not fit into {dtype}", settings={"encoder.dtype": "float32"}
        )
    return array
