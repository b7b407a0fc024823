"""The saved state from which an interrupted training resumes to the same result."""

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
    """A saved training state is damaged; training has to begin again."""


@dataclass
class TrainingState:
    """Everything of a training run that changes from step to step."""

    trained: dict[str, Tensor]
    """open_clip's parameter name -> the tail's trainable parameter, changed in place."""
    regression: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry per finished epoch."""
    chosen: int = 0
    """Epoch whose weights are kept, counted from 1; 0 before the first."""
    chosen_tensors: dict[str, Tensor] = field(default_factory=dict)
    """The weights after that epoch, by open_clip's names."""

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        saved = vars(self) | {
            "trained": {name: tensor.detach() for name, tensor in self.trained.items()},
            "regression": self.regression.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.last_epoch,
        }
        content = io.BytesIO()
        torch.save(saved, content)
        write_whole(path, _digest(path, content.getvalue()) + content.getvalue())

    def load(self, path: Path) -> None:
        """Restore what `save` wrote under this name; no code in the file is run.

        Raises:
            FileNotFoundError: no such file.
            ResumeError: damaged, or the state of another training.
        """
        content = path.read_bytes()
        digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if digest != _digest(path, content):  # torch.load does not notice flipped bits
            raise ResumeError(f"{path}: damaged, its bytes do not match its digest")
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
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
    """Digest of the content and of the file's name, which identifies the training."""
    digest = xxhash.xxh3_128(path.name.encode())
    digest.update(content)
    return digest.digest()
