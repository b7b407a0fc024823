"""Options of training: each does what its formula says, and without it no bit changes."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from hlclip.formats import read_facts
from hlclip.model import Tail, build_tail, load_encoder
from hlclip.params import TrainParams
from hlclip.training import (
    CachedQueries,
    Loss,
    TrainError,
    TrainingState,
    fit_tail,
    load_batches,
    score_queries,
)
from hlclip.training.fit import epoch_order
from hlclip.training.optimizer import make_optimizer, rate_of_step
from tests.cached import CachedData
from tests.training.test_train import forget_results, settings, train

CPU = torch.device("cpu")


def new_tail(data: CachedData) -> Tail:
    return build_tail(load_encoder(data.params.model, None, cached_blocks=2)).train_only(2, "all")


def train_split(data: CachedData) -> CachedQueries:
    return CachedQueries(
        data.index, "train", data.images, data.texts, store=data.store, target="mean"
    )


def fit(tail: Tail, data: CachedData, validate: Any = None, **changes: Any) -> TrainingState:
    params = settings(**changes)
    return fit_tail(tail, train_split(data), params, device=CPU, validate=validate)


def plain_training(data: CachedData, params: TrainParams) -> list[dict[str, Tensor]]:
    """Eq. 4 by the book: whole batches, AdamW, cosine decay; the weights after each step."""
    tail, queries = new_tail(data), train_split(data)
    weights = tail.trained()
    matrices = [p for p in weights.values() if p.ndim >= 2]
    others = [p for p in weights.values() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": params.weight_decay}, {"params": others}],
        lr=params.lr,
        weight_decay=0.0,
    )
    steps = math.ceil(len(queries) / params.batch) * params.epochs
    taken: list[dict[str, Tensor]] = []
    for epoch in range(1, params.epochs + 1):
        order = epoch_order(len(queries), params.seed, epoch)
        for batch in load_batches(queries, order, params.batch, device=CPU):
            for group in optimizer.param_groups:
                group["lr"] = params.lr * 0.5 * (1 + math.cos(math.pi * len(taken) / steps))
            optimizer.zero_grad()
            cosines = tail(
                batch.image_tokens, batch.image_query, batch.text_tokens, batch.text_lengths
            )
            (cosines - batch.target).square().mean().backward()
            optimizer.step()
            taken.append({name: p.detach().clone() for name, p in weights.items()})
    return taken


def test_without_options_training_is_the_papers_to_the_bit(data):
    tail = new_tail(data)
    fit(tail, data)
    expected = plain_training(data, settings())[-1]
    for name, weight in tail.trained().items():
        assert torch.equal(weight, expected[name]), name


OPTIONS: list[dict[str, Any]] = [
    {"loss": "mse+contrastive", "micro_batch": 3},
    {"loss": "correlation", "ema": 0.9, "warmup": 0.3},
    {"loss": "centred", "scale": "learned", "scale_init": "fit", "layer_decay": 0.5},
    {"scale": "fixed", "scale_init": "fit", "select_on": "pooled", "ema": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_interrupted_training_resumes_to_the_same_bytes(data, tmp_path, monkeypatch, options):
    data, params = rising(data), TrainParams.model_validate(settings(**options).model_dump())
    whole = train(data, params, tmp_path / "whole")
    forget_results(data)
    save = TrainingState.save

    def save_and_stop(state: TrainingState, path: Path) -> None:
        save(state, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(TrainingState, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(data, params, tmp_path / "resumed")
    assert train(data, params, tmp_path / "resumed") == whole


def test_the_learning_rate_rises_and_falls():
    params = settings(warmup=0.25, schedule="cosine")
    rates = [rate_of_step(step, 8, params) for step in range(9)]
    expected = [0.5, 1.0, *(0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(7))]
    assert rates == pytest.approx(expected)
    constant = settings(warmup=0.99, schedule="constant")
    assert [rate_of_step(step, 4, constant) for step in range(5)] == pytest.approx(
        [1 / 3, 2 / 3, 1, 1, 1]
    )
    assert [rate_of_step(step, 1, constant) for step in range(2)] == [1, 1]


def test_the_learning_rate_of_a_layer_depends_on_its_depth(data, tmp_path):
    tail, params = new_tail(data), settings(layer_decay=0.5, lr=1e-3, scale_lr=0.1)
    optimizer = make_optimizer(tail, Loss("mse", "learned"), params)
    names = {id(p): name for name, p in tail.trained().items()}
    found = {
        names.get(id(p), "scale or bias"): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert found.keys() == {*tail.trained(), "scale or bias"}
    for name, p in tail.trained().items():
        block = name.partition("resblocks.")[2][:1]
        factor = {"": 1, "3": 0.5, "2": 0.25}[block]  # the model has four blocks
        assert found[name] == (1e-3 * factor, params.weight_decay if p.ndim > 1 else 0), name
    assert found["scale or bias"] == (0.1, 0)
    train(data, settings(layer_decay=0.5, schedule="constant", epochs=1), tmp_path)
    assert read_facts(tmp_path / "tail.safetensors")["history"][0]["lr"] == 1e-3


def test_the_average_of_the_weights_is_what_is_validated_and_kept(data):
    """average = decay * average + (1 - decay) * weights after each step, from the pretrained."""
    steps = plain_training(data, settings())
    expected = [{name: p.detach().double() for name, p in new_tail(data).trained().items()}]
    for weights in steps:
        last = expected[-1]
        expected.append({name: 0.75 * last[name] + 0.25 * weights[name] for name in last})
    seen: list[dict[str, Tensor]] = []

    def validate(tail: Tail) -> tuple[float, float]:
        seen.append({name: p.detach().clone() for name, p in tail.trained().items()})
        return (1.0, 2.0, 1.5)[len(seen) - 1], 0.0

    tail = new_tail(data)
    state = fit(tail, data, validate, ema=0.75)
    per_epoch = len(steps) // 3
    for epoch, found in enumerate(seen, 1):
        for name, tensor in expected[epoch * per_epoch].items():
            torch.testing.assert_close(found[name], tensor.float(), rtol=1e-5, atol=1e-7)
    assert state.chosen == 2
    assert all(torch.equal(state.chosen_tensors[name], seen[1][name]) for name in seen[1])
    assert all(torch.equal(p, steps[-1][name]) for name, p in tail.trained().items())


def pairs(data: CachedData) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Zero-shot cosines and mean ratings of each row of train that has a video."""
    queries = train_split(data)
    scores = score_queries({"zero-shot": new_tail(data)}, queries, device=CPU, batch=1)
    cosines, targets = [], []
    lines = zip(scores.cosines["zero-shot"], scores.rows, scores.lengths, strict=True)
    for line, row, length in lines:
        if length:
            cosines.append(line[:length].astype(float))
            targets.append(row.ratings().mean(axis=1)[:length] / 4)
    return cosines, targets


def rising(data: CachedData, sign: int = 1) -> CachedData:
    """The same with ratings of train that rise (or fall) with the zero-shot cosines."""
    queries = train_split(data)
    scores = score_queries({"zero-shot": new_tail(data)}, queries, device=CPU, batch=1)
    rows = []
    for row, line, length in zip(
        scores.rows, scores.cosines["zero-shot"], scores.lengths, strict=True
    ):
        ranks = (sign * line[: min(length, row.clips)]).argsort().argsort()
        truth = {
            "relevant_clip_ids": tuple(range(len(ranks))),
            "saliency_scores": tuple((int(min(rank, 4)),) * 3 for rank in ranks),
        }
        rows.append(row.model_copy(update=truth) if length else row)
    index = replace(data.index, queries={**data.index.queries, "train": rows})
    return replace(data, index=index)


@pytest.mark.parametrize("loss", ["mse", "centred"])
@pytest.mark.parametrize("scale", ["fixed", "learned"])
def test_scale_and_bias_start_at_the_least_squares(data, tmp_path, loss, scale):
    data = rising(data)
    params = settings(loss=loss, scale=scale, scale_init="fit", epochs=1)
    train(data, params, tmp_path)
    facts = read_facts(tmp_path / "tail.safetensors")
    cosines, targets = pairs(data)
    if loss == "centred":
        cosines, targets = ([v - v.mean() for v in values] for values in (cosines, targets))
    slope, intercept = np.polyfit(np.concatenate(cosines), np.concatenate(targets), 1)
    assert facts["fitted"]["scale"] == pytest.approx(slope, rel=1e-4)
    assert facts["fitted"]["bias"] == pytest.approx(intercept, rel=1e-4, abs=1e-9)
    assert json.loads(json.dumps(facts["train"]))["scale_init"] == "fit"
    # It trains as if these numbers were given.
    same = settings(
        loss=loss,
        scale=scale,
        scale_init=facts["fitted"]["scale"],
        bias_init=facts["fitted"]["bias"],
        epochs=1,
    )
    fitted = load_file(tmp_path / "tail.safetensors")
    train(data, same, tmp_path)
    given = load_file(tmp_path / "tail.safetensors")
    assert all(torch.equal(fitted[name], given[name]) for name in fitted)


@pytest.mark.parametrize("scale", ["fixed", "learned"])
def test_cosines_that_fall_with_the_ratings_are_no_start(data, tmp_path, scale):
    params = settings(scale=scale, scale_init="fit")
    with pytest.raises(
        TrainError, match=r"do not rise with the targets: .* the scale -\d"
    ) as caught:
        train(rising(data, -1), params, tmp_path)
    assert caught.value.remedy().endswith("-S train.scale=literal -S train.scale_init=1")
    told = {**params.model_dump(), "scale": "literal", "scale_init": 1.0}
    TrainParams.model_validate(told)  # no contradiction
