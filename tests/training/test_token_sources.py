"""Wherever the tokens live, the batches are those from disk, and each item is read once."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import pytest
import torch

from hlclip.store.store import Store
from hlclip.system.memory import free_host_bytes
from hlclip.training import token_sources as residence
from hlclip.training.batches import Batch, CachedQueries, cached_queries, load_batches
from hlclip.training.token_sources import (
    DEVICE_RESERVE,
    FromDisk,
    InMemory,
    Place,
    choose_place,
)
from tests.cached import CachedData, cached_data
from tests.models import save_model, tiny_config

CPU = torch.device("cpu")
GIB = 2**30
ORDERS = ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1], [1, 0, 3, 4, 2])
"""Of the rows of train, three epochs; rows 0 and 1 share a video."""
ROW_BYTES = 17 * 64 * 2
"""A frame's tokens: [17, 64] float16."""

on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA: the GPU path was not run"),
]
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_gpu)])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CachedData:
    folder = tmp_path_factory.mktemp("data")
    return cached_data(folder / "store", save_model(folder, tiny_config()), dtype="float16")


def train_split(data: CachedData) -> CachedQueries:
    return cached_queries(
        data.index, "train", data.images, data.texts, store=data.store, target="mean"
    )


def epochs(queries: CachedQueries, device: torch.device) -> list[Batch]:
    """All batches, copied: their memory is used again."""
    return [
        Batch(*(getattr(batch, field.name).cpu().clone() for field in fields(batch)))
        for order in ORDERS
        for batch in load_batches(queries, order, 2, device=device)
    ]


def by_hand(data: CachedData) -> list[Batch]:
    """The same from whole arrays, one item at a time."""
    images = Store(data.store, "images", data.images.header)
    texts = Store(data.store, "texts", data.texts.header)
    queries = train_split(data)
    expected = []
    for order in ORDERS:
        for start in range(0, len(order), 2):
            rows = [queries.rows[n] for n in order[start : start + 2]]
            tokens = [
                torch.from_numpy(images.read(data.images.items[row.vid]))[: row.clips]
                for row in rows
            ]
            words = [torch.from_numpy(texts.read(data.texts.items[row.query])) for row in rows]
            longest = max(map(len, words))
            padded = torch.zeros(len(rows), longest, words[0].shape[1], dtype=torch.float16)
            for line, word in zip(padded, words, strict=True):
                line[: len(word)] = word
            expected.append(
                Batch(
                    torch.cat(tokens),
                    torch.tensor([n for n, video in enumerate(tokens) for _ in video]),
                    padded,
                    torch.tensor(list(map(len, words))),
                    torch.cat(
                        [
                            torch.tensor(row.ratings()).float().mean(1)[: len(video)] / 4
                            for row, video in zip(rows, tokens, strict=True)
                        ]
                    ),
                )
            )
    return expected


def test_batches_are_made_without_openmp(data: CachedData) -> None:
    """Two teams of its threads, of a batch in the making and of a step, slow each other down."""
    queries, threads = train_split(data), torch.get_num_threads()

    def started() -> int:
        torch.set_num_threads(2)
        before = len(os.listdir("/proc/self/task"))
        queries.batch(range(5))
        return len(os.listdir("/proc/self/task")) - before

    try:
        with ThreadPoolExecutor(1) as another:
            assert another.submit(started).result() == 0
    finally:
        torch.set_num_threads(threads)


def same(found: list[Batch], expected: list[Batch]) -> bool:
    return len(found) == len(expected) and all(
        torch.equal(getattr(ours, field.name), getattr(theirs, field.name))
        and getattr(ours, field.name).dtype == getattr(theirs, field.name).dtype
        for ours, theirs in zip(found, expected, strict=True)
        for field in fields(Batch)
    )


def live(monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
    """As if just that much memory were free."""
    monkeypatch.setattr(residence, "choose_place", lambda *_, **__: place)


@pytest.mark.parametrize(
    ("needed", "device_free", "host_free", "expected"),
    [
        (40 * GIB, 80 * GIB, 128 * GIB, "device"),
        (40 * GIB, 40 * GIB + DEVICE_RESERVE, 0, "device"),
        (40 * GIB, 40 * GIB + DEVICE_RESERVE - 1, 128 * GIB, "pinned"),
        (40 * GIB, 24 * GIB, 80 * GIB, "pinned"),
        (40 * GIB, 24 * GIB, 80 * GIB - 1, "disk"),
        (1, 0, 128 * GIB, "disk"),  # without a GPU the page cache does it
    ],
)
def test_the_nearest_place_that_has_room(needed, device_free, host_free, expected):
    assert choose_place(needed, device_free=device_free, host_free=host_free) == expected


def test_free_memory_is_the_machines_or_the_control_groups(tmp_path):
    def write(name: str, content: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    write("proc/meminfo", "MemTotal: 2048 kB\nMemAvailable:    1024 kB\n")
    write("proc/self/cgroup", "0::/\n")
    assert free_host_bytes(tmp_path) == 2**20
    write("sys/fs/cgroup/memory.max", "max\n")
    write("sys/fs/cgroup/memory.current", "900000\n")
    write("sys/fs/cgroup/memory.stat", "anon 500000\ninactive_file 400000\n")
    assert free_host_bytes(tmp_path) == 2**20
    write("sys/fs/cgroup/memory.max", "1000000\n")
    assert free_host_bytes(tmp_path) == 1000000 - 900000 + 400000


@pytest.mark.parametrize("limited", ["", "slurm", "slurm/job/step"])
@pytest.mark.parametrize(
    ("line", "base", "names", "none"),
    [
        ("0::", "", ("max", "current", "inactive_file"), "max"),
        (
            "5:cpu,memory:",
            "memory/",
            ("limit_in_bytes", "usage_in_bytes", "total_inactive_file"),
            "9223372036854771712",
        ),
    ],
)
def test_free_memory_within_the_groups_of_a_job(tmp_path, line, base, names, none, limited):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    limit, used, files = names
    write("proc/meminfo", "MemAvailable: 1024 kB\n")
    write("proc/self/cgroup", f"7:freezer:/other\n{line}/slurm/job/step\n")
    for group in ("", "slurm", "slurm/job", "slurm/job/step"):
        folder = f"sys/fs/cgroup/{base}{group}"
        write(f"{folder}/memory.{limit}", "1000000\n" if group == limited else f"{none}\n")
        write(f"{folder}/memory.{used}", "900000\n")
        write(f"{folder}/memory.stat", f"anon 1\n{files} 400000\n")
    assert free_host_bytes(tmp_path) == 500000


def test_free_memory_of_this_machine():
    assert 2**20 < free_host_bytes() < 2**50


@devices
@pytest.mark.parametrize("place", ["device", "pinned", "disk"])
@pytest.mark.parametrize("slab", [2**28, 7 * ROW_BYTES])  # one video is longer than the latter
def test_batches_are_the_same_wherever_tokens_live(data, monkeypatch, place, slab, device):
    live(monkeypatch, place)
    monkeypatch.setattr(residence, "SLAB", slab)
    queries = train_split(data)
    assert queries.keep_in_memory(torch.device(device)) == place
    assert same(epochs(queries, torch.device(device)), by_hand(data))


def test_batches_without_a_place_come_from_disk(data):
    assert same(epochs(train_split(data), CPU), by_hand(data))


@devices
@pytest.mark.parametrize("place", ["device", "pinned"])
def test_disk_is_read_in_the_first_epoch_only(data, monkeypatch, tmp_path, place, device):
    expected = by_hand(data)
    data = replace(data, store=shutil.copytree(data.store, tmp_path / "store"))
    live(monkeypatch, place)
    queries = train_split(data)
    queries.keep_in_memory(torch.device(device))
    assert same(epochs(queries, torch.device(device)), expected)
    for path in data.store.rglob("*.h5"):
        path.unlink()
    assert same(epochs(queries, torch.device(device)), expected)


def test_on_the_cpu_tokens_stay_on_disk(data):
    assert train_split(data).keep_in_memory(CPU) == "disk"


@pytest.mark.parametrize("place", ["device", "pinned"])
def test_a_video_of_several_queries_is_kept_once(data, monkeypatch, place):
    """All frames of each video, also those that one query does not speak of."""
    store = Store(data.store, "images", data.images.header)
    a, c = data.images.items["a"], data.images.items["c"]
    monkeypatch.setattr(residence, "SLAB", 8 * ROW_BYTES)
    made: list[int] = []
    monkeypatch.setattr(
        torch, "empty", lambda *shape, **kw: made.append(shape[0]) or torch.zeros(*shape, **kw)
    )
    kept = InMemory(FromDisk(store, a), [a, a, c, a], place, device=CPU)
    assert made == [0, 8, 11]  # the slab of a, of which 5 rows are used, and one for c
    monkeypatch.undo()
    for wanted in ([(a, 5), (a, 2)], [(c, 7), (a, 5)], [(c, 11)]):
        expected = [torch.from_numpy(store.read(item))[:count] for item, count in wanted]
        assert torch.equal(kept.gather(wanted), torch.cat(expected))


@pytest.mark.parametrize("place", ["device", "pinned"])
def test_memory_that_is_not_to_be_had_leaves_tokens_on_disk(data, monkeypatch, caplog, place):
    live(monkeypatch, place)
    monkeypatch.setattr(residence, "SLAB", 2**60)
    queries = train_split(data)
    assert queries.keep_in_memory(CPU) == "disk"
    assert "read from disk in every epoch" in caplog.text
    assert same(epochs(queries, CPU), by_hand(data))


def test_two_batches_are_valid_at_once_and_their_memory_is_used_again(data):
    store = Store(data.store, "images", data.images.header)
    c, b = data.images.items["c"], data.images.items["b"]
    disk = FromDisk(store, c)
    first = disk.gather([(c, 11)])
    second = disk.gather([(b, 6)])
    assert torch.equal(first, torch.from_numpy(store.read(c)))
    assert torch.equal(second, torch.from_numpy(store.read(b)))
    third = disk.gather([(b, 6)])
    assert third.data_ptr() == first.data_ptr()
