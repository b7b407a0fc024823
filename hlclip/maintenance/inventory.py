"""The files in a store: what they are, how many manifests name, and which can be removed."""

import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tqdm import tqdm
from tqdm.contrib.concurrent import thread_map

from hlclip.store import LOCK, DamagedItemError, StoreInUseError, hold_alone, read_checksums
from hlclip.system import being_written, remove_leftover

Sort = Literal["item", "training", "temporary", "being written", "foreign"]
"""`temporary`: half-written by a process that is gone. `foreign`: not a file of hlclip."""

KINDS = ("frames", "images", "texts", "features")

ItemName = tuple[str, str]
"""Kind and key of an item."""

# Paths below the root of the store.
_KIND = f"({'|'.join(KINDS)})"
_FOLDER = re.compile(f"training|models|{_KIND}(/[^/]+)?")
_AUXILIARY = re.compile(rf"{LOCK}|videos\.(?:json|lock)|models/[0-9a-f]{{40}}\.json|{_KIND}/locks")
_ITEM = re.compile(_KIND + r"/([0-9a-f]{2})/(?P<key>\2[0-9a-f]{38})\.h5")
_TRAINING = re.compile(r"training/(?P<key>[0-9a-f]{40})\.(pt|safetensors)")
_TEMPORARY = re.compile(r"(.*/)?\.(?P<key>[0-9a-f]{40}|videos\.json)\.[a-z0-9_]{8}\.tmp")

_TYPES = {stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFDIR: "folder"}
_DAY_SECONDS = 86400


@dataclass(frozen=True)
class StoredFile:
    """A directory entry in a store."""

    path: Path
    kind: str
    """`frames`, `images`, `texts`, `features`, or `training` (results, and interrupted states)."""
    key: str
    sort: Sort
    type: str
    """`file`, `link`, `folder` (as temporary entries are) or `device`."""
    size: int
    """Bytes."""
    modified: float
    """Seconds since the epoch."""

    @property
    def name(self) -> ItemName:
        return self.kind, self.key


@dataclass
class KindStatus:
    """The files of one kind."""

    files: int = 0
    bytes: int = 0
    formats: dict[str, int] = field(default_factory=dict)
    """Format version, `damaged` (by its first bytes alone) or `unreadable` -> files."""
    named: int = 0
    """Files that the workspace's manifests name."""
    unnamed_bytes: int = 0


@dataclass
class StoreStatus:
    """The files of a store."""

    kinds: dict[str, KindStatus]
    missing: int
    """Items that the workspace's manifests name and the store does not hold."""
    temporary: list[Path]
    being_written: list[Path]
    foreign: list[Path]
    in_use: bool
    """A run is adding to the store."""


def stored_files(root: Path, prefix: str = "") -> Iterator[StoredFile]:
    """All entries of a store below `prefix`, except its locks and caches that only save time."""
    folder = root / prefix
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = prefix + path.name
        if _AUXILIARY.fullmatch(name):
            continue
        if _FOLDER.fullmatch(name) and path.is_dir() and not path.is_symlink():
            yield from stored_files(root, f"{name}/")
            continue
        try:
            file = _stored_file(path, name)
        except FileNotFoundError:
            continue  # a run has renamed it meanwhile
        yield file


def item_name(path: str) -> ItemName | None:
    """The item whose file has this path in a store, if it is one's."""
    match = _ITEM.fullmatch(path)
    return (match[1], match["key"]) if match else None


def stored_items(root: Path) -> dict[ItemName, StoredFile]:
    """The items of a store."""
    return {file.name: file for file in stored_files(root) if file.sort == "item"}


def store_status(root: Path, named: Iterable[ItemName]) -> StoreStatus:
    """Count files by their names, sizes and first bytes; `verify_store` checks the digests.

    Args:
        named: items that the workspace's manifests name.
    """
    named = set(named)
    kinds: dict[str, KindStatus] = {}
    files = list(stored_files(root))
    counted = [file for file in files if file.sort in ("item", "training")]
    for file, version in zip(counted, thread_map(_format, counted, disable=True), strict=True):
        kind = kinds.setdefault(file.kind, KindStatus())
        kind.files += 1
        kind.bytes += file.size
        kind.formats[version] = kind.formats.get(version, 0) + 1
        if file.name in named:
            kind.named += 1
        else:
            kind.unnamed_bytes += file.size

    def paths(sort: Sort) -> list[Path]:
        return [file.path for file in files if file.sort == sort]

    missing = len(named - {file.name for file in counted})
    in_use = root.is_dir() and _in_use(root)
    temporary, unfinished = paths("temporary"), paths("being written")
    return StoreStatus(kinds, missing, temporary, unfinished, paths("foreign"), in_use)


def find_garbage(
    root: Path, named: Iterable[ItemName], *, features: bool = False, older_than_days: float = 0
) -> list[StoredFile]:
    """Files that no manifest names, and half-written files of dead processes; removes nothing.

    Args:
        named: items that stay.
        features: also what no manifest ever names: features of your own videos, results of
            trainings and states of interrupted ones.
        older_than_days: only files that were last written longer ago.
    """
    keep = set(named)
    latest = time.time() - older_than_days * _DAY_SECONDS

    def is_garbage(file: StoredFile) -> bool:
        if file.modified > latest:
            return False
        if file.sort == "temporary":
            return True
        if file.type != "file" or file.sort == "foreign" or file.name in keep:
            return False
        return features or file.kind not in ("features", "training")

    return [file for file in stored_files(root) if is_garbage(file)]


def remove_garbage(root: Path, find: Callable[[], list[StoredFile]]) -> list[StoredFile]:
    """Find and remove garbage while no run adds to the store; the removed files.

    Raises:
        StoreInUseError: a run is adding to the store.
    """
    with hold_alone(root):
        garbage = find()
        for file in tqdm(garbage, desc="gc", unit="file", disable=None):
            if file.sort == "temporary":
                remove_leftover(file.path)
            else:
                file.path.unlink(missing_ok=True)
    return garbage


def _stored_file(path: Path, name: str) -> StoredFile:
    status = path.lstat()
    size, type_ = status.st_size, _TYPES.get(stat.S_IFMT(status.st_mode), "device")
    sort: Sort = "foreign"
    if match := _ITEM.fullmatch(name):
        sort = "item"
    elif match := _TRAINING.fullmatch(name):
        sort = "training"
    elif type_ == "folder" and (match := _TEMPORARY.fullmatch(name)):
        sort = "being written" if being_written(path) else "temporary"
        size = sum(part.lstat().st_size for part in path.iterdir())
    kind, key = name.partition("/")[0], match["key"] if match else ""
    return StoredFile(path, kind, key, sort, type_, size, status.st_mtime)


def _format(file: StoredFile) -> str:
    if file.sort == "training":
        return "-"
    try:
        return str(read_checksums(file.path).format_version)
    except DamagedItemError:
        return "damaged"
    except OSError:
        return "unreadable"


def _in_use(root: Path) -> bool:
    try:
        with hold_alone(root):
            return False
    except StoreInUseError:
        return True
    except OSError:
        return False  # the store is read-only for this user, so its lock cannot be tested
