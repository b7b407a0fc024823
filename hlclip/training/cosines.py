"""Cosines of a tail over cached queries."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from hlclip.model import Tail
from hlclip.training.batches import CachedQueries, load_batches


@torch.inference_mode()
def score_queries(
    tails: Mapping[str, Tail],
    queries: CachedQueries,
    *,
    device: torch.device,
    batch: int,
    autocast: torch.autocast,
    progress: str | None = None,
) -> dict[str, list[NDArray[np.float32]]]:
    """Score every clip of every query with each tail; each batch is read once.

    The videos of two batches are held at once.

    Args:
        tails: name -> tail, on `device`.
        batch: queries per forward pass.
        autocast: precision of the forward pass.
        progress: title of a progress bar; None for no bar.

    Returns:
        name -> one float32 [clips] a query in the order of `queries.rows`, -1..1.
    """
    cosines: dict[str, list[NDArray[np.float32]]] = {name: [] for name in tails}
    hidden = True if progress is None else None  # None hides the bar where there is no terminal
    with tqdm(total=len(queries), desc=progress, unit="query", disable=hidden) as bar:
        for inputs in load_batches(queries, range(len(queries)), batch, device=device):
            frames = torch.bincount(inputs.image_query, minlength=len(inputs.text_lengths)).tolist()
            for name, tail in tails.items():
                with autocast:
                    scores = tail(
                        inputs.image_tokens,
                        inputs.image_query,
                        inputs.text_tokens,
                        inputs.text_lengths,
                    )
                cosines[name] += [part.numpy() for part in scores.float().cpu().split(frames)]
            bar.update(len(frames))
    return cosines
