"""What a run will need: disk space from the shapes, time and memory from a few measurements."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.contrib.concurrent import thread_map

from hlclip.formats import Annotation
from hlclip.model import Encoder, autocast, build_tail
from hlclip.params import Params, trains
from hlclip.training import (
    Batch,
    accumulate_gradients,
    make_loss,
    micro_batch_frames,
    set_up_tail,
)
from hlclip.video import extract_frames, frames_header

_ENOUGH_FRAMES = 75
"""Frames that are encoded to measure the trunk: one video of QVHighlights."""

Rows = Mapping[str, Sequence[Annotation]]
"""Split -> rows, those without a video included."""


def store_bytes(rows: Rows, params: Params, encoder: Encoder) -> dict[str, int]:
    """Kind -> bytes of all its items in the store, without headers (half a kilobyte an item)."""
    clips = sum(_clips(rows).values())
    itemsize = getattr(torch, params.encoder.dtype).itemsize
    tokens, width = encoder.image_shape
    lengths = sum(map(encoder.text_length, _queries(rows)))
    return {
        "frames": clips * params.frames.size**2 * 3,
        "images": clips * tokens * width * itemsize,
        "texts": lengths * encoder.text_width * itemsize,
    }


def forecast_seconds(
    videos: Sequence[Path], rows: Rows, params: Params, encoder: Encoder, device: torch.device
) -> dict[str, float]:
    """Stage -> seconds for an empty store, extrapolated from what this machine does with a sample.

    Decodes the given videos on all cores, runs the trunk on one of them, makes one training step:
    of several processes (`train.processes`) the part of one, without what they exchange.
    The weights do not change the speed: `encoder` may be untrained. Without a video there is no
    forecast for frames.

    Raises:
        VideoError: a video cannot be decoded.
    """
    clips, queries = sum(_clips(rows).values()), _queries(rows)
    forecast: dict[str, float] = {}
    batch, size = params.encoder.batch, encoder.preprocess.size
    if videos:
        decoded: list[NDArray[np.uint8]] = []
        form = params.frames.model_dump(exclude={"decoder"})
        header = frames_header(**form, clip_seconds=params.data.clip_seconds)
        extract = partial(extract_frames, header=header, decoder=params.frames.decoder)
        seconds = _seconds(lambda: decoded.extend(thread_map(extract, videos, disable=True)))
        forecast["frames"] = clips * seconds / sum(map(len, decoded))
        frames = decoded[0][:_ENOUGH_FRAMES]
    else:
        frames = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)

    encoder.image_tokens(frames[:2], batch=batch)  # first use of the device is slow
    encode_frame = _seconds(lambda: encoder.image_tokens(frames, batch=batch)) / len(frames)
    texts = queries[:16]
    encode_query = _seconds(lambda: [encoder.text_tokens(text) for text in texts]) / len(texts)
    forecast["activations"] = clips * encode_frame + len(queries) * encode_query

    def steps(*splits: str) -> int:
        return sum(math.ceil(len(rows.get(split, ())) / params.train.batch) for split in splits)

    train_step, score_step = _step_seconds(rows, params, encoder, device)
    trained = trains(params.encoder, params.train)
    epoch = steps("train") * train_step + steps("val") * score_step / gpus(params, device)
    forecast["train"] = params.train.epochs * epoch if trained else 0.0
    tails = 2 if trained else 1
    forecast["score"] = tails * steps(*params.evaluate.splits) * score_step
    return forecast


def gpus(params: Params, device: torch.device) -> int:
    """GPUs that train at once: each has its part of the rows of a step. Processes on a CPU share
    its cores, which takes as long as one process with all rows."""
    return params.train.processes if device.type == "cuda" else 1


def _step_seconds(
    rows: Rows, params: Params, encoder: Encoder, device: torch.device
) -> tuple[float, float]:
    """Seconds of a training step and of a scoring step, on random activations."""
    settings = params.train
    if not trains(params.encoder, settings):  # scoring takes as long, whatever trains
        blocks = min(1, encoder.cached_blocks)
        settings = settings.model_copy(update={"blocks": blocks, "heads": "all"})
    tail = set_up_tail(build_tail(encoder).to(device), settings)
    clips = int(np.median(list(_clips(rows).values())))
    queries = min(params.train.batch, max(map(len, rows.values())))
    tokens, width = encoder.image_shape
    length = max(map(encoder.text_length, _queries(rows)[:256]))
    images = torch.randn(queries * clips, tokens, width, device=device)
    texts = torch.randn(queries, length, encoder.text_width, device=device)
    lengths = torch.full((queries,), length, device=device)
    owner = torch.arange(queries, device=device).repeat_interleave(clips)
    target = torch.rand(queries * clips, device=device)
    unrelated = ~torch.eye(queries, dtype=torch.bool, device=device)
    own = images[: math.ceil(queries / gpus(params, device)) * clips]
    batch = Batch(own, owner, texts, lengths, target, unrelated)
    loss = make_loss(params.train).to(device)
    optimizer = torch.optim.AdamW(list(tail.trained().values()), lr=1e-9)
    precision = autocast(device, params.train.precision)
    frames = micro_batch_frames(params.train.micro_batch, device)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        value = accumulate_gradients(tail, loss, batch, frames=frames, autocast=precision)
        optimizer.step()
        value.item()  # waits for the device

    def score() -> None:
        with torch.inference_mode():
            tail(images, owner, texts, lengths).sum().item()

    train()  # the first step of each sort allocates memory
    train_seconds = _seconds(train)
    score()
    return train_seconds, _seconds(score)


def _clips(rows: Rows) -> dict[str, int]:
    return {row.vid: row.clips for part in rows.values() for row in part}


def _queries(rows: Rows) -> list[str]:
    return sorted({row.query for part in rows.values() for row in part})


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
