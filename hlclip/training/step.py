"""What a tail computes from batches: the loss and gradients of a training step, and scores."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn, tensor
from tqdm import tqdm

from hlclip.formats import SplitScores, pack
from hlclip.model import Tail, within_memory
from hlclip.system import HlclipError
from hlclip.training.batches import Batch, CachedQueries, load_batches

Scale = Literal["literal", "fixed", "learned"]


class TrainError(HlclipError):
    """There is nothing to train on, or training diverged."""


class Regression(nn.Module):
    """Mean squared error of scale * cosine + bias against the target.

    Scale and bias change the gradients, but no ranking within a query and so no metric.

    Args:
        scale: `literal` is scale 1 and bias 0, as in the paper; `fixed` keeps the given values;
            `learned` starts from them and trains them.
        scale_init, bias_init: values for `fixed` and `learned`.
    """

    def __init__(self, scale: Scale, *, scale_init: float = 1.0, bias_init: float = 0.0) -> None:
        super().__init__()
        if scale == "literal":
            scale_init, bias_init = 1.0, 0.0
        self.scale = nn.Parameter(tensor(scale_init), requires_grad=scale == "learned")
        self.bias = nn.Parameter(tensor(bias_init), requires_grad=scale == "learned")

    def forward(self, cosines: Tensor, target: Tensor) -> Tensor:
        """Mean over all frames.

        Args:
            cosines: float32 [frames], -1..1.
            target: float32 [frames], 0..1.
        """
        return F.mse_loss(self.scale * cosines + self.bias, target)


def micro_batch_frames(micro_batch: int | Literal["auto"], device: torch.device) -> int:
    """Frames of a piece in `accumulate_gradients`, from the parameter `train.micro_batch`."""
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
    """Add the gradients of the batch's mean loss to `.grad`, in pieces that fit a CPU's caches.

    The mean is over all frames of the batch, so the gradients equal those of the whole batch up to
    the order of float32 additions; a single piece gives the same bits. The text tail runs once.

    Args:
        tail, regression: on the batch's device.
        frames: frames of a piece; 0 for all at once.

    Returns:
        float32 [], the loss, on the batch's device; reading it waits for a GPU.
    """
    total = len(batch.target)
    with autocast:
        features = tail.text(batch.text_tokens.float(), batch.text_lengths)  # [queries, embedding]
    # The pieces use the features as a leaf, which sums their gradients.
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
            images = tail.image(tokens.float())  # [frames of the piece, embedding]
            cosines = (images * texts[query]).sum(-1)  # [frames of the piece]
        # mean over the batch = sum over pieces of (mean over the piece) * (its share of frames)
        share = regression(cosines, target) * (len(target) / total)
        share.backward()
        loss += share.detach()
    if texts.grad is not None:
        # The summed gradient, [queries, embedding], passes once through the text tail.
        features.backward(texts.grad)
    return loss


@torch.inference_mode()
def score_queries(
    tails: Mapping[str, Tail],
    queries: CachedQueries,
    *,
    device: torch.device,
    batch: int,
    progress: str | None = None,
) -> SplitScores:
    """Score every clip of every query with each tail in float32; each batch is read once.

    Args:
        tails: name -> tail, on `device`.
        batch: queries per forward pass.
        progress: title of a progress bar; None for no bar.

    Returns:
        Cosines of all rows of the split, those without a cached video included.

    Raises:
        TrainError: the weights of a tail overflow.
        DeviceError: too little memory.
    """
    cosines: dict[str, list[NDArray[np.float32]]] = {name: [] for name in tails}
    hidden = True if progress is None else None  # None hides the bar where there is no terminal
    with (
        within_memory("train.batch", batch),
        tqdm(total=len(queries), desc=progress, unit="query", disable=hidden) as bar,
    ):
        for inputs in load_batches(queries, range(len(queries)), batch, device=device):
            frames = torch.bincount(inputs.image_query, minlength=len(inputs.text_lengths)).tolist()
            for name, tail in tails.items():
                scores = tail(
                    inputs.image_tokens, inputs.image_query, inputs.text_tokens, inputs.text_lengths
                ).cpu()
                if not (scores.isfinite().all() and scores.any()):  # 0 is 1 / infinity
                    raise TrainError(
                        f"the scores of {name} are NaN or all 0: its weights overflow",
                        "train with a lower learning rate (train.lr), or take other weights",
                    )
                cosines[name] += [part.numpy() for part in scores.split(frames)]
            bar.update(len(frames))
    qids = [row.qid for row in queries.rows]
    by_qid = {name: dict(zip(qids, lines, strict=True)) for name, lines in cosines.items()}
    return pack(queries.every_row, by_qid)
