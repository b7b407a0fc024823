"""What an interrupted training needs to go on to the same result, saved after every epoch."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor, nn

from hlclip.system import HlclipError, write_whole

_DIGEST_BYTES = 16


class ResumeError(HlclipError):
    """A saved state is damaged; training has to begin again."""


@dataclass
class TrainingState:
    """Everything of a training run that changes from step to step."""

    trained: dict[str, Tensor]
    """The tail's parameters that train, by open_clip's names; live."""
    regression: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry an epoch that is done."""
    chosen: int = 0
    """Epoch whose weights are kept, counted from 1; 0 before the first."""
    chosen_tensors: dict[str, Tensor] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        content = io.BytesIO()
        torch.save(
            {
                "trained": {name: tensor.detach() for name, tensor in self.trained.items()},
                "regression": self.regression.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.last_epoch,
                "history": self.history,
                "chosen": self.chosen,
                "chosen_tensors": self.chosen_tensors,
            },
            content,
        )
        saved = content.getvalue()
        write_whole(path, _digest(path, saved) + saved)

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote under this name; no code in the file is run.

        Raises:
            FileNotFoundError: there is none.
            ResumeError: it is damaged, or another training's.
        """
        content = path.read_bytes()
        # torch.load takes flipped bits for weights.
        if content[:_DIGEST_BYTES] != _digest(path, content[_DIGEST_BYTES:]):
            raise ResumeError(f"{path}: damaged, its bytes do not match its digest")
        saved = torch.load(
            io.BytesIO(content[_DIGEST_BYTES:]), map_location="cpu", weights_only=True
        )
        with torch.no_grad():
            for name, tensor in self.trained.items():
                tensor.copy_(saved["trained"][name])
        self.regression.load_state_dict(saved["regression"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.last_epoch = saved["schedule"]
        self.history = saved["history"]
        self.chosen = saved["chosen"]
        self.chosen_tensors = saved["chosen_tensors"]


def _digest(path: Path, content: bytes) -> bytes:
    """Also over the file's name, which says what training it is of."""
    hashed = xxhash.xxh3_128(path.name.encode())
    hashed.update(content)
    return hashed.digest()
