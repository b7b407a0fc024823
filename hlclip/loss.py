"""The objective: cosines regress the annotators' ratings (paper, Eq. 4)."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn, ones, zeros


class Regression(nn.Module):
    """Mean squared error of scale * cosine + bias against the target.

    `literal` is the paper's: scale 1, bias 0, nothing to learn. `learned` starts there. Rankings
    within a query, and so all metrics, do not depend on scale and bias; the gradients do.
    """

    def __init__(self, scale: Literal["literal", "learned"]) -> None:
        super().__init__()
        learned = scale == "learned"
        self.scale = nn.Parameter(ones(()), requires_grad=learned)
        self.bias = nn.Parameter(zeros(()), requires_grad=learned)

    def forward(self, cosines: Tensor, target: Tensor) -> Tensor:
        """Mean over all K x N frames of a batch.

        Args:
            cosines: float32 [frames], -1..1.
            target: float32 [frames], 0..1.
        """
        return F.mse_loss(self.scale * cosines + self.bias, target)
