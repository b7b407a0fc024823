"""Tokens of a video of any length, in parts, so that only one part is in memory at a time."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, groupby
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hlclip.formats.manifests import Header, Video
from hlclip.model.encoder import Encoder
from hlclip.pipeline.activations import cast_tokens
from hlclip.pipeline.frames import stream_frames
from hlclip.store.store import Store, content_key

PART_CLIPS = 300
"""Clips of a part: ten minutes, for ViT-B/32 23 MB of tokens and 4 MB of frames at a time."""

BATCH = 25
"""Frames that are decoded ahead and encoded at a time; divides `PART_CLIPS`."""

_Piece = TypeVar("_Piece")


class _EndOfVideoError(Exception):
    """There is no such part: the one before was the last, and full."""


def token_parts(
    path: Path, video: Video, *, encoder: Encoder, dtype: str, frames: Header, images: Store
) -> Iterator[NDArray[np.floating]]:
    """The tokens of a video from the store, encoded and stored first where they are missing.

    A video of up to `PART_CLIPS` clips is one item under the pipeline's key, and so is a longer one
    that the pipeline has encoded. The parts of other videos have keys of their own, so that an
    interrupted run goes on in the part that it was in.

    Args:
        path, video: the file, and what `inspect_videos` says of it.
        encoder: the trunk.
        dtype: of the stored tokens.
        frames: see `frames_header`.
        images: the store of image tokens.

    Yields:
        [clips, tokens, width] of at most `PART_CLIPS` clips.

    Raises:
        VideoError: the video cannot be decoded to its end.
        StoreError: an item is damaged; it is removed, and made anew by the next call.
    """
    clips = round(video.info.duration / float(frames["clip_seconds"]))
    frames_key = content_key(frames, video.sha256)
    whole = content_key(images.header, frames_key)
    pieces = enumerate(_ahead(stream_frames(path, frames, most=BATCH)))
    parts = groupby(pieces, key=lambda piece: piece[0] // (PART_CLIPS // BATCH))

    with tqdm(total=clips, desc=path.name, unit="clip", disable=None) as bar:

        def encode(pictures: NDArray[np.uint8]) -> NDArray[np.floating]:
            tokens = encoder.image_tokens(pictures, batch=BATCH)
            bar.update(len(pictures))
            return cast_tokens(tokens, dtype, path.name)

        def encode_all() -> NDArray[np.floating]:
            return np.concatenate([encode(pictures) for _, pictures in pieces])

        def encode_part(wanted: int) -> NDArray[np.floating]:
            # What lies before the wanted part is in the store: decoded, and passed over.
            for number, part in parts:
                if number == wanted:
                    return np.concatenate([encode(pictures) for _, pictures in part])
            raise _EndOfVideoError

        if clips <= PART_CLIPS or images.path(whole).exists():
            yield images.read(images.get_or_make(whole, encode_all))
            return
        for number in count():
            key = content_key(images.header, f"{frames_key} {PART_CLIPS} {number}")
            try:
                item = images.get_or_make(key, partial(encode_part, number))
            except _EndOfVideoError:
                return
            bar.update(number * PART_CLIPS + item.length - bar.n)
            yield images.read(item)
            if item.length < PART_CLIPS:
                return


def _ahead(pieces: Iterator[_Piece]) -> Iterator[_Piece]:
    """The same pieces; the next is decoded while the current one is encoded."""
    with ThreadPoolExecutor(1) as reader:
        upcoming = reader.submit(next, pieces, None)
        while (piece := upcoming.result()) is not None:
            upcoming = reader.submit(next, pieces, None)
            yield piece
