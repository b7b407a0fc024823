"""The result of one check."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    about: str
    state: Literal["ok", "note", "problem"]
    """A problem stops a run or makes its figures wrong; a note is worth knowing."""
    found: str
    remedy: str = ""
    """What to do about it."""
    names: Sequence[str] = ()
    """Everything that `found` counts, each with its reason."""


Check: TypeAlias = Generator[Finding, None, T]
"""A check yields its findings and returns what later checks need."""
