"""What lies in a store: its items, what a killed run left, and what does not belong there."""

import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import Timeout

from hlclip.store import key_lock
from hlclip.store_use import LOCK

Sort = Literal["item", "temporary", "training", "foreign"]

KINDS = ("frames", "images", "texts", "features")

_ITEM = re.compile(r"([0-9a-f]{40})\.h5")
_TEMPORARY = re.compile(r"\.([0-9a-f]{40})\.(?:h5|pt)\.tmp")
_TRAINING = re.compile(r"[0-9a-f]{40}\.pt")
_DAY_SECONDS = 86400


@dataclass(frozen=True)
class StoredFile:
    """Something in a store."""

    path: Path
    kind: str
    """`frames`, `images`, `texts`, `features`, or `training`: states of interrupted trainings."""
    key: str
    sort: Sort
    regular: bool
    """A file: not a folder, a link or something stranger."""
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
        elif entry.name != LOCK and not entry.name.startswith("index.sqlite"):
            yield _classified(entry, "")


def being_written(file: StoredFile) -> bool:
    """Does a living process hold the lock of this temporary file?

    The state of a training has no lock: one of the last day counts as being written.
    """
    if file.kind == "training":
        return time.time() - file.modified < _DAY_SECONDS
    try:
        with key_lock(file.path.parent.parent, file.key).acquire(timeout=0):
            return False
    except Timeout:
        return True


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
    elif found := _TEMPORARY.fullmatch(entry.name):
        sort = "temporary"
    elif kind == "training" and _TRAINING.fullmatch(entry.name):
        sort = "training"
    return StoredFile(
        path,
        kind,
        found[1] if found else "",
        sort,
        stat.S_ISREG(status.st_mode),
        status.st_size,
        status.st_mtime,
    )
