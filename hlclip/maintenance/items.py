"""The items of a store: verified to their last byte, and copied to another store."""

import fcntl
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm.contrib.concurrent import thread_map

from hlclip.formats import Manifest
from hlclip.maintenance.inventory import ItemName, StoredFile, stored_items
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
from hlclip.system import HlclipError, remove_leftovers, replacing, system_remedy

_FICLONE = 0x40049409
"""Linux: share the blocks of another file until one of the two changes."""


class TransferError(HlclipError):
    """The source holds no items, or it is the target."""


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
    unreadable: list[Defect]
    """The system refuses to read them; nothing is known about their content."""
    unmet: list[Defect]
    """Items that the manifests name and the store does not hold, or holds with other content."""


@dataclass(frozen=True)
class Transfer:
    """The result of a transfer."""

    copied: int
    """Files."""
    copied_bytes: int
    present: int
    """Files that the target already had."""
    refused: dict[str, str]
    """File or URL -> why it was not transferred."""


def verify_store(
    root: Path,
    manifests: Mapping[str, Manifest],
    *,
    everything: bool,
    foreign: Collection[Defect] = (),
) -> Verification:
    """Read files of a store to their last byte, on all cores.

    Args:
        manifests: kind -> manifest; the store must hold the items that they name.
        everything: also read files that the manifests do not name.
        foreign: whole files that count as damaged, see `compare_frames`.
    """
    others = {defect.path: defect for defect in foreign}
    named, items = manifest_items(manifests), stored_items(root)
    files = [file for name, file in items.items() if everything or name in named]
    damaged: list[Defect] = []
    unreadable: list[Defect] = []
    unmet = [
        Defect(item_path(root / kind, key), "not in the store", how_to_make(kind))
        for kind, key in sorted(named.keys() - items.keys())
    ]
    results = thread_map(_read, files, desc="verify", unit="file", disable=None)
    for file, result in zip(files, results, strict=True):
        item = named.get(file.name)
        if isinstance(result, DamagedItemError):
            damaged.append(Defect(file.path, str(result), how_to_make(file.kind)))
        elif isinstance(result, OSError):
            reason = result.strerror or str(result)
            unreadable.append(Defect(file.path, reason, system_remedy(result.errno)))
        elif file.path in others:
            damaged.append(others[file.path])
        elif item and (item.digest, item.length) != (result.checksums.array, result.shape[0]):
            reason = "whole, but not what the manifest names: made on another machine"
            unmet.append(Defect(file.path, reason, how_to_make(file.kind)))
    whole = len(files) - len(damaged) - len(unreadable)
    return Verification(whole, damaged, unreadable, unmet)


def remove_damaged(path: Path) -> bool:
    """Delete a damaged file, a folder only if it is empty; whether it was deleted."""
    with key_lock(path.parent.parent, path.stem):
        if path.is_dir() and not path.is_symlink():
            with suppress(OSError):  # it is not empty
                path.rmdir()
        else:
            path.unlink(missing_ok=True)
        return not path.exists()


def transfer_items(
    source: Path, target: Path, *, only: Collection[ItemName] | None = None, desc: str
) -> Transfer:
    """Copy items to another store; items that are already in it are skipped.

    An item gets its name in the target only after every byte of it was checked there. An
    interrupted transfer can be run again.

    Args:
        only: the items to transfer; all of them by default.
        desc: label of the progress bar.

    Raises:
        TransferError: `source` holds no items, or it is `target`.
    """
    items = stored_items(source)
    if not items:
        raise TransferError(
            f"{source}: expected a store or the result of `hlclip store export`, a folder with "
            "frames/, images/ or texts/ that hold <key>.h5; found none"
        )
    if source.resolve() == target.resolve():
        raise TransferError(f"{target} is the store itself", "name another folder")
    refused = {
        str(item_path(source / kind, key)): "not in the store"
        for kind, key in sorted(set(only or ()) - items.keys())
    }
    files = [file for name, file in items.items() if only is None or name in only]
    # Keys with the same first two digits share a lock: neighbours here have different ones.
    files.sort(key=lambda file: file.key[2:])
    remove_unfinished(target, [file.name for file in files])
    transfer = partial(_transfer, target=target)
    results = thread_map(transfer, files, desc=desc, unit="file", disable=None)
    outcomes = list(zip(files, results, strict=True))
    damaged = {str(file.path): result for file, result in outcomes if isinstance(result, str)}
    copied = [file.size for file, result in outcomes if result is True]
    return Transfer(len(copied), sum(copied), results.count(False), refused | damaged)


def remove_unfinished(target: Path, names: Iterable[ItemName]) -> None:
    """Remove what killed writers left in the folders of these items.

    A writer killed after its rename leaves a temporary folder at a whole item.
    """
    for folder in {item_path(target / kind, key).parent for kind, key in names}:
        remove_leftovers(folder)


def require_file(file: StoredFile) -> Path:
    """The path of a directory entry that is a file; a link or a folder is damage."""
    if file.type != "file":
        raise DamagedItemError(f"a {file.type} in place of a file")
    return file.path


def check_item(path: Path, key: str) -> StoredArray:
    """Read an item to its last byte.

    Raises:
        DamagedItemError: it is not the item `key`, whole; the message is the reason.
        OSError: the system refuses to read it.
    """
    array = open_item(path, whole=True)
    header = dict(array.header)
    found = header.pop("key", None)
    if found != key:
        raise DamagedItemError(f"it holds the item {found}")
    version = array.checksums.format_version
    if header_key(header, version) != key[28:]:
        facts = [f"{name} {header[name]}" for name in ("model", "tower", "size") if name in header]
        described = ", ".join([f"format {version}", *facts])
        raise DamagedItemError(f"its header ({described}) is not its key's")
    return array


def receive_item(
    target: Path, name: ItemName, size: int, write: Callable[[Path], StoredArray]
) -> bool | str:
    """Add an item to a store, whole or not at all.

    Args:
        size: bytes of its file.
        write: writes the file to a path and checks it there.

    Returns:
        Whether it was added (False: the store already had it), or why it cannot be.
    """
    kind, key = name
    folder = target / kind
    path = item_path(folder, key)
    if path.exists():
        return False
    with key_lock(folder, key):
        if path.exists():
            return False
        try:
            with replacing(path, needed=size) as temporary:
                write(temporary)
        except DamagedItemError as error:
            return str(error)
        except OSError as error:  # of the source: what the target refuses is a WriteError
            return f"cannot be read: {error.strerror or error}"
    return True


def _read(file: StoredFile) -> StoredArray | DamagedItemError | OSError:
    """The item, or why it is damaged, or why the system does not read it."""
    try:
        return check_item(require_file(file), file.key)
    except (DamagedItemError, OSError) as error:
        return error


def _transfer(file: StoredFile, *, target: Path) -> bool | str:
    def write(path: Path) -> StoredArray:
        _duplicate(require_file(file), path)
        return check_item(path, file.key)

    return receive_item(target, file.name, file.size, write)


def _duplicate(source: Path, target: Path) -> None:
    """Share the blocks of `source`, or link it, or copy it: the first that the disks can do."""
    with suppress(OSError), source.open("rb") as original, target.open("wb") as duplicate:
        fcntl.ioctl(duplicate, _FICLONE, original.fileno())
        return
    target.unlink(missing_ok=True)
    with suppress(OSError):
        target.hardlink_to(source)
        return
    shutil.copyfile(source, target)
