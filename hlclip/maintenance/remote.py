"""The items of a store in object storage: pushed, pulled, and compared.

The folder in the bucket has the layout of a store. What it holds is known from lists, a thousand
objects a request. An item is checked before it is sent, and after it was received.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from hlclip.formats import Item
from hlclip.maintenance.bucket import Bucket
from hlclip.maintenance.inventory import KINDS, ItemName, item_name, stored_items
from hlclip.maintenance.items import (
    Transfer,
    TransferError,
    check_item,
    receive_item,
    remove_unfinished,
    require_file,
)
from hlclip.store import DamagedItemError, StoredArray, item_path


@dataclass
class RemoteKind:
    """The items of one kind in object storage, compared with those of a store."""

    files: int = 0
    bytes: int = 0
    to_push: int = 0
    """Items that only the store holds."""
    to_pull: int = 0
    """Items that only the bucket holds."""


@dataclass(frozen=True)
class RemoteStatus:
    """What a push and a pull would copy."""

    kinds: dict[str, RemoteKind]
    named: int
    """Items that the workspace's manifests name."""
    named_there: int
    """Of these, items that the bucket holds."""
    differing: dict[str, str]
    """URL of an object with another size than the store's file -> what to do."""


def push_items(
    root: Path, url: str, named: Mapping[ItemName, Item], *, everything: bool, jobs: int
) -> Transfer:
    """Upload the items that are not in the bucket yet; each is read and checked before.

    Args:
        named: items that the workspace's manifests name.
        everything: also those that they do not name.
        jobs: items that travel at the same time.

    Raises:
        TransferError: the store is empty, or the bucket cannot be used. What was copied is whole.
    """
    files = stored_items(root)
    here = {name: file.size for name, file in files.items()}
    if not here:
        raise TransferError(f"{root}: the store holds no items", "`dvc repro` makes them")
    bucket = Bucket(url, make=True)
    there = _objects(bucket, here if everything else named)

    def upload(name: ItemName) -> bool | str:
        try:
            path = require_file(files[name])
            _check(path, name, named)
            bucket.put(_path(name), path)
        except DamagedItemError as error:
            return str(error)
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"
        return True

    wanted = here.keys() | named.keys() if everything else named.keys()
    differing = _differing(bucket, here, there, wanted)
    return _copy(wanted, here, str(root), there, differing, upload, desc="push", jobs=jobs)


def pull_items(
    url: str, root: Path, named: Mapping[ItemName, Item], *, everything: bool, jobs: int
) -> Transfer:
    """Download the items that are not in the store yet.

    An item gets its name in the store only after every byte of it was checked, and also that it is
    what the manifest names.

    Args:
        named, everything, jobs: see `push_items`.

    Raises:
        TransferError: the bucket holds no items, or cannot be used. What was copied is whole.
        WriteError: the disk refuses. What was copied is whole.
    """
    bucket = Bucket(url)
    there = _objects(bucket, None if everything else named)
    if not there and not _objects(bucket, None):
        raise TransferError(
            f"{url}: expected what `hlclip store push` makes, a folder with frames/, images/ or "
            "texts/ that hold <key>.h5; found none",
            "correct the URL, or push to it first",
        )
    here = _sizes(root)
    wanted = there.keys() | named.keys() if everything else named.keys()
    remove_unfinished(root, wanted)

    def download(name: ItemName) -> bool | str:
        def write(path: Path) -> StoredArray:
            bucket.get(_path(name), there[name], path)
            return _check(path, name, named)

        return receive_item(root, name, there[name], write)

    differing = _differing(bucket, here, there, wanted)
    return _copy(wanted, there, bucket.url, here, differing, download, desc="pull", jobs=jobs)


def remote_status(root: Path, url: str, named: Collection[ItemName]) -> RemoteStatus:
    """Compare a store with a bucket by names and sizes; reads no item.

    Raises:
        TransferError: the bucket cannot be used.
    """
    bucket = Bucket(url)
    here, there = _sizes(root), _objects(bucket, None)
    kinds: dict[str, RemoteKind] = {}
    for name in sorted(here.keys() | there.keys()):
        kind = kinds.setdefault(name[0], RemoteKind())
        kind.files += name in there
        kind.bytes += there.get(name, 0)
        kind.to_push += name not in there
        kind.to_pull += name not in here
    differing = _differing(bucket, here, there, there)
    return RemoteStatus(kinds, len(named), len(set(named) & there.keys()), differing)


def _sizes(root: Path) -> dict[ItemName, int]:
    return {name: file.size for name, file in stored_items(root).items()}


def _objects(bucket: Bucket, names: Iterable[ItemName] | None) -> dict[ItemName, int]:
    """Bytes of the items in a bucket: of those in the folders of `names`, or of all."""
    folders = None if names is None else {f"{kind}/{key[:2]}" for kind, key in names}
    sizes = bucket.sizes(KINDS, folders)
    return {name: size for path, size in sizes.items() if (name := item_name(path))}


def _path(name: ItemName) -> str:
    kind, key = name
    return item_path(Path(kind), key).as_posix()


def _check(path: Path, name: ItemName, named: Mapping[ItemName, Item]) -> StoredArray:
    """Read an item to its last byte, and compare it with the manifest that names it."""
    array = check_item(path, name[1])
    item = named.get(name)
    if item and (item.digest, item.length) != (array.checksums.array, array.shape[0]):
        raise DamagedItemError("whole, but not what the manifest names: made on another machine")
    return array


def _differing(
    bucket: Bucket,
    here: Mapping[ItemName, int],
    there: Mapping[ItemName, int],
    wanted: Iterable[ItemName],
) -> dict[str, str]:
    """URLs of objects whose size is not that of the store's file -> what to do."""
    return {
        f"{bucket.url}/{_path(name)}": f"{there[name]:,} bytes there, {here[name]:,} here: one of "
        "the two is damaged; if `hlclip store verify` does not name the file here, delete the "
        "object, and push it again"
        for name in sorted(here.keys() & there.keys() & set(wanted))
        if here[name] != there[name]
    }


def _copy(
    wanted: Collection[ItemName],
    source: Mapping[ItemName, int],
    place: str,
    target: Collection[ItemName],
    refused: dict[str, str],
    copy: Callable[[ItemName], bool | str],
    *,
    desc: str,
    jobs: int,
) -> Transfer:
    """Copy what the target lacks, with a bar of bytes; the first error of the bucket ends it.

    Args:
        source, place: sizes of its items, and its folder.
        refused: what is known to be wrong already.
    """
    # Keys with the same first two digits share a lock: neighbours here have different ones.
    lacking = sorted(set(wanted).difference(target), key=lambda name: name[1][2:])
    names = [name for name in lacking if name in source]
    absent = {f"{place}/{_path(name)}": "not there" for name in lacking if name not in source}
    refused = {**refused, **absent}
    copied: list[int] = []
    total = sum(source[name] for name in names)
    with (
        ThreadPoolExecutor(jobs) as pool,
        tqdm(total=total, desc=desc, unit="B", unit_scale=True, disable=None) as bar,
    ):
        for name, outcome in zip(names, pool.map(copy, names), strict=True):
            bar.update(source[name])
            if outcome is True:
                copied.append(source[name])
            elif isinstance(outcome, str):
                refused[f"{place}/{_path(name)}"] = outcome
    present = len(wanted) - len(copied) - len(refused)
    return Transfer(len(copied), sum(copied), present, refused)
