"""What a run will need: disk from the shapes, time and memory from a few videos that are run."""

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hlclip.model import Encoder, autocast, build_tail
from hlclip.params import Params
from hlclip.system import peak_bytes
from hlclip.training import Batch, Regression, accumulate_gradients, micro_batch_frames
from hlclip.video import extract_frames, frames_header

_ENOUGH_FRAMES = 75
"""Frames that are encoded to measure the trunk: one video of QVHighlights."""


@dataclass(frozen=True)
class Workload:
    """The size of a data set."""

    clips: dict[str, int]
    """vid -> clips, of the videos that are there."""
    rows: dict[str, int]
    """split -> queries whose video is there."""
    queries: list[str]
    """Different texts."""


@dataclass(frozen=True)
class Disk:
    """Bytes that the store will hold."""

    frames: int
    images: int
    texts: int


@dataclass(frozen=True)
class Speeds:
    """Measured on this machine, in seconds."""

    decode_clip: float | None
    """One frame of a video, all cores at work; None when there was no video."""
    encode_frame: float
    encode_query: float
    train_step: float
    """`train.batch` videos of the usual length, forward, backward and update."""
    score_step: float
    """The same, forward only."""
    peak_bytes: int
    """Most memory that this process held meanwhile."""


def disk_needed(work: Workload, params: Params, encoder: Encoder) -> Disk:
    """Size of the store when everything is in it; headers, half a kilobyte an item, not counted."""
    clips = sum(work.clips.values())
    size = np.dtype(params.encoder.dtype).itemsize
    tokens, width = encoder.image_shape
    lengths = sum(encoder.text_length(query) for query in work.queries)
    return Disk(
        frames=clips * params.frames.size**2 * 3,
        images=clips * tokens * width * size,
        texts=lengths * encoder.text_width * size,
    )


def measure(
    videos: Sequence[Path], work: Workload, params: Params, encoder: Encoder, device: torch.device
) -> Speeds:
    """Decode the given videos, run the trunk on one of them, and make one training step.

    The weights do not matter to speed: `encoder` may be untrained.

    Raises:
        VideoError: a video cannot be decoded.
    """
    header = frames_header(
        size=params.frames.size,
        resize=params.frames.resize,
        interpolation=params.frames.interpolation,
        clip_seconds=params.data.clip_seconds,
    )
    frames: list[NDArray[np.uint8]] = []
    decode_clip = None
    if videos:
        start = time.perf_counter()
        with ThreadPoolExecutor() as pool:
            frames = list(pool.map(lambda path: extract_frames(path, header), videos))
        decode_clip = (time.perf_counter() - start) / sum(map(len, frames))
    some = frames[0] if frames else _noise(encoder, params)
    some = some[:_ENOUGH_FRAMES]
    encoder.image_tokens(some[:2], batch=params.encoder.batch)  # first use of the device is slow
    start = time.perf_counter()
    encoder.image_tokens(some, batch=params.encoder.batch)
    encode_frame = (time.perf_counter() - start) / len(some)
    texts = work.queries[:16]
    start = time.perf_counter()
    for query in texts:
        encoder.text_tokens(query)
    encode_query = (time.perf_counter() - start) / len(texts)
    train_step, score_step = _steps(work, params, encoder, device)
    return Speeds(decode_clip, encode_frame, encode_query, train_step, score_step, peak_bytes())


def seconds_needed(work: Workload, params: Params, speeds: Speeds) -> dict[str, float]:
    """Stage -> seconds, extrapolated; without what the store already holds being subtracted."""
    clips = sum(work.clips.values())

    def steps(*splits: str) -> int:
        return sum(math.ceil(work.rows.get(split, 0) / params.train.batch) for split in splits)

    needed = {} if speeds.decode_clip is None else {"frames": clips * speeds.decode_clip}
    needed["activations"] = clips * speeds.encode_frame + len(work.queries) * speeds.encode_query
    epoch = steps("train") * speeds.train_step + steps("val") * speeds.score_step
    needed["train"] = params.train.epochs * epoch if params.train.blocks else 0.0
    tails = 2 if params.train.blocks else 1
    needed["score"] = tails * steps(*params.evaluate.splits) * speeds.score_step
    return needed


def _noise(encoder: Encoder, params: Params) -> NDArray[np.uint8]:
    size = encoder.preprocess.size
    shape = (params.encoder.batch, size, size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _steps(
    work: Workload, params: Params, encoder: Encoder, device: torch.device
) -> tuple[float, float]:
    """Seconds of a training step and of a scoring step, on random activations."""
    tail = (
        build_tail(encoder).to(device).train_only(max(params.train.blocks, 1), params.train.heads)
    )
    clips = int(np.median(list(work.clips.values()))) if work.clips else _ENOUGH_FRAMES
    queries = min(params.train.batch, max(work.rows.values(), default=1))
    tokens, width = encoder.image_shape
    length = max(encoder.text_length(query) for query in work.queries[:256])
    images = torch.randn(queries * clips, tokens, width, device=device)
    texts = torch.randn(queries, length, encoder.text_width, device=device)
    lengths = torch.full((queries,), length, device=device)
    owner = torch.arange(queries, device=device).repeat_interleave(clips)
    target = torch.rand(queries * clips, device=device)
    regression = Regression("literal").to(device)
    optimizer = torch.optim.AdamW(list(tail.trained().values()), lr=1e-9)

    batch = Batch(images, owner, texts, lengths, target)
    precision = autocast(device, params.train.precision)
    pieces = micro_batch_frames(params.train.micro_batch, device)

    def train() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = accumulate_gradients(tail, regression, batch, frames=pieces, autocast=precision)
        optimizer.step()
        return loss.item()

    def scored() -> float:
        with torch.inference_mode(), precision:
            return tail(images, owner, texts, lengths).sum().item()

    seconds = []
    for step in (train, scored):
        step()  # the first step allocates
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds[0], seconds[1]
