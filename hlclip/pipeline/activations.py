"""activations: the frozen trunk's tokens of every video and query, into the store."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
from tqdm import tqdm

from hlclip.formats import Header, Index, Item, Manifest
from hlclip.model import (
    Encoder,
    cast_tokens,
    encoder_header,
    image_header,
    load_encoder,
    pick_device,
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
    encoder = load_encoder(
        params.model,
        params.pretrained,
        cached_blocks=params.cached_blocks,
        device=str(pick_device(device)),
        frames=frames.header,
    )
    header = encoder_header(encoder, params.pretrained)
    return (
        _encode_videos(encoder, frames, store, header, params),
        _encode_queries(encoder, index, store, header, params),
    )


def _encode_videos(
    encoder: Encoder, frames: Manifest, store: Path, shared: Header, params: EncoderParams
) -> Manifest:
    header = image_header(shared, params.dtype, float(frames.header["clip_seconds"]))
    source = Store(store, "frames", frames.header)
    target = Store(store, "images", header)
    items: dict[str, Item] = {}
    total = sum(item.length for item in frames.items.values())

    def encode(vid: str) -> np.ndarray:
        pixels = source.read(frames.items[vid])
        with computing, within_memory("encoder.batch", params.batch):
            tokens = encoder.image_tokens(pixels, batch=params.batch)
        return cast_tokens(tokens, params.dtype, vid)

    def make(vid: str) -> Item:
        key = content_key(header, frames.items[vid].key)
        return target.get_or_make(key, partial(encode, vid))

    # One video is computed while others are read and written: fsync may take long on a disk.
    computing = Lock()
    vids = sorted(frames.items)
    with (
        ThreadPoolExecutor(_IN_FLIGHT) as pool,
        tqdm(total=total, desc="images", unit="frame", disable=None) as bar,
    ):
        for vid, item in zip(vids, pool.map(make, vids), strict=True):
            items[vid] = item
            bar.update(item.length)
    return Manifest(header, items, frames.failed)


def _encode_queries(
    encoder: Encoder, index: Index, store: Path, shared: Header, params: EncoderParams
) -> Manifest:
    header = text_header(shared, params.dtype)
    target = Store(store, "texts", header)
    queries = sorted({row.query for rows in index.queries.values() for row in rows})

    def encode(query: str) -> np.ndarray:
        return cast_tokens(encoder.text_tokens(query), params.dtype, query)

    # One at a time, so that the bytes of a query do not depend on the other queries.
    items = {
        query: target.get_or_make(content_key(header, query), partial(encode, query))
        for query in tqdm(queries, desc="texts", unit="query", disable=None)
    }
    return Manifest(header, items, {})
