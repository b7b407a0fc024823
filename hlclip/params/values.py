"""Types of the values in `params.yaml`."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from hlclip.formats import or_word, shown

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
# Beyond these bounds a number, its square or a product of two leaves the range of float32 or int64.
Count = Annotated[int, Field(gt=0, le=10**9)]
Rate = Annotated[float, Field(ge=1e-30, le=1e30)]
Scale = Annotated[float, Field(ge=1e-6, le=1e6)]
PathText = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
Split = Literal["train", "val", "test"]
Decoder = Literal["auto", "ffmpeg", "pyav"]


def _is_odd(window: object) -> bool:
    return type(window) is int and window in range(1, 100_000, 2)


def odd_window(window: object) -> object:
    if not _is_odd(window):
        raise ValueError(f"expected an odd number of clips, 1 or more; got {shown(window)}")
    return window


Window = Annotated[int | Literal["best"], or_word("best", _is_odd, "an odd number of clips")]
Sigma = Annotated[
    float | Literal["best"],
    or_word("best", lambda n: type(n) in (int, float) and 0 <= n <= 1000, "0 to 1000 clips"),
]
ScaleInit = Annotated[
    float | Literal["fit"],
    or_word("fit", lambda n: type(n) in (int, float) and 1e-6 <= n <= 1e6, "a number, 1e-6 to 1e6"),
]
Frames = Annotated[
    int | Literal["auto"],
    or_word("auto", lambda n: type(n) is int and 0 <= n <= 10**9, "0 to 10^9 frames"),
]


class Section(BaseModel):
    """A section: each key is there, no other is, and none is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
