"""Is every file of a store what it says, under the name that it should have?"""

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from hlclip.formats import Header, Manifest
from hlclip.maintenance.inventory import StoredFile, stored_files
from hlclip.store import (
    DamagedItemError,
    StoredArray,
    UnsealedError,
    header_key,
    how_to_make,
    item_path,
    key_lock,
    open_item,
)


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file."""

    path: Path
    reason: str
    remedy: str


@dataclass(frozen=True)
class Audit:
    """What looking at each byte of a store found."""

    whole: int
    """Files."""
    damaged: list[Problem]
    """Files that may not stay."""
    unmet: list[Problem]
    """What the manifests name, and the store has not: nothing there, or something else, whole."""
    older: list[Path]
    """Of store formats before 3: nothing reads them, and nothing in them tells damage."""


def audit(
    root: Path, manifests: Mapping[str, Manifest], *, everything: bool, progress: bool = True
) -> Audit:
    """Read files of a store to their last byte, on all cores.

    Args:
        manifests: kind -> manifest; what they name must be there.
        everything: also look at what they do not name.
        progress: show a bar on a terminal.
    """
    named = {
        (kind, item.key): item
        for kind, manifest in manifests.items()
        for item in manifest.items.values()
    }
    items = {(file.kind, file.key): file for file in stored_files(root) if file.sort == "item"}
    looked_at = [file for name, file in items.items() if everything or name in named]
    found = list(zip(looked_at, _looks(looked_at, progress=progress), strict=True))
    # An older file was written under the key of an older header; one that bears the key of a
    # header of today has lost its seal.
    today = {(kind, key[28:]) for kind, key in named}
    today |= {(file.kind, file.key[28:]) for file, seen in found if isinstance(seen, StoredArray)}
    damaged, older = [], []
    unmet = [
        Problem(item_path(root / kind, key), "not in the store", how_to_make(kind))
        for kind, key in sorted(named.keys() - items.keys())
    ]
    for file, seen in found:
        item = named.get((file.kind, file.key))
        if isinstance(seen, StoredArray):
            if item and (item.digest, item.length) != (seen.checksums.array, seen.shape[0]):
                reason = "whole, but not what the manifest speaks of: made on another machine"
                unmet.append(Problem(file.path, reason, how_to_make(file.kind)))
        elif isinstance(seen, UnsealedError) and (file.kind, file.key[28:]) not in today:
            older.append(file.path)
        else:
            damaged.append(Problem(file.path, _words(seen), how_to_make(file.kind)))
    return Audit(len(found) - len(damaged) - len(older), damaged, unmet, older)


def check_item(file: StoredFile) -> StoredArray:
    """Read an item to its last byte.

    Raises:
        UnsealedError, DamagedItemError: it is damaged; the message is the reason.
        OSError: it cannot be read.
    """
    check_is_file(file)
    found = open_item(file.path, whole=True)
    header = dict(found.header)
    key = header.pop("key", None)
    if key != file.key:
        raise DamagedItemError(f"it holds the item {key}")
    version = found.checksums.format_version
    if header_key(header, version) != file.key[28:]:
        raise DamagedItemError(f"its header (format {version}, {_some(header)}) is not its key's")
    return found


def check_is_file(file: StoredFile) -> None:
    """Refuse what is no file of its own.

    Raises:
        DamagedItemError: it is a link, a folder, or something stranger.
    """
    if not file.regular:
        sort = "link" if file.path.is_symlink() else "folder" if file.path.is_dir() else "device"
        raise DamagedItemError(f"a {sort} in place of a file")


def remove_damaged(path: Path) -> bool:
    """Delete a damaged file, which its stage then makes anew; a folder only if it is empty.

    Returns:
        Whether the place is free.
    """
    with key_lock(path.parent.parent, path.stem):
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
        elif any(path.iterdir()):
            return False
        else:
            path.rmdir()
    return True


def _looks(files: list[StoredFile], *, progress: bool) -> Iterator[StoredArray | Exception]:
    total = sum(file.size for file in files)
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(
            total=total,
            desc="verify",
            unit="B",
            unit_scale=True,
            disable=None if progress else True,
        ) as bar,
    ):
        for file, seen in zip(files, pool.map(_look_at, files), strict=True):
            bar.update(file.size)
            yield seen


def _look_at(file: StoredFile) -> StoredArray | Exception:
    try:
        return check_item(file)
    except (DamagedItemError, OSError) as error:
        return error


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _some(header: Header) -> str:
    names: Iterable[str] = [name for name in ("model", "tower", "size") if name in header]
    return ", ".join(f"{name} {header[name]}" for name in names)
