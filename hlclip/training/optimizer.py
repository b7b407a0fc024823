"""AdamW over the tail and the loss: learning rates by depth and by step, and averaged weights."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from hlclip.model import Tail
from hlclip.params import TrainParams
from hlclip.training.losses import Loss


def make_optimizer(tail: Tail, loss: Loss, params: TrainParams) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices, not on biases, norms and scales.

    With `layer_decay` the last block of each tower trains at `lr * layer_decay`, and each block
    before it at `layer_decay` times the rate of the next; all other weights train at `lr`. AdamW is
    fused into one kernel on CUDA; on the CPU fusing would only change the rounding.
    """
    depths = {
        id(p): depth
        for tower in (tail.image, tail.text)
        for depth, block in enumerate(list(tower.blocks)[::-1], 1)
        for p in block.parameters()
    }
    groups: dict[tuple[float, float], list[Tensor]] = {}  # (learning rate, weight decay) -> weights
    weights = list(tail.trained().values())
    for p in weights:
        rate = params.lr * params.layer_decay ** depths.get(id(p), 0)
        groups.setdefault((rate, params.weight_decay if p.ndim >= 2 else 0.0), []).append(p)
    learned = [p for p in loss.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [
            *(
                {"params": members, "lr": rate, "weight_decay": decay}
                for (rate, decay), members in groups.items()
            ),
            {"params": learned, "lr": params.scale_lr, "weight_decay": 0.0},
        ],
        lr=params.lr,
        fused=weights[0].is_cuda or None,
    )


def rate_of_step(step: int, total_steps: int, params: TrainParams) -> float:
    """The learning rate of a step, counted from 0, as a share of its peak.

    It rises linearly over the steps of `warmup`, and then follows `schedule`.
    """
    warmup = min(round(params.warmup * total_steps), total_steps - 1)
    if step < warmup:
        return (step + 1) / warmup
    if params.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total_steps - warmup)))
    return 1.0


class WeightAverage:
    """An exponential moving average of weights, which begins at their first values.

    Args:
        weights: name -> tensor, changed in place by an optimizer.
        decay: share of the average that stays in a step; with 0 the average is the weights.
    """

    def __init__(self, weights: dict[str, Tensor], decay: float) -> None:
        self._weights = weights
        self._add = get_ema_multi_avg_fn(decay) if decay else None
        self.tensors = weights
        """name -> averaged tensor."""
        if self._add:
            self.tensors = {name: tensor.detach().clone() for name, tensor in weights.items()}

    def update(self) -> None:
        """Add the weights after a step."""
        if self._add:
            self._add(list(self.tensors.values()), list(self._weights.values()), 0)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The weights have the values of the average until the end of the block."""
        if self._add is None:
            yield
            return
        kept = {name: tensor.detach().clone() for name, tensor in self._weights.items()}
        copy_tensors(self._weights, self.tensors)
        try:
            yield
        finally:
            copy_tensors(self._weights, kept)


@torch.no_grad()
def copy_tensors(to: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    """Copy values into the tensors of the same names."""
    for name, tensor in to.items():
        tensor.copy_(values[name])
