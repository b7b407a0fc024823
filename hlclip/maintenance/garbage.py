"""What a store can do without, and its removal."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from hlclip.maintenance.inventory import StoredFile, stored_files
from hlclip.store import hold_alone
from hlclip.system import being_written, remove_leftover

_DAY_SECONDS = 86400


@dataclass(frozen=True)
class Garbage:
    """Files that may go."""

    items: list[StoredFile]
    """Of the pipeline, named by no manifest."""
    own: list[StoredFile]
    """Features of one's own videos and states of trainings; manifests never name these."""
    temporary: list[StoredFile]
    """Half-written by a process that is gone."""

    @property
    def files(self) -> list[StoredFile]:
        return [*self.items, *self.own, *self.temporary]


def find_garbage(
    root: Path,
    named: Iterable[tuple[str, str]],
    *,
    features: bool = False,
    older_than_days: float = 0,
) -> Garbage:
    """What may go from a store; nothing is removed.

    Args:
        named: (kind, key) of the items that stay.
        features: also what no manifest ever names: the features of one's own videos, and the
            states from which interrupted trainings go on.
        older_than_days: only files that were written longer ago.
    """
    keep = set(named)
    before = time.time() - older_than_days * _DAY_SECONDS
    items, own, temporary = [], [], []
    for file in stored_files(root):
        if file.modified > before:
            continue
        if file.sort == "temporary":
            temporary.extend([] if being_written(file.path) else [file])
        elif (file.kind, file.key) in keep or not file.regular:
            continue
        elif file.sort == "training" or (file.sort == "item" and file.kind == "features"):
            own.extend([file] if features else [])
        elif file.sort == "item":
            items.append(file)
    return Garbage(items, own, temporary)


def remove_garbage(root: Path, find: Callable[[], Garbage]) -> Garbage:
    """Find and remove garbage while no run adds to the store.

    Returns:
        What is gone.

    Raises:
        StoreInUseError: a run is at work in the store.
    """
    with hold_alone(root):
        garbage = find()
        for file in tqdm(garbage.files, desc="gc", unit="file", disable=None):
            if file.sort == "temporary":
                remove_leftover(file.path)
            else:
                file.path.unlink(missing_ok=True)
    return garbage
