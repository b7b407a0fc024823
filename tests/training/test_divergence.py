"""Trainings that diverge or run out of memory end at once, and say what to lower."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hlclip.formats import CheckpointError, Manifest
from hlclip.model import (
    DeviceError,
    Tail,
    build_tail,
    load_encoder,
    load_tail,
    save_tail,
    within_memory,
)
from hlclip.params import TrainParams
from hlclip.pipeline.activations import make_activations
from hlclip.training import CachedQueries, TrainError, fit_tail, score_queries, set_up_tail
from hlclip.training.epoch_loss import EpochLoss
from tests.cached import CachedData
from tests.training.test_train import settings

CPU = torch.device("cpu")
TOO_MUCH = 2**60
"""Bytes: no machine has them, so that the allocator really fails."""


@pytest.fixture
def tail(data: CachedData) -> Tail:
    return build_tail(load_encoder(data.params.model, None, cached_blocks=2)).train_only(2, "all")


def split(data: CachedData, name: str) -> CachedQueries:
    return CachedQueries(data.index, name, data.images, data.texts, store=data.store, target="mean")


def fit(tail: Tail, data: CachedData, params: TrainParams, **more: Any) -> None:
    queries = split(data, "train")
    fit_tail(tail, queries, params, device=CPU, validate=None, **more)


def test_a_loss_that_is_not_finite_ends_the_training_at_its_step(data, tail, tmp_path):
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    tail.text.register_forward_hook(count)
    with pytest.raises(TrainError, match=r"the loss of step (\d+) in epoch 1 is nan") as caught:
        fit(tail, data, settings(lr=1e30, batch=1, epochs=9), resume=tmp_path / "state.pt")
    assert str(steps) in caught.value.reason
    assert 1 < steps < len(split(data, "train"))
    assert caught.value.remedy() == "lower the learning rate: -S train.lr=1e+29"
    assert not (tmp_path / "state.pt").exists()


def test_weights_that_are_not_finite_after_an_epoch_are_named(data, tail, tmp_path):
    """The last step of an epoch: its loss is finite, what it makes of the weights is not."""
    name, parameter = next(iter(tail.trained().items()))
    parameter.register_hook(lambda gradient: gradient / 0)
    params = settings(batch=9, scale="learned")
    with pytest.raises(TrainError, match=rf"after epoch 1 tensor {re.escape(name)} has") as caught:
        fit(tail, data, params, resume=tmp_path / "state.pt")
    assert "-S train.lr=0.0001 -S train.scale_lr=0.001" in caught.value.remedy()
    assert not (tmp_path / "state.pt").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 1e-30},
        {"scale": "learned", "scale_lr": 1e-30, "scale_init": 1e-6},
        {"batch": 10**9, "micro_batch": 10**9},
    ],
)
def test_the_lowest_and_largest_parameters_train(data, tail, changes):
    fit(tail, data, TrainParams.model_validate(settings(epochs=2).model_dump() | changes))
    assert all(parameter.isfinite().all() for parameter in tail.trained().values())


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 1e30, "weight_decay": 1e6},
        {"scale": "learned", "scale_lr": 1e30},
        {"scale": "learned", "scale_lr": 1e30, "bias_init": 1e6, "scale_init": 1e6},
    ],
)
def test_the_highest_rates_end_in_this_error(data, tail, changes):
    params = TrainParams.model_validate(settings(epochs=2).model_dump() | changes)
    with pytest.raises(TrainError, match="lower the learning rate"):
        fit(tail, data, params)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA: losses were not read late")
def test_on_cuda_a_loss_is_read_one_step_late():
    losses = EpochLoss(1, settings())
    for loss, frames in ((0.5, 3), (0.25, 1)):
        losses.add(torch.tensor(loss, device="cuda"), frames)
    assert losses.mean_read() == 0.5
    assert losses.mean() == (0.5 * 3 + 0.25) / 4
    losses.add(torch.tensor(float("inf"), device="cuda"), 1)
    with pytest.raises(TrainError, match="the loss of step 3 in epoch 1 is inf"):
        losses.add(torch.tensor(0.0, device="cuda"), 1)


@pytest.mark.parametrize("size", [1e25, 1e38])
@pytest.mark.parametrize("tower", ["image", "text"])
def test_scores_of_weights_that_overflow_are_an_error(data, tail, tower, size):
    """The features are infinite, or their norm alone is: NaN, or 0."""
    tail.requires_grad_(False)
    getattr(tail, tower).projection.fill_(size)
    with pytest.raises(TrainError, match="the scores of HL-CLIP-2 are NaN or all 0"):
        score_queries({"HL-CLIP-2": tail}, split(data, "val"), device=CPU, batch=2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_checkpoint_that_is_not_finite_is_refused_at_loading(tmp_path, tail, value):
    path = tmp_path / "tail.safetensors"
    projection = tail.trained()["visual.proj"].detach().clone()
    projection[0, 0] = value
    save_tail(path, {"visual.proj": projection}, {"weights": "w", "cached_blocks": 2})
    before = {name: tensor.clone() for name, tensor in tail.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_tail(path, tail, weights="w")
    said = f"{path}: tensor visual.proj has NaN or infinity in 1 of {projection.numel()} values"
    assert caught.value.reason == said
    assert "train.lr" in caught.value.remedy()
    assert all(torch.equal(tensor, before[name]) for name, tensor in tail.state_dict().items())


def exhaust(*_: object) -> None:
    torch.empty(TOO_MUCH, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("changes", "lower"),
    [
        ({"batch": 5}, "train.batch=2"),  # 27 frames in the batch; pieces of 14 are tried, too
        ({"batch": 5, "micro_batch": 26}, "train.batch=2"),
        ({"batch": 5, "micro_batch": 10}, "train.batch=2"),
        ({"batch": 1}, None),
    ],
)
def test_a_step_without_memory_says_what_to_lower(data, tail, changes, lower):
    tail.image.register_forward_hook(exhaust)
    with pytest.raises(DeviceError, match="not enough memory: ") as caught:
        fit(tail, data, settings(**changes))
    assert caught.value.remedy().endswith(f"or lower: -S {lower}" if lower else "another one")


@pytest.mark.parametrize(
    ("changes", "lower"),
    [
        ({"batch": 1}, "train.micro_batch="),
        ({"batch": 5}, "train.micro_batch=7"),  # half of the pieces that were tried last
        ({"batch": 5, "loss": "centred"}, "train.micro_batch=5"),  # whole rows: 5 + 5, 6, 7, 4
        ({"batch": 5, "loss": "centred", "micro_batch": 5}, "train.batch=2"),
        ({"batch": 1, "loss": "centred"}, None),
        ({"batch": 1, "temporal": "conv"}, None),
    ],
)
def test_micro_batch_is_not_advised_where_it_cuts_nothing(data, tail, changes, lower, monkeypatch):
    monkeypatch.setattr("hlclip.training.micro_batch._FEW_FRAMES", 2)  # the shortest row has 4
    params = settings(**changes)
    set_up_tail(tail, params).text.register_forward_hook(exhaust)
    with pytest.raises(DeviceError, match="not enough memory: ") as caught:
        fit(tail, data, params)
    remedy = caught.value.remedy()
    assert f"or lower: -S {lower}" in remedy if lower else remedy.endswith("another one")


def test_scoring_without_memory_says_what_to_lower(data, tail):
    tail.image.register_forward_hook(exhaust)
    with pytest.raises(DeviceError, match="not enough memory: ") as caught:
        score_queries({"zero-shot": tail}, split(data, "val"), device=CPU, batch=8)
    assert caught.value.remedy().endswith("or lower: -S train.batch=4")


def no_memory_of_python() -> None:
    bytearray(TOO_MUCH)


def no_memory_on_a_full_gpu() -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has")


@pytest.mark.parametrize("work", [exhaust, no_memory_of_python, no_memory_on_a_full_gpu])
def test_no_lack_of_memory_is_a_bug(work: Callable[[], object]):
    with pytest.raises(DeviceError, match="not enough memory: ") as caught, within_memory():
        work()
    assert len(caught.value.message().splitlines()) == 2
    assert caught.value.remedy() == "free memory on the device or use another one"


def test_other_errors_of_torch_stay_what_they_are():
    with pytest.raises(RuntimeError, match="must match"), within_memory("train.batch", 2):
        torch.ones(2).add(torch.ones(3))


def test_activations_run_on_the_named_device(data, tmp_path: Path):
    frames = Manifest({}, {}, {})
    with pytest.raises(DeviceError, match="device 'tpu9'"):
        make_activations(data.index, frames, data.params, store=tmp_path, device="tpu9")
