"""A model in memory that turns videos and queries into features, loaded only when it is needed."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, groupby
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from hlclip.formats import CLIP_SECONDS, ZERO_SHOT, Header, Video, read_facts
from hlclip.highlights.model_cache import ModelFacts
from hlclip.model import (
    CONFIG_NAME,
    Encoder,
    Tail,
    build_tail,
    cached,
    cast_tokens,
    encoder_header,
    find_weights,
    image_header,
    load_encoder,
    load_tail,
    pick_device,
    text_header,
)
from hlclip.store import Store, content_key
from hlclip.video import frames_header, stream_frames

PART_CLIPS = 300
"""Clips of a part of a long video: ten minutes, for ViT-B/32 23 MB of tokens and 4 MB of frames."""

BATCH = 25
"""Frames that are decoded ahead and encoded at a time; divides `PART_CLIPS`."""

DTYPE = "float16"
"""Of the stored tokens, as in the bundled `params.yaml`."""

_Piece = TypeVar("_Piece")


class FeatureExtractor:
    """Trunk and tail; `load_feature_extractor` makes one.

    Args:
        encoder: trunk of both towers.
        tail: the rest of it, tuned or not; stays on the encoder's device.
        known: what the store's keys need to know of it.
        files: all files that it was read from.
    """

    def __init__(
        self, encoder: Encoder, tail: Tail, *, known: ModelFacts, files: list[Path]
    ) -> None:
        self.known = known
        self.files = files
        self._encoder = encoder
        self._tail = tail
        self._device = next(tail.parameters()).device

    @torch.inference_mode()
    def text_feature(self, query: str, store: Path) -> NDArray[np.float32]:
        """[1, embedding], unit length; its tokens are kept in the store."""

        def encode() -> NDArray[np.floating]:
            return cast_tokens(self._encoder.text_tokens(query), DTYPE, query)

        texts = Store(store, "texts", self.known.texts)
        item = texts.get_or_make(content_key(texts.header, query), encode)
        tokens = torch.from_numpy(texts.read(item)).to(self._device).float()
        return self._tail.text(tokens[None]).cpu().numpy()

    def video_features(self, path: Path, video: Video, store: Path) -> NDArray[np.float32]:
        """[clips, embedding], unit length; its tokens are kept in the store."""
        parts = token_parts(
            path,
            video,
            encoder=self._encoder,
            frames=self.known.frames,
            images=Store(store, "images", self.known.images),
        )
        return np.concatenate([self._image_features(tokens) for tokens in parts])

    @torch.inference_mode()
    def _image_features(self, tokens: NDArray[np.floating]) -> NDArray[np.float32]:
        batches = torch.from_numpy(tokens).split(BATCH)
        features = [self._tail.image(batch.to(self._device).float()).cpu() for batch in batches]
        return torch.cat(features).numpy()


def load_feature_extractor(
    checkpoint: Path | None, model: str | None, pretrained: str | None, *, device: str
) -> FeatureExtractor:
    """Load what `load_scorer` describes; one of `checkpoint` and `model` is given."""
    facts = {"cached_blocks": 2, "clip_seconds": CLIP_SECONDS, "train": {"blocks": 0}}
    if checkpoint is not None:
        facts = read_facts(checkpoint)
        if model is None:
            model = str(facts["model"])
            pretrained = None if facts["pretrained"] == "none" else str(facts["pretrained"])
    assert model is not None
    place = pick_device(device)
    encoder = load_encoder(
        model, pretrained, cached_blocks=facts["cached_blocks"], device=str(place)
    )
    header = encoder_header(encoder, pretrained)
    tail = build_tail(encoder)
    variant = ZERO_SHOT
    if checkpoint is not None and facts["train"]["blocks"]:
        load_tail(checkpoint, tail, weights=str(header["weights"]))
        with checkpoint.open("rb") as file:
            variant = hashlib.file_digest(file, "sha256").hexdigest()
    preprocess = encoder.preprocess
    clip_seconds = float(facts["clip_seconds"])
    known = ModelFacts(
        frames_header(
            size=preprocess.size,
            resize=preprocess.resize,
            interpolation=preprocess.interpolation,
            clip_seconds=clip_seconds,
        ),
        image_header(header, DTYPE, clip_seconds),
        text_header(header, DTYPE),
        variant,
        clip_seconds,
    )
    files = _weight_files(model, pretrained) + ([] if checkpoint is None else [checkpoint])
    tail = tail.to(place).requires_grad_(False)
    return FeatureExtractor(encoder, tail, known=known, files=files)


def _weight_files(model: str, pretrained: str | None) -> list[Path]:
    found = find_weights(model, pretrained)
    weights = found if isinstance(found, Path) else cached(found)
    assert weights is not None  # it was loaded
    config = weights.parent / CONFIG_NAME
    return [weights, config] if config.is_file() else [weights]


class _EndOfVideoError(Exception):
    """There is no such part: the one before was the last, and full."""


def token_parts(
    path: Path, video: Video, *, encoder: Encoder, frames: Header, images: Store
) -> Iterator[NDArray[np.floating]]:
    """The tokens of a video from the store, encoded and stored first where they are missing.

    A video of up to `PART_CLIPS` clips is one item under the pipeline's key, and so is a longer one
    that the pipeline has encoded. The parts of other videos have keys of their own, so that an
    interrupted run goes on in the part that it was in.

    Args:
        path, video: the file, and what `inspect_videos` says of it.
        encoder: the trunk.
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
            return cast_tokens(tokens, DTYPE, path.name)

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
