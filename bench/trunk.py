"""The frozen trunk as hlclip runs it against open_clip's forward of the same blocks."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.pairs import Pair
from bench.training import MODEL, ROOT
from hlclip.model import Encoder, untrained_encoder
from hlclip.params import load_params

FRAMES = 75


def cases(folder: Path) -> Iterator[Pair]:
    del folder  # nothing is written
    torch.manual_seed(0)
    encoder = untrained_encoder(MODEL, "openai", cached_blocks=2)

    def forward(images: Tensor) -> Tensor:
        visual = encoder.model.visual
        tokens = visual._embeds(images)
        for block in visual.transformer.resblocks[:-2]:
            tokens = block(tokens)
        return tokens

    yield trunk_pair(encoder, forward, case="trunk", library="open_clip", least_ratio=1.15)


def trunk_pair(
    encoder: Encoder,
    forward: Callable[[Tensor], Tensor],
    *,
    case: str,
    library: str,
    least_ratio: float,
) -> Pair:
    """The trunk against the library's own forward of the same blocks; both give equal tokens.

    Args:
        forward: normalised images [frames, 3, size, size] to tokens [frames, tokens, width].
    """
    size = encoder.preprocess.size
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, size, size, 3), dtype=np.uint8)
    batch = load_params(ROOT / "presets/qvhighlights.yaml").encoder.batch
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in (encoder.preprocess.mean, encoder.preprocess.std)
    )

    @torch.inference_mode()
    def whole() -> Tensor:
        return forward((torch.from_numpy(frames).permute(0, 3, 1, 2) / 255 - mean) / std)

    torch.testing.assert_close(
        encoder.image_tokens(frames, batch=batch), whole(), rtol=1e-4, atol=1e-4
    )
    return Pair(
        f"{case} of {FRAMES} frames, float32, batch {batch}",
        f"{library}'s forward of the same blocks, batch {FRAMES}",
        lambda: encoder.image_tokens(frames, batch=batch),
        whole,
        least_ratio=least_ratio,
        rounds=7,
    )
