"""Cached activations and ratings as batches for training and scoring."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hlclip.formats import MAX_RATING, Annotation, Index, Item, Manifest
from hlclip.model import stored_array, within_memory
from hlclip.store import Store
from hlclip.training.ranks import ALONE, Ranks
from hlclip.training.token_sources import DiskSource, Location, TokenSource, nearest_source

Target = Literal["mean", "median", "max", "min"]

READERS = 2
"""Threads that read the items of a batch: one thread uses neither a disk's nor memory's speed."""


@dataclass(frozen=True)
class Batch:
    """Some queries, each with all frames of its video."""

    image_tokens: Tensor
    """[own frames, tokens, width] in the cache's dtype: the videos one after another. One process
    has all frames of the batch, each of several those of its `Ranks.own_rows`."""
    image_query: Tensor
    """int64 [frames]: index into the batch's queries."""
    text_tokens: Tensor
    """[queries, tokens, width] in the cache's dtype, zeros behind a query's last token."""
    text_lengths: Tensor
    """int64 [queries]: tokens of each query before the padding."""
    target: Tensor
    """float32 [frames], 0..1; zeros where there is no ground truth."""
    unrelated: Tensor
    """bool [queries, queries]: whether two rows differ in their video and in their query."""
    first: int = field(default=0, kw_only=True)
    """Index of the first own frame in the batch."""
    row_frames: list[int] = field(default_factory=list, kw_only=True)
    """Frames of each query, counted from `image_query` if absent. They stay on the host, which
    would have to wait for a GPU to count them there."""

    def __post_init__(self) -> None:
        if not self.row_frames:
            counts = torch.bincount(self.image_query, minlength=len(self.text_lengths))
            object.__setattr__(self, "row_frames", counts.tolist())

    @property
    def own_query(self) -> Tensor:
        """int64 [own frames]: `image_query` of the frames that `image_tokens` has."""
        return self.image_query[self.first : self.first + len(self.image_tokens)]

    @property
    def own_row_frames(self) -> list[int]:
        """Frames of each row that `image_tokens` has."""
        ends = np.cumsum(self.row_frames)
        own = (ends > self.first) & (ends <= self.first + len(self.image_tokens))
        return [n for n, is_own in zip(self.row_frames, own, strict=True) if is_own]

    def tensors(self) -> list[Tensor]:
        """All tensors, in the order of the fields."""
        return [value for value in vars(self).values() if isinstance(value, Tensor)]

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`; a copy from pinned memory may not have finished yet."""
        copies = (tensor.to(device, non_blocking=True) for tensor in self.tensors())
        return Batch(*copies, first=self.first, row_frames=self.row_frames)


class CachedQueries:
    """The rows of one split whose video is in the cache.

    Args:
        index, split: the annotation rows, all of them `every_row`. Those without a cached video
            are not among `rows`, and counted in `absent`.
        images: manifest of the videos.
        texts: manifest of the queries.
        store: folder of the store that holds both.
        target: how the ratings of a clip become one target.
        device: of the batches. For a GPU they are read into page-locked memory, which it copies
            from by itself. `keep_near` keeps all tokens in memory.
        ranks: those that train together. Each may meet every row, as batches differ by epoch, so
            each keeps all tokens; the host's memory is shared by those of this machine.
    """

    def __init__(
        self,
        index: Index,
        split: str,
        images: Manifest,
        texts: Manifest,
        *,
        store: Path,
        target: Target,
        device: torch.device | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.every_row = index.queries[split]
        self.rows = [row for row in self.every_row if row.vid in images.items]
        self.absent = len(self.every_row) - len(self.rows)
        self._images = [images.items[row.vid] for row in self.rows]
        self._texts = [texts.items[row.query] for row in self.rows]
        self._image_store = Store(store, "images", images.header)
        self._text_store = Store(store, "texts", texts.header)
        self._target: Target = target
        self._device = device or torch.device("cpu")
        self._ranks = ranks
        self._near: tuple[TokenSource, TokenSource] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _disk(self) -> tuple[DiskSource, DiskSource]:
        """The sources of image and text tokens on disk; there must be rows."""
        cuda = self._device.type == "cuda"
        return (
            DiskSource(self._image_store, self._images[0], pinned=cuda),
            DiskSource(self._text_store, self._texts[0], pinned=cuda),
        )

    def keep_near(
        self, reserve: int = 0, locations: Sequence[Location] = ("device", "pinned")
    ) -> None:
        """Keep all tokens in the memory of the GPU, or else of the host, if there is room.

        They are then read from disk once. On a CPU nothing is done: the system's page cache does
        the same.

        Args:
            reserve: bytes of GPU memory that the steps need.
            locations: the memory that may be used.
        """
        if not self.rows:
            return
        images, texts = self._disk
        near = partial(
            nearest_source,
            device=self._device,
            reserve=reserve,
            locations=locations,
            sharers=self._ranks.local_count,
        )
        # The queries first: they are small, and each batch needs them whole.
        near_texts = near(texts, self._texts)
        self._near = near(images, self._images), near_texts

    @property
    def location(self) -> Location:
        """Where image tokens are kept between epochs."""
        return self._near[0].location if self._near else "disk"

    def longest_query(self) -> int:
        """The row whose query has most tokens."""
        return max(range(len(self)), key=lambda row: self._texts[row].length)

    def most_frames(self, rows: int) -> int:
        """Frames of a batch of so many rows, at most."""
        pairs = zip(self.rows, self._images, strict=True)
        return sum(sorted(min(row.clips, image.length) for row, image in pairs)[-rows:])

    def batch(
        self, indices: Sequence[int], pool: Executor | None = None, *, own: slice = slice(None)
    ) -> Batch:
        """The batch of some rows, on the CPU or on `device`, valid until the next but one.

        Args:
            indices: at least one row.
            own: those of `indices` whose image tokens are read, maybe none.
            pool: threads that read the videos' tokens; None for the calling thread alone.
        """
        rows = [self.rows[index] for index in indices]
        images = [self._images[index] for index in indices]
        texts = [self._texts[index] for index in indices]
        # A video may be shorter or longer than its annotation.
        frames = [min(row.clips, image.length) for row, image in zip(rows, images, strict=True)]
        lengths = [text.length for text in texts]
        image_source, text_source = self._near or self._disk
        # Queries are a few kilobytes each: handing them to threads takes longer than reading them.
        text_tokens = text_source.gather(list(zip(texts, lengths, strict=True)))
        return Batch(
            image_source.gather(list(zip(images, frames, strict=True))[own], pool),
            torch.from_numpy(np.repeat(np.arange(len(rows)), frames)),
            _pad(text_tokens.split(lengths)),
            torch.tensor(lengths),
            torch.cat([self._targets(row)[:n] for row, n in zip(rows, frames, strict=True)]),
            _differ(images) & _differ(texts),
            first=sum(frames[: own.start]) if own.start else 0,
            row_frames=frames,
        )

    def _targets(self, row: Annotation) -> Tensor:
        if row.saliency_scores is not None:
            return rating_target(row.ratings(), self._target, row.rating_scale)
        return window_target(row)


def rating_target(
    ratings: np.ndarray, target: Target, scale: tuple[int, int] = (0, MAX_RATING)
) -> Tensor:
    """Aggregate the annotators and normalise the Likert scale (paper, Sec. 3.2).

    Args:
        ratings: int [clips, annotators].
        target: aggregate over the annotators.
        scale: lowest and highest rating.

    Returns:
        float32 [clips], 0..1.
    """
    low, high = scale
    rating = getattr(np, target)(ratings, axis=1)
    return torch.from_numpy((rating - low) / (high - low)).float()


def window_target(row: Annotation) -> Tensor:
    """The target of a row without ratings, float32 [clips].

    1 where the clip's middle, which its frame shows, is in one of `relevant_windows`; 0 elsewhere.
    """
    middles = row.clip_times().mean(axis=1)  # [clips]
    windows = np.array(row.relevant_windows or ()).reshape(-1, 1, 2)  # [windows, 1, 2]
    inside = (windows[..., 0] <= middles) & (middles < windows[..., 1])  # [windows, clips]
    return torch.from_numpy(inside.any(axis=0)).float()


def load_batches(
    queries: CachedQueries,
    order: Sequence[int],
    size: int,
    *,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> Iterator[Batch]:
    """Batches of `size` rows in `order` on `device`; the next is read while one is used.

    Several `ranks` get the same batches, each with the image tokens of its own rows.

    The videos of `2 * size` rows are held at once, and one more for each of the `READERS` while it
    is read for the first time, in addition to tokens that are kept in memory. A batch is valid
    until the next is requested.
    """
    chunks = [order[start : start + size] for start in range(0, len(order), size)]
    stream = _copy_stream(device)

    def make(chunk: Sequence[int]) -> Batch:
        with torch.cuda.stream(stream), within_memory("train.batch", size):
            batch = queries.batch(chunk, readers, own=ranks.own_rows(len(chunk))).to(device)
        if stream is not None:
            stream.synchronize()  # the next batch may overwrite the memory that was copied from
        return batch

    with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(1) as ahead:
        upcoming = None
        for chunk in [*chunks, None]:
            batch = upcoming.result() if upcoming else None
            upcoming = ahead.submit(make, chunk) if chunk else None
            if batch is None:
                continue
            if stream is not None:  # keep the memory from the next batch until it is computed with
                for tensor in batch.tensors():
                    tensor.record_stream(torch.cuda.current_stream(device))
            yield batch


def _differ(items: Sequence[Item]) -> Tensor:
    """bool [items, items]: whether the contents of two items differ."""
    digests = np.array([item.digest for item in items])
    return torch.from_numpy(digests[:, None] != digests)


def _pad(queries: Sequence[Tensor]) -> Tensor:
    """[queries, tokens, width] of tensors [tokens, width], zeros behind a query's last token.

    On the CPU by NumPy: torch would copy with OpenMP threads in addition to those of the training
    step, more than the processor has cores, which costs 3 % of an epoch.
    """
    if queries[0].is_cuda:
        return torch.nn.utils.rnn.pad_sequence(list(queries), batch_first=True)
    arrays = [stored_array(query) for query in queries]
    padded = np.zeros((len(arrays), max(map(len, arrays)), arrays[0].shape[1]), arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(padded).view(queries[0].dtype)


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream | None:
    """The stream on which a GPU copies the next batch while it computes; None on the CPU.

    One stream for all calls: memory that torch allocated for one stream is not given to another.
    """
    return torch.cuda.Stream(device) if device.type == "cuda" else None
