"""Find and remove files that a store can do without."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tqdm import tqdm

from hlclip.maintenance.inventory import ItemName, StoredFile, stored_files
from hlclip.store import hold_alone
from hlclip.system import remove_leftover

_DAY_SECONDS = 86400


def find_garbage(
    root: Path,
    named: Iterable[ItemName],
    *,
    features: bool = False,
    older_than_days: float = 0,
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
    """Find and remove garbage while no run adds to the store.

    Returns:
        The removed files.

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
