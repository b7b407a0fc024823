"""Fit the tail to the ratings by epochs of AdamW; an interrupted fit resumes to the same result."""

import hashlib
import io
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor
from tqdm import tqdm

from hlclip.formats import find_not_finite
from hlclip.model import Tail, autocast, within_memory
from hlclip.params import TrainParams
from hlclip.system import HlclipError, naming, write_table, write_whole
from hlclip.training.batches import CachedQueries, load_batches
from hlclip.training.epoch_loss import EpochLoss, diverged
from hlclip.training.least_squares import fit_scale
from hlclip.training.losses import Loss, make_loss
from hlclip.training.optimizer import (
    WeightAverage,
    copy_tensors,
    make_optimizer,
    rate_of_step,
)
from hlclip.training.ranks import ALONE, ProcessesError, Ranks
from hlclip.training.step import accumulate_gradients, micro_batch_frames, piece_sizes

log = logging.getLogger(__name__)


class ResumeError(HlclipError):
    """A saved training state is damaged; training has to begin again."""


HISTORY: tuple[str, ...] = ("epoch", "loss", "lr", "val_mAP", "val_HIT@1")
"""Columns of the history: epoch from 1, mean over the epoch's frames of the loss at the time of
each step, learning rate of the last step (of the heads, if it differs by layer), and VeryGood
metrics on val as `select_on` says, in percent (None without ground truth). They are those of
`figures.json`: each row of val counts. Of other data sets than QVHighlights val_mAP is the headline
metric, and val_HIT@1 is None."""

Validate = Callable[[Tail], tuple[float, float | None]]
"""Headline metric (VeryGood mAP) and HIT@1 of a tail, in percent."""

_DIGEST_BYTES = 16

_FEW_FRAMES = 25
"""A piece of so few frames takes less memory than the batch that it is a part of."""


@dataclass
class TrainingState:
    """Everything of a training run that changes from step to step."""

    trained: dict[str, Tensor]
    """open_clip's parameter name -> the tail's trainable parameter, changed in place."""
    loss: Loss
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    average: WeightAverage
    """Of `trained`: what is validated and kept."""
    fitted: tuple[float, float] | None = None
    """Scale and bias at the start, where they are fitted to the zero-shot cosines."""
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
            "loss": self.loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.last_epoch,
            "average": {name: tensor.detach() for name, tensor in self.average.tensors.items()},
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
        with naming(path):
            content = path.read_bytes()
        digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if digest != _digest(path, content):  # torch.load does not notice flipped bits
            raise ResumeError(f"{path}: damaged, its bytes do not match its digest")
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        copy_tensors(self.trained, saved["trained"])
        copy_tensors(self.average.tensors, saved["average"])
        self.loss.load_state_dict(saved["loss"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.last_epoch = saved["schedule"]
        self.fitted = saved["fitted"]
        self.history = saved["history"]
        self.chosen = saved["chosen"]
        self.chosen_tensors = saved["chosen_tensors"]


def set_up_tail(tail: Tail, params: TrainParams) -> Tail:
    """Add the temporal head that `params` name, and make exactly what trains trainable."""
    if params.temporal == "conv":
        tail.add_temporal(
            width=params.temporal_width,
            kernel=params.temporal_kernel,
            depth=params.temporal_depth,
            seed=params.seed,
        )
    return tail.train_only(params.blocks, params.heads)


def fit_tail(
    tail: Tail,
    queries: CachedQueries,
    params: TrainParams,
    *,
    device: torch.device,
    validate: Validate | None,
    resume: Path | None = None,
    history: Path | None = None,
    ranks: Ranks = ALONE,
) -> TrainingState:
    """Minimise `params.loss` with AdamW over `params.epochs` epochs; `tail` ends at the last epoch.

    Args:
        tail: on `device`, from `set_up_tail`; changed in place.
        queries: the train split.
        validate: computes the metrics on val after each epoch.
        resume: state file, written after each epoch; if it exists, training resumes from it.
        history: CSV file, rewritten after each epoch for readers during training.
        ranks: those that train together, all with the same arguments; the first writes the files.

    Raises:
        ProcessesError: another process ended, or has read another state.
        TrainError: a loss or, after an epoch, a parameter is not finite.
        DeviceError: too little memory.
    """
    steps = math.ceil(len(queries) / params.batch)
    total_steps = steps * params.epochs
    state = _begin(tail, queries, params, total_steps, device=device, resume=resume, ranks=ranks)
    loss, optimizer, average = state.loss, state.optimizer, state.average
    piece = micro_batch_frames(params.micro_batch, device)
    whole_rows = tail.needs_whole_rows or loss.needs_whole_rows
    precision = autocast(device, params.precision)
    weights = [p for group in optimizer.param_groups for p in group["params"]]

    first = len(state.history) + 1
    hidden = None if ranks.first else True  # None hides the bar where there is no terminal
    with tqdm(total=total_steps, initial=steps * (first - 1), unit="step", disable=hidden) as bar:
        for epoch in range(first, params.epochs + 1):
            bar.set_description(f"epoch {epoch}/{params.epochs}")
            order = epoch_order(len(queries), params.seed, epoch)
            losses, lr = EpochLoss(epoch, params), params.lr
            for batch in load_batches(queries, order, params.batch, device=device, ranks=ranks):
                optimizer.zero_grad(set_to_none=True)
                sizes = piece_sizes(batch, piece, whole_rows=whole_rows)
                largest = max(sizes, default=0)
                one_row = whole_rows and (
                    0 < piece < largest or len(sizes) == len(batch.text_lengths)
                )
                with within_memory(*_memory_taken(largest, params, one_row=one_row)):
                    value = accumulate_gradients(
                        tail, loss, batch, frames=piece, autocast=precision
                    )
                    value = ranks.add_gradients(weights, value)
                    optimizer.step()
                    average.update()
                lr = params.lr * rate_of_step(state.schedule.last_epoch, total_steps, params)
                state.schedule.step()
                losses.add(value, len(batch.target))
                if bar.update():  # true when the bar was drawn, which is seldom
                    bar.set_postfix(loss=f"{losses.mean_read():.4f}", refresh=False)
            mean = losses.mean()
            _check_finite(state, params, epoch)
            with average.in_place():
                quality = validate(tail) if validate is not None else (None, None)
            line = (epoch, mean, lr, *quality)
            state.history.append(dict(zip(HISTORY, line, strict=True)))
            log.info("epoch %2d: loss %.4f, val mAP %s, HIT@1 %s", *line[:2], *quality)
            _choose(state, params)
            if resume is not None and ranks.first:
                state.save(resume)
            if history is not None and ranks.first:
                write_history(history, state.history)
    return state


def _begin(
    tail: Tail,
    queries: CachedQueries,
    params: TrainParams,
    total_steps: int,
    *,
    device: torch.device,
    resume: Path | None,
    ranks: Ranks,
) -> TrainingState:
    """The state before the first epoch, or that of the file `resume`."""
    loss = make_loss(params).to(device)
    optimizer = make_optimizer(tail, loss, params)
    rate = partial(rate_of_step, total_steps=total_steps, params=params)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    average = WeightAverage(tail.trained(), params.ema)
    state = TrainingState(tail.trained(), loss, optimizer, schedule, average)
    if resume is not None:
        try:
            state.load(resume)
            log.info("training resumes after epoch %d of %d", len(state.history), params.epochs)
        except FileNotFoundError:
            pass  # the usual case; a check before would race with an equal run that ends
        except ResumeError as error:
            log.warning("%s; training begins again", error)
    finished = ranks.gathered([len(state.history)])
    if len(set(finished)) > 1:
        raise ProcessesError(
            f"the processes would resume after different epochs: {finished}",
            "give all machines the same store (HLCLIP_STORE), then run again",
        )
    if not state.history and params.scale_init == "fit":
        state.fitted = fit_scale(tail, queries, params, device=device, ranks=ranks)
        loss.start(*state.fitted)
        log.info("zero-shot least squares on train: scale %.4g, bias %.4g", *state.fitted)
    return state


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    """Write the history as CSV, one line per epoch, for DVC's plots."""
    write_table(path, [HISTORY, *([line.get(name) for name in HISTORY] for line in history)])


def _choose(state: TrainingState, params: TrainParams) -> None:
    """Keep the last epoch's weights if `select` is last, or its val mAP the best so far."""
    last = state.history[-1]
    best = state.history[state.chosen - 1]["val_mAP"] if state.chosen else None
    if params.select == "last" or best is None or last["val_mAP"] > best:
        state.chosen = last["epoch"]
        state.chosen_tensors = {
            n: p.detach().cpu().clone() for n, p in state.average.tensors.items()
        }


def _check_finite(state: TrainingState, params: TrainParams, epoch: int) -> None:
    """Refuse weights that a finite loss led out of the range of float32."""
    weights = state.trained | dict(state.loss.named_parameters())
    problem = find_not_finite({n: p.detach().cpu().numpy() for n, p in weights.items()})
    if problem:
        raise diverged(f"after epoch {epoch} {problem}", params)


def _memory_taken(frames: int, params: TrainParams, *, one_row: bool) -> tuple[str, int]:
    """The parameter to lower when a piece of so many frames does not fit, and its value.

    Args:
        one_row: the piece is a row that no `micro_batch` cuts.
    """
    if frames > _FEW_FRAMES and not one_row:
        return "train.micro_batch", frames  # changes no result but for rounding
    return "train.batch", params.batch


def _digest(path: Path, content: bytes) -> bytes:
    """Digest of the content and of the file's name, which identifies the training."""
    digest = xxhash.xxh3_128(path.name.encode())
    digest.update(content)
    return digest.digest()


def epoch_order(rows: int, seed: int, epoch: int) -> list[int]:
    """Order of the rows in an epoch; it depends on nothing else, so a resumed run has the same."""
    digest = hashlib.sha256(f"{seed} {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
    return torch.randperm(rows, generator=generator).tolist()
