"""What a training minimises: a loss of the cosines of a batch, computed in pieces."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn, tensor

LossName = Literal["mse"]
Scale = Literal["literal", "fixed", "learned"]


class Loss(nn.Module):
    """A loss of the prediction scale * cosine + bias against the target.

    Scale and bias change the gradients, but no ranking within a query and so no metric.

    Args:
        name: `mse` is the mean squared error over all frames of the batch (Eq. 4).
        scale: `literal` is scale 1 and bias 0, as in the paper; `fixed` keeps the given values;
            `learned` starts from them and trains them.
        scale_init, bias_init: values for `fixed` and `learned`.
    """

    def __init__(
        self, name: LossName, scale: Scale, *, scale_init: float = 1.0, bias_init: float = 0.0
    ) -> None:
        super().__init__()
        if scale == "literal":
            scale_init, bias_init = 1.0, 0.0
        self.name: LossName = name
        self.scale = nn.Parameter(tensor(scale_init), requires_grad=scale == "learned")
        self.bias = nn.Parameter(tensor(bias_init), requires_grad=scale == "learned")

    @property
    def needs_whole_rows(self) -> bool:
        """Whether the frames of a query must be in one piece."""
        return self.name != "mse"

    def forward(self, cosines: Tensor, target: Tensor, *, frames: int) -> Tensor:
        """The share of a piece in the batch's loss; the shares of all pieces add up to it.

        Args:
            cosines: float32 [frames of the piece], -1..1.
            target: float32 [frames of the piece], 0..1.
            frames: frames of the batch.
        """
        prediction = self.scale * cosines + self.bias
        # mean over the batch = sum over pieces of (mean over the piece) * (its share of frames)
        return F.mse_loss(prediction, target) * (len(target) / frames)
