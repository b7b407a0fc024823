"""Pieces of a step: how many frames pass the tail at once, and half of them if memory runs out."""

import logging
from typing import Literal

import torch
from torch import Tensor

from hlclip.model import DeviceError, Tail, within_memory
from hlclip.params import TrainParams
from hlclip.training.batches import Batch
from hlclip.training.losses import Loss
from hlclip.training.step import CUDA_TOKENS, accumulate_gradients, piece_sizes

log = logging.getLogger(__name__)

_FEW_FRAMES = 25
"""A piece of so few frames takes less memory than the batch that it is a part of."""


def micro_batch_frames(
    micro_batch: int | Literal["auto"], device: torch.device, frame_tokens: int
) -> int:
    """Frames of a piece in `accumulate_gradients`, from the parameter `train.micro_batch`.

    Args:
        frame_tokens: tokens of a frame.
    """
    if micro_batch != "auto":
        return micro_batch
    return 25 if device.type == "cpu" else max(1, CUDA_TOKENS // frame_tokens)


class MicroBatch:
    """Computes the gradients of batches, in pieces of `params.micro_batch` frames.

    When memory runs out, the pieces become half as long, once and for the rest of the training.
    The gradients are then the same sums in another order.

    Args:
        params: have `micro_batch` and `batch`, which a lack of memory names.
        tail, loss: as in `accumulate_gradients`.
    """

    def __init__(
        self, params: TrainParams, tail: Tail, loss: Loss, *, autocast: torch.autocast
    ) -> None:
        self._params = params
        self._tail = tail
        self._loss = loss
        self._autocast = autocast
        self._half: int | None = None
        self._whole_rows = tail.needs_whole_rows or loss.needs_whole_rows
        self.memory_taken = "train.batch", params.batch
        """The parameter to lower when the last batch does not fit, and its value."""

    def gradients(self, batch: Batch) -> Tensor:
        """Put the gradients of a batch into `.grad`; see `accumulate_gradients`.

        Raises:
            DeviceError: too little memory, also for pieces of half the size.
        """
        device, frame_tokens = batch.target.device, batch.image_tokens.shape[1]
        frames = self._half or micro_batch_frames(self._params.micro_batch, device, frame_tokens)
        sizes = piece_sizes(batch, frames, whole_rows=self._whole_rows)
        largest = max(sizes, default=0)
        # A row that no piece cuts: shorter pieces would not help.
        one_row = self._whole_rows and (
            0 < frames < largest or len(sizes) == len(batch.text_lengths)
        )
        shorter = largest > _FEW_FRAMES and not one_row
        self.memory_taken = "train.batch", self._params.batch
        if shorter:
            self.memory_taken = "train.micro_batch", largest  # changes no result but for rounding
        for parameter in (*self._tail.parameters(), *self._loss.parameters()):
            parameter.grad = None
        try:
            with within_memory(*self.memory_taken):
                return accumulate_gradients(
                    self._tail, self._loss, batch, frames=frames, autocast=self._autocast
                )
        except DeviceError as error:
            if self._half or not shorter:
                raise
            self._half = -(-largest // 2)
            log.warning(
                "%s; the steps go on with pieces of %d frames instead of %d (train.micro_batch)",
                error.reason,
                self._half,
                largest,
            )
        # Only here is the error gone, and with it all that the step had computed.
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return self.gradients(batch)
