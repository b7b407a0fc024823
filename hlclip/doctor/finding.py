"""What an examination finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    about: str
    state: Literal["ok", "note", "problem"]
    """A problem stops a run or makes its figures wrong; a note is good to know."""
    found: str
    remedy: str = ""
    """What to do about it."""
    names: tuple[str, ...] = ()
    """All that `found` counts, each with its reason."""


def ok(about: str, found: str) -> Finding:
    return Finding(about, "ok", found)


def note(about: str, found: str, remedy: str = "", names: Sequence[str] = ()) -> Finding:
    return Finding(about, "note", found, remedy, tuple(names))


def problem(about: str, found: str, remedy: str, names: Sequence[str] = ()) -> Finding:
    return Finding(about, "problem", found, remedy, tuple(names))
