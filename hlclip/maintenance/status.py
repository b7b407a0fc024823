"""How much a store holds, and how much of it manifests name."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tqdm.contrib.concurrent import thread_map

from hlclip.maintenance.inventory import ItemName, StoredFile, stored_files
from hlclip.store import DamagedItemError, StoreInUseError, hold_alone, read_checksums


@dataclass
class KindStatus:
    """The files of one kind."""

    files: int = 0
    bytes: int = 0
    formats: dict[str, int] = field(default_factory=dict)
    """Format version, or `damaged` (by its first bytes alone) -> files."""
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
    """Half-written files of processes that are gone."""
    being_written: list[Path]
    foreign: list[Path]
    """Files that hlclip did not write."""
    in_use: bool
    """A run is adding to the store."""


def store_status(root: Path, named: Iterable[ItemName]) -> StoreStatus:
    """Count files by their names, sizes and first bytes; `verify_store` checks the digests.

    Args:
        named: items that the workspace's manifests name.
    """
    missing = set(named)
    kinds: dict[str, KindStatus] = {}
    files = list(stored_files(root))
    counted = [file for file in files if file.sort in ("item", "training")]
    for file, version in zip(counted, thread_map(_format, counted, disable=True), strict=True):
        kind = kinds.setdefault(file.kind, KindStatus())
        kind.files += 1
        kind.bytes += file.size
        kind.formats[version] = kind.formats.get(version, 0) + 1
        if file.name in missing:
            kind.named += 1
            missing.remove(file.name)
        else:
            kind.unnamed_bytes += file.size
    temporary, being_written, foreign = (
        [file.path for file in files if file.sort == sort]
        for sort in ("temporary", "being written", "foreign")
    )
    in_use = root.is_dir() and _in_use(root)
    return StoreStatus(kinds, len(missing), temporary, being_written, foreign, in_use)


def _format(file: StoredFile) -> str:
    if file.sort == "training":
        return "-"
    try:
        return str(read_checksums(file.path).format_version)
    except (DamagedItemError, OSError):
        return "damaged"


def _in_use(root: Path) -> bool:
    try:
        with hold_alone(root):
            return False
    except StoreInUseError:
        return True
    except OSError:
        return False  # the store is read-only for this user, so its lock cannot be tested
