"""The objective: cosines regress the annotators' ratings (paper, Eq. 4)."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn, tensor

Scale = Literal["literal", "fixed", "learned"]


class Regression(nn.Module):
    """Mean squared error of scale * cosine + bias against the target.

    Rankings within a query, and so all metrics, do not depend on scale and bias; the gradients do.

    Args:
        scale: `literal` is the paper's, scale 1 and bias 0; `fixed` keeps the given values;
            `learned` starts from them and trains.
        scale_init: scale of `fixed` and `learned`.
        bias_init: bias of `fixed` and `learned`.
    """

    def __init__(self, scale: Scale, *, scale_init: float = 1.0, bias_init: float = 0.0) -> None:
        super().__init__()
        first = (1.0, 0.0) if scale == "literal" else (scale_init, bias_init)
        self.scale = nn.Parameter(tensor(first[0]), requires_grad=scale == "learned")
        self.bias = nn.Parameter(tensor(first[1]), requires_grad=scale == "learned")

    def forward(self, cosines: Tensor, target: Tensor) -> Tensor:
        """Mean over all K x N frames of a batch.

        Args:
            cosines: float32 [frames], -1..1.
            target: float32 [frames], 0..1.
        """
        return F.mse_loss(self.scale * cosines + self.bias, target)
