"""A step in pieces equals the whole batch: its loss and gradients, whatever trains."""

from itertools import product

import pytest
import torch

from hlclip.model import Tail, autocast, build_tail, load_encoder
from hlclip.training import Batch, Loss, accumulate_gradients, micro_batch_frames
from hlclip.training.step import piece_sizes
from tests.models import save_model, tiny_config

CPU = torch.device("cpu")
FRAMES = 23  # no multiple of any piece below


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory):
    return load_encoder(
        save_model(tmp_path_factory.mktemp("model"), tiny_config()), None, cached_blocks=2
    )


@pytest.fixture(scope="module")
def batch(encoder) -> Batch:
    torch.manual_seed(0)
    tokens, width = encoder.image_shape
    return Batch(
        torch.randn(FRAMES, tokens, width).half(),
        torch.tensor([0] * 4 + [1] * 18 + [2]),
        torch.randn(3, 9, encoder.text_width).half(),
        torch.tensor([9, 3, 6]),
        torch.rand(FRAMES),
        ~torch.eye(3, dtype=torch.bool),
    )


def naive(tail: Tail, loss: Loss, batch: Batch) -> torch.Tensor:
    """The mean over all frames at once, through both towers at once."""
    cosines = tail(batch.image_tokens, batch.image_query, batch.text_tokens, batch.text_lengths)
    value = ((loss.scale * cosines + loss.bias - batch.target) ** 2).mean()
    value.backward()
    return value.detach()


def gradients(*modules: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {
        f"{type(module).__name__}.{name}": p.grad.clone()
        for module in modules
        for name, p in module.named_parameters()
        if p.grad is not None
    }


@pytest.mark.parametrize(
    ("blocks", "heads", "scale"),
    [*product([1, 2], ["frozen", "norm", "projection", "all"], ["literal", "learned"])],
)
def test_pieces_add_up_to_the_whole(encoder, batch: Batch, blocks, heads, scale):
    """Loss within 1e-6 of itself, each gradient within 1e-5 of its largest entry."""
    tail = build_tail(encoder).train_only(blocks, heads)
    loss = Loss("mse", scale, scale_init=3.0, bias_init=-0.1)
    expected_loss = naive(tail, loss, batch)
    expected = gradients(tail, loss)
    assert len(expected) == len(tail.trained()) + (2 if scale == "learned" else 0)
    for frames in (0, 5, 22, 600):
        tail.zero_grad(set_to_none=True)
        loss.zero_grad(set_to_none=True)
        value = accumulate_gradients(
            tail, loss, batch, frames=frames, autocast=autocast(CPU, "fp32")
        )
        found = gradients(tail, loss)
        assert value.item() == pytest.approx(expected_loss.item(), rel=1e-6)
        assert found.keys() == expected.keys()
        if frames in (0, 600):
            assert value.equal(expected_loss)
        for name, gradient in found.items():
            # Of a key's bias the true gradient is 0, as softmax ignores it: only noise is there.
            atol = max(1e-5 * expected[name].abs().max().item(), 1e-8)
            torch.testing.assert_close(gradient, expected[name], rtol=0, atol=atol, msg=name)


def test_gradients_are_added_to_earlier_ones(encoder, batch: Batch):
    tail, loss = build_tail(encoder).train_only(2, "all"), Loss("mse", "literal")
    for _ in range(2):
        accumulate_gradients(tail, loss, batch, frames=5, autocast=autocast(CPU, "fp32"))
    twice = gradients(tail)
    tail.zero_grad(set_to_none=True)
    accumulate_gradients(tail, loss, batch, frames=5, autocast=autocast(CPU, "fp32"))
    for name, gradient in gradients(tail).items():
        torch.testing.assert_close(twice[name], 2 * gradient)


@pytest.mark.parametrize("frames", [0, 5])
def test_each_query_passes_through_the_text_tail_once(encoder, batch: Batch, frames):
    tail, calls = build_tail(encoder).train_only(2, "all"), []

    def note(_module, _inputs, features: torch.Tensor) -> None:
        calls.append("forward")
        features.register_hook(lambda _: calls.append("backward"))

    tail.text.register_forward_hook(note)
    accumulate_gradients(
        tail, Loss("mse", "literal"), batch, frames=frames, autocast=autocast(CPU, "fp32")
    )
    assert calls == ["forward", "backward"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA: the GPU step was not run")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-3), ("auto", 0.05)])
def test_on_cuda_pieces_add_up_to_the_cpu(encoder, batch: Batch, precision, tolerance):
    cuda = torch.device("cuda")
    tail, loss = build_tail(encoder).train_only(2, "all"), Loss("mse", "literal")
    naive(tail, loss, batch)
    expected = gradients(tail)
    tail.zero_grad(set_to_none=True)
    tail.to(cuda)
    accumulate_gradients(
        tail,
        loss.to(cuda),
        batch.to(cuda),
        frames=5,
        autocast=autocast(cuda, precision),
    )
    for name, gradient in gradients(tail).items():
        error = (gradient.cpu() - expected[name]).norm()
        assert error <= tolerance * expected[name].norm() + 1e-6, name


def test_pieces_of_whole_rows_end_where_rows_end(batch: Batch):
    """Rows of 4, 18 and 1 frames: as many as fit, and at least one."""
    expected = {0: [23], 1: [4, 18, 1], 5: [4, 18, 1], 19: [4, 19], 22: [22, 1], 23: [23]}
    found = {frames: piece_sizes(batch, frames, whole_rows=True) for frames in expected}
    assert found == expected
    assert piece_sizes(batch, 10, whole_rows=False) == [10, 10, 3]


def test_a_tail_that_needs_whole_rows_gets_them(encoder, batch: Batch, monkeypatch):
    rows = []
    cosines = Tail.cosines

    def note(tail: Tail, images, texts, query: torch.Tensor) -> torch.Tensor:
        rows.append(query.tolist())
        return cosines(tail, images, texts, query)

    monkeypatch.setattr(Tail, "cosines", note)
    monkeypatch.setattr(Tail, "needs_whole_rows", True)
    tail = build_tail(encoder).train_only(2, "all")
    accumulate_gradients(
        tail, Loss("mse", "literal"), batch, frames=5, autocast=autocast(CPU, "fp32")
    )
    assert rows == [[0] * 4, [1] * 18, [2]]


def test_auto_is_25_frames_on_a_cpu_and_as_many_tokens_on_cuda_whatever_the_model():
    cuda = torch.device("cuda")
    assert micro_batch_frames("auto", CPU, 257) == 25
    assert micro_batch_frames("auto", cuda, 50) == 655  # ViT-B/32: all 600 frames of a step
    assert micro_batch_frames("auto", cuda, 257) == 127  # ViT-L/14
    assert micro_batch_frames("auto", cuda, 10**6) == 1
    assert micro_batch_frames(7, CPU, 50) == micro_batch_frames(7, cuda, 50) == 7
