"""Tokens as arrays of the store: float16, bfloat16 or float32.

bfloat16 has the range of float32 (up to 3.4e38) with 8 significant bits, float16 has 11 up to
65,504. NumPy and HDF5 have no bfloat16: its bit patterns are stored as uint16, and the header's
`dtype` says so. A bfloat16 is the upper half of a float32, so any program can read it.
"""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from hlclip.model.weight_files import EncoderError


def cast_tokens(tokens: Tensor, dtype: str, name: str) -> NDArray[Any]:
    """Tokens in the precision of the store.

    Args:
        tokens: float32 of any shape, on the CPU.
        dtype: `float16`, `bfloat16` or `float32`.
        name: the video or query, for the error.

    Returns:
        An array as `stored_array` describes.

    Raises:
        EncoderError: a value does not fit into `dtype`, or is no finite number to begin with.
    """
    check_range(tokens.abs().max(), dtype, name)
    return stored_array(tokens.to(getattr(torch, dtype)))


def check_range(largest: Tensor, dtype: str, name: str) -> None:
    """Refuse tokens that `dtype` cannot hold; waits for a GPU.

    Args:
        largest: float32 [], the largest absolute value, or NaN if one of them is NaN.
        dtype, name: as in `cast_tokens`, which raises the same.
    """
    cast = largest.to(getattr(torch, dtype))
    if cast.isfinite():  # rounding never falls, so all others fit too
        return
    if not largest.isfinite():
        raise EncoderError(
            f"{name}: the trunk computes tokens that are not finite numbers",
            "its weights may come from a training that diverged: give other weights",
        )
    wider = "bfloat16" if dtype == "float16" else "float32"
    raise EncoderError(
        f"{name}: tokens of up to {largest.item():,.0f} do not fit into {dtype}, which ends at "
        f"{torch.finfo(cast.dtype).max:,.0f}",
        settings={"encoder.dtype": wider},
    )


def stored_array(tokens: Tensor) -> NDArray[Any]:
    """The array that the store keeps of tokens on the CPU, without a copy: bfloat16 as uint16."""
    return (tokens.view(torch.uint16) if tokens.dtype == torch.bfloat16 else tokens).numpy()


def stored_tokens(array: NDArray[Any], dtype: str) -> Tensor:
    """The tokens of an array of the store, without a copy; the inverse of `stored_array`.

    Args:
        dtype: `float16`, `bfloat16` or `float32`, as the item's header says.
    """
    return torch.from_numpy(array).view(getattr(torch, dtype))
