"""Score videos of any length for free queries, with a tuned checkpoint or zero-shot CLIP.

Frames, trunk, tail and the keys of the store are those of the pipeline, so a video of the data set
is not encoded twice. A long video is encoded in parts of ten minutes. Features of a video or query
that was scored before are read from the store, without torch. Only a checkpoint with a temporal
head needs the model for each score, as its head compares all clips of a video for each query.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from hlclip.formats import CALIBRATION_FILE, ScoreMap
from hlclip.highlights.backbone import find_backbones
from hlclip.highlights.generic import GENERIC, MEASURE, consistency
from hlclip.highlights.model_cache import ModelFacts, read_model_facts, write_model_facts
from hlclip.highlights.moments import Curve
from hlclip.highlights.ratings import find_maps
from hlclip.store import Store, StoreError, StoreUnreadableError, content_key, find_store
from hlclip.system import HlclipError
from hlclip.video import HASHES, VideoError, VideoFile, check_plain, inspect_videos

if TYPE_CHECKING:
    from hlclip.highlights.features import FeatureExtractor

DEFAULT_CHECKPOINT = Path("outputs/train.safetensors")
"""The tuned weights of the pipeline."""


class Scorer:
    """Scores the clips of a video for free queries.

    `load_scorer` makes one. It holds no open file, and loads the model at the first video or query
    whose features are not in the store, or at the first score of a temporal head.

    Examples:
        >>> scorer = load_scorer("outputs/train.safetensors")
        >>> for curve in scorer.score("holiday.mp4", ["a dog on the beach", "people dancing"]):
        ...     print(f"{curve.query}: {len(curve.saliency)} clips of {curve.clip_seconds:g} s")
        a dog on the beach: 12 clips of 2 s
        people dancing: 12 clips of 2 s
    """

    def __init__(
        self,
        facts: ModelFacts,
        load_model: "Callable[[], FeatureExtractor]",
        *,
        store: Path,
        maps: Mapping[int, ScoreMap] | None = None,
        checkpoint: Path | None = None,
        calibration: Path | None = None,
    ) -> None:
        self.model: dict[str, str | None] = {
            **{key: str(facts.images[key]) for key in ("model", "pretrained", "weights", "dtype")},
            "checkpoint": None if checkpoint is None else str(checkpoint),
            "variant": facts.variant,
            "calibration": str(calibration) if calibration and maps else None,
        }
        """What scores: names, files, `weights` (sha256 of the model's weights), `dtype` of the
        tokens, and `variant`: `zero-shot` or the sha256 of the checkpoint."""
        self.clip_seconds = facts.clip_seconds
        self._temporal = facts.temporal
        self.maps = dict(maps or {})
        """See `Curve.maps`."""
        self._frames_header = facts.frames
        self._load_model = load_model
        self._root = store
        self._videos = Store(store, "features", {**facts.images, "variant": facts.variant})
        self._texts = Store(store, "features", {**facts.texts, "variant": facts.variant})

    def score(self, video: Path | str, queries: Sequence[str]) -> list[Curve]:
        """Saliency of every clip of a video: a curve for each query, in their order.

        The first call on a video decodes and encodes it. Later calls, also in other processes, read
        its features from the store.

        Args:
            video: a file of any length that ffmpeg reads.
            queries: free text; a single text is one query, and an empty list only encodes the
                video.

        Raises:
            VideoError: the file cannot be used as a video; the message names it.
            HlclipError: a query is blank or no text.
        """
        root = self._root
        queries = [queries] if isinstance(queries, str) else list(queries)
        for query in queries:
            check_query(query)
        texts = []
        for query in queries:
            key = content_key(self._texts.header, query)
            # [1, embedding]
            texts.append(
                _stored(self._texts, key, lambda q=query: self._load_model().text_feature(q, root))
            )
        features, duration = self._features(Path(video))

        def saliency(text: NDArray[np.float32]) -> NDArray[np.float32]:  # [clips]
            seen = features
            if self._temporal:
                seen = self._load_model().in_context(features, text, str(video))
            return (seen * text).sum(-1)

        return [
            Curve(Path(video), query, saliency(text), duration, self.clip_seconds, self.maps)
            for query, text in zip(queries, texts, strict=True)
        ]

    def generic(self, video: Path | str) -> Curve:
        """How well every clip stands for its whole video: highlights without a query.

        The rule is `hlclip.highlights.generic.consistency`, on the same cached features. Neither a
        temporal head nor the ratings of queries apply. Its scores rank the clips of one video, and
        do not compare between videos.

        Args:
            video: a file of any length that ffmpeg reads.

        Raises:
            VideoError: the file cannot be used as a video; the message names it.
        """
        features, duration = self._features(Path(video))
        scores = consistency(features)
        return Curve(Path(video), GENERIC, scores, duration, self.clip_seconds, measure=MEASURE)

    def features(self, video: Path | str) -> NDArray[np.float32]:
        """Features of every clip of a video, [clips, embedding], unit length.

        Raises:
            VideoError: the file cannot be used as a video; the message names it.
        """
        return self._features(Path(video))[0]

    def _features(self, path: Path) -> tuple[NDArray[np.float32], float]:
        """Features of all clips of a video, [clips, embedding], and its duration in seconds."""
        try:
            file = self._inspect(path)
            key = content_key(self._videos.header, content_key(self._frames_header, file.sha256))
            features = _stored(
                self._videos, key, lambda: self._load_model().video_features(file, self._root)
            )
        except VideoError as error:
            raise VideoError(f"{path}: {error}") from error
        # A header may give too short a duration; the last frame is the middle of the last clip.
        return features, max(file.info.duration, (len(features) - 0.5) * self.clip_seconds)

    def _inspect(self, path: Path) -> VideoFile:
        if not path.exists():
            link = f"is a link to {path.readlink()}: " if path.is_symlink() else ""
            raise VideoError(f"{link}no such file")
        path = path.absolute()
        check_plain(path)
        ((_, file),) = inspect_videos({path.name: path}, self._root / HASHES, progress=False)
        if isinstance(file, VideoError):
            raise file
        return file


def check_query(query: object) -> None:
    """Refuse by HlclipError a query that is blank or no text."""
    if not isinstance(query, str):
        raise HlclipError(f"got {query!r} as a query, expected some text")
    if not query.strip():
        raise HlclipError("got a blank query, expected some text")
    # UTF-16 that is read as UTF-8 has NULs; a shell's bytes that are no text become surrogates.
    if re.search(r"[\x00\ud800-\udfff]", query):
        raise HlclipError(f"got {query!r} as a query, expected text", "type it in UTF-8")


def load_scorer(
    checkpoint: Path | str | None = None,
    *,
    model: str | None = None,
    pretrained: str | None = None,
    device: str = "auto",
    dtype: Literal["float16", "bfloat16", "float32"] | None = None,
    store: Path | None = None,
    calibration: Path | str | None = None,
) -> Scorer:
    """Load a tuned checkpoint, or zero-shot CLIP, to score videos.

    Args:
        checkpoint: `train.safetensors` of a run. None is zero-shot where `model` is given, else
            `outputs/train.safetensors` of the pipeline.
        model: open_clip model name, `local-dir:PATH` or `hf-hub:ORG/NAME`; None is the model of the
            checkpoint, see `find_backbones`.
        pretrained: tag or weights file; None where the model includes its weights, or where they
            are those of the checkpoint.
        device: `auto` (CUDA when there is one), `cpu`, `cuda`, `cuda:N` or `mps`.
        dtype: precision of the tokens in the store; None is that of the checkpoint's training,
            else `float16`. Models whose tokens exceed 65,504 need `bfloat16` or `float32`.
        store: folder of the store; None is the project's, outside of a project the user's own, see
            `find_store`.
        calibration: `calibration.json` of a run, which says what scores are worth; None is the one
            in the folder of the checkpoint, if there is one.

    Raises:
        HlclipError: no checkpoint and no model, or a name of neither.
        CheckpointError: the checkpoint is damaged or belongs to other weights.
        EncoderError: the model cannot be loaded.
        DeviceError: the device does not exist.
        StaleFileError: the named calibration belongs to another model.
    """
    if checkpoint is None and model is None:
        checkpoint = DEFAULT_CHECKPOINT
        if not checkpoint.is_file():
            raise HlclipError(
                f"{checkpoint}: no such file: no pipeline has run in this folder",
                "name a checkpoint (--checkpoint FILE), or a model that scores zero-shot (--model "
                "ViT-B-32-quickgelu --pretrained openai)",
            )
    store = store or find_store().root
    path = None if checkpoint is None else Path(checkpoint)
    names = {
        "checkpoint": path and str(path),
        "model": model,
        "pretrained": pretrained,
        "dtype": dtype,
    }
    # A device that is asked for by name is looked for even where no model is needed.
    remembered = read_model_facts(store, names) if device in ("auto", "cpu") else None

    @cache
    def load() -> "FeatureExtractor":
        backbones = find_backbones(path, model, pretrained)
        from hlclip.highlights.features import load_feature_extractor  # noqa: PLC0415 (torch: seconds)

        loaded = load_feature_extractor(path, backbones, device=device, dtype=dtype)
        write_model_facts(store, names, loaded.facts, loaded.files)
        if remembered not in (None, loaded.facts):
            raise HlclipError("the files of the model have changed meanwhile", "run again")
        return loaded

    facts = remembered or load().facts
    named = None if calibration is None else Path(calibration)
    maps = find_maps(named, path, facts)
    default = path and path.parent / CALIBRATION_FILE
    return Scorer(
        facts, load, store=store, maps=maps, checkpoint=path, calibration=named or default
    )


def _stored(store: Store, key: str, make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    """Unit-length features [items, embedding] from the store, made first where they are missing."""
    try:
        return store.read(store.get_or_make(key, make))
    except StoreUnreadableError:
        raise
    except StoreError:
        # Reading removed a damaged item, of this kind or one that `make` reads: make it again.
        return store.read(store.get_or_make(key, make))
