"""The mean loss of an epoch; a loss that is not finite ends the training at its step."""

import math
from collections import deque
from collections.abc import Callable

from torch import Tensor

from hlclip.params import TrainParams
from hlclip.training.step import TrainError, to_host


class EpochLoss:
    """Sums the losses of the steps of an epoch.

    A GPU's losses are read one step late: to read the loss of the step that was just started would
    make the CPU wait, and then the GPU would run out of work.

    Args:
        epoch: number of the epoch, for the error.
        params: have the learning rates that the error advises to lower.
    """

    def __init__(self, epoch: int, params: TrainParams) -> None:
        self._epoch = epoch
        self._params = params
        self._sent: deque[tuple[Callable[[], Tensor], int]] = deque()
        self._sum = 0.0
        self._frames = 0
        self._steps = 0

    def add(self, loss: Tensor, frames: int) -> None:
        """Add a step's mean loss over so many frames.

        Raises:
            TrainError: this loss, or on a GPU the one before, is not finite.
        """
        self._sent.append((to_host(loss), frames))
        while len(self._sent) > (1 if loss.is_cuda else 0):
            self._read()

    def mean_read(self) -> float:
        """Mean over the frames of the losses read so far; NaN before the first."""
        return self._sum / self._frames if self._frames else math.nan

    def mean(self) -> float:
        """Mean over the frames of all losses; waits for a GPU.

        Raises:
            TrainError: the last loss is not finite.
        """
        while self._sent:
            self._read()
        return self.mean_read()

    def _read(self) -> None:
        read, frames = self._sent.popleft()
        loss = read().item()
        self._steps += 1
        if not math.isfinite(loss):
            raise diverged(
                f"the loss of step {self._steps} in epoch {self._epoch} is {loss}", self._params
            )
        self._sum += loss * frames
        self._frames += frames


def diverged(reason: str, params: TrainParams) -> TrainError:
    """The error of a training that diverged; its remedy is a tenth of the learning rates."""
    lower = {"train.lr": f"{params.lr / 10:g}"}
    if params.scale == "learned":
        lower["train.scale_lr"] = f"{params.scale_lr / 10:g}"
    return TrainError(reason, "lower the learning rate", settings=lower)
