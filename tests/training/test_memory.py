"""The GPU memory that is left to the steps follows from the model and the batch."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from hlclip.model import Tail, autocast, build_tail, load_encoder
from hlclip.training import (
    Batch,
    CachedQueries,
    accumulate_gradients,
    kept_bytes,
    make_loss,
    score_bytes,
    set_up_tail,
    step_bytes,
)
from tests.cached import CachedData
from tests.training.test_train import settings

CPU = torch.device("cpu")


def tail_of(data: CachedData, **changes: object) -> Tail:
    tail = build_tail(load_encoder(data.params.model, None, cached_blocks=2))
    return set_up_tail(tail, settings(**changes))


def rows_of(data: CachedData) -> CachedQueries:
    return CachedQueries(
        data.index, "train", data.images, data.texts, store=data.store, target="mean"
    )


def kept_in_a_step(tail: Tail, batch: Batch, precision: Literal["fp32", "bf16"]) -> int:
    """Bytes that a whole step keeps until its backward pass, weights included."""
    kept = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes(), tensor  # no address is used twice
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        accumulate_gradients(
            tail, make_loss(settings()), batch, frames=0, autocast=autocast(CPU, precision)
        )
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_bytes_of_a_frame_and_of_a_query_are_those_of_a_step(data, blocks, precision):
    """Of steps that differ in frames or in queries alone; up to the cosines, a few numbers each."""
    tail = tail_of(data, blocks=blocks)
    tokens, width = 17, 64
    words = torch.randn(4, 9, rows_of(data).batch([0]).text_tokens.shape[2]).half()

    def step(frames: int, queries: int) -> int:
        batch = Batch(
            torch.randn(frames, tokens, width).half(),
            torch.arange(frames) % queries,
            words[:queries],
            torch.full((queries,), 9),
            torch.rand(frames),
            ~torch.eye(queries, dtype=torch.bool),
        )
        return kept_in_a_step(tail, batch, precision)

    example = Batch(
        torch.randn(1, tokens, width).half(),
        torch.zeros(1, dtype=torch.int64),
        words[:1],
        torch.tensor([9]),
        torch.rand(1),
        torch.zeros(1, 1, dtype=torch.bool),
    )
    frame, query = kept_bytes(tail, example, autocast(CPU, precision))
    assert step(9, 2) - step(4, 2) == pytest.approx(5 * frame, rel=0.06)
    assert step(8, 4) - step(8, 2) == pytest.approx(2 * query, rel=0.06)


def change(data: CachedData, *, less: dict, more: dict) -> int:
    """How many bytes more the second settings need."""
    first, second = (
        step_bytes(tail_of(data, **each), rows_of(data), settings(**each), device=CPU)
        for each in (less, more)
    )
    return second - first


def frame_bytes(data: CachedData, **changes: object) -> int:
    example = rows_of(data).batch([0])
    return kept_bytes(tail_of(data, **changes), example, autocast(CPU, "fp32"))[0]


def trained(data: CachedData) -> int:
    return sum(p.numel() for p in tail_of(data).trained().values())


@pytest.mark.parametrize(
    ("less", "more", "expected"),
    [
        ({}, {"ema": 0.9}, lambda data: 8 * trained(data)),
        ({"batch": 4}, {"batch": 4, "processes": 2}, None),
    ],
)
def test_what_depends_on_the_number_of_weights(
    data, less: dict, more: dict, expected: Callable[[CachedData], int] | None, monkeypatch
):
    monkeypatch.setattr("hlclip.training.memory._SCORED_WIDTHS", 0)
    found = change(data, less=less, more=more)
    if expected is not None:
        assert found == expected(data)
    else:  # each process has two of the four rows, and exchanges one number of each weight, twice
        rows = rows_of(data)
        fewer = rows.most_frames(4) - rows.most_frames(2)
        assert found == 8 * trained(data) - 2 * fewer * frame_bytes(data)


def test_shorter_pieces_need_less(data):
    """Rows of 5, 5, 6, 7 and 4 frames."""
    a_frame = frame_bytes(data)
    assert rows_of(data).most_frames(2) == 13
    pieces = {"batch": 2, "micro_batch": 5}
    assert change(data, less=pieces, more={"batch": 2, "micro_batch": 0}) == 2 * 8 * a_frame
    assert change(data, less=pieces, more={"batch": 2, "micro_batch": 99}) == 2 * 8 * a_frame
    # Whole rows: the longest is a piece of its own.
    assert change(data, less=pieces, more={**pieces, "loss": "centred"}) == 2 * 2 * a_frame


def test_a_model_of_wider_tokens_leaves_more_to_scores(data, monkeypatch):
    rows = rows_of(data)
    with_widths = score_bytes(rows, 2)
    monkeypatch.setattr("hlclip.training.memory._SCORED_WIDTHS", 0)
    batches = 3 * 13 * 17 * 64 * 4
    assert score_bytes(rows, 2) == batches + 2**29
    assert with_widths - score_bytes(rows, 2) == 2**15 * 12 * 64 * 4
