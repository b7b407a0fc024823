"""Wherever tokens are kept, the batches are those from disk, and each item is read once."""

import shutil
from dataclasses import replace

import pytest
import torch
from torch.overrides import TorchFunctionMode

from hlclip.store import Store
from hlclip.training import Batch, CachedQueries, DiskSource, load_batches, token_sources
from hlclip.training.token_sources import Location, MemorySource, nearest_source
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


def room_on(monkeypatch: pytest.MonkeyPatch, *locations: Location) -> None:
    """As if exactly these locations had room for everything."""
    monkeypatch.setattr(token_sources, "room", lambda place, *_, **__: (place in locations) * 2**70)


@pytest.mark.parametrize(
    ("tokens", "device_free", "host_free", "expected"),
    [
        (40, 80, 128, "device"),
        (40, 40 + 3, 0, "device"),  # 3 are left to the steps
        (40, 40 + 2, 128, "pinned"),
        (40, 24, 80, "pinned"),  # half of the host's memory
        (40, 24, 79, "disk"),
    ],
)
def test_the_fastest_location_that_has_room(
    data, monkeypatch, tokens, device_free, host_free, expected
):
    """All sizes in rows of tokens; two processes share the host."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: ((device_free - 1) * ROW_BYTES, 0))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 3 * ROW_BYTES)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2 * ROW_BYTES)
    monkeypatch.setattr(token_sources, "free_host_bytes", lambda: 2 * host_free * ROW_BYTES)
    asked: list[Location] = []

    class Asked:
        def __init__(self, disk, items, location: Location, *, device) -> None:
            asked.append(location)

    monkeypatch.setattr(token_sources, "MemorySource", Asked)
    store = Store(data.store, "images", data.images.header)
    disk = DiskSource(store, data.images.items["a"])
    nearest_source(
        disk,
        [replace(data.images.items["a"], length=tokens)],
        device=torch.device("cuda"),
        reserve=3 * ROW_BYTES,
        sharers=2,
        locations=("device", "pinned"),
    )
    assert asked == ([] if expected == "disk" else [expected])


@devices
@pytest.mark.parametrize("location", ["device", "pinned", "disk"])
@pytest.mark.parametrize("slab", [2**28, 7 * ROW_BYTES])  # one video is longer than the latter
def test_batches_are_the_same_wherever_tokens_are_kept(data, monkeypatch, location, slab, device):
    room_on(monkeypatch, location)
    monkeypatch.setattr(token_sources, "SLAB", slab)
    queries = train_split(data, torch.device(device))
    queries.keep_near()
    assert queries.location == location
    assert same(epochs(queries, torch.device(device)), by_hand(data))


@devices
@pytest.mark.parametrize("location", ["device", "pinned"])
def test_disk_is_read_in_the_first_epoch_only(data, monkeypatch, tmp_path, location, device):
    expected = by_hand(data)
    data = replace(data, store=shutil.copytree(data.store, tmp_path / "store"))
    room_on(monkeypatch, location)
    queries = train_split(data, torch.device(device))
    queries.keep_near()
    assert same(epochs(queries, torch.device(device)), expected)
    for path in data.store.rglob("*.h5"):
        path.unlink()
    assert same(epochs(queries, torch.device(device)), expected)


def test_on_the_cpu_tokens_stay_on_disk(data):
    queries = train_split(data)
    queries.keep_near()
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


class FullGpu(TorchFunctionMode):
    """Memory runs out at the second slab of images, in the first `locations` that are tried."""

    def __init__(self, locations: int) -> None:
        super().__init__()
        self.locations = locations
        self.slabs = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.empty and args[0] > 0 and args[1:] == (17, 64):
            self.slabs += 1
            if self.slabs == 2 and self.locations:
                self.slabs, self.locations = 0, self.locations - 1
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("fails", "expected"), [(1, "pinned"), (2, "disk")])
def test_tokens_that_do_not_fit_after_all_go_to_the_next_location(
    data, monkeypatch, caplog, fails, expected
):
    """The second slab of the images finds the memory full."""
    room_on(monkeypatch, "device", "pinned")
    monkeypatch.setattr(token_sources, "SLAB", 8 * ROW_BYTES)
    queries = train_split(data)
    with FullGpu(fails):
        queries.keep_near()
    assert queries.location == expected
    assert "tokens get no memory (device): CUDA out of memory" in caplog.text
    assert ("(pinned): CUDA out of memory" in caplog.text) == (expected == "disk")
    assert same(epochs(queries, CPU), by_hand(data))


@pytest.mark.parametrize("location", ["device", "pinned"])
def test_without_enough_memory_tokens_stay_on_disk(data, monkeypatch, caplog, location):
    """The allocator really fails."""
    room_on(monkeypatch, location)
    monkeypatch.setattr(token_sources, "SLAB", 2**60)
    queries = train_split(data)
    queries.keep_near()
    assert queries.location == "disk"
    assert f"tokens get no memory ({location})" in caplog.text
    assert same(epochs(queries, CPU), by_hand(data))


def test_another_error_of_torch_is_no_lack_of_memory(data, monkeypatch):
    room_on(monkeypatch, "device")

    def broken(*_, **__):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(token_sources, "MemorySource", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        train_split(data).keep_near()


def test_two_batches_are_valid_at_once(data):
    store = Store(data.store, "images", data.images.header)
    c, b = data.images.items["c"], data.images.items["b"]
    source = DiskSource(store, c)
    first, second = source.gather([(c, 11)]), source.gather([(b, 6)])
    assert torch.equal(first, torch.from_numpy(store.read(c)))
    assert torch.equal(second, torch.from_numpy(store.read(b)))
