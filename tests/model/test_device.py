"""What a device computes in: float32 is float32, and torch's own choices are made for it."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hlclip.model import DeviceError, Encoder, deterministic, load_encoder, pick_device
from tests.models import save_model, tiny_config

BOUND = 1e-5
"""Of a GPU's tokens, relative to the CPU's; float32 rounds to 6e-8."""


@pytest.fixture
def as_torch_has_them() -> Iterator[None]:
    """The settings of CUDA before hlclip makes its own; two are changed, as a user may have."""
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic
    matmul.allow_tf32 = cudnn.allow_tf32 = cudnn.benchmark = True
    cudnn.deterministic = False
    yield
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before


@pytest.mark.usefixtures("as_torch_has_them")
def test_a_device_of_cuda_computes_float32_as_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings are made before anything is computed, whether there is a GPU or not."""
    variable = "CUBLAS_WORKSPACE_CONFIG"
    monkeypatch.setenv(variable, "")
    monkeypatch.delenv(variable)

    def settings() -> tuple[object, ...]:
        cudnn = torch.backends.cudnn
        tf32 = torch.backends.cuda.matmul.allow_tf32, cudnn.allow_tf32
        return *tf32, cudnn.benchmark, cudnn.deterministic, os.environ.get(variable)

    pick_device("cpu")
    assert settings() == (True, True, True, False, None)
    with contextlib.suppress(DeviceError):
        pick_device("cuda")
    assert settings() == (False, False, False, True, ":4096:8")


def tf32(values: Tensor) -> Tensor:
    """Rounded to TF32, which keeps 10 of the 23 bits of a fraction."""
    bits = values.contiguous().view(torch.int32)
    even = (bits >> 13) & 1
    return ((bits + 0xFFF + even) & ~0x1FFF).view(torch.float32)


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    name = save_model(tmp_path_factory.mktemp("model"), tiny_config())
    return load_encoder(name, None, cached_blocks=2)


FRAMES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


def test_tf32_in_the_patch_embedding_would_be_noticed(encoder: Encoder) -> None:
    """Emulated: it exceeds the bound of the test on a GPU, and the rounding to float16."""
    exact = encoder.image_tokens(FRAMES, batch=6)
    assert relative(exact.half().float(), exact) > 0
    conv = encoder.model.visual.conv1
    weight = conv.weight.detach().clone()
    hook = conv.register_forward_pre_hook(lambda _, inputs: (tf32(inputs[0]),))
    try:
        conv.weight.copy_(tf32(weight))
        rounded = encoder.image_tokens(FRAMES, batch=6)
    finally:
        hook.remove()
        conv.weight.copy_(weight)
    assert relative(rounded, exact) > 10 * BOUND
    assert torch.equal(encoder.image_tokens(FRAMES, batch=6), exact)


def test_rounding_to_tf32_by_hand() -> None:
    one = torch.tensor([1 + 2**-10, 1 + 2**-11, 1 + 3 * 2**-11, -1 - 2**-12, 0.0])
    expected = [1 + 2**-10, 1.0, 1 + 2**-9, -1.0, 0.0]  # halves go to the even neighbour
    assert tf32(one).tolist() == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA: the GPU's trunk was not run")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_tokens_of_a_gpu_are_those_of_the_cpu(encoder: Encoder, dtype: str) -> None:
    cpu = encoder.image_tokens(FRAMES, batch=4)
    device = pick_device("cuda")
    encoder.model.to(device)
    try:
        found = encoder.image_tokens(FRAMES, batch=4, dtype=dtype)
    finally:
        encoder.model.to("cpu")
    assert found.dtype == getattr(torch, dtype)
    assert found.device.type == "cpu"
    step = {"float16": 2**-11, "bfloat16": 2**-8, "float32": 0.0}[dtype]
    assert relative(found.float(), cpu) < BOUND + step


def test_backward_passes_are_deterministic_on_cuda_alone() -> None:
    """The flags of torch, which need no GPU to be read."""

    memory: Any = torch.utils.deterministic

    def flags() -> tuple[bool, bool, bool]:
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            memory.fill_uninitialized_memory,
        )

    before = flags()
    assert before == (False, False, True)
    with deterministic(torch.device("cpu")):
        assert flags() == before
    with deterministic(torch.device("cuda")):
        assert flags() == (True, False, False)  # `warn_only` would leave attention as it is
    with pytest.raises(ZeroDivisionError), deterministic(torch.device("cuda")):
        assert flags() == (True, False, 1 / 0)
    assert flags() == before
