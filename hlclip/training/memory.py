"""GPU memory that training steps and scores need, from the model and the batches."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from hlclip.model import Tail, autocast
from hlclip.params import TrainParams
from hlclip.training.batches import Batch, CachedQueries
from hlclip.training.losses import make_loss
from hlclip.training.micro_batch import micro_batch_frames
from hlclip.training.step import CUDA_TOKENS

_OTHER = 2**29
"""Bytes for the workspaces of libraries, and for what is lost between allocations."""

_SCORED_WIDTHS = 12
"""Numbers that a block holds for each channel of a token when it scores: its input, queries, keys
and values, and the hidden layer of the MLP twice."""


def step_bytes(
    tail: Tail, queries: CachedQueries, params: TrainParams, *, device: torch.device
) -> int:
    """GPU memory that a training on these rows needs in addition to the weights.

    Those are gradients, the state of AdamW and averages; what a piece of a step keeps for its
    backward pass, and as much again for what comes and goes; the batches, and validation.

    Args:
        tail: on `device`, from `set_up_tail`.
        queries: of any split; one row is read.
    """
    example = queries.batch([queries.longest_query()]).to(device)
    a_frame, a_query = kept_bytes(tail, example, autocast(device, params.precision))
    trained = sum(p.numel() for p in tail.trained().values())
    in_step = queries.most_frames(-(-params.batch // params.processes))
    frames = micro_batch_frames(params.micro_batch, device, example.image_tokens.shape[1])
    if tail.needs_whole_rows or make_loss(params).needs_whole_rows:
        frames = max(frames, queries.most_frames(1)) if frames else 0
    piece = min(frames, in_step) if frames else in_step
    # AdamW keeps two numbers of each weight, and an average two; several processes exchange one.
    weights = 4 * trained * (3 + 2 * (params.ema > 0) + 2 * (params.processes > 1))
    step = 2 * (piece * a_frame + params.batch * a_query)
    return weights + step + score_bytes(queries, params.batch)


def score_bytes(queries: CachedQueries, batch: int) -> int:
    """GPU memory that it takes to score these rows, in addition to the weights.

    Args:
        queries: at least one row, of which one is read.
        batch: queries per forward pass.
    """
    a_frame = queries.batch([0]).image_tokens[0]  # [tokens, width]
    in_batches = 3 * queries.most_frames(batch) * a_frame.nbytes  # one is used, two are under way
    return in_batches + 4 * CUDA_TOKENS * _SCORED_WIDTHS * a_frame.shape[1] + _OTHER


def kept_bytes(tail: Tail, example: Batch, precision: torch.autocast) -> tuple[int, int]:
    """Bytes that the tail keeps for the backward pass, of a frame and of a query.

    Weights, and their copies in the precision of the step, are not counted.

    Args:
        example: at least one frame and one query, on the tail's device.
    """

    def images(copies: int) -> Tensor:
        return tail.image_features(example.image_tokens[:1].repeat(copies, 1, 1))

    def texts(copies: int) -> Tensor:
        tokens = example.text_tokens[:1].repeat(copies, 1, 1)
        return tail.text(tokens.float(), example.text_lengths[:1].repeat(copies))

    with precision:
        return _kept(images, 3) - _kept(images, 2), _kept(texts, 3) - _kept(texts, 2)


def _kept(compute: Callable[[int], Tensor], copies: int) -> int:
    """Bytes of all memory that autograd keeps of a computation, weights included."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()  # views of one tensor are kept once
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        result = compute(copies)
    del result  # until here it holds all of them, so that no address is used twice
    return sum(kept.values())
