"""The processes of one training: which rows are whose, and what they exchange."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from hlclip.model import DeviceError, pick_device
from hlclip.system import HlclipError

Part = TypeVar("Part")

RESUMES = "run again: the training resumes after its last whole epoch"

_PATIENCE_SECONDS = 5
"""The launcher looks more often than that, and ends the others when one process has ended."""


class ProcessesError(HlclipError):
    """A process of a training ended, or there are others than `train.processes` asks for."""


@dataclass(frozen=True)
class Ranks:
    """This process among all that train together.

    Every process has the whole weights, takes the same steps, and knows all facts of a batch but
    the image tokens, of which it reads those of its own rows.
    """

    rank: int = 0
    """0 .. count - 1; the first writes the results."""
    count: int = 1
    local_rank: int = 0
    """0 .. local_count - 1: number of the GPU."""
    local_count: int = 1
    """Processes on this machine."""

    @classmethod
    def of_this_process(cls) -> "Ranks":
        """From the environment that `torchrun` and `launch` set."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return cls(*(int(os.environ[name]) for name in names))

    @property
    def first(self) -> bool:
        """Whether this process writes what all have computed."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """The device of this process: with several on GPUs, each has its own.

        Args:
            name: `train.device`.

        Raises:
            DeviceError: not a device, not on this machine, or too few GPUs.
        """
        gpus = torch.cuda.device_count()
        if self.count == 1 or name == "cpu" or not gpus:
            return pick_device(name)
        if gpus < self.local_count:
            raise DeviceError(
                f"{self.local_count} processes train on this machine, each on a GPU of its own, "
                f"but torch finds {gpus}",
                "train with fewer",
                settings={"train.processes": self.count // self.local_count * gpus},
            )
        torch.cuda.set_device(self.local_rank)
        return pick_device(f"cuda:{self.local_rank}")

    def own_rows(self, rows: int) -> slice:
        """The rows of a batch of so many whose frames this process takes; none if there are few."""
        return slice(rows * self.rank // self.count, rows * (self.rank + 1) // self.count)

    def own_batches(self, rows: int, size: int) -> list[int]:
        """The rows of every `count`-th batch of `size` rows, of so many rows in their order.

        Whole batches, so that their results have the bits that one process computes.
        """
        return [row for row in range(rows) if row // size % self.count == self.rank]

    def gathered(self, parts: Sequence[Part]) -> list[Part]:
        """One result for each of `own_batches`, from every process, in the order of the batches."""
        if self.count == 1:
            return list(parts)
        every: list[Sequence[Part]] = [()] * self.count
        with _exchanging():
            dist.all_gather_object(every, parts)
        total = sum(map(len, every))
        return [every[number % self.count][number // self.count] for number in range(total)]

    def agreed(self, value: Part) -> Part:
        """The value that the first process has."""
        return self.gathered([value])[0]

    @torch.no_grad()
    def add_gradients(self, weights: Sequence[Tensor], loss: Tensor) -> Tensor:
        """Add up the gradients of all processes in `.grad`; return the sum of their losses.

        One exchange of all numbers. A process without gradients, because a batch has fewer rows
        than there are processes, adds zeros. Every process gets the same bits.
        """
        if self.count == 1:
            return loss
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in weights]
        flat = torch.cat([part.reshape(-1) for part in (*parts, loss)])
        with _exchanging():
            dist.all_reduce(flat)
        *sums, total = flat.split([p.numel() for p in (*weights, loss)])
        for p, gradient in zip(weights, sums, strict=True):
            p.grad = gradient.view_as(p)
        return total.reshape(())


ALONE = Ranks()
"""One process."""


@contextmanager
def _exchanging() -> Iterator[None]:
    """Turn a lost connection into an error, after the launcher has seen which process ended."""
    try:
        yield
    except RuntimeError as error:  # what torch raises for each of its backends
        time.sleep(_PATIENCE_SECONDS)
        raise ProcessesError(
            f"the exchange with the other processes failed: {str(error).splitlines()[0]}",
            f"see the message of the process that ended first, then {RESUMES}",
        ) from error
