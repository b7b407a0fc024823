"""A temporal head: 1-D convolutions over the clips of a video, conditioned on the query.

HL-CLIP scores each clip by itself. This head lets a clip's score depend on the clips around it. It
is an extension of the paper.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TemporalHead(nn.Module):
    """Adds to each image feature what the convolutions find in the clips around it.

    The convolutions read the products of image and text feature, channel by channel, whose sum is
    the cosine. Their output is scaled by the text feature, so a weighted mean of neighbouring
    cosines is something that the head can learn. The output layer starts at zero: until the first
    step the features, and so all scores, are those of the tail without a head, bit for bit.

    Args:
        embedding: channels of the features.
        width: channels between the layers.
        kernel: clips that a convolution reads, odd. Clips beyond the ends of a video are zeros.
        depth: number of convolutions. A score depends on the `depth * (kernel // 2)` clips before
            and after its own.
        seed: of the initial weights, which depend on nothing else.
    """

    def __init__(self, embedding: int, *, width: int, kernel: int, depth: int, seed: int) -> None:
        super().__init__()
        # Conv1d holds the weights and initialises none: that would draw from torch's global state.
        self.convolutions: Any = nn.ModuleList(
            nn.utils.skip_init(nn.Conv1d, width if layer else embedding, width, kernel)
            for layer in range(depth)
        )
        self.out = nn.Parameter(torch.zeros(embedding, width))
        generator = torch.Generator().manual_seed(seed % 2**63)
        for convolution in self.convolutions:
            bound = convolution.weight[0].numel() ** -0.5
            for parameter in (convolution.weight, convolution.bias):
                nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, features: Tensor, texts: Tensor, row: Tensor) -> Tensor:
        """The features with what the head adds to them.

        Args:
            features: float [frames, embedding] before normalisation: all frames of a row in order,
                one row after another.
            texts: float [frames, embedding], unit length: the query of each frame's row.
            row: int64 [frames], differs between neighbouring rows.

        Returns:
            float [frames, embedding], not normalised.
        """
        # A unit vector of n channels has entries of about n^-0.5: this makes the products about 1.
        x = F.normalize(features, dim=-1) * texts * features.shape[-1]
        for convolution in self.convolutions:
            x = F.gelu(_convolve(x, row, convolution.weight, convolution.bias))
        # The length makes the effect independent of the scale of the model's features.
        length = features.norm(dim=-1, keepdim=True)
        return features + length * texts * F.linear(x, self.out)


def _convolve(x: Tensor, row: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`F.conv1d` over the frames of each row by itself, zeros beyond its ends.

    As one matrix product: unlike cuDNN's convolutions it never rounds to TF32, and it gives the
    same bits at each run.

    Args:
        x: float [frames, channels] of all rows, one after another.
        row: int64 [frames].
        weight: [width, channels, kernel], as in `nn.Conv1d`; bias: [width].

    Returns:
        [frames, width].
    """
    kernel = weight.shape[-1]
    half = kernel // 2
    windows = F.pad(x, (0, 0, half, half)).unfold(0, kernel, 1)  # [frames, channels, kernel]
    same_row = F.pad(row, (half, half), value=-1).unfold(0, kernel, 1) == row[:, None]
    windows = windows.masked_fill(~same_row[:, None], 0)  # even NaN must not cross the border
    return F.linear(windows.flatten(1), weight.flatten(1), bias)
