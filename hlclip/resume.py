"""What an interrupted training needs to go on to the same result, saved after every epoch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hlclip.files import replacing


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
        # To a file of our own: torch's own says nothing of a full disk.
        with replacing(path) as temporary, temporary.open("wb") as file:
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
                file,
            )

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote; no code in the file is run."""
        saved = torch.load(path, map_location="cpu", weights_only=True)
        with torch.no_grad():
            for name, tensor in self.trained.items():
                tensor.copy_(saved["trained"][name])
        self.regression.load_state_dict(saved["regression"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.last_epoch = saved["schedule"]
        self.history = saved["history"]
        self.chosen = saved["chosen"]
        self.chosen_tensors = saved["chosen_tensors"]
