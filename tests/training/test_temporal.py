"""A tail with a temporal head: training, checkpoint and scores."""

import contextlib
import itertools
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from hlclip.formats import read_facts
from hlclip.model import Tail, autocast, build_tail, load_encoder, load_tail
from hlclip.params import TrainParams, load_params
from hlclip.pipeline.score import score_splits
from hlclip.pipeline.train import train_tail
from hlclip.training import (
    CachedQueries,
    Loss,
    TrainingState,
    accumulate_gradients,
    fit_tail,
    load_batches,
    make_loss,
    score_queries,
    set_up_tail,
)
from tests.cached import CachedData

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml").train
CPU = torch.device("cpu")
HEAD = {
    "hlclip.temporal.out",
    "hlclip.temporal.convolutions.0.weight",
    "hlclip.temporal.convolutions.0.bias",
    "hlclip.temporal.convolutions.1.weight",
    "hlclip.temporal.convolutions.1.bias",
}


def settings(**changes) -> TrainParams:
    few = {"epochs": 2, "batch": 3, "lr": 1e-3, "precision": "fp32", "device": "cpu"}
    head = {"temporal": "conv", "temporal_width": 8, "temporal_kernel": 3, "temporal_depth": 2}
    return PARAMS.model_copy(update={**few, **head, "select": "last", **changes})


def tail_of(data: CachedData, params: TrainParams) -> Tail:
    return set_up_tail(build_tail(load_encoder(data.params.model, None, cached_blocks=2)), params)


def rows_of(data: CachedData, split: str = "train") -> CachedQueries:
    return CachedQueries(
        data.index, split, data.images, data.texts, store=data.store, target="mean"
    )


def moved_tail(data: CachedData, params: TrainParams) -> Tail:
    """With a head whose output layer is no longer zero."""
    tail = tail_of(data, params)
    assert tail.temporal is not None
    generator = torch.Generator().manual_seed(0)
    tail.temporal.out.data = torch.randn(tail.temporal.out.shape, generator=generator)
    return tail


def train(data: CachedData, params: TrainParams, folder: Path) -> Path:
    """The checkpoint of a training, from a store of results of its own."""
    train_tail(
        data.index,
        data.images,
        data.texts,
        data.params,
        params,
        store=data.store,
        checkpoint=folder / "tail.safetensors",
        history=folder / "history.csv",
    )
    return folder / "tail.safetensors"


def gradients(tail: Tail) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in tail.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("blocks", [0, 2])
@pytest.mark.parametrize("minimised", ["mse", "centred", "correlation", "mse+contrastive"])
def test_pieces_of_whole_rows_add_up_to_the_whole(data: CachedData, blocks: int, minimised: str):
    """Whatever the pieces, a head sees all clips of a video."""
    batch = next(load_batches(rows_of(data), range(5), 5, device=CPU))
    params = settings(blocks=blocks, loss=minimised)
    tail, loss = moved_tail(data, params), make_loss(params)
    if minimised == "mse":
        given = batch.image_tokens, batch.image_query, batch.text_tokens, batch.text_lengths
        expected_loss = ((tail(*given) - batch.target) ** 2).mean()
        expected_loss.backward()
    else:
        expected_loss = accumulate_gradients(
            tail, loss, batch, frames=0, autocast=autocast(CPU, "fp32")
        )
    expected = gradients(tail)
    assert {name.split(".")[0] for name in expected} == (
        {"image", "text", "temporal"} if blocks else {"temporal"}
    )
    for frames in (0, 1, 8, 20):
        tail.zero_grad(set_to_none=True)
        value = accumulate_gradients(
            tail, loss, batch, frames=frames, autocast=autocast(CPU, "fp32")
        )
        assert value.item() == pytest.approx(expected_loss.item(), rel=1e-6)
        found = gradients(tail)
        assert found.keys() == expected.keys()
        for name, gradient in found.items():
            atol = max(1e-5 * expected[name].abs().max().item(), 1e-8)
            torch.testing.assert_close(gradient, expected[name], rtol=0, atol=atol, msg=name)


def test_all_cosines_are_those_of_each_row_with_each_query(data: CachedData):
    batch = next(load_batches(rows_of(data), range(5), 5, device=CPU))
    tail = moved_tail(data, settings())
    with torch.inference_mode():
        images = tail.image_features(batch.image_tokens)
        texts = tail.text(batch.text_tokens.float(), batch.text_lengths)
        found = tail.all_cosines(images, texts, batch.image_query)
        for row, query in itertools.product(range(5), repeat=2):
            own = batch.image_query == row
            expected = tail.cosines(
                images[own], texts[query, None], torch.zeros_like(own[own]).long()
            )
            torch.testing.assert_close(found[own, query], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_new_head_scores_and_teaches_as_none(
    data: CachedData, precision: Literal["fp32", "bf16"]
):
    """Bit for bit: all scores, the first loss, and the first gradients of the blocks."""
    batch = next(load_batches(rows_of(data), range(5), 5, device=CPU))
    seen = []
    for temporal in ("none", "conv"):
        tail = tail_of(data, settings(temporal=temporal))
        scores = score_queries({"x": tail}, rows_of(data), device=CPU, batch=2).cosines["x"]
        value = accumulate_gradients(
            tail, Loss("mse", "literal"), batch, frames=0, autocast=autocast(CPU, precision)
        )
        seen.append((scores, value, gradients(tail)))
    (scores, value, without), (scores_too, value_too, with_head) = seen
    np.testing.assert_array_equal(scores, scores_too)
    assert value.equal(value_too)
    for name, gradient in without.items():
        torch.testing.assert_close(with_head[name], gradient, rtol=1e-4, atol=1e-7)


def test_scores_do_not_depend_on_the_rows_of_a_batch(data: CachedData):
    tail = moved_tail(data, settings())
    by_batch = [
        score_queries({"x": tail}, rows_of(data), device=CPU, batch=size).cosines["x"]
        for size in (1, 2, 5)
    ]
    for other in by_batch[1:]:
        np.testing.assert_allclose(other, by_batch[0], atol=1e-6)


def test_the_checkpoint_holds_the_head_and_gives_its_scores(data: CachedData, tmp_path: Path):
    params = settings()
    path = train(data, params, tmp_path)
    tensors = load_file(path)
    assert {name for name in tensors if name.startswith("hlclip.")} == HEAD
    assert tensors["hlclip.temporal.out"].abs().max() > 0
    tail = build_tail(load_encoder(data.params.model, None, cached_blocks=2))
    load_tail(path, tail, weights=str(data.images.header["weights"]))
    expected = tail_of(data, params)
    fit_tail(expected, rows_of(data), params, device=CPU, validate=None)
    for name, parameter in expected.trained().items():
        assert torch.equal(tail.get_parameter(invert(tail.names)[name]), parameter), name
    scores = score_splits(
        data.index,
        data.images,
        data.texts,
        data.params,
        params,
        ["val"],
        store=data.store,
        checkpoint=path,
    )["val"]
    assert list(scores.cosines) == ["zero-shot", "HL-CLIP-2+conv"]
    own = score_queries({"x": expected}, rows_of(data, "val"), device=CPU, batch=params.batch)
    np.testing.assert_array_equal(scores.cosines["HL-CLIP-2+conv"], own.cosines["x"])
    tail.temporal = None
    without = score_queries({"x": tail}, rows_of(data, "val"), device=CPU, batch=params.batch)
    assert np.abs(without.cosines["x"] - own.cosines["x"]).max() > 1e-4


def invert(names: dict[str, str]) -> dict[str, str]:
    return {value: key for key, value in names.items()}


def test_open_clip_takes_all_but_the_head(data: CachedData, tmp_path: Path):
    tensors = load_file(train(data, settings(), tmp_path))
    model = load_encoder(data.params.model, None, cached_blocks=2).model
    loaded = model.load_state_dict(tensors, strict=False)
    assert set(loaded.unexpected_keys) == HEAD
    for name in tensors.keys() - HEAD:
        assert torch.equal(model.get_parameter(name), tensors[name])


def test_a_head_alone_trains_on_zero_shot_features(data: CachedData, tmp_path: Path):
    params = settings(blocks=0, temporal_depth=1, temporal_kernel=5)
    path = train(data, params, tmp_path)
    assert set(load_file(path)) == HEAD - {
        "hlclip.temporal.convolutions.1.weight",
        "hlclip.temporal.convolutions.1.bias",
    }
    assert load_file(path)["hlclip.temporal.convolutions.0.weight"].shape == (8, 24, 5)
    assert read_facts(path)["history"][1]["loss"] < read_facts(path)["history"][0]["loss"]
    scores = score_splits(
        data.index,
        data.images,
        data.texts,
        data.params,
        params,
        ["val"],
        store=data.store,
        checkpoint=path,
    )["val"].cosines
    assert np.abs(scores["HL-CLIP-0+conv"] - scores["zero-shot"]).max() > 1e-3


@pytest.mark.parametrize("micro_batch", [0, 6])
def test_an_interrupted_training_resumes_to_the_same_bytes(
    data: CachedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro_batch: int
):
    params = settings(micro_batch=micro_batch, temporal_width=9)  # of its own key in the store
    whole = train(data, params, tmp_path / "whole").read_bytes()
    for result in (data.store / "training").glob("*.safetensors"):
        result.unlink()
    save = TrainingState.save

    def save_and_stop(state: TrainingState, path: Path) -> None:
        save(state, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as context, contextlib.suppress(KeyboardInterrupt):
        context.setattr(TrainingState, "save", save_and_stop)
        train(data, params, tmp_path / "parts")
    assert not (tmp_path / "parts/tail.safetensors").exists()
    torch.rand(1)  # torch's global state must not matter
    assert train(data, params, tmp_path / "parts").read_bytes() == whole


def test_none_is_the_same_whatever_the_sizes_of_the_head(data: CachedData):
    trained = []
    for width in (8, 16):
        params = settings(temporal="none", temporal_width=width)
        tail = tail_of(data, params)
        fit_tail(tail, rows_of(data), params, device=CPU, validate=None)
        trained.append(tail.trained())
    assert trained[0].keys() == trained[1].keys()
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA: the GPU step was not run")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("auto", 0.05)])
def test_on_cuda_a_head_trains_as_on_the_cpu(data: CachedData, precision: str, tolerance: float):
    cuda = torch.device("cuda")
    losses = []
    for device, each in ((CPU, "fp32"), (cuda, precision), (cuda, precision)):
        params = settings(precision=each)
        tail = set_up_tail(
            build_tail(load_encoder(data.params.model, None, cached_blocks=2)).to(device), params
        )
        state = fit_tail(tail, rows_of(data), params, device=device, validate=None)
        losses.append([line["loss"] for line in state.history])
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)
    assert losses[2] == losses[1]
