"""activations: the frozen trunk's tokens of every video and query, into the store."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hlclip.formats import Header, Index, Item, Manifest
from hlclip.model import (
    cast_tokens,
    encoder_header,
    image_header,
    load_encoder,
    pick_device,
    stored_array,
    text_header,
    within_memory,
)
from hlclip.params import EncoderParams
from hlclip.store import Store, content_key

_IN_FLIGHT = 3
"""Videos in memory at once."""


@within_memory()
def make_activations(
    index: Index, frames: Manifest, params: EncoderParams, *, store: Path, device: str = "auto"
) -> tuple[Manifest, Manifest]:
    """Encode every video and every query whose tokens are not in the store yet.

    Args:
        device: where the trunk runs, as in `pick_device`.

    Returns:
        Manifests of images (vid -> [frames, tokens, width]) and texts (query -> [tokens, width]).

    Raises:
        EncoderError: the model cannot be loaded or cut, or takes frames of another kind.
        StoreError: frames are missing or damaged.
    """
    encoding = Encoding(params, frames.header, store=store, device=device)
    return encoding.videos(frames), encoding.queries(index.texts())


class Encoding:
    """A loaded trunk, and the tokens of videos and queries: from the store or computed into it.

    Args:
        frames: header of the frames that it is to encode.
        device: see `make_activations`.

    Raises:
        EncoderError: see `make_activations`.
    """

    def __init__(
        self, params: EncoderParams, frames: Header, *, store: Path, device: str = "auto"
    ) -> None:
        self._encoder = load_encoder(
            params.model,
            params.pretrained,
            cached_blocks=params.cached_blocks,
            device=str(pick_device(device)),
            frames=frames,
        )
        shared = encoder_header(self._encoder, params.pretrained)
        clip_seconds = float(frames["clip_seconds"])
        self.images = Store(store, "images", image_header(shared, params.dtype, clip_seconds))
        self.texts = Store(store, "texts", text_header(shared, params.dtype))
        self._frames = Store(store, "frames", frames)
        self._params = params

    def videos(self, frames: Manifest) -> Manifest:
        """The tokens of all videos, whose frames are in the store."""
        items: dict[str, Item] = {}
        total = sum(item.length for item in frames.items.values())
        keys = {vid: item.key for vid, item in frames.items.items()}
        with tqdm(total=total, desc="images", unit="frame", disable=None) as bar:
            for vid, item in self.each(keys, lambda vid: self._frames.read(frames.items[vid])):
                items[vid] = item
                bar.update(item.length)
        return Manifest(self.images.header, items, frames.failed)

    def each(
        self, frame_keys: Mapping[str, str], pixels: Callable[[str], NDArray[np.uint8]]
    ) -> Iterator[tuple[str, Item]]:
        """vid and tokens of each video, by vid.

        Args:
            frame_keys: vid -> key of its frames.
            pixels: vid -> its frames; called only where the tokens are not in the store.
        """

        def encode(vid: str) -> NDArray[np.generic]:
            frames, batch = pixels(vid), self._params.batch
            with computing, within_memory("encoder.batch", batch):
                tokens = self._encoder.image_tokens(
                    frames, batch=batch, dtype=self._params.dtype, name=vid
                )
            return stored_array(tokens)

        def make(vid: str) -> Item:
            key = content_key(self.images.header, frame_keys[vid])
            return self.images.get_or_make(key, partial(encode, vid))

        # One video is computed while others are read and written: fsync may take long on a disk.
        computing = Lock()
        vids = sorted(frame_keys)
        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            yield from zip(vids, pool.map(make, vids), strict=True)

    def queries(self, queries: Iterable[str], *, progress: bool = True) -> Manifest:
        """The tokens of queries."""

        def encode(query: str) -> NDArray[np.generic]:
            return cast_tokens(self._encoder.text_tokens(query), self._params.dtype, query)

        # One at a time, so that the bytes of a query do not depend on the other queries.
        bar = tqdm(queries, desc="texts", unit="query", disable=None if progress else True)
        items = {
            query: self.texts.get_or_make(
                content_key(self.texts.header, query), partial(encode, query)
            )
            for query in bar
        }
        return Manifest(self.texts.header, items, {})
