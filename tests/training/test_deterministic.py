"""Every operation of a step has a CUDA kernel that gives the same bits at each run.

On a CPU: the operations are recorded, and compared with those that torch's documentation of
`use_deterministic_algorithms` names. tests/training/test_cuda.py compares bits on a GPU.
"""

import re
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hlclip.model import autocast, build_tail, load_encoder
from hlclip.training import (
    CachedQueries,
    accumulate_gradients,
    load_batches,
    make_loss,
    set_up_tail,
)
from tests.cached import CachedData
from tests.training.test_train import settings

CPU = torch.device("cpu")

REFUSED = re.compile(
    r"max_unpool|(avg|max)_pool|upsample|reflection_pad|nll_loss|ctc_loss|embedding_bag|put_$|"
    r"histc|bincount|median|grid_sampl|scatter_reduce|kthvalue|index_reduce|cumsum|cumprod"
)
"""Operations that torch refuses on CUDA in this mode, forward or backward, of all kinds of data;
`index_put` is none of them."""


class Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("loss", ["mse", "centred", "correlation", "mse+contrastive"])
@pytest.mark.parametrize("temporal", ["none", "conv"])
def test_a_step_has_no_operation_that_torch_refuses(data: CachedData, loss, temporal) -> None:
    params = settings(loss=loss, temporal=temporal, batch=5)
    tail = set_up_tail(build_tail(load_encoder(data.params.model, None, cached_blocks=2)), params)
    queries = CachedQueries(
        data.index, "train", data.images, data.texts, store=data.store, target="mean"
    )
    (batch,) = load_batches(queries, range(5), 5, device=CPU)
    with Recorder() as recorder:
        accumulate_gradients(
            tail, make_loss(params), batch, frames=6, autocast=autocast(CPU, "fp32")
        )
    assert {"addmm", "native_layer_norm_backward"} <= recorder.names
    assert not [name for name in recorder.names if REFUSED.search(name.rstrip("_"))]
