"""Score one's own videos, of any length, with a tuned checkpoint or zero-shot CLIP.

Frames, trunk and tail are those of the pipeline, and so are the keys in the store: a video of the
data set is not encoded twice. A video of hours passes through in parts of ten minutes. What was
asked before is answered from the store, without torch.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from hlclip.formats import Video
from hlclip.highlights.model_cache import ModelFacts, read_model_facts, write_model_facts
from hlclip.highlights.moments import Curve
from hlclip.store import Store, StoreError, StoreUnreadableError, content_key, store_root
from hlclip.system import HlclipError
from hlclip.video import VideoError, inspect_videos

if TYPE_CHECKING:
    from hlclip.highlights.features import FeatureExtractor

DEFAULT_CHECKPOINT = Path("outputs/train.safetensors")
"""Where the pipeline leaves the tuned weights."""

_Read = TypeVar("_Read")


class Scorer:
    """Scores videos; `load_scorer` makes one.

    Args:
        known: what the store's keys need to know of the model.
        model: gives the loaded model; called when something is not in the store yet.
        store: folder of the store.
    """

    def __init__(
        self, known: ModelFacts, model: "Callable[[], FeatureExtractor]", *, store: Path
    ) -> None:
        self.clip_seconds = known.clip_seconds
        self._known = known
        self._model = model
        self._root = store
        self._of_videos = Store(store, "features", {**known.images, "variant": known.variant})
        self._of_texts = Store(store, "features", {**known.texts, "variant": known.variant})

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
            {path.name: path}, path.parent, self._root / "videos.json", progress=False
        )
        if isinstance(found, VideoError):
            raise found
        return found

    def _text_feature(self, query: str) -> NDArray[np.float32]:
        """[embedding], unit length."""
        if not query.strip():
            raise HlclipError("got a blank query, expected some text")
        key = content_key(self._of_texts.header, query)

        def make() -> NDArray[np.float32]:
            return self._model().text_feature(query, self._root)

        return self._of_texts.read(self._of_texts.get_or_make(key, make))[0]

    def _video_features(self, path: Path, video: Video) -> NDArray[np.float32]:
        """[clips, embedding], unit length."""
        frames = content_key(self._known.frames, video.sha256)
        key = content_key(self._of_videos.header, frames)

        def make() -> NDArray[np.float32]:
            return self._model().video_features(path, video, self._root)

        return self._of_videos.read(self._of_videos.get_or_make(key, make))


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
        HlclipError: no checkpoint and no model.
        CheckpointError: a checkpoint that is damaged or belongs to other weights.
        EncoderError: the model cannot be loaded.
        DeviceError: the device is not there.
    """
    if pretrained is not None and model is None:
        raise HlclipError(
            f"pretrained {pretrained!r} without a model: name both (--model and --pretrained)"
        )
    if checkpoint is None and model is None:
        checkpoint = DEFAULT_CHECKPOINT
        if not checkpoint.is_file():
            raise HlclipError(
                f"there is no {checkpoint} here, which a run of the pipeline leaves: name a "
                "checkpoint, or a model for zero-shot CLIP (such as model ViT-B-32-quickgelu, "
                "pretrained openai)"
            )
    store = store or store_root()
    named = {
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "model": model,
        "pretrained": pretrained,
    }

    # Another device is looked for, whether it will be needed or not.
    known = read_model_facts(store, named) if device in ("auto", "cpu") else None

    @cache
    def load() -> "FeatureExtractor":
        from hlclip.highlights.features import load_feature_extractor  # noqa: PLC0415 (torch: seconds)

        path = None if checkpoint is None else Path(checkpoint)
        loaded = load_feature_extractor(path, model, pretrained, device=device)
        write_model_facts(store, named, loaded.known, loaded.files)
        if known not in (None, loaded.known):
            raise HlclipError("the model was replaced by another one meanwhile: run again")
        return loaded

    return Scorer(known or load().known, load, store=store)


def _repaired(read: Callable[[], _Read]) -> _Read:
    """Read from the store; what is damaged was removed by the first try and is made by the next."""
    try:
        return read()
    except StoreUnreadableError:
        raise
    except StoreError:
        return read()
