"""Items from one store into another: reflinked, hard-linked or copied, and checked there."""

import errno
import fcntl
import os
import shutil
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from hlclip.maintenance.inventory import StoredFile, stored_files
from hlclip.maintenance.verify import check_is_file, check_item
from hlclip.store import DamagedItemError, item_path, key_lock
from hlclip.system import HlclipError, remove_leftovers, replacing

_FICLONE = 0x40049409
"""Linux: share the blocks of another file until one of the two changes."""
_IMPOSSIBLE = (
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOTTY,
    errno.EPERM,
    errno.EMLINK,
)
"""How file systems say that they cannot link, or not these two files."""


class TransferError(HlclipError):
    """There is no store to take from, or no place to put it."""


@dataclass(frozen=True)
class Transfer:
    """What became of each item."""

    copied: int
    """Files."""
    copied_bytes: int
    there: int
    """Files that the target had already."""
    refused: dict[Path, str]
    """File of the source -> why it did not enter."""


def transfer_items(
    source: Path,
    target: Path,
    *,
    only: Collection[tuple[str, str]] | None = None,
    desc: str,
) -> Transfer:
    """Bring items into another store; what is there already is passed over.

    An item has its name in the target only when every byte of it was checked there, so this can
    end at any moment and be called again.

    Args:
        only: (kind, key) of the items wanted; all of them by default.
        desc: what the bar on a terminal calls it.

    Raises:
        TransferError: `source` holds no item.
    """
    files = {(file.kind, file.key): file for file in stored_files(source) if file.sort == "item"}
    if not files:
        raise TransferError(
            f"{source}: expected a store or what `hlclip store export` left, a folder with "
            "frames/, images/ or texts/ that hold <key>.h5; found none"
        )
    if source.resolve() == target.resolve():
        raise TransferError(f"{target} is the store itself; name another folder")
    refused = {
        item_path(source / kind, key): "not in the store"
        for kind, key in sorted(set(only or ()) - files.keys())
    }
    wanted = [file for name, file in files.items() if only is None or name in only]
    for folder in {item_path(target / file.kind, file.key).parent for file in wanted}:
        remove_leftovers(
            folder
        )  # also beside whole items: of a writer that was killed after its rename
    copied = copied_bytes = there = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(partial(_enter, target=target), wanted)
        bar = tqdm(results, total=len(wanted), desc=desc, unit="file", disable=None)
        for file, reason in zip(wanted, bar, strict=True):
            if reason == "":
                copied, copied_bytes = copied + 1, copied_bytes + file.size
            elif reason is None:
                there += 1
            else:
                refused[file.path] = reason
    return Transfer(copied, copied_bytes, there, refused)


def _enter(file: StoredFile, *, target: Path) -> str | None:
    """Empty when the item has entered, None when it was there, else why it may not."""
    folder = target / file.kind
    path = item_path(folder, file.key)
    if path.exists():
        return None
    try:
        check_is_file(file)
        with key_lock(folder, file.key):
            if path.exists():
                return None
            with replacing(path, needed=file.size) as temporary:
                temporary.unlink(missing_ok=True)
                _duplicate(file.path, temporary)
                check_item(replace(file, path=temporary))
    except DamagedItemError as error:
        return str(error)
    return ""


def _duplicate(source: Path, target: Path) -> None:
    with source.open("rb") as given, target.open("wb") as made:
        try:
            fcntl.ioctl(made, _FICLONE, given.fileno())
            return
        except OSError as error:
            if error.errno not in _IMPOSSIBLE:
                raise
    target.unlink()
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in _IMPOSSIBLE:
            raise
        shutil.copyfile(source, target)
