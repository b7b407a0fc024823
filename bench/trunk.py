"""The frozen trunk as hlclip runs it against open_clip's forward of the same blocks."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from bench.pairs import Pair
from bench.training import MODEL, ROOT
from hlclip.model import untrained_encoder
from hlclip.params import load_params

FRAMES = 75


def cases(folder: Path) -> Iterator[Pair]:
    del folder  # nothing is written
    torch.manual_seed(0)
    encoder = untrained_encoder(MODEL, "openai", cached_blocks=2)
    size = encoder.preprocess.size
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, size, size, 3), dtype=np.uint8)
    batch = load_params(ROOT / "presets/qvhighlights.yaml").encoder.batch
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in (encoder.preprocess.mean, encoder.preprocess.std)
    )

    @torch.inference_mode()
    def forward() -> torch.Tensor:
        visual = encoder.model.visual
        images = (torch.from_numpy(frames).permute(0, 3, 1, 2) / 255 - mean) / std
        tokens = visual._embeds(images)
        for block in visual.transformer.resblocks[:-2]:
            tokens = block(tokens)
        return tokens

    torch.testing.assert_close(
        encoder.image_tokens(frames, batch=batch), forward(), rtol=1e-4, atol=1e-4
    )
    yield Pair(
        f"trunk of {FRAMES} frames, float32, batch {batch}",
        f"open_clip's forward of the same blocks, batch {FRAMES}",
        lambda: encoder.image_tokens(frames, batch=batch),
        forward,
        least_ratio=1.15,
        rounds=7,
    )
