"""How much of what a store holds, and how much of that is named."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from hlclip.maintenance.inventory import StoredFile, stored_files
from hlclip.store import (
    DamagedItemError,
    StoreInUseError,
    UnsealedError,
    hold_alone,
    read_checksums,
)
from hlclip.system import being_written


@dataclass
class KindStatus:
    """Items of one kind."""

    files: int = 0
    bytes: int = 0
    formats: dict[str, int] = field(default_factory=dict)
    """Format version, `older` or `damaged` (by its first bytes alone) -> files."""
    named: int = 0
    """By the workspace's manifests."""
    unnamed_bytes: int = 0


@dataclass
class StoreStatus:
    """What a store holds."""

    kinds: dict[str, KindStatus]
    missing: int
    """Items that the workspace's manifests name and that are not there."""
    temporary: list[Path]
    """Half-written files of processes that are gone."""
    being_written: list[Path]
    foreign: list[Path]
    """What hlclip did not put there."""
    in_use: bool
    """A run that adds to the store is alive."""


def store_status(root: Path, named: Iterable[tuple[str, str]]) -> StoreStatus:
    """Look at names, sizes and first bytes of all files; digests are `audit`'s.

    Args:
        named: (kind, key) of what the workspace's manifests name.
    """
    wanted = set(named)
    kinds: dict[str, KindStatus] = {}
    status = StoreStatus(kinds, 0, [], [], [], root.is_dir() and _in_use(root))
    counted: list[StoredFile] = []
    for file in stored_files(root):
        if file.sort in ("item", "training"):
            counted.append(file)
        elif file.sort == "foreign":
            status.foreign.append(file.path)
        else:
            (status.being_written if being_written(file.path) else status.temporary).append(
                file.path
            )
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for file, version in zip(counted, pool.map(_format, counted), strict=True):
            kind = kinds.setdefault(file.kind, KindStatus())
            kind.files += 1
            kind.bytes += file.size
            kind.formats[version] = kind.formats.get(version, 0) + 1
            if (file.kind, file.key) in wanted:
                kind.named += 1
                wanted.remove((file.kind, file.key))
            else:
                kind.unnamed_bytes += file.size
    status.missing = len(wanted)
    return status


def _format(file: StoredFile) -> str:
    if file.sort == "training":
        return "-"
    try:
        return str(read_checksums(file.path).format_version)
    except UnsealedError:
        return "older"
    except (DamagedItemError, OSError):
        return "damaged"


def _in_use(root: Path) -> bool:
    try:
        with hold_alone(root):
            return False
    except StoreInUseError:
        return True
    except OSError:
        return False  # one may only read it, so nobody here can say
