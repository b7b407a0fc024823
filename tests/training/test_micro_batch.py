"""When memory runs out, the pieces of a step become half as long once, with the same gradients."""

import logging

import pytest
import torch

from hlclip.model import DeviceError, Tail, build_tail, load_encoder
from hlclip.training import CachedQueries, fit_tail, step
from tests.cached import CachedData
from tests.training.test_train import settings

CPU = torch.device("cpu")


class SmallGpu:
    """A hook that fails as a GPU does which has room for so many frames."""

    def __init__(self, frames: int, where: str) -> None:
        self.frames = frames
        self.where = where

    def __call__(self, _tower: object, inputs: tuple, features: torch.Tensor) -> None:
        def fail(*_: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0")

        if len(inputs[0]) > self.frames:
            if self.where == "forward":
                fail()
            features.register_hook(fail)


def weights(
    data: CachedData, hook: SmallGpu | None = None, **changes: object
) -> tuple[dict[str, torch.Tensor], list[dict]]:
    tail: Tail = build_tail(load_encoder(data.params.model, None, cached_blocks=2))
    tail.train_only(2, "all")
    if hook:
        tail.image.register_forward_hook(hook)
    queries = CachedQueries(
        data.index, "train", data.images, data.texts, store=data.store, target="mean"
    )
    params = settings(batch=5, epochs=2, **changes)
    state = fit_tail(tail, queries, params, device=CPU, validate=None)
    return {name: p.detach() for name, p in tail.trained().items()}, state.history


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("micro_batch", [0, 26])
def test_a_step_without_memory_goes_on_in_halves(data, caplog, where, micro_batch):
    """27 frames in each step, in pieces of 14 after the first try: the bits of such pieces."""
    expected, history = weights(data, micro_batch=-(-(micro_batch or 27) // 2))
    caplog.set_level(logging.WARNING)
    found, same_history = weights(data, SmallGpu(14, where), micro_batch=micro_batch)
    assert same_history == history
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    (message,) = caplog.messages
    assert message == (
        "not enough memory: CUDA out of memory. Tried to allocate 2.00 GiB; the steps go on with "
        f"pieces of {-(-(micro_batch or 27) // 2)} frames instead of {micro_batch or 27} "
        "(train.micro_batch)"
    )


def test_rows_that_must_be_whole_are_cut_between_rows(data, caplog):
    """Rows of 5, 5, 6, 7 and 4 frames: pieces of at most 14 frames have 10, 13 and 4."""
    expected, _ = weights(data, loss="centred", micro_batch=14)
    found, _ = weights(data, SmallGpu(14, "forward"), loss="centred")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert len(caplog.messages) == 1


def test_halves_that_do_not_fit_either_are_an_error(data, caplog, monkeypatch):
    monkeypatch.setattr("hlclip.training.micro_batch._FEW_FRAMES", 12)
    with pytest.raises(DeviceError, match="not enough memory: CUDA out of memory") as caught:
        weights(data, SmallGpu(13, "forward"))
    assert caught.value.remedy().endswith("or lower: -S train.micro_batch=7")
    assert len(caplog.messages) == 1


def test_a_batch_that_does_not_fit_on_the_device_names_its_size(data, monkeypatch):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("hlclip.training.Batch.to", full)
    with pytest.raises(DeviceError, match="not enough memory: CUDA out of memory") as caught:
        weights(data)
    assert caught.value.remedy().endswith("or lower: -S train.batch=2")


def test_an_error_that_is_no_lack_of_memory_is_not_tried_again(data, caplog):
    class Broken(SmallGpu):
        def __call__(self, *_: object) -> None:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        weights(data, Broken(0, ""))
    assert not caplog.messages


def test_scores_in_pieces_are_those_of_the_whole_batch(data, monkeypatch):
    """As on a GPU, where a piece has a number of tokens that does not depend on the batch."""
    tail = build_tail(load_encoder(data.params.model, None, cached_blocks=2))
    queries = CachedQueries(
        data.index, "train", data.images, data.texts, store=data.store, target="mean"
    )
    assert step.scored_frames(CPU, 50) == 0
    assert step.scored_frames(torch.device("cuda"), 257) == 127
    with torch.inference_mode():
        (batch,) = step.load_batches(queries, range(5), 5, device=CPU)
        whole = step.batch_cosines(tail, batch)
        by_tail = tail(batch.image_tokens, batch.image_query, batch.text_tokens, batch.text_lengths)
        assert torch.equal(whole, by_tail)
        monkeypatch.setattr(step, "scored_frames", lambda *_: 4)
        torch.testing.assert_close(step.batch_cosines(tail, batch), whole, atol=1e-6, rtol=0)
