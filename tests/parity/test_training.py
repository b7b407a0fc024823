"""Training from the cache equals full-model HL-CLIP on the same images, step for step."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hlclip.model import Tail, build_tail, load_encoder
from hlclip.params import TrainParams, load_params
from hlclip.training import CachedQueries, TrainingState, fit_tail
from hlclip.training.fit import epoch_order
from tests.cached import CachedData, cached_data
from tests.models import save_model, tiny_config
from tests.parity.test_encoder import normalised

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


def settings(**changes) -> TrainParams:
    few = {"epochs": 1, "batch": 2, "lr": 1e-3, "select": "last", "precision": "fp32"}
    return load_params(ROOT / "params.yaml").train.model_copy(update={**few, **changes})


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return save_model(tmp_path_factory.mktemp("model"), tiny_config())


def intended(blocks: int, heads: str) -> set[str]:
    """open_clip's names of what HL-CLIP-n trains, written out by hand for 4-block towers."""
    part = [
        "ln_1.weight",
        "ln_1.bias",
        "attn.in_proj_weight",
        "attn.in_proj_bias",
        "attn.out_proj.weight",
        "attn.out_proj.bias",
        "ln_2.weight",
        "ln_2.bias",
        "mlp.c_fc.weight",
        "mlp.c_fc.bias",
        "mlp.c_proj.weight",
        "mlp.c_proj.bias",
    ]
    names = {
        f"{tower}transformer.resblocks.{block}.{name}"
        for tower in ("visual.", "")
        for block in range(4 - blocks, 4)
        for name in part
    }
    if heads in ("norm", "all"):
        names |= {"visual.ln_post.weight", "visual.ln_post.bias"}
        names |= {"ln_final.weight", "ln_final.bias"}
    if heads in ("projection", "all"):
        names |= {"visual.proj", "text_projection"}
    return names


def train_from_cache(data: CachedData, params: TrainParams) -> tuple[Tail, TrainingState]:
    encoder = load_encoder(data.params.model, None, cached_blocks=2)
    tail = build_tail(encoder).train_only(params.blocks, params.heads)
    queries = CachedQueries(
        data.index, "train", data.images, data.texts, store=data.store, target=params.target
    )
    return tail, fit_tail(tail, queries, params, device=CPU, validate=None)


def train_full_model(
    data: CachedData, params: TrainParams
) -> tuple[Mapping[str, Tensor], list[float]]:
    """HL-CLIP as the paper has it: both full towers on images, every step."""
    encoder = load_encoder(data.params.model, None, cached_blocks=2)
    model = encoder.model
    names = intended(params.blocks, params.heads)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    groups = [
        {
            "params": [p for p in trained.values() if p.ndim >= 2],
            "weight_decay": params.weight_decay,
        },
        {"params": [p for p in trained.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=params.lr)
    rows = [row for row in data.index.queries["train"] if row.vid in data.frames]
    steps = math.ceil(len(rows) / params.batch) * params.epochs
    losses, step = [], 0
    for epoch in range(1, params.epochs + 1):
        order = epoch_order(len(rows), params.seed, epoch)
        total, count = 0.0, 0
        for start in range(0, len(order), params.batch):
            for group in optimizer.param_groups:
                group["lr"] = params.lr * 0.5 * (1 + math.cos(math.pi * step / steps))
            cosines, targets = [], []
            for row in [rows[i] for i in order[start : start + params.batch]]:
                pictures = data.frames[row.vid][: row.clips]
                image = F.normalize(model.encode_image(normalised(encoder, pictures)), dim=-1)
                text = F.normalize(model.encode_text(encoder.tokenizer([row.query])), dim=-1)
                cosines.append(image @ text[0])
                mean = torch.tensor(row.ratings()).float().mean(1) / 4
                targets.append(mean[: len(pictures)])
            target = torch.cat(targets)
            loss = ((torch.cat(cosines) - target) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(target)
            count += len(target)
            step += 1
        losses.append(total / count)
    return trained, losses


def rms(values: Tensor) -> float:
    return values.square().mean().sqrt().item()


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("heads", ["frozen", "all"])
def test_two_epochs_from_an_fp32_cache_equal_the_full_model(tmp_path, model, blocks, heads):
    """After 6 steps: losses within 1e-6, weights within 3e-4 of how far they moved (RMS)."""
    params = settings(blocks=blocks, heads=heads, epochs=2)
    data = cached_data(tmp_path, model)
    tail, state = train_from_cache(data, params)
    full, losses = train_full_model(data, params)
    assert [line["loss"] for line in state.history] == pytest.approx(losses, abs=1e-6)
    ours = tail.trained()
    assert ours.keys() == full.keys()
    start = dict(load_encoder(model, None, cached_blocks=2).model.named_parameters())
    for name, parameter in full.items():
        if name.endswith(
            "in_proj_bias"
        ):  # the key third only shifts logits: rounding noise moves it
            keys = slice(len(parameter) // 3, 2 * len(parameter) // 3)
            parameter.data[keys] = ours[name].data[keys]
        moved = parameter - start[name]
        # AdamW turns the rounding of a gradient near zero into a step: not every element is near.
        assert rms(ours[name] - parameter) <= 3e-4 * rms(moved), name
        assert moved.abs().max() > 1e-4, f"{name} did not move"


def test_two_epochs_from_an_fp16_cache_are_close_to_the_full_model(tmp_path, model):
    """The fp16 store: losses within 1e-4, weights within 1/10 of how far they moved (RMS)."""
    params = settings(blocks=2, heads="all", epochs=2)
    data = cached_data(tmp_path, model, dtype="float16")
    tail, state = train_from_cache(data, params)
    full, losses = train_full_model(data, params)
    start = dict(load_encoder(model, None, cached_blocks=2).model.named_parameters())
    assert [line["loss"] for line in state.history] == pytest.approx(losses, abs=1e-4)
    ours = tail.trained()
    error = sum(((ours[n] - p) ** 2).sum().item() for n, p in full.items())
    moved = sum(((start[n] - p) ** 2).sum().item() for n, p in full.items())
    assert math.sqrt(error / moved) < 0.1


@pytest.mark.parametrize("blocks", [0, 1, 2])
@pytest.mark.parametrize("heads", ["frozen", "norm", "projection", "all"])
def test_exactly_the_intended_parameters_train(model, blocks, heads):
    tail = build_tail(load_encoder(model, None, cached_blocks=2)).train_only(blocks, heads)
    assert set(tail.trained()) == (intended(blocks, heads) if blocks else set())


def test_what_must_not_train_does_not_move(tmp_path, model):
    data = cached_data(tmp_path, model)
    params = settings(blocks=1, heads="frozen")
    before = build_tail(load_encoder(model, None, cached_blocks=2)).state_dict()
    tail, _ = train_from_cache(data, params)
    moved = {
        tail.names[name]
        for name, value in tail.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert moved == intended(1, "frozen")
