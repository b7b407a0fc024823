"""One training step's loss and gradients, computed in pieces that fit the processor's caches."""

from typing import Literal

import torch
from torch import Tensor

from hlclip.model.tail import Tail
from hlclip.training.batches import Batch
from hlclip.training.loss import Regression


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
