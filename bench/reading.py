"""Reading cached activations into training batches, against reading the same bytes bare."""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from bench.pairs import Pair
from bench.training import MODEL, VIDEOS, Cached
from hlclip.model import untrained_encoder
from hlclip.training import DiskSource

BATCHES = 8


def cases(folder: Path) -> Iterator[Pair]:
    encoder = untrained_encoder(MODEL, "openai", cached_blocks=2)
    data = Cached(folder, encoder, videos=BATCHES * VIDEOS)
    items = list(data.items.values())
    paths = [data.images.path(item.key) for item in items]
    order = np.random.default_rng(0).permutation(len(paths)).reshape(BATCHES, VIDEOS).tolist()
    source = DiskSource(data.images, items[0])

    def read(threads: Executor | None) -> None:
        for chosen in order:
            source.gather([(items[number], items[number].length) for number in chosen], threads)

    def bare(threads: Executor | None) -> None:
        mapped = threads.map if threads else map
        for chosen in order:
            list(mapped(lambda number: np.fromfile(paths[number], np.uint8), chosen))

    for threads in (1, 2):
        with ThreadPoolExecutor(threads) as pool:
            readers = pool if threads > 1 else None
            yield Pair(
                f"{BATCHES} batches of {VIDEOS} x [75, 50, 768] float16 read, threads: {threads}",
                "numpy.fromfile of the same bytes",
                partial(read, readers),
                partial(bare, readers),
                least_ratio=0.8,
                rounds=11,
            )
