"""Cached tokens: the header that identifies them in the store, and their precision."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hlclip.formats import Header
from hlclip.model.encoder import Encoder
from hlclip.model.weight_files import SUFFIXES, EncoderError


def image_header(encoder: Header, dtype: str, clip_seconds: float) -> dict[str, str | int | float]:
    """Header of a video's tokens, made from `encoder_header`."""
    return {**encoder, "dtype": dtype, "tower": "image", "clip_seconds": clip_seconds}


def text_header(encoder: Header, dtype: str) -> dict[str, str | int | float]:
    """Header of a query's tokens, made from `encoder_header`."""
    return {**encoder, "dtype": dtype, "tower": "text"}


def encoder_header(encoder: Encoder, pretrained: str | None) -> dict[str, str | int | float]:
    """Identify a trunk: names for people, the fingerprint for certainty.

    Names of files and folders are left out: the same weights in another file give the same
    activations.
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


def cast_tokens(tokens: Tensor, dtype: str, name: str) -> np.ndarray:
    """Tokens in the precision of the store.

    Args:
        tokens: float32 of any shape, on the CPU.
        dtype: `float16` or `float32`.
        name: the video or query, for the error.

    Raises:
        EncoderError: a value does not fit into `dtype`.
    """
    array = tokens.to(getattr(torch, dtype)).numpy()
    if not np.isfinite(array).all():
        raise EncoderError(
            f"{name}: tokens do not fit into {dtype}", settings={"encoder.dtype": "float32"}
        )
    return array
