"""Verify that each file of a store has the bytes and the name with which it was written."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tqdm.contrib.concurrent import thread_map

from hlclip.formats import Manifest
from hlclip.maintenance.inventory import StoredFile, stored_items
from hlclip.maintenance.references import manifest_items
from hlclip.store import (
    DamagedItemError,
    StoredArray,
    header_key,
    how_to_make,
    item_path,
    key_lock,
    open_item,
)


@dataclass(frozen=True)
class Defect:
    """A file that is damaged, missing or another than its manifest names."""

    path: Path
    reason: str
    remedy: str


@dataclass(frozen=True)
class Verification:
    """The result of reading a store's files."""

    whole: int
    """Files."""
    damaged: list[Defect]
    unmet: list[Defect]
    """Items that the manifests name and the store does not hold, or holds with other content."""


def verify_store(
    root: Path, manifests: Mapping[str, Manifest], *, everything: bool
) -> Verification:
    """Read files of a store to their last byte, on all cores.

    Args:
        manifests: kind -> manifest; the store must hold the items that they name.
        everything: also read files that the manifests do not name.
    """
    named, items = manifest_items(manifests), stored_items(root)
    files = [file for name, file in items.items() if everything or name in named]
    damaged: list[Defect] = []
    unmet = [
        Defect(item_path(root / kind, key), "not in the store", how_to_make(kind))
        for kind, key in sorted(named.keys() - items.keys())
    ]
    results = thread_map(_read, files, desc="verify", unit="file", disable=None)
    for file, result in zip(files, results, strict=True):
        item = named.get(file.name)
        if isinstance(result, str):
            damaged.append(Defect(file.path, result, how_to_make(file.kind)))
        elif item and (item.digest, item.length) != (result.checksums.array, result.shape[0]):
            reason = "whole, but not what the manifest names: made on another machine"
            unmet.append(Defect(file.path, reason, how_to_make(file.kind)))
    return Verification(len(files) - len(damaged), damaged, unmet)


def check_item(file: StoredFile) -> StoredArray:
    """Read an item to its last byte.

    Raises:
        DamagedItemError: it is damaged; the message is the reason.
    """
    if file.type != "file":
        raise DamagedItemError(f"a {file.type} in place of a file")
    array = open_item(file.path, whole=True)
    header = dict(array.header)
    key = header.pop("key", None)
    if key != file.key:
        raise DamagedItemError(f"it holds the item {key}")
    version = array.checksums.format_version
    if header_key(header, version) != file.key[28:]:
        facts = [f"{name} {header[name]}" for name in ("model", "tower", "size") if name in header]
        described = ", ".join([f"format {version}", *facts])
        raise DamagedItemError(f"its header ({described}) is not its key's")
    return array


def remove_damaged(path: Path) -> bool:
    """Delete a damaged file, a folder only if it is empty; whether it was deleted."""
    with key_lock(path.parent.parent, path.stem):
        if path.is_dir() and not path.is_symlink():
            with suppress(OSError):  # it is not empty
                path.rmdir()
        else:
            path.unlink(missing_ok=True)
        return not path.exists()


def _read(file: StoredFile) -> StoredArray | str:
    """The item, or why it is damaged."""
    try:
        return check_item(file)
    except OSError as error:
        return error.strerror or str(error)
    except DamagedItemError as error:
        return str(error)
