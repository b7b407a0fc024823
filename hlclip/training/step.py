"""What a tail computes from batches: the loss and gradients of a training step, and scores."""

from collections import deque
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from hlclip.formats import SplitScores, pack
from hlclip.model import Tail, within_memory
from hlclip.system import HlclipError
from hlclip.training.batches import Batch, CachedQueries, load_batches
from hlclip.training.losses import Loss
from hlclip.training.ranks import ALONE, Ranks

CUDA_TOKENS = 2**15
"""Tokens that pass the tail at once on CUDA: enough to use every core of a GPU. All 600 frames of a
batch of ViT-B/32 are fewer; of ViT-L/14 127 frames are as many."""


class TrainError(HlclipError):
    """There is nothing to train on, or training diverged."""


def accumulate_gradients(
    tail: Tail,
    loss: Loss,
    batch: Batch,
    *,
    frames: int,
    autocast: torch.autocast,
) -> Tensor:
    """Add the gradients of the batch's loss to `.grad`, in pieces that fit a CPU's caches.

    Of a batch that several processes share, those of the own frames: the sum over the processes is
    the gradient of the whole batch. Each runs all texts, as a loss may contrast them with all
    frames, and they take little time.

    The gradients equal those of the whole batch up to the order of float32 additions; a single
    piece gives the same bits. The text tail runs once.

    Args:
        tail, loss: on the batch's device.
        frames: most frames of a piece; 0 for all at once. Where the tail or the loss needs whole
            rows, a piece has as many whole rows as fit, and at least one.

    Returns:
        float32 [], the loss, or the own frames' share in it, on the batch's device; reading it
        waits for a GPU.
    """
    with autocast:
        features = tail.text(batch.text_tokens.float(), batch.text_lengths)  # [queries, embedding]
    # The pieces use the features as a leaf, which sums their gradients.
    texts = features.detach().requires_grad_(features.requires_grad)
    sum_of_shares = torch.zeros((), device=batch.target.device)
    sizes = piece_sizes(batch, frames, whole_rows=tail.needs_whole_rows or loss.needs_whole_rows)
    start = batch.first
    for tokens, query in zip(
        batch.image_tokens.split(sizes), batch.own_query.split(sizes), strict=True
    ):
        with autocast:
            images = tail.image_features(tokens)  # [frames of the piece, embedding]
            cosines = tail.cosines(images, texts, query)  # [frames of the piece]
            every = tail.all_cosines(images, texts, query) if loss.needs_all_queries else None
        share = loss(cosines, batch, start, all_cosines=every)
        start += len(query)
        share.backward()
        sum_of_shares += share.detach()
    if texts.grad is not None:
        # The summed gradient, [queries, embedding], passes once through the text tail.
        features.backward(texts.grad)
    return sum_of_shares


def piece_sizes(batch: Batch, frames: int, *, whole_rows: bool) -> list[int]:
    """Frames of each piece of the own frames of a batch, at most `frames`; 0 makes one piece.

    Args:
        whole_rows: no piece ends within a row. Then a longer row is a piece of its own.
    """
    total = len(batch.image_tokens)
    if total == 0:
        return []
    if not frames or frames >= total:
        return [total]
    if not whole_rows:
        return [min(frames, total - start) for start in range(0, total, frames)]
    sizes = [0]
    for row in batch.own_row_frames:
        if sizes[-1] and sizes[-1] + row > frames:
            sizes.append(0)
        sizes[-1] += row
    return sizes


def batch_cosines(tail: Tail, batch: Batch) -> Tensor:
    """Cosine of each frame with its query, float32 [frames], as `tail` gives them.

    A GPU computes the frames in pieces, which bounds the memory that a batch needs.
    """
    tokens = batch.image_tokens
    piece = scored_frames(tokens.device, tokens.shape[1]) or len(tokens)
    images = torch.cat([tail.image_features(part) for part in tokens.split(piece)])
    texts = tail.text(batch.text_tokens.float(), batch.text_lengths)
    return tail.cosines(images, texts, batch.image_query)


def scored_frames(device: torch.device, frame_tokens: int) -> int:
    """Frames that are scored at once; 0 is all of a batch."""
    return max(1, CUDA_TOKENS // frame_tokens) if device.type == "cuda" else 0


def to_host(tensor: Tensor) -> Callable[[], Tensor]:
    """Begin to copy a tensor to the host; the result waits for the copy and not for later work."""
    copy = tensor.to("cpu", non_blocking=True)
    copied = torch.cuda.Event() if tensor.is_cuda else None
    if copied is not None:
        copied.record(torch.cuda.current_stream(tensor.device))

    def read() -> Tensor:
        if copied is not None:
            copied.synchronize()
        return copy

    return read


@torch.inference_mode()
def score_queries(
    tails: Mapping[str, Tail],
    queries: CachedQueries,
    *,
    device: torch.device,
    batch: int,
    progress: str | None = None,
    ranks: Ranks = ALONE,
) -> SplitScores:
    """Score every clip of every query with each tail in float32; each batch is read once.

    Several `ranks` share the batches; each gets the scores of all, the bits of one process.

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
    batches: list[dict[str, list[NDArray[np.float32]]]] = []
    sent: deque[tuple[dict[str, Callable[[], Tensor]], list[int]]] = deque()
    order = ranks.own_batches(len(queries), batch)
    hidden = True if progress is None else None  # None hides the bar where there is no terminal

    def read() -> None:
        copies, frames = sent.popleft()
        batches.append({})
        for name, copied in copies.items():
            scores = copied()
            if not (scores.isfinite().all() and scores.any()):  # 0 is 1 / infinity
                raise TrainError(
                    f"the scores of {name} are NaN or all 0: its weights overflow",
                    "train with a lower learning rate (train.lr), or take other weights",
                )
            batches[-1][name] = [part.numpy() for part in scores.split(frames)]

    with (
        within_memory("train.batch", batch),
        tqdm(total=len(order), desc=progress, unit="query", disable=hidden) as bar,
    ):
        for inputs in load_batches(queries, order, batch, device=device):
            cosines = {name: to_host(batch_cosines(tail, inputs)) for name, tail in tails.items()}
            sent.append((cosines, inputs.row_frames))
            while len(sent) > (1 if device.type == "cuda" else 0):  # as in `EpochLoss`
                read()
            bar.update(len(inputs.row_frames))
        while sent:
            read()
    qids = [row.qid for row in queries.rows]
    batches = ranks.gathered(batches)
    lines = {name: [line for part in batches for line in part[name]] for name in tails}
    by_qid = {name: dict(zip(qids, each, strict=True)) for name, each in lines.items()}
    return pack(queries.every_row, by_qid)
