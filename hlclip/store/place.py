"""Where the store is: a project's, the one that the user names, or the user's own.

The user's own holds videos that belong to no project. It is limited, so that it does not fill the
disk of somebody who never looks at it; no other store is.
"""

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from hlclip.system import HlclipError, in_words

log = logging.getLogger(__name__)

VARIABLE = "HLCLIP_STORE"

LIMIT_BYTES = 20 * 10**9
"""Most bytes of items in the user's own store: with ViT-B/32, 140 hours of video."""

_KEPT = 0.9
"""Share of the limit that stays when items are removed, so that this is rare."""

_IN_PROJECT = Path(".hlclip/store")


@dataclass(frozen=True)
class Place:
    """A store, and why it is this one."""

    root: Path
    why: str

    @property
    def limit(self) -> int | None:
        """Most bytes of items; None if nothing is ever removed by itself."""
        return LIMIT_BYTES if is_limited(self.root) else None


def repository(folder: Path = Path()) -> Path:
    """The repository that started the run, else the project around a folder, else that around the
    working directory, else the working directory.

    DVC sets `$DVC_ROOT`, also for experiments that run in a temporary copy.
    """
    if root := os.environ.get("DVC_ROOT"):
        return Path(root).absolute()
    return _project(folder) or Path.cwd()


def find_store(folder: Path = Path()) -> Place:
    """`$HLCLIP_STORE`, else the project's `.hlclip/store`, else the user's own store.

    A relative `$HLCLIP_STORE` starts in `repository(folder)`. A project is the nearest folder, from
    `folder` up, else from the working directory up, that holds a store, or `params.yaml` with
    `dvc.yaml` or `.dvc`.

    Raises:
        HlclipError: it is a file, or a link to nothing, or `~name` of an unknown user.
    """
    if named := os.environ.get(VARIABLE):
        place, why = Path(named), VARIABLE
    elif os.environ.get("DVC_ROOT"):
        place, why = _IN_PROJECT, "DVC_ROOT"
    elif project := _project(folder):
        place, why = _IN_PROJECT, f"of the project {project}"
    else:
        place, why = _own_store(), "your own, because this folder is in no project"
    remedy = f"set {VARIABLE} to a folder, which need not exist yet"
    try:
        root = repository(folder) / place.expanduser()
    except RuntimeError as error:
        raise HlclipError(f"the store {place}: that user has no home folder", remedy) from error
    if os.path.lexists(root) and not root.is_dir():
        what = f"is a link to {root.readlink()}, no folder" if root.is_symlink() else "is a file"
        raise HlclipError(f"the store {root}: {what}", remedy)
    return Place(root, why)


def store_root(folder: Path = Path()) -> Path:
    """The store of a run: that of `find_store(folder)`, but never the user's own.

    Outside of a project, as on a machine that only encodes, it is `.hlclip/store` here.
    """
    place = find_store(folder)
    return place.root if place.limit is None else repository(folder) / _IN_PROJECT


def is_limited(root: Path) -> bool:
    """Whether this is the user's own store."""
    return root.absolute() == _own_store()


def trim(root: Path, limit: int) -> None:
    """Remove the least recently used items of a store that holds more than `limit` bytes.

    The time of an item's file is that of its last use. A run that looks for a removed item makes it
    again.
    """
    items: list[tuple[float, int, Path]] = []
    for path in root.glob("*/??/*.h5"):
        with suppress(FileNotFoundError):  # another process removes items, too
            status = path.stat()
            items.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in items)
    if total <= limit:
        return
    removed: list[int] = []
    for _, size, path in sorted(items):
        if total - sum(removed) <= limit * _KEPT:
            break
        path.unlink(missing_ok=True)
        removed.append(size)
    log.warning(
        "%s: holds more than %s: the %d items that were not used for longest, %s, are removed; "
        "%s names a folder without a limit",
        root,
        in_words(limit),
        len(removed),
        in_words(sum(removed)),
        VARIABLE,
    )


def _own_store() -> Path:
    return user_cache_path("hlclip", appauthor=False) / "store"


def _project(folder: Path) -> Path | None:
    starts = (folder.resolve(), Path.cwd())
    above = (each for start in starts for each in (start, *start.parents))
    return next((each for each in above if _is_project(each)), None)


def _is_project(folder: Path) -> bool:
    if (folder / _IN_PROJECT).is_dir():
        return True
    pipeline = any((folder / name).exists() for name in ("dvc.yaml", ".dvc"))
    return pipeline and (folder / "params.yaml").is_file()
