"""The store gives back what was put in, or says what is wrong; it never gives anything else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from hlclip.formats.manifests import Item
from hlclip.store.place import store_root
from hlclip.store.store import Store, StoreError, StoreUnreadableError, content_key
from hlclip.system.errors import HlclipError
from hlclip.system.files import write_json
from tests.damage import DAMAGES

HEADER: dict[str, str | int | float] = {
    "model": "ViT-ß",
    "clip_seconds": 2.0,
    "size": 4,
    "pretrained": "",
}
SHAPES = [(1,), (3, 5), (2, 3, 4), (1, 2, 2, 3), (7, 1)]


def array(shape: tuple[int, ...] = (2, 3, 4), dtype: str = "float16", seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def no_make() -> NDArray[Any]:
    raise AssertionError("made although it is there")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "frames", HEADER)


@pytest.fixture
def item(store: Store) -> Item:
    return store.get_or_make(content_key(HEADER, "video"), array)


def reopened(store: Store) -> Store:
    """The same store in another run: nothing verified yet."""
    return Store(store.folder.parent, store.folder.name, store.header)


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
@pytest.mark.parametrize("shape", SHAPES)
def test_reads_what_was_written(store: Store, shape: tuple[int, ...], dtype: str) -> None:
    written = array(shape, dtype)
    item = store.get_or_make("ab12", lambda: written)
    for reader in (store, reopened(store)):
        for _ in range(2):  # the first read verifies, the second goes straight to the bytes
            read = reader.read(item)
            assert read.dtype == written.dtype
            np.testing.assert_array_equal(read, written)
    assert item.length == shape[0]
    with h5py.File(store.path("ab12")) as file:  # the naive twin
        dataset: Any = file["data"]
        np.testing.assert_array_equal(dataset[()], written)
        attributes = {
            name: getattr(v, "decode", lambda v=v: v)() for name, v in dataset.attrs.items()
        }
    assert {name: attributes[name] for name in HEADER} == dict(HEADER)


def test_arrays_in_another_memory_order(store: Store) -> None:
    written = array((3, 4, 5)).transpose(2, 0, 1)[::2]
    np.testing.assert_array_equal(store.read(store.get_or_make("ab12", lambda: written)), written)


def test_nothing_is_no_item(store: Store) -> None:
    with pytest.raises(ValueError, match="empty"):
        store.get_or_make("ab12", lambda: np.empty((0, 3)))
    assert not store.path("ab12").exists()


def test_same_content_same_bytes(tmp_path: Path) -> None:
    files = []
    for root, header in (("one", HEADER), ("two", dict(reversed(HEADER.items())))):
        store = Store(tmp_path / root, "frames", header)
        key = content_key(header, "video")
        store.get_or_make(key, array)
        files.append(store.path(key).relative_to(tmp_path / root))
        if root == "one":
            time.sleep(1.1)  # HDF5's time stamps count seconds
    assert files[0] == files[1]
    assert (tmp_path / "one" / files[0]).read_bytes() == (tmp_path / "two" / files[1]).read_bytes()


def test_a_failed_make_leaves_nothing_and_may_be_tried_again(store: Store) -> None:
    with pytest.raises(AssertionError, match="made"):
        store.get_or_make("ab12", no_make)
    assert [path for path in store.folder.rglob("*") if "ab12" in path.name] == []
    assert store.get_or_make("ab12", array) == store.get_or_make("ab12", no_make)


def test_threads_make_an_item_once(tmp_path: Path) -> None:
    made: list[str] = []
    keys = [f"{n % 2}{n:05}" for n in range(6)] * 8

    def get(key: str) -> Item:
        def make() -> NDArray[Any]:
            made.append(key)
            time.sleep(0.005)
            return array(seed=int(key))

        return Store(tmp_path, "frames", HEADER).get_or_make(key, make)

    with ThreadPoolExecutor(8) as pool:
        items = list(pool.map(get, keys))
    assert sorted(made) == sorted(set(keys))
    assert len(set(items)) == len(set(keys))


PROGRAM = """
import sys, time
from pathlib import Path
import numpy as np
from hlclip.store.store import Store

root, count, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
store = Store(root, "frames", {"size": 4})
for n in range(count):
    def make():
        with (root / "made").open("a") as file:
            file.write(f"{n}\\n")
        time.sleep(seconds)
        return np.full((40, 1000), n, np.float32)
    print(store.get_or_make(f"{n % 3:02x}{n:06}", make), flush=True)
"""


def program(root: Path, count: int, seconds: float) -> "subprocess.Popen[str]":
    arguments = [sys.executable, "-c", PROGRAM, root, count, seconds]
    return subprocess.Popen(list(map(str, arguments)), stdout=subprocess.PIPE, text=True)


def test_processes_make_an_item_once(tmp_path: Path) -> None:
    processes = [program(tmp_path, 12, 0.01) for _ in range(4)]
    outputs = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(outputs) == 1
    made = (tmp_path / "made").read_text().split()
    assert sorted(map(int, made)) == list(range(12))


def test_a_killed_run_leaves_whole_items_and_the_next_completes(tmp_path: Path) -> None:
    for written in (3, 20, 60):
        process = program(tmp_path, 10_000, 0)
        assert process.stdout is not None
        for _ in range(written):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        store = Store(tmp_path, "frames", {"size": 4})
        there = sorted(store.folder.rglob("*.h5"))
        assert len(there) >= written
        for path in there:
            read = store.read(store.get_or_make(path.stem, no_make))
            np.testing.assert_array_equal(read, np.full((40, 1000), int(path.stem[2:]), np.float32))
    count = len(there) + 20
    process = program(tmp_path, count, 0)
    assert len(process.communicate(timeout=60)[0].splitlines()) == count
    assert len(list(store.folder.rglob("*.h5"))) == count
    assert list(store.folder.rglob("*.tmp")) == []


def damaged(store: Store, item: Item, content: bytes) -> None:
    """With `content` in its file the item is refused by name, removed, and then made again."""
    path = store.path(item.key)
    path.write_bytes(content)
    with pytest.raises(
        StoreError, match=r"damaged, removed.*\n`dvc repro --force frames"
    ) as caught:
        reopened(store).read(item)
    assert str(path) in str(caught.value)
    assert not path.exists()
    assert store.get_or_make(item.key, array) == item
    np.testing.assert_array_equal(reopened(store).read(item), array())


def test_a_flipped_bit_of_the_data(store: Store, item: Item) -> None:
    whole = store.path(item.key).read_bytes()
    at = whole.index(array().tobytes())
    for offset in (0, 17, array().nbytes - 1):
        damaged(store, item, _flipped(whole, at + offset, 1))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.5, 0.999])
def test_truncation(store: Store, item: Item, share: float) -> None:
    whole = store.path(item.key).read_bytes()
    damaged(store, item, whole[: int(len(whole) * share)])


@pytest.mark.parametrize("content", [b"\0" * 3000, b"not HDF5" * 500, b"\x89HDF\r\n\x1a\n" * 400])
def test_garbage(store: Store, item: Item, content: bytes) -> None:
    damaged(store, item, content)


def test_another_hdf5_file(store: Store, item: Item, tmp_path: Path) -> None:
    for name, shape in (("else", (2, 3)), ("data", ())):
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file.create_dataset(name, shape, "float32")
        path = store.path(item.key)
        path.write_bytes((tmp_path / "other.h5").read_bytes())
        with pytest.raises(StoreError, match=r"damaged|header field"):
            reopened(store).read(item)
        assert store.get_or_make(item.key, array) == item


@pytest.mark.parametrize("mask", [0x01, 0xFF])
def test_no_flipped_byte_anywhere_gives_other_numbers(store: Store, item: Item, mask: int) -> None:
    # Also the ones that HDF5 itself reads: shape, dtype, offset, header, digest.
    # The slack between its structures, too: not one byte may change.
    path, whole = store.path(item.key), store.path(item.key).read_bytes()
    for at in range(0, len(whole), 2 if mask == 0xFF else 3):
        path.write_bytes(_flipped(whole, at, mask))
        with pytest.raises(StoreError, match="damaged, removed"):
            reopened(store).read(item)


def test_damaged_structures_are_found_without_hdf5(
    store: Store, item: Item, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 can hang on damaged structures, so it does not get to see them."""
    path, whole = store.path(item.key), store.path(item.key).read_bytes()
    monkeypatch.setattr(h5py, "File", None)
    start = whole.index(array().tobytes())
    for at in [*range(512, start, 9), *range(start + array().nbytes, len(whole), 9)]:
        path.write_bytes(_flipped(whole, at, 0x10))
        with pytest.raises(StoreError, match="damaged, removed"):
            reopened(store).read(item)
        path.write_bytes(_flipped(whole, at, 0x10))
        with pytest.raises(AssertionError, match="made although"):  # it would be made again
            store.get_or_make(item.key, no_make)


def _flipped(content: bytes, at: int, mask: int) -> bytes:
    return content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :]


@pytest.mark.parametrize("damage", DAMAGES)
def test_any_damage_is_refused_by_name_and_made_again(
    store: Store, item: Item, damage: Callable[[Path, np.random.Generator], None]
) -> None:
    path = store.path(item.key)
    whole = path.read_bytes()
    store.get_or_make(content_key(HEADER, "another"), lambda: array(seed=1))
    for seed in range(3):
        path.unlink()
        path.write_bytes(whole)
        damage(path, np.random.default_rng(seed))
        if path.exists() and path.read_bytes() == whole:
            continue  # a link to what was there: the numbers are right
        with pytest.raises(StoreError, match=r"dvc repro --force frames") as caught:
            reopened(store).read(item)
        assert str(path) in str(caught.value)
        assert reopened(store).get_or_make(item.key, array) == item
        assert path.read_bytes() == whole


@pytest.mark.parametrize("field", HEADER)
def test_another_header_is_named_and_nothing_is_removed(
    store: Store, item: Item, field: str
) -> None:
    other = Store(store.folder.parent, "frames", {**HEADER, field: 7})
    with pytest.raises(StoreError, match=f"header field '{field}' is .*, expected 7") as caught:
        other.read(item)
    assert str(store.path(item.key)) in str(caught.value)
    np.testing.assert_array_equal(reopened(store).read(item), array())


def test_a_field_that_the_file_lacks(store: Store, item: Item) -> None:
    other = Store(store.folder.parent, "frames", {**HEADER, "new": "x"})
    with pytest.raises(StoreError, match="header field 'new' is None, expected 'x'"):
        other.read(item)
    assert store.path(item.key).exists()


@pytest.mark.parametrize(
    ("kind", "stage"), [("frames", "frames"), ("images", "activations"), ("texts", "activations")]
)
def test_a_missing_item_names_file_and_remedy(tmp_path: Path, kind: str, stage: str) -> None:
    store = Store(tmp_path, kind, HEADER)
    with pytest.raises(
        StoreError, match=rf"not in the store\n`dvc repro --force {stage}`"
    ) as caught:
        store.read(Item("ab12", "0" * 32, 1))
    assert str(store.path("ab12")) in str(caught.value)


def test_a_whole_item_that_is_not_the_manifests_stays(store: Store, item: Item) -> None:
    elsewhere = Item(item.key, "0" * 32, item.length)  # made by a processor that rounds otherwise
    with pytest.raises(StoreError, match=r"whole, but not what the manifest.*\n`dvc repro --force"):
        store.read(elsewhere)
    np.testing.assert_array_equal(reopened(store).read(item), array())


def test_an_item_that_goes_away_during_a_run(store: Store, item: Item) -> None:
    store.read(item)
    store.path(item.key).unlink()
    with pytest.raises(StoreError, match=r"not in the store\n`dvc repro"):
        store.read(item)


def test_what_the_system_will_not_open_stays(store: Store, item: Item) -> None:
    path = store.path(item.key)
    aside = path.rename(path.with_suffix(".aside"))
    path.mkdir()  # stands for any refusal of the system: permission, too many open files, a lock
    for access in (
        lambda: reopened(store).read(item),
        lambda: store.get_or_make(item.key, no_make),
    ):
        with pytest.raises(StoreUnreadableError, match="cannot be read: Is a directory"):
            access()
    path.rmdir()
    aside.rename(path)
    np.testing.assert_array_equal(reopened(store).read(item), array())


def test_another_programs_hdf5_lock_is_no_obstacle(store: Store, item: Item) -> None:
    path = str(store.path(item.key))
    code = (  # as HDF5 does for a file that it writes to
        f"import fcntl; f = open({path!r}, 'r+b'); fcntl.flock(f, fcntl.LOCK_EX); "
        "print(flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    np.testing.assert_array_equal(reopened(store).read(item), array())
    holder.communicate(b"\n", timeout=30)


def test_store_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HLCLIP_STORE", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert store_root() == tmp_path / ".hlclip" / "store"
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "repository"))
    assert store_root() == tmp_path / "repository" / ".hlclip" / "store"
    monkeypatch.setenv("HLCLIP_STORE", "elsewhere")
    assert store_root() == tmp_path / "repository" / "elsewhere"
    monkeypatch.setenv("HLCLIP_STORE", "~/elsewhere")
    assert store_root() == Path.home() / "elsewhere"


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("a file", "a file: is a file"),
        ("lost", "lost: is a link to /nowhere/disk, no folder"),
        ("~nobody at all/store", "the store ~nobody at all/store: that user has no home folder"),
    ],
)
def test_a_store_that_cannot_be_a_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    (tmp_path / "a file").touch()
    (tmp_path / "lost").symlink_to("/nowhere/disk")
    monkeypatch.setenv("HLCLIP_STORE", place)
    with pytest.raises(HlclipError, match=r"\nset HLCLIP_STORE to a folder") as caught:
        store_root()
    assert caught.value.reason.endswith(reason)


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    """So that a group can share a store: umask 002, and a folder with setgid."""
    before = os.umask(0o002)
    try:
        Store(tmp_path / "store", "frames", HEADER).get_or_make("ab12", array)
        write_json(tmp_path / "store/videos.json", {})
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "store").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o664}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o775}
    assert len(modes) == 7


def test_every_field_and_the_content_make_the_key() -> None:
    keys = {
        content_key(HEADER, "video"),
        content_key(HEADER, "video2"),
        *(content_key({**HEADER, name: 9}, "video") for name in HEADER),
        content_key({**HEADER, "more": 1}, "video"),
    }
    assert len(keys) == len(HEADER) + 3
    assert content_key(dict(reversed(HEADER.items())), "video") in keys


def test_a_key_is_the_same_in_every_process() -> None:
    code = (
        f"from hlclip.store.store import content_key; print(content_key({dict(HEADER)!r}, 'video'))"
    )
    for seed in ("1", "2"):  # of Python's own hash
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"}
        output = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
        assert output.strip() == content_key(HEADER, "video")


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_reads_first_rows_into_memory_that_is_there(store: Store, item: Item, rows: int) -> None:
    reader = reopened(store)
    for _ in range(2):  # the first read verifies, the second goes straight to the bytes
        into = np.full((4, 3, 4), 9, "float16")
        reader.read_into(item, into[1 : 1 + rows])
        np.testing.assert_array_equal(into[1 : 1 + rows], array()[:rows])
        assert (np.delete(into, range(1, 1 + rows), axis=0) == 9).all()


def test_what_is_read_into_memory_is_verified_first(store: Store, item: Item) -> None:
    path = store.path(item.key)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StoreError, match="do not match their digest"):
        reopened(store).read_into(item, np.empty((1, 3, 4), "float16"))


def test_what_changes_after_it_was_verified_is_noticed(store: Store, item: Item) -> None:
    store.read(item)
    into = np.empty((2, 3, 4), "float16")
    path = store.path(item.key)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match="shorter than its header says"):
        store.read_into(item, into)
    with pytest.raises(StoreError, match="not in the store"):
        store.read_into(item, into)


@pytest.mark.parametrize(("shape", "dtype"), [((2, 3, 5), "float16"), ((2, 3, 4), "float32")])
def test_memory_of_another_shape_is_refused(store: Store, item: Item, shape, dtype) -> None:
    for _ in range(2):
        with pytest.raises(StoreError, match=r"float16 \[2, 3, 4\], expected"):
            store.read_into(item, np.empty(shape, dtype))
