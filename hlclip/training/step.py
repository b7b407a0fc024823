"""One training step: the loss, and its gradients in pieces that fit the processor's caches."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn, tensor

from hlclip.model import Tail
from hlclip.training.batches import Batch

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


def micro_batch_frames(micro_batch: int | Literal["auto"], device: torch.device) -> int:
    """Frames of a piece for `accumulate_gradients`, of the parameter `train.micro_batch`."""
    if micro_batch == "auto":
        return 25 if device.type == "cpu" else 0
    return micro_batch


def accumulate_gradients(
    tail: Tail,
    regression: Regression,
    batch: Batch,
    *,
    frames: int,
    autocast: torch.autocast,
) -> Tensor:
    """Add the gradients of the batch's mean loss to `.grad`, a piece of its frames at a time.

    The mean runs over all frames of the batch whatever the pieces are, so gradients equal those of
    the whole batch but for the order in which float32 adds; a single piece gives the same bits.
    The text tower runs once: the pieces meet its features as a leaf, whose gradient then goes
    through the tower.

    Args:
        tail, regression: on the batch's device.
        frames: of a piece; 0 for all at once.
        autocast: precision of the forward passes.

    Returns:
        float32 [], the loss, on the batch's device: reading it waits for a GPU.
    """
    total = len(batch.target)
    with autocast:
        features = tail.text(batch.text_tokens.float(), batch.text_lengths)
    texts = features.detach().requires_grad_(features.requires_grad)
    loss = torch.zeros((), device=batch.target.device)
    size = frames or total
    for tokens, query, target in zip(
        batch.image_tokens.split(size),
        batch.image_query.split(size),
        batch.target.split(size),
        strict=True,
    ):
        with autocast:
            images = tail.image(tokens.float())
            cosines = (images * texts[query]).sum(-1)
        share = regression(cosines, target) * (len(target) / total)
        share.backward()
        loss += share.detach()
    if texts.grad is not None:
        features.backward(texts.grad)
    return loss
