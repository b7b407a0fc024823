"""What only a GPU can show: the same bits, real lacks of memory, no waiting, two cards.

`make test-gpu` runs these and all others that need CUDA.
"""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hlclip.model import Tail, autocast, build_tail, deterministic, load_encoder
from hlclip.training import (
    Batch,
    CachedQueries,
    accumulate_gradients,
    batch_cosines,
    kept_bytes,
    make_loss,
    score_queries,
    set_up_tail,
)
from hlclip.training.micro_batch import MicroBatch
from tests.cached import CachedData
from tests.training.test_train import settings, train

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA: the GPU path was not run"),
]
two_cards = pytest.mark.skipif(
    torch.cuda.device_count() < 2, reason="no second GPU: two cards were not used"
)


def tail_of(data: CachedData, **changes: object) -> Tail:
    tail = build_tail(load_encoder(data.params.model, None, cached_blocks=2)).to(CUDA)
    return set_up_tail(tail, settings(**changes))


def rows_of(data: CachedData, device: torch.device = CPU) -> CachedQueries:
    return CachedQueries(
        data.index,
        "train",
        data.images,
        data.texts,
        store=data.store,
        target="mean",
        device=device,
    )


def large_batch(data: CachedData, frames: int) -> Batch:
    """On the GPU, two queries."""
    generator = torch.Generator().manual_seed(0)
    width = rows_of(data).batch([0]).text_tokens.shape[2]
    texts = torch.randn(2, 9, width, generator=generator)
    return Batch(
        torch.randn(frames, 17, 64, generator=generator).half(),
        torch.arange(frames) * 2 // frames,
        texts.half(),
        torch.tensor([9, 5]),
        torch.rand(frames, generator=generator),
        ~torch.eye(2, dtype=torch.bool),
    ).to(CUDA)


@pytest.mark.parametrize("precision", ["fp32", "auto"])
@pytest.mark.parametrize("changes", [{}, {"loss": "mse+contrastive", "temporal": "conv"}])
def test_the_same_seed_gives_the_same_bytes(data, tmp_path, precision, changes):
    params = settings(device="cuda", precision=precision, batch=5, **changes)
    written = []
    for name in ("first", "second"):
        own = replace(data, store=shutil.copytree(data.store, tmp_path / name / "store"))
        written.append(train(own, params, tmp_path / name))
    assert written[0] == written[1]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_of_a_large_step_have_the_same_bits(data, precision):
    """Large enough for the kernels that split their work, and add it up."""
    tail, batch = tail_of(data), large_batch(data, 4096)
    pieces = MicroBatch(
        settings(batch=2), tail, make_loss(settings()).to(CUDA), autocast=autocast(CUDA, precision)
    )
    found = []
    for _ in range(3):
        with deterministic(CUDA):
            pieces.gradients(batch)
        found.append([p.grad.clone() for p in tail.trained().values() if p.grad is not None])
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


def test_a_step_that_does_not_fit_goes_on_in_halves(data, caplog):
    """The limit lies between the peaks of whole and halved steps, measured before."""
    tail, batch, loss = tail_of(data), large_batch(data, 8192), make_loss(settings()).to(CUDA)
    precision = autocast(CUDA, "fp32")

    def gradients(frames: int) -> tuple[list[torch.Tensor], int]:
        tail.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(CUDA)
        accumulate_gradients(tail, loss, batch, frames=frames, autocast=precision)
        found = [p.grad.clone() for p in tail.trained().values() if p.grad is not None]
        return found, torch.cuda.max_memory_reserved(CUDA)

    gradients(0)  # the first use of libraries takes memory, too
    _, whole = gradients(0)
    expected, halved = gradients(4096)
    assert halved < whole
    limit = (whole + halved) / 2 / torch.cuda.mem_get_info(CUDA)[1]
    tail.zero_grad(set_to_none=True)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(limit, CUDA)
    try:
        pieces = MicroBatch(settings(batch=2), tail, loss, autocast=precision)
        pieces.gradients(batch)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, CUDA)
    assert "pieces of 4096 frames instead of 8192" in caplog.text
    found = [p.grad for p in tail.trained().values() if p.grad is not None]
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_takes_no_more_than_is_left_to_it(data, precision):
    tail, batch, loss = tail_of(data), large_batch(data, 8192), make_loss(settings()).to(CUDA)
    a_frame, a_query = kept_bytes(tail, batch, autocast(CUDA, precision))
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(CUDA)
    torch.cuda.reset_peak_memory_stats(CUDA)
    accumulate_gradients(tail, loss, batch, frames=0, autocast=autocast(CUDA, precision))
    taken = torch.cuda.max_memory_allocated(CUDA) - before
    kept = 8192 * a_frame + 2 * a_query
    weights = 4 * sum(p.numel() for p in tail.parameters())
    assert kept < taken < 2 * kept + 2 * weights


@pytest.mark.parametrize("loss", ["mse", "centred"])
def test_steps_and_scores_wait_for_nothing(data, loss):
    tail = tail_of(data)
    batch, module = large_batch(data, 64), make_loss(settings(loss=loss)).to(CUDA)

    def work() -> None:
        accumulate_gradients(tail, module, batch, frames=16, autocast=autocast(CUDA, "auto"))
        with torch.inference_mode():
            batch_cosines(tail, batch).to("cpu", non_blocking=True)

    work()  # libraries load at their first use
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        work()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_scores_are_those_of_the_cpu(data):
    found = {}
    for device in (CPU, CUDA):
        tail = tail_of(data).to(device).requires_grad_(False)
        rows = rows_of(data, device)
        found[device] = score_queries({"a": tail}, rows, device=device, batch=2).cosines["a"]
    assert found[CUDA] == pytest.approx(found[CPU], abs=1e-5)


@two_cards
def test_pinning_for_the_second_card_takes_nothing_on_the_first():
    code = (
        "import torch; from hlclip.model import pick_device; pick_device('cuda:1'); "
        "torch.empty(2**20, pin_memory=True); print(torch._C._cuda_hasPrimaryContext(0))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


@two_cards
def test_two_cards_train_as_one(data, tmp_path: Path):
    """Backend nccl: the same bytes in each run, and the weights of one card up to rounding."""
    params = settings(device="cuda", processes=2, batch=5)
    written = []
    for name in ("first", "second"):
        own = replace(data, store=shutil.copytree(data.store, tmp_path / name / "store"))
        written.append(train(own, params, tmp_path / name))
    assert written[0] == written[1]
    train(data, settings(device="cuda", batch=5), tmp_path / "one")
    one, two = (load_file(tmp_path / name / "tail.safetensors") for name in ("one", "first"))
    for key, weight in one.items():
        torch.testing.assert_close(two[key], weight, rtol=1e-2, atol=1e-3)
