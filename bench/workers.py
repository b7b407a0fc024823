"""Two processes of one thread each against one: frames and activations of several videos."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.decoding import HEADER, draw
from bench.pairs import Pair
from bench.training import MODEL
from hlclip.model import Encoder, untrained_encoder
from hlclip.video import extract_frames

PICTURES, BATCHES, FRAMES = "360p", 4, 25


def cases(folder: Path) -> Iterator[Pair]:
    videos = draw(folder / "videos", PICTURES, "640x360", "600k")
    with _pool(1) as one, _pool(2) as two:
        frames = f"frames of {len(videos)} videos, {PICTURES}, decoder: auto"
        trunk = f"trunk of {BATCHES} x {FRAMES} frames"
        works: tuple[tuple[str, Any, list[Any]], ...] = (
            (frames, _frames, [*videos]),
            (trunk, _tokens, [*range(BATCHES)]),
        )
        for name, work, jobs in works:
            yield Pair(
                f"{name}, 2 workers of a thread",
                "1 such worker",
                partial(two.map, work, jobs, 1),
                partial(one.map, work, jobs, 1),
                least_ratio=1.8,
            )


@contextmanager
def _pool(workers: int) -> Iterator[Pool]:
    """Processes that share nothing, as shards do."""
    with multiprocessing.get_context("spawn").Pool(workers, torch.set_num_threads, (1,)) as pool:
        yield pool


def _frames(video: Any) -> int:
    return len(extract_frames(video, HEADER))


@cache
def _encoder() -> Encoder:
    return untrained_encoder(MODEL, "openai", cached_blocks=2)


def _tokens(seed: Any) -> int:
    size = _encoder().preprocess.size
    pictures = np.random.default_rng(seed).integers(0, 256, (FRAMES, size, size, 3), np.uint8)
    return len(_encoder().image_tokens(pictures, batch=FRAMES))
