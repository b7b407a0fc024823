"""A model in memory that turns videos and queries into features: what a `Scorer` loads at need."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from hlclip.formats.annotations import CLIP_SECONDS
from hlclip.formats.manifests import Video
from hlclip.formats.scores import ZERO_SHOT
from hlclip.highlights.long_video import BATCH, token_parts
from hlclip.highlights.model_cache import KnownModel
from hlclip.model.checkpoint import load_tail, read_facts
from hlclip.model.device import pick_device
from hlclip.model.encoder import Encoder, EncoderError, load_encoder
from hlclip.model.hub import cached
from hlclip.model.tail import Tail, build_tail
from hlclip.model.weights import CONFIG_NAME, find_weights
from hlclip.params import Encoder as EncoderParams
from hlclip.params import Frames
from hlclip.pipeline.activations import cast_tokens, encoder_header, image_header, text_header
from hlclip.pipeline.frames import frames_header
from hlclip.store.store import Store, content_key


class ScoringModel:
    """Trunk and tail; `load_model` makes one.

    Args:
        encoder: trunk of both towers.
        tail: the rest of it, tuned or not; stays on the encoder's device.
        dtype: of the stored tokens.
        known: what the store's keys need to know of it.
        files: all files that it was read from.
    """

    def __init__(
        self, encoder: Encoder, tail: Tail, *, dtype: str, known: KnownModel, files: list[Path]
    ) -> None:
        self.known = known
        self.files = files
        self._encoder = encoder
        self._tail = tail
        self._dtype = dtype
        self._device = next(tail.parameters()).device

    @torch.inference_mode()
    def text_feature(self, query: str, store: Path) -> NDArray[np.float32]:
        """[1, embedding], unit length; its tokens are kept in the store."""

        def encode() -> NDArray[np.floating]:
            return cast_tokens(self._encoder.text_tokens(query), self._dtype, query)

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
            dtype=self._dtype,
            frames=self.known.frames,
            images=Store(store, "images", self.known.images),
        )
        return np.concatenate([self._image_features(tokens) for tokens in parts])

    @torch.inference_mode()
    def _image_features(self, tokens: NDArray[np.floating]) -> NDArray[np.float32]:
        batches = torch.from_numpy(tokens).split(BATCH)
        features = [self._tail.image(batch.to(self._device).float()).cpu() for batch in batches]
        return torch.cat(features).numpy()


def load_model(
    checkpoint: Path | None, model: str | None, pretrained: str | None, *, device: str
) -> ScoringModel:
    """Load what `load_scorer` describes; one of `checkpoint` and `model` is given."""
    facts = {"cached_blocks": 2, "clip_seconds": CLIP_SECONDS, "train": {"blocks": 0}}
    if checkpoint is not None:
        facts = read_facts(checkpoint)
        if model is None:
            model = str(facts["model"])
            pretrained = None if facts["pretrained"] == "none" else str(facts["pretrained"])
    params = _encoder_params(model, pretrained, facts["cached_blocks"])
    place = pick_device(device)
    encoder = load_encoder(
        params.model, params.pretrained, cached_blocks=params.cached_blocks, device=str(place)
    )
    header = encoder_header(encoder, params)
    tail = build_tail(encoder)
    variant = ZERO_SHOT
    if checkpoint is not None and facts["train"]["blocks"]:
        load_tail(checkpoint, tail, weights=str(header["weights"]))
        with checkpoint.open("rb") as file:
            variant = hashlib.file_digest(file, "sha256").hexdigest()
    preprocess = encoder.preprocess
    frames = {
        "size": preprocess.size,
        "resize": preprocess.resize,
        "interpolation": preprocess.interpolation,
        "decoder": "ffmpeg",
    }
    clip_seconds = float(facts["clip_seconds"])
    known = KnownModel(
        frames_header(Frames.model_validate(frames), clip_seconds),
        image_header(header, params.dtype, clip_seconds),
        text_header(header, params.dtype),
        variant,
        clip_seconds,
    )
    files = _weight_files(params) + ([] if checkpoint is None else [checkpoint])
    tail = tail.to(place).requires_grad_(False)
    return ScoringModel(encoder, tail, dtype=params.dtype, known=known, files=files)


def _weight_files(params: EncoderParams) -> list[Path]:
    found = find_weights(params.model, params.pretrained)
    weights = found if isinstance(found, Path) else cached(found)
    assert weights is not None  # it was loaded
    config = weights.parent / CONFIG_NAME
    return [weights, config] if config.is_file() else [weights]


def _encoder_params(model: str | None, pretrained: str | None, blocks: int) -> EncoderParams:
    content = {
        "model": model,
        "pretrained": pretrained,
        "cached_blocks": blocks,
        "dtype": "float16",
        "batch": BATCH,
    }
    try:
        return EncoderParams.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise EncoderError(f"model {model!r}, pretrained {pretrained!r}: {problem}") from None
