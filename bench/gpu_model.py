"""The measurements of one model on a GPU, at QVHighlights' shape; `bench.gpu` runs them."""

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.peaks import seconds_of
from bench.training import ROOT, Cached, naive_step
from hlclip.model import Encoder, Tail, autocast, build_tail, deterministic, load_encoder
from hlclip.params import load_params
from hlclip.training import (
    Batch,
    accumulate_gradients,
    fit_tail,
    load_batches,
    make_loss,
    micro_batch_frames,
    score_queries,
    step_bytes,
)
from hlclip.training.token_sources import Location

VIDEOS, TRAIN, VAL, TEST = 10_148, 7_218, 1_550, 1_542
"""Of QVHighlights: videos, and rows of each split."""
CLIPS = 75
"""Of each of its videos."""
LOCATIONS: tuple[Location, ...] = ("device", "pinned", "disk")

Cells = dict[str, str]
Task = tuple[str, Cells, Callable[[], Cells]]
"""Title of a table, first cells of its line, and what measures the others."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    frames: int
    """Of a video."""
    videos: int
    """Different ones in the store."""
    steps: int
    """Of an epoch that is measured; the time of a whole one follows."""
    rounds: int
    trunk_batches: tuple[int, ...]
    matrix: int
    copied: int


FULL = Sizes(CLIPS, 32, 60, 5, (25, 128), 8192, 2**30)
QUICK = Sizes(4, 2, 1, 1, (4,), 64, 2**12)


class Model:
    """The measurements of one model."""

    def __init__(
        self, name: str, device: torch.device, sizes: Sizes, peaks: dict[str, float], folder: Path
    ) -> None:
        self.name = name
        self.device = device
        self.sizes = sizes
        self.peaks = peaks
        self.params = load_params(ROOT / "presets/qvhighlights.yaml").train
        self.precision = autocast(device, self.params.precision)
        self.seconds: dict[str, list[float]] = {}
        """Of a frame in the trunk, of an epoch of 1 and 2 blocks, and of a row that is scored."""
        self.encoder = random_encoder(name, device)
        self.data = Cached(
            folder,
            self.encoder,
            videos=sizes.videos,
            queries=sizes.steps * self.params.batch,
            frames=sizes.frames,
            device=device,
        )

    def measurements(self) -> Iterator[Task]:
        """In the order in which they run."""
        model = {"model": self.name}
        for batch in self.sizes.trunk_batches:
            cells = {**model, "batch": str(batch)}
            yield "Trunk in float32", cells, partial(self.trunk, batch)
        for blocks in (2, 1):
            cells = {**model, "blocks": str(blocks)}
            yield "Training step, its batch on the device", cells, partial(self.step, blocks)
            for place in LOCATIONS:
                yield "Epoch", {**cells, "tokens": place}, partial(self.epoch, blocks, place)
        yield "Scores in float32", model, self.score
        yield "Table 2 of QVHighlights in all, without decoding", model, self.table_2
        for blocks in (2, 1):  # these train the model itself
            cells = {**model, "blocks": str(blocks)}
            yield "The whole model from images in each step", cells, partial(self.naive, blocks)

    def trunk(self, batch: int) -> Cells:
        """Frames on the host to tokens on the host, in the precision of the store."""
        size, frames = self.encoder.preprocess.size, 4 * batch
        pixels = np.random.default_rng(0).integers(0, 256, (frames, size, size, 3), dtype=np.uint8)
        encode = partial(self.encoder.image_tokens, batch=batch, dtype="float16")
        with FlopCounterMode(display=False) as counter:
            encode(pixels[:1])
        seconds = seconds_of(lambda: encode(pixels), self.device, rounds=self.sizes.rounds) / frames
        self.seconds.setdefault("trunk", []).append(seconds)
        work = counter.get_total_flops()
        return {
            "frames/s": f"{1 / seconds:,.0f}",
            "TFLOP/s": short(work / seconds / 1e12),
            "of float32 peak": f"{work / seconds / self.peaks['float32']:.0%}",
        }

    def step(self, blocks: int) -> Cells:
        """Forward and backward of one batch; also without deterministic algorithms."""
        tail, batch = self._tail(blocks), self._batch()
        with FlopCounterMode(display=False) as counter:
            self._gradients(tail, batch)
        _forget_peak(self.device)
        found = [
            self._timed(lambda: self._gradients(tail, batch), same_bits=each)
            for each in (True, False)
        ]
        most = _peak(self.device)
        work, moved = counter.get_total_flops(), batch.image_tokens.nbytes
        expected = step_bytes(tail, self.data.queries, self.params, device=self.device)
        return {
            "ms": short(1e3 * found[0]),
            "ms, bits may differ": short(1e3 * found[1]),
            "TFLOP/s": short(work / found[0] / 1e12),
            **self._share(found[0], work, moved, from_host=False),
            "peak memory": most,
            "reserved for steps": f"{expected / 1e9:.2f} GB",
        }

    def epoch(self, blocks: int, place: Location) -> Cells:
        """Training as the stage does it, with reading; the first pass reads the store."""
        queries = self.data.split()
        tail = self._tail(blocks)
        queries.keep_near(step_bytes(tail, queries, self.params, device=self.device), [place])
        train = partial(
            fit_tail,
            tail,
            queries,
            self.params.model_copy(update={"epochs": 1}),
            device=self.device,
            validate=None,
        )
        with FlopCounterMode(display=False) as counter:
            self._gradients(tail, self._batch())
        _forget_peak(self.device)
        step = seconds_of(train, self.device, rounds=1) / self.sizes.steps
        steps = math.ceil(TRAIN / self.params.batch)
        self.seconds.setdefault(f"epoch {blocks}", []).append(step * steps)
        moved = self._batch().image_tokens.nbytes
        return {
            "kept on": queries.location,
            f"seconds ({steps} steps)": f"{step * steps:,.1f}",
            **self._share(
                step, counter.get_total_flops(), moved, from_host=queries.location != "device"
            ),
            "peak memory": _peak(self.device),
        }

    def naive(self, blocks: int) -> Cells:
        """Every frame through all of CLIP in each step, in the same precision."""
        size = self.encoder.preprocess.size
        batch = self._batch()
        images = torch.randn(len(batch.image_tokens), 3, size, size, device=self.device)
        context, words = self.encoder.model.context_length, self.encoder.model.vocab_size
        ids = torch.randint(1, words, (self.params.batch, context), device=self.device)
        step = naive_step(self.encoder, blocks, images, ids, batch)

        def work() -> None:
            with self.precision:
                step()

        _forget_peak(self.device)
        seconds = seconds_of(work, self.device, rounds=self.sizes.rounds)
        return {
            "ms a step": short(1e3 * seconds),
            "seconds an epoch": f"{seconds * math.ceil(TRAIN / self.params.batch):,.0f}",
            "peak memory": _peak(self.device),
        }

    def score(self) -> Cells:
        """Of all rows, batch by batch."""
        tails = {"zero-shot": self._tail(2).requires_grad_(False)}
        score = partial(
            score_queries, tails, self.data.queries, device=self.device, batch=self.params.batch
        )
        seconds = seconds_of(score, self.device, rounds=self.sizes.rounds)
        seconds /= len(self.data.queries)
        self.seconds["row"] = [seconds]
        return {"rows/s": f"{1 / seconds:,.0f}", f"seconds of val ({VAL:,})": short(VAL * seconds)}

    def table_2(self) -> Cells:
        """Trunk once; HL-CLIP-1 and HL-CLIP-2 with validation; the scores of both runs."""
        parts = ("trunk", "epoch 1", "epoch 2", "row")
        if missing := [part for part in parts if part not in self.seconds]:
            return {"seconds": f"not measured: {', '.join(missing)}"}
        frame, one, two, row = (min(self.seconds[part]) for part in parts)
        trunk = VIDEOS * CLIPS * frame
        trainings = self.params.epochs * (one + two + 2 * VAL * row)
        scores = 4 * (VAL + TEST) * row  # zero-shot in both runs
        total = trunk + trainings + scores
        return {
            "seconds": f"{total:,.0f}",
            "trunk": f"{trunk:,.0f}",
            f"trainings of {self.params.epochs} epochs": f"{trainings:,.0f}",
            "scores": f"{scores:,.0f}",
            "GPU hours": f"{total / 3600:.2f}",
        }

    def _tail(self, blocks: int) -> Tail:
        return build_tail(self.encoder).to(self.device).train_only(blocks, self.params.heads)

    def _batch(self) -> Batch:
        """A copy, as what is read next overwrites a batch."""
        size = self.params.batch
        (batch,) = load_batches(self.data.queries, range(size), size, device=self.device)
        return Batch(*(tensor.clone() for tensor in batch.tensors()))

    def _gradients(self, tail: Tail, batch: Batch) -> None:
        tail.zero_grad(set_to_none=True)
        frames = micro_batch_frames(
            self.params.micro_batch, self.device, self.encoder.image_shape[0]
        )
        loss = make_loss(self.params).to(self.device)
        accumulate_gradients(tail, loss, batch, frames=frames, autocast=self.precision)

    def _timed(self, work: Callable[[], None], *, same_bits: bool) -> float:
        with deterministic(self.device) if same_bits else nullcontext():
            return seconds_of(work, self.device, rounds=self.sizes.rounds)

    def _share(self, seconds: float, work: float, moved: float, *, from_host: bool) -> Cells:
        """How near the time is to what the scarcest resource needs at its peak."""
        with self.precision:
            bf16 = torch.is_autocast_enabled(self.device.type)
        needs = {
            "arithmetic": work / self.peaks["bf16" if bf16 else "float32"],
            "memory": 2 * moved / self.peaks["memory"],
        }
        if from_host:
            needs["copies from the host"] = moved / self.peaks["from host"]
        limit = max(needs, key=lambda name: needs[name])
        return {"limit": limit, "of the limit": f"{needs[limit] / seconds:.0%}"}


def random_encoder(name: str, device: torch.device) -> Encoder:
    """A model with random weights; without its tokenizer, which may be on the hub."""
    if name.startswith("local-dir:"):
        return load_encoder(name, None, cached_blocks=2, device=str(device))
    torch.manual_seed(0)
    model: Any = open_clip.create_model(name, load_weights=False, device=str(device))
    return Encoder(model, None, name=name, cached_blocks=2)


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> str:
    """Most memory that torch held since `_forget_peak`."""
    if device.type != "cuda":
        return "not measured"
    return f"{torch.cuda.max_memory_allocated(device) / 1e9:.2f} GB"


def short(number: float) -> str:
    return f"{number:.3g}"
