"""What lies in a store: its items, what a killed run left, and what does not belong there."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hlclip.store import LOCK

Sort = Literal["item", "temporary", "training", "foreign"]

KINDS = ("frames", "images", "texts", "features")

_ITEM = re.compile(r"([0-9a-f]{40})\.h5")
_TEMPORARY = re.compile(r"\.([0-9a-f]{40})\.[a-z0-9_]{8}\.tmp")
_TRAINING = re.compile(r"[0-9a-f]{40}\.(pt|safetensors)")


@dataclass(frozen=True)
class StoredFile:
    """Something in a store."""

    path: Path
    kind: str
    """`frames`, `images`, `texts`, `features`, or `training` (results, and interrupted states)."""
    key: str
    sort: Sort
    regular: bool
    """A file: not a folder (as what is temporary), a link or something stranger."""
    size: int
    """Bytes."""
    modified: float
    """Seconds since the epoch."""


def stored_files(root: Path) -> Iterator[StoredFile]:
    """All that lies in a store, except its own locks and the cache of video hashes."""
    for entry in _entries(root):
        if entry.name == "training" and entry.is_dir(follow_symlinks=False):
            yield from (_classified(found, "training") for found in _entries(entry.path))
        elif entry.name in KINDS and entry.is_dir(follow_symlinks=False):
            for part in _entries(entry.path):
                if part.name != "locks" and part.is_dir(follow_symlinks=False):
                    yield from (_classified(found, entry.name) for found in _entries(part.path))
                elif part.name != "locks":
                    yield _classified(part, entry.name)
        elif entry.name not in (LOCK, "videos.json"):
            yield _classified(entry, "")


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def _classified(entry: os.DirEntry[str], kind: str) -> StoredFile:
    status = entry.stat(follow_symlinks=False)
    path = Path(entry.path)
    found = _ITEM.fullmatch(entry.name)
    sort: Sort = "foreign"
    if found and kind in KINDS and path.parent.name == found[1][:2]:
        sort = "item"
    elif (found := _TEMPORARY.fullmatch(entry.name)) and stat.S_ISDIR(status.st_mode):
        sort = "temporary"
    elif kind == "training" and _TRAINING.fullmatch(entry.name):
        sort = "training"
    size = status.st_size
    if sort == "temporary":
        size = sum(part.stat(follow_symlinks=False).st_size for part in _entries(path))
    return StoredFile(
        path,
        kind,
        found[1] if found else "",
        sort,
        stat.S_ISREG(status.st_mode),
        size,
        status.st_mtime,
    )
