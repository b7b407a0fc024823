"""The temporal head equals plain convolutions over each video by itself."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hlclip.model.temporal import TemporalHead

EMBEDDING = 6
LENGTHS = (4, 1, 9, 2, 3)  # a video of one clip, and videos shorter than the kernel
ROW = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))


def trained_head(*, kernel: int = 5, depth: int = 2, seed: int = 0) -> TemporalHead:
    """A head whose output layer is no longer zero."""
    head = TemporalHead(EMBEDDING, width=7, kernel=kernel, depth=depth, seed=seed)
    generator = torch.Generator().manual_seed(1)
    head.out.data = torch.randn(head.out.shape, generator=generator)
    return head


def inputs(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features of any length, and the unit feature of each frame's query."""
    generator = torch.Generator().manual_seed(seed)
    features = 3 * torch.randn(len(ROW), EMBEDDING, generator=generator)
    queries = F.normalize(torch.randn(len(LENGTHS), EMBEDDING, generator=generator), dim=-1)
    return features, queries[ROW]


def naive(head: TemporalHead, features: Tensor, texts: Tensor) -> Tensor:
    """torch's own convolutions on one video at a time."""
    changed = []
    for images, said in zip(features.split(LENGTHS), texts.split(LENGTHS), strict=True):
        length = images.norm(dim=-1, keepdim=True)
        x = (EMBEDDING * images / length * said).T[None]  # [1, channels, clips]
        for convolution in head.convolutions:
            x = F.gelu(F.conv1d(x, convolution.weight, convolution.bias, padding="same"))
        changed.append(images + length * said * (head.out @ x[0]).T)
    return torch.cat(changed)


@pytest.mark.parametrize(("kernel", "depth"), [*product([1, 3, 5, 11], [1, 2])])
def test_outputs_and_gradients_are_those_of_conv1d_on_each_video(kernel: int, depth: int):
    head = trained_head(kernel=kernel, depth=depth)
    found = []
    for compute in (lambda *given: head(*given, ROW), lambda *given: naive(head, *given)):
        head.zero_grad(set_to_none=True)
        given = [tensor.requires_grad_() for tensor in inputs()]
        changed = compute(*given)
        changed.square().sum().backward()
        found.append([changed.detach(), *(t.grad for t in (*given, *head.parameters()))])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_gradients_are_right():
    head = trained_head(kernel=3).double()
    given = [tensor.double().requires_grad_() for tensor in inputs()]
    weights = [p.detach().requires_grad_() for p in head.parameters()]
    names = [name for name, _ in head.named_parameters()]

    def compute(features: Tensor, texts: Tensor, *parameters: Tensor) -> Tensor:
        named = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(head, named, (features, texts, ROW))

    assert torch.autograd.gradcheck(compute, (*given, *weights))


@pytest.mark.parametrize("content", [0.5, float("nan"), float("inf")])
def test_no_video_reaches_another(content: float):
    """Not even NaN, which a product with zero would let through."""
    features, texts = inputs()
    head = trained_head()
    before = head(features, texts, ROW)
    features[ROW == 2] = content
    after = head(features, texts, ROW)
    assert torch.equal(after[ROW != 2], before[ROW != 2])
    assert not torch.equal(after[ROW == 2], before[ROW == 2])


@pytest.mark.parametrize(("kernel", "depth"), [(1, 2), (3, 1), (3, 2), (5, 1)])
def test_a_clip_reaches_as_many_neighbours_as_the_kernels_say(kernel: int, depth: int):
    head, row = trained_head(kernel=kernel, depth=depth), torch.zeros(len(ROW), dtype=torch.int64)
    features, texts = inputs()
    texts = texts[:1].expand(len(ROW), -1)
    before = head(features, texts, row)
    features[9] *= -1
    reached = (head(features, texts, row) != before).any(dim=1).nonzero().flatten().tolist()
    reach = depth * (kernel // 2)
    assert reached == list(range(9 - reach, 9 + reach + 1))


def test_a_new_head_changes_no_bit():
    features, texts = inputs()
    head = TemporalHead(EMBEDDING, width=7, kernel=5, depth=2, seed=0)
    assert torch.equal(head(features, texts, ROW), features)
    assert not torch.equal(trained_head()(features, texts, ROW), features)


def test_the_scale_of_the_features_changes_no_direction():
    features, texts = inputs()
    head = trained_head()
    directions = [F.normalize(head(scale * features, texts, ROW), dim=-1) for scale in (1, 100)]
    torch.testing.assert_close(*directions)


def test_initial_weights_depend_on_the_seed_alone():
    state = torch.random.get_rng_state()
    first = trained_head(seed=3).state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(1)
    again, other = trained_head(seed=3).state_dict(), trained_head(seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if name != "out")
    trained_head(seed=10**30)  # params.yaml sets no limit
