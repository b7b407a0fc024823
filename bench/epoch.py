"""An epoch of QVHighlights' size from the cache, against what the device can do at most.

    python -m bench.epoch                                      on CUDA where there is one
    python -m bench.epoch --queries 32 --videos 16 --epochs 1  on a CPU, for minutes

Random activations of ViT-B/32's shape; the steps are the pipeline's own
(`hlclip.pipeline.train.fit`). The videos are fewer than the queries, so that little is written to
disk; each batch still moves all of its tokens. The device's peaks are measured here, too: a large
matrix product and a large copy.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from tabulate import tabulate
from torch.utils.flop_counter import FlopCounterMode

from bench.training import FRAMES, MODEL, ROOT, VIDEOS, Cached
from hlclip.model import Tail, autocast, build_tail, load_encoder, pick_device, untrained_encoder
from hlclip.params import load_params
from hlclip.training import Loss, accumulate_gradients, fit_tail, load_batches

TRAIN_ROWS = 7218
"""Of QVHighlights."""
GOAL = 0.4
"""Share of the scarcer resource's peak that a good implementation reaches."""


def main(
    queries: Annotated[int, typer.Option(help="Queries of an epoch.")] = TRAIN_ROWS,
    videos: Annotated[int, typer.Option(help="Different videos among them.")] = 256,
    epochs: Annotated[int, typer.Option(help="After one that warms up.")] = 2,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    model: Annotated[
        str | None, typer.Option(help=f"Instead of {MODEL} of random weights.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Where activations are kept.")] = None,
) -> None:
    """Train for some epochs; print time, throughput and the share of the device's peaks."""
    place = pick_device(device)
    params = load_params(ROOT / "presets/qvhighlights.yaml").train
    if model is None:
        encoder = untrained_encoder(MODEL, "openai", cached_blocks=2)
    else:
        encoder = load_encoder(model, None, cached_blocks=2)
    with tempfile.TemporaryDirectory() as temporary:
        data = Cached(
            folder or Path(temporary), encoder, videos=videos, queries=queries, device=place
        )

        def train(epochs: int) -> float:
            tail = build_tail(encoder).to(place).train_only(params.blocks, params.heads)
            chosen = params.model_copy(update={"epochs": epochs})
            _wait(place)
            start = time.perf_counter()
            fit_tail(tail, data.queries, chosen, device=place, validate=None)
            _wait(place)
            return time.perf_counter() - start

        train(1)
        seconds = train(epochs) / epochs
        tail = build_tail(encoder).to(place).train_only(params.blocks, params.heads)
        work = _operations(tail, data, place, autocast(place, params.precision)) * queries / VIDEOS
    tokens, width = encoder.image_shape
    moved = 2.0 * queries * FRAMES * tokens * width
    with autocast(place, params.precision):
        most_operations = _peak_operations(place)
    most_bytes = _peak_bytes(place)
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else "CPU"
    bounds = work / most_operations, moved / most_bytes
    table = [
        ("device, torch", f"{name}, {torch.__version__}"),
        ("tokens are kept on", data.queries.location),
        ("queries x frames, batch", f"{queries:,} x {FRAMES}, {params.batch}"),
        ("seconds an epoch", f"{seconds:.2f}"),
        ("TFLOP/s, of peak", _share(work / seconds / 1e12, most_operations / 1e12)),
        ("GB/s of cached tokens, of peak", _share(moved / seconds / 1e9, most_bytes / 1e9)),
        ("limit", "arithmetic" if bounds[0] > bounds[1] else "memory"),
        (f"share of the limit (goal {GOAL:.0%})", f"{max(bounds) / seconds:.0%}"),
    ]
    typer.echo(tabulate(table, tablefmt="github", disable_numparse=True))


def _share(reached: float, peak: float) -> str:
    return f"{reached:.3g} of {peak:.3g} ({reached / peak:.0%})"


def _operations(tail: Tail, data: Cached, device: torch.device, precision: torch.autocast) -> int:
    """Floating-point operations of a training step's matrix products, counted by torch.

    Those that the step makes, not those that full blocks would: what is saved is no work done.
    """
    batch = next(iter(load_batches(data.queries, range(VIDEOS), VIDEOS, device=device)))
    with FlopCounterMode(display=False) as counter:
        accumulate_gradients(
            tail,
            Loss("mse", "literal").to(device),
            batch,
            frames=0,
            autocast=precision,
        )
    return counter.get_total_flops()


def _peak_operations(device: torch.device) -> float:
    """Operations a second of a large matrix product, in the precision of the autocast around."""
    size = 8192 if device.type == "cuda" else 1024
    left, right = torch.randn(2, size, size, device=device)
    if torch.is_autocast_enabled(device.type):
        left, right = left.bfloat16(), right.bfloat16()
    return 2 * size**3 / _fastest(lambda: left @ right, device)


def _peak_bytes(device: torch.device) -> float:
    """Bytes a second that a large copy reads and writes."""
    source = torch.empty(
        2**30 if device.type == "cuda" else 2**28, dtype=torch.uint8, device=device
    )
    target = torch.empty_like(source)
    return 2 * source.nbytes / _fastest(lambda: target.copy_(source), device)


def _fastest(compute: Callable[[], object], device: torch.device) -> float:
    seconds = []
    for _ in range(20):
        _wait(device)
        start = time.perf_counter()
        compute()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    typer.run(main)
