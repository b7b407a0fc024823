"""Each loss equals a plain computation over the whole batch, and so do its gradients in pieces."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hlclip.model import autocast, build_tail, load_encoder
from hlclip.training import Batch, Loss, accumulate_gradients
from hlclip.training.losses import NEAR_TIE, LossName
from tests.models import save_model, tiny_config

CPU = torch.device("cpu")
ROWS = (4, 9, 1, 6)
"""Frames of each row. Row 2 has the video of row 0, row 3 the query of row 1."""
TARGET = torch.tensor(
    [0, 0, 0.5, 0.75]  # two clips that are not rated
    + [0.25, 1 / 3, 0.75, 1, 0, 0, 0.5, 7 / 12, 1]  # 1/4 and 1/3 are a tie, 1/2 and 7/12 also
    + [0.5]
    + [0.25] * 6  # flat
)
WEIGHT, TEMPERATURE = 0.3, 0.2
NAMES: tuple[LossName, ...] = ("mse", "centred", "correlation", "mse+contrastive")


def make_batch(image: tuple[int, int] = (1, 1), width: int = 1) -> Batch:
    torch.manual_seed(0)
    unrelated = ~torch.eye(4, dtype=torch.bool)
    for a, b in ((0, 2), (1, 3)):
        unrelated[a, b] = unrelated[b, a] = False
    query = torch.arange(4).repeat_interleave(torch.tensor(ROWS))
    tokens = torch.randn(sum(ROWS), *image).half()
    lengths = torch.tensor([9, 3, 6, 5])
    return Batch(tokens, query, torch.randn(4, 9, width).half(), lengths, TARGET, unrelated)


BATCH = make_batch()


def make(name: LossName, *, learned: bool = False) -> Loss:
    scale = "learned" if learned else "literal"
    return Loss(
        name,
        scale,
        scale_init=3.0,
        bias_init=-0.1,
        contrastive_weight=WEIGHT,
        contrastive_temperature=TEMPERATURE,
    )


def split(values: Tensor) -> list[Tensor]:
    return list(values.split(ROWS))


def naive_centred(cosines: Tensor, _: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    errors = [
        (p - p.mean()) - (t - t.mean())
        for p, t in zip(split(scale * cosines.double() + bias), split(TARGET), strict=True)
    ]
    return torch.cat(errors).square().mean()


def naive_correlation(cosines: Tensor, *_: Tensor) -> Tensor:
    one, two = (
        torch.corrcoef(torch.stack([split(cosines)[n], split(TARGET)[n]]))[0, 1] for n in (0, 1)
    )
    return (4 - one - two) / 4  # of the other rows, one has one clip and one is flat


def naive_contrastive(cosines: Tensor, every: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Clip by clip; the softmax has the clip's own cosine first."""
    within, across = [], []
    firsts = [sum(ROWS[:n]) for n in range(4)]
    for row, first in enumerate(firsts):
        for clip in range(first, first + ROWS[row]):
            own = every[clip, row]
            lower = [
                every[other, row]
                for other in range(first, first + ROWS[row])
                if TARGET[clip] - TARGET[other] > NEAR_TIE
            ]
            if lower:
                within.append(-(torch.stack([own, *lower]) / TEMPERATURE).log_softmax(0)[0])
            others = [every[clip, q] for q in range(4) if BATCH.unrelated[row, q]]
            if TARGET[clip] > NEAR_TIE:
                across.append(-(torch.stack([own, *others]) / TEMPERATURE).log_softmax(0)[0])
    squared = (scale * cosines + bias - TARGET).square().mean()
    return squared + WEIGHT * (sum(within) / len(within) + sum(across) / len(across))


def naive_mse(cosines: Tensor, _: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return (scale * cosines + bias - TARGET).square().mean()


NAIVE: dict[LossName, Callable[..., Tensor]] = {
    "mse": naive_mse,
    "centred": naive_centred,
    "correlation": naive_correlation,
    "mse+contrastive": naive_contrastive,
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory):
    model = save_model(tmp_path_factory.mktemp("model"), tiny_config())
    return load_encoder(model, None, cached_blocks=2)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("learned", [False, True])
def test_loss_and_gradients_in_any_pieces_are_those_of_the_plain_formula(encoder, name, learned):
    """Loss within 1e-6 of itself, each gradient within 1e-5 of its largest entry."""
    batch = make_batch(encoder.image_shape, encoder.text_width)
    tail = build_tail(encoder).train_only(2, "all")
    loss = make(name, learned=learned)
    images = tail.image_features(batch.image_tokens)
    texts = tail.text(batch.text_tokens.float(), batch.text_lengths)
    cosines = tail.cosines(images, texts, batch.image_query)
    expected_loss = NAIVE[name](cosines, images @ texts.T, loss.scale, loss.bias)
    expected_loss.backward()
    parameters = dict(tail.named_parameters()) | dict(loss.named_parameters())
    expected = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    for frames in (0, 1, 11):
        tail.zero_grad(set_to_none=True)
        loss.zero_grad(set_to_none=True)
        found = accumulate_gradients(
            tail, loss, batch, frames=frames, autocast=autocast(CPU, "fp32")
        )
        assert found.item() == pytest.approx(expected_loss.item(), rel=1e-6)
        for key, gradient in expected.items():
            got = parameters[key].grad
            atol = max(1e-5 * gradient.abs().max().item(), 1e-7 * largest, 1e-8)
            torch.testing.assert_close(
                torch.zeros_like(gradient) if got is None else got,
                gradient,
                rtol=0,
                atol=atol,
                msg=f"{frames} {key}",
            )


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_the_differences_of_the_loss(name):
    """Central differences of the cosines; float32 rounding bounds the step and the tolerance."""
    torch.manual_seed(1)
    loss = make(name)
    every = (torch.rand(sum(ROWS), 4) - 0.5).requires_grad_()
    own = every.gather(1, BATCH.image_query[:, None])[:, 0]
    value = loss(own, BATCH, all_cosines=every if loss.needs_all_queries else None)
    value.backward()
    assert every.grad is not None
    step = 0.01
    for place in [(0, 0), (3, 0), (6, 1), (12, 1), (5, 0), (15, 3)]:
        ends = []
        for sign in (1, -1):
            moved = every.detach().clone()
            moved[place] += sign * step
            own = moved.gather(1, BATCH.image_query[:, None])[:, 0]
            ends.append(loss(own, BATCH, all_cosines=moved).item()
                        if loss.needs_all_queries else loss(own, BATCH).item())  # fmt: skip
        difference = (ends[0] - ends[1]) / (2 * step)
        assert every.grad[place].item() == pytest.approx(difference, abs=2e-4), place


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA: the GPU path was not run")
@pytest.mark.parametrize("name", NAMES)
def test_on_cuda_a_loss_and_its_gradients_are_those_of_the_cpu(name):
    torch.manual_seed(2)
    every, found = torch.rand(sum(ROWS), 4) - 0.5, []
    for device in (CPU, torch.device("cuda")):
        batch, loss = BATCH.to(device), make(name).to(device)
        cosines = every.to(device).requires_grad_()
        own = cosines.gather(1, batch.image_query[:, None])[:, 0]
        value = loss(own, batch, all_cosines=cosines if loss.needs_all_queries else None)
        value.backward()
        assert cosines.grad is not None
        found.append((value.detach().cpu(), cosines.grad.cpu()))
    for cpu, cuda in zip(*found, strict=True):
        torch.testing.assert_close(cuda, cpu, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", NAMES[:3])
def test_a_constant_added_to_the_cosines_of_a_query(name):
    """It changes no ranking: only `mse` punishes it."""
    cosines = torch.linspace(-0.2, 0.3, sum(ROWS)).roll(3)
    shifted = cosines + torch.tensor([0.1, -0.2, 0.0, 0.3])[BATCH.image_query]
    loss = make(name)
    same = torch.isclose(loss(cosines, BATCH), loss(shifted, BATCH), rtol=1e-5)
    assert same == (name != "mse")


def test_flat_rows_have_a_correlation_of_0_and_finite_gradients():
    loss = make("correlation")
    for spread in (0.0, 1e-8, 1e-5):
        cosines = (0.2 + spread * torch.randn(sum(ROWS))).requires_grad_()
        value = loss(cosines, BATCH)
        value.backward()
        assert value.item() == pytest.approx(1, abs=0.2)
        assert cosines.grad is not None
        assert cosines.grad.isfinite().all()
        assert cosines.grad[-7:].eq(0).all()  # one clip, and flat targets
    flat = torch.full((sum(ROWS),), 0.3, requires_grad=True)
    loss(flat, BATCH).backward()
    assert flat.grad is not None
    assert (flat.grad[:4] * (TARGET[:4] - TARGET[:4].mean())).sum() < 0  # towards the targets


def test_perfect_predictions_reach_the_least_loss():
    perfect = TARGET.clone()
    assert make("centred")(perfect, BATCH).item() == pytest.approx(0, abs=1e-12)
    assert make("correlation")(0.1 * perfect + 0.2, BATCH).item() == pytest.approx(0.5)
    rows = perfect.clone().requires_grad_()
    make("correlation")(rows, BATCH).backward()
    assert rows.grad is not None
    assert rows.grad.abs().max() < 1e-6


def test_a_batch_without_anything_to_contrast_is_mse():
    """One row whose targets are within a tie."""
    batch = Batch(
        torch.zeros(3, 1, 1),
        torch.zeros(3, dtype=torch.int64),
        torch.zeros(1, 1, 1),
        torch.ones(1, dtype=torch.int64),
        torch.tensor([0.5, 0.5, 0.5 + 1 / 12]),
        torch.tensor([[False]]),
    )
    every = torch.tensor([[0.1], [0.2], [0.3]], requires_grad=True)
    value = make("mse+contrastive")(every[:, 0], batch, all_cosines=every)
    assert value.equal(make("mse")(every[:, 0], batch))
    value.backward()
    assert math.isfinite(value.item())
    assert every.grad is not None
    assert every.grad.isfinite().all()


@pytest.mark.parametrize("rating", range(10))
def test_targets_that_are_a_tenth_apart_are_contrasted_at_every_level(rating):
    """One point on a scale of 0 to 10, whatever the rounding."""
    batch = Batch(
        torch.zeros(2, 1, 1),
        torch.zeros(2, dtype=torch.int64),
        torch.zeros(1, 1, 1),
        torch.ones(1, dtype=torch.int64),
        torch.tensor([rating / 10, (rating + 1) / 10]),
        torch.tensor([[False]]),
    )
    every = torch.tensor([[0.1], [0.2]])
    contrast = make("mse+contrastive")(every[:, 0], batch, all_cosines=every)
    contrast -= make("mse")(every[:, 0], batch)
    expected = -math.log(1 / (1 + math.exp(-0.1 / TEMPERATURE)))
    assert contrast.item() == pytest.approx(WEIGHT * expected, rel=1e-4)


def test_scale_and_bias_of_the_prediction():
    cosines, batch = torch.rand(sum(ROWS)), BATCH
    plain = (cosines - TARGET).square().mean()
    literal = Loss("mse", "literal", scale_init=5.0, bias_init=-0.5)
    torch.testing.assert_close(literal(cosines, batch), plain)
    for scale in ("fixed", "learned"):
        loss = Loss("mse", scale, scale_init=5.0, bias_init=-0.5)
        torch.testing.assert_close(
            loss(cosines, batch), (5 * cosines - 0.5 - TARGET).square().mean()
        )
        assert all(p.requires_grad == (scale == "learned") for p in loss.parameters())
    assert not any(p.requires_grad for p in literal.parameters())


def test_a_learned_scale_finds_the_least_squares():
    cosines, loss = (TARGET + 0.25) / 5, Loss("mse", "learned")
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.1)
    for _ in range(800):
        optimizer.zero_grad()
        loss(cosines, BATCH).backward()
        optimizer.step()
    torch.testing.assert_close(loss.scale.detach(), torch.tensor(5.0), atol=0.05, rtol=0)
