"""Types of the values in `params.yaml`."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from hlclip.formats import shown

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
# Beyond these bounds a number, its square or a product of two leaves the range of float32 or int64.
Count = Annotated[int, Field(gt=0, le=10**9)]
Rate = Annotated[float, Field(ge=1e-30, le=1e30)]
Scale = Annotated[float, Field(ge=1e-6, le=1e6)]
PathText = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
Split = Literal["train", "val", "test"]
Decoder = Literal["ffmpeg", "pyav"]

_WIDEST = 99_999
"""Most clips of a pooling window: those of the longest video."""


def _is_odd(window: object) -> bool:
    return type(window) is int and 1 <= window <= _WIDEST and window % 2 == 1


def odd_window(window: object) -> object:
    if not _is_odd(window):
        raise ValueError(f"expected an odd number of clips, 1 or more; got {shown(window)}")
    return window


def _odd_or_best(window: object) -> object:
    if not _is_odd(window) and window != "best":
        raise ValueError(
            f"expected an odd number of clips, 1 or more, or best; got {shown(window)}"
        )
    return window


Window = Annotated[int | Literal["best"], BeforeValidator(_odd_or_best)]


class Section(BaseModel):
    """A section: each key is there, no other is, and none is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
