"""The scale and bias that predict the targets best from the cosines of the tail as it is."""

import numpy as np
import torch
from numpy.typing import NDArray

from hlclip.model import Tail, within_memory
from hlclip.params import TrainParams
from hlclip.training.batches import CachedQueries, load_batches
from hlclip.training.ranks import ALONE, Ranks
from hlclip.training.step import TrainError, batch_cosines


@torch.inference_mode()
def fit_scale(
    tail: Tail,
    queries: CachedQueries,
    params: TrainParams,
    *,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> tuple[float, float]:
    """Least squares of the target over the cosine, over all frames: scale and bias.

    With `loss: centred` cosines and targets are centred within the query, as in the loss; the bias,
    which has no effect there, is 0.

    Raises:
        TrainError: the scale is not positive, and training would turn the ranking around, or it is
            beyond the bounds of `scale_init`.
        DeviceError: too little memory.
    """
    count, sums, products = 0, np.zeros(2), np.zeros((2, 2))
    parts: list[tuple[int, NDArray[np.float64], NDArray[np.float64]]] = []
    order = ranks.own_batches(len(queries), params.batch)
    with within_memory("train.batch", params.batch):
        for batch in load_batches(queries, order, params.batch, device=device):
            cosines = batch_cosines(tail, batch)
            pairs = torch.stack([cosines, batch.target]).cpu().double().numpy()  # [2, frames]
            if params.loss == "centred":
                query = np.repeat(np.arange(len(batch.row_frames)), batch.row_frames)
                for row in range(len(batch.row_frames)):
                    pairs[:, query == row] -= pairs[:, query == row].mean(axis=1, keepdims=True)
            parts.append((pairs.shape[1], pairs.sum(axis=1), pairs @ pairs.T))
    for frames, part_sums, part_products in ranks.gathered(parts):
        count += frames
        sums += part_sums
        products += part_products
    means = sums / count
    covariance = products / count - np.outer(means, means)
    scale = covariance[0, 1] / covariance[0, 0] if covariance[0, 0] > 0 else 0.0
    if not 1e-6 <= scale <= 1e6:  # the bounds of train.scale_init
        raise TrainError(
            f"scale_init is fit, but the zero-shot cosines of train do not rise with the targets: "
            f"their least squares has the scale {scale:.4g}",
            "take the cosine itself, or give the scale as a number",
            settings={"train.scale": "literal", "train.scale_init": "1"},
        )
    bias = 0.0 if params.loss == "centred" else means[1] - scale * means[0]
    return float(scale), float(bias)
