"""Several processes that train together: real ones, connected by gloo on the CPU."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, load_file
from torch import Tensor

from hlclip.formats import read_facts
from hlclip.model import DeviceError, autocast, build_tail, load_encoder
from hlclip.params import TrainParams, load_params
from hlclip.pipeline.train import train_tail
from hlclip.store import StoreError
from hlclip.training import (
    CachedQueries,
    ProcessesError,
    Ranks,
    accumulate_gradients,
    joined,
    launch,
    load_batches,
    make_loss,
    score_queries,
    set_up_tail,
)
from hlclip.training.least_squares import fit_scale
from tests.cached import CachedData
from tests.training.test_options import rising
from tests.training.test_train import settings, train

CPU = torch.device("cpu")

CASES: dict[str, dict[str, Any]] = {
    "mse": {"loss": "mse", "micro_batch": 3},
    "learned scale": {"loss": "mse", "scale": "learned", "scale_init": 3.0, "heads": "frozen"},
    "centred": {"loss": "centred", "scale": "learned", "scale_init": 3.0},
    "correlation": {"loss": "correlation", "micro_batch": 3},
    "contrastive": {"loss": "mse+contrastive", "contrastive_temperature": 0.5},
    "temporal head": {"loss": "centred", "temporal": "conv", "micro_batch": 7},
}
SIZES = (5, 1)
"""Rows of a batch; one row leaves the first of two processes without any."""

TOGETHER = {
    "processes": 2,
    "ema": 0.5,
    "warmup": 0.3,
    "layer_decay": 0.5,
    "loss": "mse+contrastive",
}


def arguments(data: CachedData, folder: Path) -> dict[str, Any]:
    """Of `train_tail`, for two processes."""
    return {
        "index": data.index,
        "images": data.images,
        "texts": data.texts,
        "encoder": data.params,
        "params": settings(**TOGETHER),
        "store": data.store,
        "checkpoint": folder / "tail.safetensors",
        "history": folder / "history.csv",
    }


def split(data: CachedData, name: str) -> CachedQueries:
    return CachedQueries(data.index, name, data.images, data.texts, store=data.store, target="mean")


def gradients(data: CachedData, ranks: Ranks) -> dict[tuple[str, int], list[Tensor]]:
    """The loss and each gradient, of every case and size of a batch."""
    found = {}
    for name, changes in CASES.items():
        params = settings(**changes)
        tail = build_tail(load_encoder(data.params.model, None, cached_blocks=2))
        set_up_tail(tail, params)
        loss = make_loss(params)
        if tail.temporal is not None:  # its last layer starts at 0, and passes no gradient
            torch.manual_seed(0)
            for p in tail.temporal.parameters():
                torch.nn.init.normal_(p, std=0.2)
        weights = [p for p in (*tail.parameters(), *loss.parameters()) if p.requires_grad]
        for size in SIZES:
            for p in weights:
                p.grad = None
            [batch] = load_batches(
                split(data, "train"), [3, 0, 2, 4, 1][:size], size, device=CPU, ranks=ranks
            )
            value = accumulate_gradients(
                tail,
                loss,
                batch,
                frames=int(params.micro_batch),
                autocast=autocast(CPU, "fp32"),
            )
            value = ranks.add_gradients(weights, value)
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in weights]
            found[name, size] = [value, *(grad.clone() for grad in grads)]
    return found


def scores(data: CachedData, ranks: Ranks) -> np.ndarray:
    """Of five rows in batches of two: the last has one, and one process has one batch more."""
    tail = build_tail(load_encoder(data.params.model, None, cached_blocks=2))
    tails = {"tail": tail}
    return score_queries(tails, split(data, "train"), device=CPU, batch=2, ranks=ranks).cosines[
        "tail"
    ]


def fitted(data: CachedData, ranks: Ranks) -> tuple[float, float]:
    tail = build_tail(load_encoder(data.params.model, None, cached_blocks=2))
    return fit_scale(tail, split(data, "train"), settings(), device=CPU, ranks=ranks)


def measure(data: CachedData, folder: Path) -> None:
    """As one of several processes: what the tests compare, and a whole training."""
    with joined(2) as ranks:
        found = (gradients(data, ranks), scores(data, ranks), fitted(rising(data), ranks))
        (folder / f"{ranks.rank}.pickle").write_bytes(pickle.dumps(found))
        train_tail(**arguments(data, folder / "whole"))
        train_tail(**arguments(data, folder / "again"))  # all agree that it is in the store


def end_in_epoch_two(data: CachedData, folder: Path) -> None:
    """A training whose second process is killed at the fifth of nine steps."""
    steps, add_gradients = [], Ranks.add_gradients

    def add_and_end(self: Ranks, weights: Sequence[Tensor], loss: Tensor) -> Tensor:
        steps.append(loss)
        if len(steps) == 5 and not self.first:
            os.kill(os.getpid(), signal.SIGKILL)
        return add_gradients(self, weights, loss)

    Ranks.add_gradients = add_and_end
    train_tail(**arguments(data, folder))


def refuse() -> None:
    """The second process meets an error while the first waits for it."""
    with joined(2) as ranks:
        if not ranks.first:
            raise StoreError("b.h5: damaged", "make it again", settings={"encoder.batch": 7})
        ranks.gathered([0])


@pytest.fixture(scope="module")
def together(cached: CachedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what two processes found; they are started once for many tests."""
    folder = tmp_path_factory.mktemp("together")
    copy = replace(cached, store=Path(shutil.copytree(cached.store, folder / "store")))
    launch(2, partial(measure, copy, folder))
    return folder


def found_by(folder: Path, rank: int) -> tuple[Any, Any, Any]:
    return pickle.loads((folder / f"{rank}.pickle").read_bytes())  # noqa: S301 (our own)


def test_losses_and_gradients_are_those_of_one_process(cached, together):
    """Within 1e-6 of the largest entry of all gradients; every process has the same bits."""
    expected, (first, *_), (second, *_) = (
        gradients(cached, Ranks()),
        found_by(together, 0),
        found_by(together, 1),
    )
    assert expected.keys() == first.keys()
    for case, values in expected.items():
        assert first[case][0].item() == pytest.approx(values[0].item(), rel=1e-6), case
        largest = max(grad.abs().max().item() for grad in values[1:])
        assert largest > 1e-5, case
        for mine, other, grad in zip(first[case][1:], second[case][1:], values[1:], strict=True):
            assert torch.equal(mine, other), case
            torch.testing.assert_close(mine, grad, rtol=0, atol=1e-6 * largest, msg=str(case))


def test_scores_and_fitted_scales_are_those_of_one_process_to_the_bit(cached, together):
    for rank in (0, 1):
        _, found, line = found_by(together, rank)
        assert found.tobytes() == scores(cached, Ranks()).tobytes()
        assert line == fitted(rising(cached), Ranks())


def test_a_training_of_several_is_close_to_that_of_one(cached, together, tmp_path, data):
    """The first epoch agrees to seven digits; then AdamW divides rounding by rounding."""
    train(data, settings(**TOGETHER | {"processes": 1}), tmp_path)
    again = (together / "again" / "tail.safetensors").read_bytes()
    assert again == (together / "whole" / "tail.safetensors").read_bytes()
    one, two = (read_facts(f / "tail.safetensors") for f in (tmp_path, together / "whole"))
    assert two["train"] == one["train"] | {"processes": 2}
    assert [line["lr"] for line in two["history"]] == [line["lr"] for line in one["history"]]
    for mine, other in zip(two["history"], one["history"], strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-4)
    weights = load_file(tmp_path / "tail.safetensors")
    for name, tensor in load_file(together / "whole" / "tail.safetensors").items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=1e-4, msg=name)


def test_a_killed_process_ends_all_and_a_rerun_resumes_to_the_same_bytes(
    data, together, tmp_path, caplog
):
    with pytest.raises(ProcessesError, match="process 1 of the 2 that train ended with SIGKILL"):
        launch(2, partial(end_in_epoch_two, data, tmp_path / "killed"))
    kept = sorted(path.suffix for path in (data.store / "training").iterdir())
    assert kept == [".pt"]
    assert not (tmp_path / "killed" / "tail.safetensors").exists()
    state = next((data.store / "training").iterdir())
    [line] = torch.load(_without_digest(state, tmp_path), weights_only=True)["history"]
    assert line["epoch"] == 1

    found = train(data, settings(**TOGETHER), tmp_path / "resumed")
    assert found == (together / "whole" / "tail.safetensors").read_bytes()
    assert load(found)
    assert [path.suffix for path in (data.store / "training").iterdir()] == [".safetensors"]


def _without_digest(state: Path, folder: Path) -> Path:
    (folder / "state").write_bytes(state.read_bytes()[16:])
    return folder / "state"


def test_the_error_of_a_process_is_the_error_of_the_training():
    with pytest.raises(StoreError) as caught:
        launch(2, refuse)
    assert caught.value.message() == "b.h5: damaged\nmake it again: -S encoder.batch=7"


@pytest.mark.slow
def test_torchrun_starts_the_processes_of_a_stage(data, together, tmp_path):
    """They share the folder and its lock, and the result is that of the stage's own processes."""
    (tmp_path / "arguments").write_bytes(pickle.dumps(arguments(data, tmp_path)))
    (tmp_path / "stage.py").write_text(
        "import pickle\n"
        "from pathlib import Path\n"
        "from hlclip.pipeline.stage import run\n"
        "def main():\n"
        "    from hlclip.pipeline.train import train_tail\n"
        "    train_tail(**pickle.loads(Path('arguments').read_bytes()))\n"
        "run(main)\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    ended = subprocess.run(
        [*torchrun, "stage.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("epoch  3") == 1  # the first process speaks for both
    found = (tmp_path / "tail.safetensors").read_bytes()
    assert found == (together / "whole" / "tail.safetensors").read_bytes()


def test_torchrun_must_start_as_many_as_the_parameters_say(monkeypatch):
    environment = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    for name, value in (environment | {"TORCHELASTIC_RUN_ID": "x"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ProcessesError) as caught, joined(1):
        pass
    assert "torchrun started 4 processes, but train.processes is 1" in caught.value.reason
    assert caught.value.remedy() == "make them equal: -S train.processes=4"


def test_every_row_belongs_to_one_process():
    for count in (1, 2, 3, 7):
        ranks = [Ranks(rank, count) for rank in range(count)]
        for rows in (1, 2, 5, 16):
            own = [list(range(rows))[r.own_rows(rows)] for r in ranks]
            assert list(chain(*own)) == list(range(rows))
            assert max(map(len, own)) - min(map(len, own)) <= 1
            assert sorted(chain(*(r.own_batches(rows, 2) for r in ranks))) == list(range(rows))


def test_each_process_needs_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(DeviceError, match="4 processes train on this machine") as caught:
        Ranks(5, 8, 1, 4).device("auto")
    assert caught.value.remedy() == "train with fewer: -S train.processes=6"
    assert Ranks(5, 8, 1, 4).device("cpu") == CPU


def test_one_gpu_is_no_device_of_several_processes():
    file = Path(__file__).parents[2] / "params.yaml"
    changed = {"device": "cuda:1", "processes": 2}
    with pytest.raises(ValueError, match="set device to cuda, or processes to 1"):
        TrainParams.model_validate(load_params(file).train.model_dump() | changed)
