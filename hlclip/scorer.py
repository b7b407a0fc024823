"""Score one's own videos, of any length, with a tuned checkpoint or zero-shot CLIP.

Frames, trunk and tail are those of the pipeline, and so are the keys in the store: a video of the
data set is not encoded twice. A video of hours passes through in parts of ten minutes.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from hlclip.activations import cast_tokens, encoder_header, image_header, text_header
from hlclip.checkpoint import CheckpointError, load_tail, read_facts
from hlclip.device import pick_device
from hlclip.encoder import Encoder, EncoderError, load_encoder
from hlclip.errors import HlclipError
from hlclip.frames import frames_header
from hlclip.index import inspect_videos
from hlclip.long_video import BATCH, token_parts
from hlclip.manifests import Header, Video
from hlclip.moments import Curve
from hlclip.params import Encoder as EncoderParams
from hlclip.params import Frames
from hlclip.qvhighlights import CLIP_SECONDS
from hlclip.scores import ZERO_SHOT
from hlclip.store import Store, StoreError, StoreUnreadableError, content_key, store_root
from hlclip.tail import Tail, build_tail
from hlclip.video import VideoError

DEFAULT_CHECKPOINT = Path("outputs/train.safetensors")
"""Where the pipeline leaves the tuned weights."""

_Read = TypeVar("_Read")


class Scorer:
    """A loaded model that scores videos; `load_scorer` makes one.

    Args:
        encoder: trunk of both towers.
        tail: the rest of it, tuned or not; stays on the encoder's device.
        params: what the encoder was loaded with.
        header: see `encoder_header`.
        variant: names the tail in the store.
        clip_seconds: length of a clip.
        store: folder of the store.
    """

    def __init__(
        self,
        encoder: Encoder,
        tail: Tail,
        params: EncoderParams,
        *,
        header: Header,
        variant: str,
        clip_seconds: float,
        store: Path,
    ) -> None:
        preprocess = encoder.preprocess
        frames = {
            "size": preprocess.size,
            "resize": preprocess.resize,
            "interpolation": preprocess.interpolation,
            "decoder": "ffmpeg",
        }
        self.clip_seconds = clip_seconds
        self._encoder = encoder
        self._tail = tail
        self._params = params
        self._device = next(tail.parameters()).device
        self._root = store
        self._frames = frames_header(Frames.model_validate(frames), clip_seconds)
        images = image_header(header, params.dtype, clip_seconds)
        self._images = Store(store, "images", images)
        self._texts = Store(store, "texts", text_header(header, params.dtype))
        self._features = Store(store, "features", {**images, "variant": variant})

    def score(self, video: Path | str, queries: Sequence[str]) -> list[Curve]:
        """Saliency of every clip of a video for each query.

        The first call on a video decodes and encodes it; later ones, also of other processes, read
        its features from the store.

        Args:
            video: a file of any length that ffmpeg reads.
            queries: free text; none only prepares the video.

        Returns:
            A curve a query, in their order.

        Raises:
            VideoError: the file cannot be used as a video; the message names it.
            HlclipError: a query is blank.
        """
        path = Path(video)
        texts = [_repaired(partial(self._text_feature, query)) for query in queries]
        try:
            found = self._inspect(path)
            features = _repaired(partial(self._video_features, path, found))
        except VideoError as error:
            raise VideoError(f"{path}: {error}") from error
        # A header may say less than there is; the last frame lies in the middle of the last clip.
        duration = max(found.info.duration, (len(features) - 0.5) * self.clip_seconds)
        return [
            Curve(path, query, (features * text).sum(-1), duration, self.clip_seconds)
            for query, text in zip(queries, texts, strict=True)
        ]

    def _inspect(self, path: Path) -> Video:
        if not path.exists():
            raise VideoError("no such file")
        path = path.absolute()
        ((_, found),) = inspect_videos(
            {path.name: path}, path.parent, self._root / "index.sqlite", progress=False
        )
        if isinstance(found, VideoError):
            raise found
        return found

    @torch.inference_mode()
    def _text_feature(self, query: str) -> NDArray[np.float32]:
        """[embedding], unit length."""
        if not query.strip():
            raise HlclipError("got a blank query, expected some text")

        def encode() -> NDArray[np.floating]:
            return cast_tokens(self._encoder.text_tokens(query), self._params.dtype, query)

        item = self._texts.get_or_make(content_key(self._texts.header, query), encode)
        tokens = torch.from_numpy(self._texts.read(item)).to(self._device).float()
        return self._tail.text(tokens[None])[0].cpu().numpy()

    def _video_features(self, path: Path, video: Video) -> NDArray[np.float32]:
        """[clips, embedding], unit length."""
        key = content_key(self._features.header, content_key(self._frames, video.sha256))

        def make() -> NDArray[np.float32]:
            parts = token_parts(
                path,
                video,
                encoder=self._encoder,
                dtype=self._params.dtype,
                frames=self._frames,
                images=self._images,
            )
            return np.concatenate([self._image_features(tokens) for tokens in parts])

        return self._features.read(self._features.get_or_make(key, make))

    @torch.inference_mode()
    def _image_features(self, tokens: NDArray[np.floating]) -> NDArray[np.float32]:
        batches = torch.from_numpy(tokens).split(BATCH)
        features = [self._tail.image(batch.to(self._device).float()).cpu() for batch in batches]
        return torch.cat(features).numpy()


def load_scorer(
    checkpoint: Path | str | None = None,
    *,
    model: str | None = None,
    pretrained: str | None = None,
    device: str = "auto",
    store: Path | None = None,
) -> Scorer:
    """Load a tuned checkpoint, or zero-shot CLIP, to score videos with.

    Args:
        checkpoint: `train.safetensors` of a run. None is zero-shot where `model` is given, else the
            checkpoint that the pipeline left in `outputs/`.
        model: open_clip model name, `local-dir:PATH` or `hf-hub:ORG/NAME`; None is the one that the
            checkpoint was made from.
        pretrained: tag or weights file; None where the model brings its own.
        device: `auto` (CUDA when there is one), `cpu`, `cuda` or `cuda:N`.
        store: folder of the store; None is the pipeline's, see `store_root`.

    Raises:
        CheckpointError: no checkpoint and no model, or a checkpoint that is damaged or belongs to
            other weights.
        EncoderError: the model cannot be loaded.
        DeviceError: the device is not there.
    """
    if pretrained is not None and model is None:
        raise EncoderError(
            f"pretrained {pretrained!r} without a model: name both (--model and --pretrained)"
        )
    if checkpoint is None and model is None:
        checkpoint = DEFAULT_CHECKPOINT
        if not checkpoint.is_file():
            raise CheckpointError(
                f"there is no {checkpoint} here, which a run of the pipeline leaves: name a "
                "checkpoint, or a model for zero-shot CLIP (such as model ViT-B-32-quickgelu, "
                "pretrained openai)"
            )
    facts = {"cached_blocks": 2, "clip_seconds": CLIP_SECONDS, "train": {"blocks": 0}}
    if checkpoint is not None:
        facts = read_facts(Path(checkpoint))
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
        load_tail(Path(checkpoint), tail, weights=str(header["weights"]))
        with Path(checkpoint).open("rb") as file:
            variant = hashlib.file_digest(file, "sha256").hexdigest()
    return Scorer(
        encoder,
        tail.to(place).requires_grad_(False),
        params,
        header=header,
        variant=variant,
        clip_seconds=float(facts["clip_seconds"]),
        store=store or store_root(),
    )


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


def _repaired(read: Callable[[], _Read]) -> _Read:
    """Read from the store; what is damaged was removed by the first try and is made by the next."""
    try:
        return read()
    except StoreUnreadableError:
        raise
    except StoreError:
        return read()
