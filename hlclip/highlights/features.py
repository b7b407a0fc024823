"""A loaded model that turns videos and queries into features (torch)."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import count, groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from hlclip.formats import (
    CHECKPOINT_REMEDY,
    CLIP_SECONDS,
    ZERO_SHOT,
    CheckpointError,
    Header,
    is_fine_tuned,
    read_facts,
)
from hlclip.highlights.backbone import Backbone
from hlclip.highlights.model_cache import ModelFacts, file_states
from hlclip.model import (
    CONFIG_NAME,
    Encoder,
    EncoderError,
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
    stored_tokens,
    text_header,
    within_memory,
)
from hlclip.store import Store, content_key
from hlclip.system import HlclipError, sha256_of
from hlclip.video import VideoFile, frames_header, stream_frames, worker_threads

PART_CLIPS = 300
"""Clips in a part of a long video: ten minutes; with ViT-B/32 its tokens take 23 MB."""

BATCH = 25
"""Frames in a batch of decoding and encoding; a divisor of `PART_CLIPS`."""

DTYPE = "float16"
"""Precision of the stored tokens where no checkpoint names it, as in the bundled `params.yaml`."""


@dataclass(frozen=True, eq=False)
class FeatureExtractor:
    """Trunk and tail of a model; `load_feature_extractor` makes one."""

    encoder: Encoder
    tail: Tail
    """Tuned or not."""
    device: torch.device
    """Where the tail is, and the encoder."""
    facts: ModelFacts
    files: dict[str, str]
    """`file_states` of all files from which the model was loaded."""

    @within_memory()
    @torch.inference_mode()
    def text_feature(self, query: str, store: Path) -> NDArray[np.float32]:
        """Feature of a query [1, embedding], unit length; the store keeps its tokens."""

        def encode() -> NDArray[Any]:
            return cast_tokens(self.encoder.text_tokens(query), dtype, query)

        texts = Store(store, "texts", self.facts.texts)
        dtype = str(texts.header["dtype"])
        item = texts.get_or_make(content_key(texts.header, query), encode)
        tokens = stored_tokens(texts.read(item), dtype).to(self.device).float()
        return _unit_length(self.tail.text(tokens[None]), query)

    @within_memory()
    def video_features(self, file: VideoFile, store: Path) -> NDArray[np.float32]:
        """Features of all clips [clips, embedding], unit length; the store keeps the tokens."""
        images = Store(store, "images", self.facts.images)
        features = []
        with closing(
            token_parts(file, encoder=self.encoder, frames=self.facts.frames, images=images)
        ) as parts:
            for tokens in parts:
                for batch in stored_tokens(tokens, str(images.header["dtype"])).split(BATCH):
                    with torch.inference_mode():
                        features.append(self.tail.image(batch.to(self.device).float()).cpu())
        return _unit_length(torch.cat(features), file.path.name)

    @within_memory()
    @torch.inference_mode()
    def in_context(
        self, features: NDArray[np.float32], text: NDArray[np.float32], name: str
    ) -> NDArray[np.float32]:
        """Features of all clips as the temporal head changes them for a query, unit length.

        A video is one piece here, however long it is, so there are no seams.

        Args:
            features: [clips, embedding] of a video, from `video_features`.
            text: [1, embedding] of a query, from `text_feature`.
            name: of the video, for messages.
        """
        clips, query = (torch.from_numpy(array).to(self.device) for array in (features, text))
        one_row = torch.zeros(len(clips), dtype=torch.int64, device=self.device)
        return _unit_length(self.tail.in_context(clips, query, one_row), name)


def _unit_length(features: torch.Tensor, name: str) -> NDArray[np.float32]:
    """The features as an array; weights that overflow give NaN or 0, which must not be stored."""
    array = features.cpu().numpy()
    if not (np.linalg.norm(array, axis=1) > 0.5).all():  # NaN is not, nor the 0 of 1 / infinity
        raise CheckpointError(
            f"{name}: its features have no length: the model's weights overflow",
            "train again with a lower learning rate (train.lr), or take other weights",
        )
    return array


@within_memory()
def load_feature_extractor(
    checkpoint: Path | None, backbones: Sequence[Backbone], *, device: str, dtype: str | None
) -> FeatureExtractor:
    """Load the model that `load_scorer` describes.

    Args:
        backbones: the models that may be the checkpoint's, see `find_backbones`.

    Raises:
        CheckpointError: none of them has the weights from which the checkpoint was fine-tuned.
        HlclipError: a file of the model was replaced while it was read, in several steps.
    """
    checkpoints = [checkpoint] if checkpoint else []
    before = file_states(checkpoints)
    trained = {"cached_blocks": 2, "clip_seconds": CLIP_SECONDS, "train": {"blocks": 0}}
    if checkpoint is not None:
        trained = read_facts(checkpoint)
        if "dtype" not in trained:
            reason = f"{checkpoint}: no field 'dtype', so it was written by an earlier version"
            raise CheckpointError(reason, CHECKPOINT_REMEDY)
    dtype = dtype or str(trained.get("dtype", DTYPE))
    torch_device = pick_device(device)
    backbone, states, encoder, header = _load_first(
        backbones, checkpoint, trained, device=str(torch_device)
    )
    before |= states
    tail = build_tail(encoder)
    variant = ZERO_SHOT
    if checkpoint is not None and is_fine_tuned(trained):
        load_tail(checkpoint, tail, weights=str(header["weights"]))
        variant = sha256_of(checkpoint)
    preprocess, clip_seconds = encoder.preprocess, float(trained["clip_seconds"])
    facts = ModelFacts(
        frames_header(
            size=preprocess.size,
            resize=preprocess.resize,
            interpolation=preprocess.interpolation,
            clip_seconds=clip_seconds,
        ),
        image_header(header, dtype, clip_seconds),
        text_header(header, dtype),
        variant,
        clip_seconds,
        temporal=tail.temporal is not None,
    )
    files = file_states([*_model_files(*backbone), *checkpoints])
    # Files that were downloaded meanwhile are not in `before`; in the hub's cache none changes.
    if not before.items() <= files.items():
        raise HlclipError("the files of the model have changed meanwhile", "run again")
    return FeatureExtractor(
        encoder,
        tail.to(torch_device).requires_grad_(False),
        torch_device,
        facts=facts,
        files=files,
    )


def _load_first(
    backbones: Sequence[Backbone], checkpoint: Path | None, trained: dict[str, Any], *, device: str
) -> tuple[Backbone, dict[str, str], Encoder, Header]:
    """The first model with the weights of the checkpoint, its files before loading, its header."""
    others = list[str]()
    for model, pretrained in backbones:
        try:
            states = file_states(_model_files(model, pretrained))
            encoder = load_encoder(
                model, pretrained, cached_blocks=trained["cached_blocks"], device=device
            )
        except EncoderError as error:
            if len(backbones) == 1:
                raise
            others.append(error.reason)
            continue
        header = encoder_header(encoder, pretrained)
        if checkpoint is None:
            return (model, pretrained), states, encoder, header
        if header["weights"] == trained["weights"]:
            # The names of the training: keys of the store must not depend on the place.
            names = {name: trained[name] for name in ("model", "pretrained")}
            return (model, pretrained), states, encoder, {**header, **names}
        others.append(f"{model} has {header['weights']}")
    raise CheckpointError(
        f"{checkpoint}: field 'weights' is {trained['weights']}: the checkpoint was fine-tuned "
        f"from other weights; {'; '.join(others)}",
        "name the model that it was fine-tuned from (--model, --pretrained)",
    )


def _model_files(model: str, pretrained: str | None) -> list[Path]:
    """The weights on this machine, and the place of the config next to them."""
    source = find_weights(model, pretrained)
    weights = source if isinstance(source, Path) else cached(source)
    return [weights, weights.parent / CONFIG_NAME] if weights else []


def token_parts(
    file: VideoFile, *, encoder: Encoder, frames: Header, images: Store
) -> Generator[NDArray[Any], None, None]:
    """The tokens of a video from the store, encoded and stored first where they are missing.

    A video of up to `PART_CLIPS` clips is one item under the key of the pipeline, and so is a
    longer one that the pipeline has encoded. Any other video is stored in parts, each under its own
    key, so that an interrupted run continues with the part that it was encoding.

    Args:
        file: from `inspect_videos`.
        frames: header of the frames, see `frames_header`.
        images: the store of image tokens.

    Yields:
        [clips, tokens, width] of at most `PART_CLIPS` clips, as `stored_array` describes.

    Raises:
        VideoError: the video cannot be decoded to its end, or it has changed since it was hashed.
        StoreError: an item is damaged and was removed; the next call makes it again.
    """
    clips = round(file.info.duration / float(frames["clip_seconds"]))
    frames_key = content_key(frames, file.sha256)
    whole = content_key(images.header, frames_key)
    ahead = _ahead(stream_frames(file.path, frames, most=BATCH))
    pieces = enumerate(ahead)
    parts = groupby(pieces, key=lambda piece: piece[0] // (PART_CLIPS // BATCH))

    with (
        closing(ahead),
        tqdm(total=clips, desc=file.path.name, unit="clip", disable=None) as bar,
    ):

        def encode(pictures: NDArray[np.uint8]) -> NDArray[Any]:
            tokens = encoder.image_tokens(pictures, batch=BATCH)
            bar.update(len(pictures))
            return cast_tokens(tokens, str(images.header["dtype"]), file.path.name)

        def encode_all() -> NDArray[Any]:
            with file.unchanged():
                return np.concatenate([encode(pictures) for _, pictures in pieces])

        def encode_part(number: int) -> NDArray[Any]:
            # Parts before this one are in the store: their frames are decoded and dropped.
            with file.unchanged():
                for each, part in parts:
                    if each == number:
                        return np.concatenate([encode(pictures) for _, pictures in part])
            raise EOFError  # the part before this one was full, and the last

        if clips <= PART_CLIPS or images.path(whole).exists():
            yield images.read(images.get_or_make(whole, encode_all))
            return
        for number in count():
            key = content_key(images.header, f"{frames_key} {PART_CLIPS} {number}")
            try:
                item = images.get_or_make(key, partial(encode_part, number))
            except EOFError:
                return
            bar.update(number * PART_CLIPS + item.length - bar.n)
            yield images.read(item)
            if item.length < PART_CLIPS:
                return


def _ahead(pieces: Iterator[NDArray[np.uint8]]) -> Generator[NDArray[np.uint8], None, None]:
    """The same pieces; a thread decodes the next one while the current one is encoded."""
    with worker_threads(1) as reader:
        upcoming = reader.submit(next, pieces, None)
        while (piece := upcoming.result()) is not None:
            upcoming = reader.submit(next, pieces, None)
            yield piece
