"""Cached activations and ratings as batches: what training and scoring read."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hlclip.manifests import Index, Manifest
from hlclip.qvhighlights import MAX_RATING, Annotation
from hlclip.store import Store

Target = Literal["mean", "median", "max", "min"]

_AGGREGATE = {"mean": np.mean, "median": np.median, "max": np.max, "min": np.min}


@dataclass(frozen=True)
class Batch:
    """Some queries, each with all frames of its video."""

    image_tokens: Tensor
    """[frames, tokens, width] as cached: the videos one after another."""
    image_query: Tensor
    """int64 [frames]: which query of the batch."""
    text_tokens: Tensor
    """[queries, tokens, width] as cached, padded at the end."""
    text_lengths: Tensor
    """int64 [queries]."""
    target: Tensor
    """float32 [frames], 0..1; zeros where there is no ground truth."""

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(tensor.to(device) for tensor in vars(self).values()))


class CachedQueries:
    """The rows of one split whose video is in the cache.

    Args:
        rows: annotation rows; those without cached video are left out, see `absent`.
        images: manifest of the videos and the store that holds them.
        texts: the same for the queries.
        clip_seconds: length of a clip.
        target: how three ratings become one target.
    """

    def __init__(
        self,
        rows: Sequence[Annotation],
        images: tuple[Manifest, Store],
        texts: tuple[Manifest, Store],
        *,
        clip_seconds: float,
        target: Target,
    ) -> None:
        self.rows = [row for row in rows if row.vid in images[0].items]
        self.absent = len(rows) - len(self.rows)
        self._images, self._image_store = images
        self._texts, self._text_store = texts
        self.clip_seconds = clip_seconds
        self._target: Target = target

    def __len__(self) -> int:
        return len(self.rows)

    def frames(self, row: Annotation) -> int:
        """Clips of the row that have a frame: a video may be shorter or longer than annotated."""
        return min(row.clips(self.clip_seconds), self._images.items[row.vid].length)

    def batch(self, indices: Iterable[int]) -> Batch:
        """Read some rows from the store.

        Raises:
            StoreError: an item is missing or damaged.
        """
        rows = [self.rows[index] for index in indices]
        frames = [self.frames(row) for row in rows]
        images = [
            torch.from_numpy(self._image_store.read(self._images.items[row.vid])[:count])
            for row, count in zip(rows, frames, strict=True)
        ]
        texts = [
            torch.from_numpy(self._text_store.read(self._texts.items[row.query])) for row in rows
        ]
        targets = [self.target(row)[:count] for row, count in zip(rows, frames, strict=True)]
        return Batch(
            torch.cat(images),
            torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(frames)),
            torch.nn.utils.rnn.pad_sequence(texts, batch_first=True),
            torch.tensor([len(text) for text in texts]),
            torch.cat(targets),
        )

    def target(self, row: Annotation) -> Tensor:
        """What the cosines of a row regress: float32 [clips], 0 where there is no rating."""
        if row.saliency_scores is None:
            return torch.zeros(row.clips(self.clip_seconds))
        return rating_target(row.ratings(self.clip_seconds), self._target)


def cached_queries(
    index: Index, split: str, images: Manifest, texts: Manifest, *, store: Path, target: Target
) -> CachedQueries:
    """The rows of a split, with the stores that its manifests point into."""
    return CachedQueries(
        index.queries[split],
        (images, Store(store, "images", images.header)),
        (texts, Store(store, "texts", texts.header)),
        clip_seconds=index.clip_seconds,
        target=target,
    )


def rating_target(ratings: np.ndarray, target: Target) -> Tensor:
    """Aggregate the annotators and normalise the Likert scale (paper, Sec. 3.2).

    Args:
        ratings: int [clips, annotators], 0..4.
        target: aggregate over the annotators.

    Returns:
        float32 [clips], 0..1.
    """
    return torch.from_numpy(_AGGREGATE[target](ratings, axis=1) / MAX_RATING).float()


def batches(queries: CachedQueries, order: Sequence[int], size: int) -> Iterator[Batch]:
    """Batches of `size` rows in `order`; the next is read while the current one is used."""
    chunks = [order[start : start + size] for start in range(0, len(order), size)]
    with ThreadPoolExecutor(1) as reader:
        upcoming = reader.submit(queries.batch, chunks[0]) if chunks else None
        for following in [*chunks[1:], None]:
            assert upcoming is not None
            batch = upcoming.result()
            upcoming = None if following is None else reader.submit(queries.batch, following)
            yield batch
