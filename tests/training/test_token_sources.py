"""Wherever tokens are kept, the batches are those from disk, and each item is read once."""

import shutil
from dataclasses import replace

import pytest
import torch

from hlclip.store import Store
from hlclip.training import Batch, CachedQueries, DiskSource, load_batches, token_sources
from hlclip.training.token_sources import DEVICE_RESERVE, Location, MemorySource, choose_location
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


def train_split(data: CachedData, device: torch.device = CPU) -> CachedQueries:
    return CachedQueries(
        data.index,
        "train",
        data.images,
        data.texts,
        store=data.store,
        target="mean",
        device=device,
    )


def epochs(queries: CachedQueries, device: torch.device) -> list[Batch]:
    """All batches, copied: their memory is used again."""
    return [
        Batch(*(tensor.cpu().clone() for tensor in batch.tensors()))
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
                    torch.tensor(
                        [
                            [a.vid != b.vid and a.query.lower() != b.query.lower() for b in rows]
                            for a in rows
                        ]
                    ),
                )
            )
    return expected


def same(found: list[Batch], expected: list[Batch]) -> bool:
    return len(found) == len(expected) and all(
        torch.equal(mine, other) and mine.dtype == other.dtype
        for ours, theirs in zip(found, expected, strict=True)
        for mine, other in zip(ours.tensors(), theirs.tensors(), strict=True)
    )


def keep_on(monkeypatch: pytest.MonkeyPatch, location: Location) -> None:
    """As if exactly that much memory were free."""
    monkeypatch.setattr(token_sources, "choose_location", lambda *_, **__: location)


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
def test_the_fastest_location_that_has_room(needed, device_free, host_free, expected):
    assert choose_location(needed, device_free=device_free, host_free=host_free) == expected


@devices
@pytest.mark.parametrize("location", ["device", "pinned", "disk"])
@pytest.mark.parametrize("slab", [2**28, 7 * ROW_BYTES])  # one video is longer than the latter
def test_batches_are_the_same_wherever_tokens_are_kept(data, monkeypatch, location, slab, device):
    keep_on(monkeypatch, location)
    monkeypatch.setattr(token_sources, "SLAB", slab)
    queries = train_split(data, torch.device(device))
    assert queries.location == location
    assert same(epochs(queries, torch.device(device)), by_hand(data))


@devices
@pytest.mark.parametrize("location", ["device", "pinned"])
def test_disk_is_read_in_the_first_epoch_only(data, monkeypatch, tmp_path, location, device):
    expected = by_hand(data)
    data = replace(data, store=shutil.copytree(data.store, tmp_path / "store"))
    keep_on(monkeypatch, location)
    queries = train_split(data, torch.device(device))
    assert same(epochs(queries, torch.device(device)), expected)
    for path in data.store.rglob("*.h5"):
        path.unlink()
    assert same(epochs(queries, torch.device(device)), expected)


def test_on_the_cpu_tokens_stay_on_disk(data):
    queries = train_split(data)
    assert queries.location == "disk"
    assert same(epochs(queries, CPU), by_hand(data))


@pytest.mark.parametrize("location", ["device", "pinned"])
def test_a_query_may_need_fewer_frames_than_its_video_has(data, monkeypatch, location):
    """The first query reads two frames of a video; another reads the rest from memory."""
    store = Store(data.store, "images", data.images.header)
    a, c = data.images.items["a"], data.images.items["c"]
    monkeypatch.setattr(token_sources, "SLAB", 8 * ROW_BYTES)
    source = MemorySource(DiskSource(store, a), [a, a, c, a], location, device=CPU)
    for spans in ([(a, 2), (a, 5)], [(c, 7), (a, 5)], [(c, 11)]):
        expected = [torch.from_numpy(store.read(item))[:count] for item, count in spans]
        assert torch.equal(source.gather(spans), torch.cat(expected))


@pytest.mark.parametrize("location", ["device", "pinned"])
def test_without_enough_memory_tokens_stay_on_disk(data, monkeypatch, caplog, location):
    keep_on(monkeypatch, location)
    monkeypatch.setattr(token_sources, "SLAB", 2**60)
    queries = train_split(data)
    assert queries.location == "disk"
    assert "read from disk in every epoch" in caplog.text
    assert same(epochs(queries, CPU), by_hand(data))


def test_two_batches_are_valid_at_once(data):
    store = Store(data.store, "images", data.images.header)
    c, b = data.images.items["c"], data.images.items["b"]
    source = DiskSource(store, c)
    first, second = source.gather([(c, 11)]), source.gather([(b, 6)])
    assert torch.equal(first, torch.from_numpy(store.read(c)))
    assert torch.equal(second, torch.from_numpy(store.read(b)))
