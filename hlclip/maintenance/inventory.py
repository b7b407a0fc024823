"""The files in a store: items, training states, remains of killed runs, and foreign files."""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hlclip.store import LOCK
from hlclip.system import being_written

Sort = Literal["item", "training", "temporary", "being written", "foreign"]
"""`temporary`: half-written by a process that is gone. `foreign`: not a file of hlclip."""

KINDS = ("frames", "images", "texts", "features")

ItemName = tuple[str, str]
"""Kind and key of an item."""

# Paths below the root of the store.
_KIND = f"({'|'.join(KINDS)})"
_FOLDER = re.compile(f"training|{_KIND}(/[^/]+)?")
_AUXILIARY = re.compile(f"{LOCK}|videos.json|{_KIND}/locks")
_ITEM = re.compile(_KIND + r"/([0-9a-f]{2})/(?P<key>\2[0-9a-f]{38})\.h5")
_TRAINING = re.compile(r"training/(?P<key>[0-9a-f]{40})\.(pt|safetensors)")
_TEMPORARY = re.compile(r".*/\.(?P<key>[0-9a-f]{40})\.[a-z0-9_]{8}\.tmp")


@dataclass(frozen=True)
class StoredFile:
    """A directory entry in a store."""

    path: Path
    kind: str
    """`frames`, `images`, `texts`, `features`, or `training` (results, and interrupted states)."""
    key: str
    sort: Sort
    regular: bool
    """A file: not a folder (which temporary entries are), a link or a device."""
    size: int
    """Bytes."""
    modified: float
    """Seconds since the epoch."""

    @property
    def name(self) -> ItemName:
        return self.kind, self.key


def stored_files(root: Path) -> Iterator[StoredFile]:
    """All entries of a store, except its locks and the cache of video hashes."""
    return _stored_files(root, "") if root.is_dir() else iter(())


def stored_items(root: Path) -> dict[ItemName, StoredFile]:
    """The items of a store."""
    return {file.name: file for file in stored_files(root) if file.sort == "item"}


def _stored_files(folder: Path, prefix: str) -> Iterator[StoredFile]:
    for path in sorted(folder.iterdir()):
        name = prefix + path.name
        if _AUXILIARY.fullmatch(name):
            continue
        if _FOLDER.fullmatch(name) and path.is_dir() and not path.is_symlink():
            yield from _stored_files(path, f"{name}/")
        else:
            yield _stored_file(path, name)


def _stored_file(path: Path, name: str) -> StoredFile:
    status = path.lstat()
    size = status.st_size
    sort: Sort = "foreign"
    if match := _ITEM.fullmatch(name):
        sort = "item"
    elif match := _TRAINING.fullmatch(name):
        sort = "training"
    elif stat.S_ISDIR(status.st_mode) and (match := _TEMPORARY.fullmatch(name)):
        sort = "being written" if being_written(path) else "temporary"
        size = sum(part.lstat().st_size for part in path.iterdir())
    kind, key = name.partition("/")[0], match["key"] if match else ""
    return StoredFile(path, kind, key, sort, stat.S_ISREG(status.st_mode), size, status.st_mtime)
