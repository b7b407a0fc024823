"""Transfer items from one store to another: reflinked, hard-linked or copied, then checked."""

import fcntl
import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tqdm.contrib.concurrent import thread_map

from hlclip.maintenance.inventory import ItemName, StoredFile, stored_items
from hlclip.maintenance.verify import check_item
from hlclip.store import DamagedItemError, item_path, key_lock
from hlclip.system import HlclipError, remove_leftovers, replacing

_FICLONE = 0x40049409
"""Linux: share the blocks of another file until one of the two changes."""


class TransferError(HlclipError):
    """The source holds no items, or it is the target."""


@dataclass(frozen=True)
class Transfer:
    """The result of a transfer."""

    copied: int
    """Files."""
    copied_bytes: int
    present: int
    """Files that the target already had."""
    refused: dict[Path, str]
    """File of the source -> why it was not transferred."""


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
        item_path(source / kind, key): "not in the store"
        for kind, key in sorted(set(only or ()) - items.keys())
    }
    files = [file for name, file in items.items() if only is None or name in only]
    for folder in {item_path(target / file.kind, file.key).parent for file in files}:
        # A writer killed after its rename leaves a temporary folder at a whole item.
        remove_leftovers(folder)
    transfer = partial(_transfer, target=target)
    results = thread_map(transfer, files, desc=desc, unit="file", disable=None)
    outcomes = list(zip(files, results, strict=True))
    damaged = {file.path: result for file, result in outcomes if isinstance(result, str)}
    copied = [file.size for file, result in outcomes if result is True]
    return Transfer(len(copied), sum(copied), results.count(False), refused | damaged)


def _transfer(file: StoredFile, *, target: Path) -> bool | str:
    """Whether the item was copied (False: the target already had it), or why it is damaged."""
    folder = target / file.kind
    path = item_path(folder, file.key)
    if path.exists():
        return False
    try:
        with key_lock(folder, file.key):
            if path.exists():
                return False
            with replacing(path, needed=file.size) as temporary:
                if file.type == "file":
                    _duplicate(file.path, temporary)
                check_item(replace(file, path=temporary))
    except DamagedItemError as error:
        return str(error)
    return True


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
