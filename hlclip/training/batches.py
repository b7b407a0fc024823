"""Cached activations and ratings as batches: what training and scoring read."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hlclip.formats import MAX_RATING, Annotation, Index, Item, Manifest
from hlclip.store import Store
from hlclip.training.token_sources import Each, FromDisk, Place, Source, source

Target = Literal["mean", "median", "max", "min"]

READERS = 2
"""Threads that read the items of a batch: one alone does not fill a disk or the memory's bus."""

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
        """The batch on `device`; from pinned memory the copy may still be under way."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in vars(self).values()))


class CachedQueries:
    """The rows of one split whose video is in the cache.

    Args:
        rows: annotation rows; those without cached video are left out, see `absent`.
        images: manifest of the videos and the store that holds them.
        texts: the same for the queries.
        target: how three ratings become one target.
    """

    def __init__(
        self,
        rows: Sequence[Annotation],
        images: tuple[Manifest, Store],
        texts: tuple[Manifest, Store],
        *,
        target: Target,
    ) -> None:
        self.rows = [row for row in rows if row.vid in images[0].items]
        self.absent = len(rows) - len(self.rows)
        self._images, self._image_store = images
        self._texts, self._text_store = texts
        self._sources: tuple[Source, Source] | None = None
        self._target: Target = target

    def __len__(self) -> int:
        return len(self.rows)

    def frames(self, row: Annotation) -> int:
        """Clips of the row that have a frame: a video may be shorter or longer than annotated."""
        return min(row.clips, self._images.items[row.vid].length)

    def keep_in_memory(self, device: torch.device) -> Place:
        """From now on, keep what is read where training on `device` reads it best.

        Returns:
            Where the image tokens live: on a CPU that is the disk, which the page cache serves.
        """
        images, texts = self._items()
        texts_source, _ = source(self._text_store, texts, device=device)
        images_source, place = source(self._image_store, images, device=device)
        self._sources = images_source, texts_source
        return place

    def batch(self, indices: Iterable[int], *, each: Each = map) -> Batch:
        """Some rows, on the CPU or where `keep_in_memory` keeps them.

        The memory is used again: a batch is valid until the next but one is asked for.

        Args:
            indices: at least one row.
            each: `map`, or a thread pool's: what calls the reading of each video's tokens.

        Raises:
            StoreError: an item is missing or damaged.
        """
        if self._sources is None:
            images, texts = self._items()
            self._sources = (
                FromDisk(self._image_store, images[0]),
                FromDisk(self._text_store, texts[0]),
            )
        rows = [self.rows[index] for index in indices]
        frames = [self.frames(row) for row in rows]
        images, texts = self._items(rows)
        lengths = [text.length for text in texts]
        images_source, texts_source = self._sources
        # Files of a few kilobytes: handing them to threads costs more than reading them.
        tokens = texts_source.gather([(text, text.length) for text in texts])
        return Batch(
            images_source.gather(list(zip(images, frames, strict=True)), each),
            torch.from_numpy(np.repeat(np.arange(len(rows)), frames)),
            _padded(tokens.split(lengths)),
            torch.tensor(lengths),
            torch.cat([self.target(row)[:n] for row, n in zip(rows, frames, strict=True)]),
        )

    def _items(self, rows: Sequence[Annotation] | None = None) -> tuple[list[Item], list[Item]]:
        rows = self.rows if rows is None else rows
        return (
            [self._images.items[row.vid] for row in rows],
            [self._texts.items[row.query] for row in rows],
        )

    def target(self, row: Annotation) -> Tensor:
        """What the cosines of a row regress: float32 [clips], 0 where there is no rating."""
        if row.saliency_scores is None:
            return torch.zeros(row.clips)
        return rating_target(row.ratings(), self._target)


def cached_queries(
    index: Index, split: str, images: Manifest, texts: Manifest, *, store: Path, target: Target
) -> CachedQueries:
    """The rows of a split, with the stores that its manifests point into."""
    return CachedQueries(
        index.queries[split],
        (images, Store(store, "images", images.header)),
        (texts, Store(store, "texts", texts.header)),
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


def load_batches(
    queries: CachedQueries, order: Sequence[int], size: int, *, device: torch.device
) -> Iterator[Batch]:
    """Batches of `size` rows in `order` on `device`; the next is made while one is used.

    The videos of `2 * size` rows are held at once, and one more for each of the `READERS` while it
    is read for the first time; in addition to what `keep_in_memory` keeps. A batch is valid until
    the next is asked for.
    """
    chunks = [order[start : start + size] for start in range(0, len(order), size)]
    stream = _copying(device)

    def make(chunk: Sequence[int]) -> Batch:
        with torch.cuda.stream(stream):
            batch = queries.batch(chunk, each=readers.map).to(device)
        if stream is not None:
            stream.synchronize()  # after it, what the batch was copied from may be overwritten
        return batch

    with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(1) as ahead:
        upcoming = ahead.submit(make, chunks[0]) if chunks else None
        for following in [*chunks[1:], None]:
            assert upcoming is not None
            batch = upcoming.result()
            upcoming = None if following is None else ahead.submit(make, following)
            if stream is not None:
                for tensor in vars(batch).values():  # its memory is not the next batch's too early
                    tensor.record_stream(torch.cuda.current_stream(device))
            yield batch


def _padded(queries: Sequence[Tensor]) -> Tensor:
    """[queries, tokens, width], zeros behind a query's last token.

    On the CPU by NumPy: torch would share the copying out to threads. Those of this thread and
    those of the training step together are more than the processor has, and OpenMP then lets all
    of them sleep where they meet: 3 % of an epoch.
    """
    if queries[0].is_cuda:
        return torch.nn.utils.rnn.pad_sequence(list(queries), batch_first=True)
    longest = max(len(tokens) for tokens in queries)
    tokens = [query.numpy() for query in queries]
    padded = np.zeros((len(tokens), longest, *tokens[0].shape[1:]), tokens[0].dtype)
    for place, query in zip(padded, tokens, strict=True):
        place[: len(query)] = query
    return torch.from_numpy(padded)


@cache
def _copying(device: torch.device) -> torch.cuda.Stream | None:
    """On a stream of its own, a GPU copies the next batch while it computes.

    One for all: what torch has allocated for one stream, another one does not get.
    """
    return torch.cuda.Stream(device) if device.type == "cuda" else None
