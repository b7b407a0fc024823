"""Blocks and pool of the tail against open_clip's and timm's, in float64, which shows mistakes."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from timm.models.eva import EvaBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hlclip.model.blocks import (
    FusedQuickGELU,
    PreNormBlock,
    entry_block,
    fuse_activations,
    known_parts,
    pooled_block,
)
from hlclip.model.borrowed import AttentionPoolLatent
from hlclip.model.pools import AttentionPool, can_be_absorbed

WIDTH = 16
ITEMS = st.integers(1, 4)
LENGTH = st.integers(1, 9)
HEADS = st.sampled_from([1, 2, 4])
SEED = st.integers(0, 2**31)


KINDS = {
    "open_clip": lambda heads: ResidualAttentionBlock(
        WIDTH, heads, act_layer=QuickGELU, ls_init_value=0.5
    ),
    "timm": lambda heads: Block(WIDTH, heads, qkv_bias=True, init_values=0.5),
}
KIND = st.sampled_from(sorted(KINDS))


def drawn(module: nn.Module, seed: int, *shape: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A module with random parameters, tokens, and a weight for each of its outputs."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    for parameter in module.double().parameters():
        parameter.data.copy_(random(*parameter.shape))
    return module, random(*shape, WIDTH), random(*shape, WIDTH)


def parts(block: nn.Module) -> PreNormBlock:
    known = known_parts(block)
    assert known is not None
    return known


def with_gradients(
    block: nn.Module, tokens: Tensor, of: Callable[[Tensor], Tensor], weight: Tensor
) -> list[Tensor]:
    """The output, and the gradients of its weighted sum in the tokens and all parameters."""
    block.zero_grad()
    leaf = tokens.clone().requires_grad_()
    out = of(leaf)
    (out * weight).sum().backward()
    gradients = [leaf.grad, *(p.grad for p in block.parameters())]
    return [out.detach(), *(g.clone() for g in gradients if g is not None)]


def assert_equal(fast: list[Tensor], full: list[Tensor]) -> None:
    assert len(full) == 2 + 14  # the output, the tokens, and every parameter has a gradient
    for ours, theirs in zip(fast, full, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)


def mask(length: int) -> Tensor:
    return torch.full((length, length), float("-inf"), dtype=torch.float64).triu_(1)


@given(kind=KIND, items=ITEMS, length=LENGTH, heads=HEADS, seed=SEED, causal=st.booleans())
def test_entry_block_equals_the_block_and_its_gradients(kind, items, length, heads, seed, causal):
    block, tokens, weight = drawn(KINDS[kind](heads), seed, items, length)
    hidden = mask(length) if causal else None
    full = with_gradients(block, tokens, lambda x: block(x, attn_mask=hidden), weight)
    fuse_activations(block)
    fast = with_gradients(
        block, tokens, lambda x: entry_block(parts(block), x, causal=causal), weight
    )
    assert_equal(fast, full)


@given(kind=KIND, items=ITEMS, length=LENGTH, heads=HEADS, seed=SEED, data=st.data())
def test_pooled_block_equals_the_full_block_and_its_gradients(
    kind, items, length, heads, seed, data
):
    block, tokens, weight = drawn(KINDS[kind](heads), seed, items, length)
    weight = weight[:, 0]
    lengths = torch.tensor(
        data.draw(st.lists(st.integers(1, length), min_size=items, max_size=items))
    )
    last = torch.arange(items), lengths - 1
    full = with_gradients(block, tokens, lambda x: block(x, attn_mask=mask(length))[last], weight)
    fuse_activations(block)
    fast = with_gradients(
        block, tokens, lambda x: pooled_block(parts(block), x, lengths - 1, lengths), weight
    )
    assert_equal(fast, full)


@given(items=ITEMS, length=LENGTH, heads=HEADS, seed=SEED, data=st.data())
def test_the_absorbed_pool_equals_timms_and_its_gradients(items, length, heads, seed, data):
    prefix = data.draw(st.integers(0, length - 1))
    pool = AttentionPoolLatent(
        WIDTH,
        num_heads=heads,
        qkv_bias=data.draw(st.booleans()),
        norm_layer=data.draw(st.sampled_from([None, nn.LayerNorm])),
        out_features=data.draw(st.sampled_from([WIDTH, 0])),  # 0: no projection, no MLP
    )
    pool, tokens, weight = drawn(pool, seed, items, length)
    assert can_be_absorbed(pool)
    full = with_gradients(pool, tokens, lambda x: pool(x[:, prefix:]), weight[:, 0])
    fast = with_gradients(pool, tokens, AttentionPool(pool, prefix=prefix), weight[:, 0])
    assert len(fast) == len(full) == 2 + len(list(pool.parameters()))
    for mine, theirs in zip(fast, full, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("settings", [{"qk_norm": True}, {"latent_len": 2}])
def test_a_pool_that_cannot_be_absorbed_runs_as_it_is(settings):
    torch.manual_seed(0)
    pool = AttentionPoolLatent(WIDTH, num_heads=2, **settings)
    tokens = torch.randn(3, 5, WIDTH)
    assert not can_be_absorbed(pool)
    assert torch.equal(AttentionPool(pool, prefix=1)(tokens), pool(tokens[:, 1:]))


def test_the_absorbed_pool_computes_no_keys_and_values():
    pool = AttentionPoolLatent(WIDTH, num_heads=2)
    tokens = torch.randn(3, 9, WIDTH)

    def operations(of: nn.Module) -> int:
        with FlopCounterMode(display=False) as counter:
            of(tokens)
        return counter.get_total_flops()

    keys_and_values = 2 * (3 * 9) * WIDTH * 2 * WIDTH
    assert operations(AttentionPool(pool, prefix=0)) < operations(pool) - keys_and_values / 2


def test_blocks_of_other_kinds_run_as_they_are():
    """Norms of queries and keys, scaled attention, gates and missing biases are not known."""
    assert known_parts(Block(WIDTH, 2, qkv_bias=True)) is not None
    for other in (
        Block(WIDTH, 2, qkv_bias=False),
        Block(WIDTH, 2, qkv_bias=True, qk_norm=True),
        Block(WIDTH, 2, qkv_bias=True, scale_attn_norm=True),
        EvaBlock(WIDTH, 2),
    ):
        assert known_parts(other) is None
    gated = Block(WIDTH, 2, qkv_bias=True)
    gated.attn.gate = nn.Linear(WIDTH, WIDTH)
    assert known_parts(gated) is None


def test_the_entry_block_saves_a_product_in_the_backward_pass():
    """Its input needs no gradient, so neither does what its attention's projection reads."""
    block, tokens, weight = drawn(KINDS["open_clip"](2), 0, 3, 5)

    def operations(compute: Callable[[], Tensor]) -> int:
        with FlopCounterMode(display=False) as counter:
            (compute() * weight).sum().backward()
        return counter.get_total_flops()

    full = operations(lambda: block(tokens))
    product = 2 * (3 * 5) * WIDTH * 3 * WIDTH  # [items x tokens, 3 width] by [3 width, width]
    assert operations(lambda: entry_block(parts(block), tokens, causal=False)) == full - product


def test_the_fused_activation_is_quick_gelu():
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-14), (torch.bfloat16, 2e-2)):
        x = torch.cat([torch.linspace(-90, 90, 1001), torch.tensor([0.0, -1e4, 1e4])]).to(dtype)
        leaves = x.clone().requires_grad_(), x.clone().requires_grad_()
        outs = FusedQuickGELU()(leaves[0]), QuickGELU()(leaves[1])
        torch.testing.assert_close(*outs, atol=tolerance, rtol=tolerance)
        for out in outs:
            out.sum().backward()
        torch.testing.assert_close(leaves[0].grad, leaves[1].grad, atol=tolerance, rtol=tolerance)
