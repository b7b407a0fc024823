"""SigLIP 2's image tower, which timm brings: its trunk, its tail and its attention pool."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from bench.pairs import Pair
from bench.training import FRAMES, VIDEOS, Step, full_blocks_step
from bench.trunk import trunk_pair
from hlclip.model import Encoder, build_tail
from hlclip.training import Batch

MODEL = "ViT-B-32-SigLIP2-256"


def cases(folder: Path) -> Iterator[Pair]:
    del folder  # nothing is written
    torch.manual_seed(0)
    model: Any = open_clip.create_model(MODEL, load_weights=False)
    # Its tokenizer is on the hub: the queries' tokens are random.
    encoder = Encoder(model, None, name=MODEL, cached_blocks=2)
    batch = random_batch(encoder, VIDEOS, FRAMES)
    tail = build_tail(encoder).train_only(2, "all")
    step = Step(tail)
    yield Pair(
        f"SigLIP 2 B/32-256: training step, {VIDEOS} videos x {FRAMES} frames, blocks=2",
        "two full blocks and timm's pool from the same cache",
        lambda: step(batch),
        full_blocks_step(encoder, batch),
        least_ratio=1.3,
        rounds=3,
    )
    tokens = batch.image_tokens[:FRAMES]
    pool: Any = tail.image.pool
    yield Pair(
        f"SigLIP 2 B/32-256: attention pool of {FRAMES} frames, forward and backward",
        "timm's AttentionPoolLatent",
        lambda: with_gradients(pool, tokens),
        lambda: with_gradients(model.visual.trunk.attn_pool, tokens),
        least_ratio=1.3,
        rounds=7,
    )

    def forward(images: Tensor) -> Tensor:
        trunk = model.visual.trunk
        tokens = trunk.patch_embed(images) + trunk.pos_embed
        for block in trunk.blocks[:-2]:
            tokens = block(tokens)
        return tokens

    case = "SigLIP 2 B/32-256: trunk"
    yield trunk_pair(encoder, forward, case=case, library="timm", least_ratio=1.0)


def random_batch(encoder: Encoder, videos: int, frames: int) -> Batch:
    """Random tokens of the encoder's shapes, a query for each video."""
    texts = torch.randn(videos, *encoder.text.shape)
    return Batch(
        torch.randn(videos * frames, *encoder.image_shape),
        torch.arange(videos).repeat_interleave(frames),
        texts,
        torch.full((videos,), texts.shape[1]),
        torch.rand(videos * frames),
        ~torch.eye(videos, dtype=torch.bool),
    )


def with_gradients(pool: nn.Module, tokens: Tensor) -> None:
    """Forward and backward of a pool, to its input and its parameters."""
    pool.requires_grad_(True)
    leaf = tokens.clone().requires_grad_()
    pool(leaf).sum().backward()
