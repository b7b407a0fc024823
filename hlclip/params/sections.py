"""The sections of `params.yaml` but `train`, and the whole of it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hlclip.formats import problems_of
from hlclip.params.train import TrainParams
from hlclip.params.values import (
    Count,
    Decoder,
    PathText,
    Positive,
    Section,
    Share,
    Sigma,
    Split,
    Window,
)
from hlclip.system import HlclipError


class ParamsError(HlclipError):
    """`params.yaml` has missing, unknown, ill-typed or contradictory keys; all are named."""


class DataParams(Section):
    """The data set: a folder with QVHighlights rows (jsonl) and `videos/<vid>.<extension>`."""

    root: PathText
    """Folder of the data set; relative paths start at the folder of `params.yaml`."""
    annotations: dict[Split, PathText]
    """Annotation file of each split, relative to `root`; any of train, val and test. `null`: the
    data set has no such split, and `evaluate.splits` may name it."""
    videos: PathText
    """Folder of the videos, relative to `root`."""
    clip_seconds: Positive
    """Length of a clip in seconds (QVHighlights: 2)."""
    max_missing: Share
    """Tolerated share of videos that are missing or cannot be decoded; stages fail above it."""

    @model_validator(mode="after")
    def _some_split(self) -> "DataParams":
        if not self.annotations:
            raise ValueError("annotations must name at least one split of train, val, test")
        return self


class FramesParams(Section):
    """One RGB frame per clip, at its middle."""

    size: Annotated[int, Field(gt=0, le=4096)]
    """Height and width of a frame in pixels: the encoder's image size."""
    resize: Literal["shortest", "squash"]
    """`shortest`: the shorter side becomes `size`, then centre crop; `squash`: both sides do."""
    interpolation: Literal["bicubic", "bilinear"]
    """Interpolation of ffmpeg's scaler: the encoder's."""
    decoder: Decoder
    """`ffmpeg` decodes every frame; `auto` skips the packets of an H.264 video that no sampled
    frame needs, where this is exact; `pyav` also names each video where it is not. Speed only: the
    pixels are the same."""


class EncoderParams(Section):
    """The CLIP model and where its two towers are cut."""

    model: Annotated[str, Field(min_length=1)]
    """open_clip model name, or `local-dir:PATH` / `hf-hub:ORG/NAME` (config and weights there)."""
    pretrained: str | None
    """open_clip pretrained tag or a weights file; null for `local-dir:` and `hf-hub:` models."""
    cached_blocks: Annotated[int, Field(ge=0, le=10**9)]
    """Blocks after the cached boundary; 2 serves both HL-CLIP-1 and HL-CLIP-2. With 0 the trunk has
    all blocks, and `train.blocks: 0` trains the heads alone."""
    dtype: Literal["float16", "bfloat16", "float32"]
    """Precision of the cached tokens: `bfloat16` for a model whose tokens exceed 65,504, which
    float16 cannot hold."""
    batch: Count
    """Frames per forward pass of the trunk (speed and memory only)."""

    @model_validator(mode="after")
    def _one_source_of_weights(self) -> "EncoderParams":
        has_weights = self.model.startswith(("local-dir:", "hf-hub:"))
        if has_weights and self.pretrained is not None:
            raise ValueError(f"pretrained must be null: {self.model!r} brings its own weights")
        if not has_weights and self.pretrained is None:
            raise ValueError(f"pretrained must name a tag or weights file for {self.model!r}")
        return self


class PoolParams(Section):
    """Saliency pooling (SP); only `evaluate` reads it."""

    mode: Literal["mean", "max", "gaussian"]
    """Mean (the paper's) or highest score of a window, or a mean with Gaussian weights."""
    window: Window
    """Of `mean` and `max`: clips of the window; odd, 1 is no pooling. `best`: of 1, 3, ... 15 the
    window with the highest VeryGood mAP on val, for each variant; no other split is used."""
    sigma: Sigma
    """Of `gaussian`: standard deviation of the weights in clips, which end at four of it; 0 is no
    pooling. `best`: of 0, 0.5, 0.75, ... 2, as for `window`."""
    border: Literal["neighbours", "zero", "edge"]
    """Values beyond the first and last clip: none, zeros, or the end value repeated."""

    @property
    def width(self) -> tuple[str, float | Literal["best"]]:
        """The key that `mode` reads, and its value; the other key is not read."""
        return ("sigma", self.sigma) if self.mode == "gaussian" else ("window", self.window)


class MomentsParams(Section):
    """Moments from the scores of the clips; only `evaluate` reads it."""

    rule: Literal["consensus", "histogram", "thresholds", "threshold", "contrast", "peaks", "best"]
    """How the scores become windows. `best`: the rule, and the focus of `consensus` (1, 2, 4 or 8),
    with the highest MR-mAP of the pooled scores on val, for each variant; no other split is
    used."""
    focus: Annotated[float, Field(ge=0, le=100)]
    """Of `consensus`: 0 trusts all levels of the curve alike, 8 only those near its top, which
    gives shorter windows. Unused by the other rules and by `best`."""


class EvaluateParams(Section):
    """The splits that are scored and measured."""

    splits: Annotated[list[Split], Field(min_length=1)]
    """Splits that are scored; those with ground truth are measured."""


class Params(Section):
    """The whole of `params.yaml`."""

    data: DataParams
    frames: FramesParams
    encoder: EncoderParams
    train: TrainParams
    pool: PoolParams
    moments: MomentsParams
    evaluate: EvaluateParams

    @property
    def needed_splits(self) -> dict[Split, str]:
        """Splits that need at least one video -> the parameter that needs them, for messages."""
        needed: dict[Split, str] = dict.fromkeys(self.evaluate.splits, "evaluate.splits names it")
        if trains(self.encoder, self.train):
            if self.train.select == "best" and "val" in self.data.annotations:
                needed["val"] = "train.select is best, which is chosen on val"
            key = "blocks" if self.train.blocks else "heads"
            if not self.train.blocks and self.train.temporal != "none":
                key = "temporal"
            needed["train"] = f"train.{key} is {getattr(self.train, key)}"
        return needed

    @model_validator(mode="before")
    @classmethod
    def _without_null_splits(cls, content: Any) -> Any:
        """Leave out each split whose file is null, also of `evaluate.splits`."""
        match content:
            case {
                "data": {"annotations": dict(files)} as data,
                "evaluate": {"splits": list(named)},
            }:
                absent = [split for split, file in files.items() if file is None]
                left = {split: file for split, file in files.items() if file is not None}
                splits = [split for split in named if split not in absent]
                return {
                    **content,
                    "data": {**data, "annotations": left},
                    "evaluate": {**content["evaluate"], "splits": splits},
                }
        return content

    @model_validator(mode="after")
    def _no_contradiction(self) -> "Params":
        if self.train.blocks > self.encoder.cached_blocks:
            raise ValueError(
                f"train.blocks is {self.train.blocks} but encoder.cached_blocks is "
                f"{self.encoder.cached_blocks}: only cached blocks can train"
            )
        if trains(self.encoder, self.train) and "train" not in self.data.annotations:
            raise ValueError(
                "data.annotations.train is missing: give it, or set train.blocks to 0, train.heads "
                "to frozen and train.temporal to none (zero-shot)"
            )
        key, width = self.pool.width
        for name, value, instead in (
            (f"pool.{key}", width, f"give pool.{key} as a number"),
            ("moments.rule", self.moments.rule, "name a rule, such as consensus"),
        ):
            if value == "best" and "val" not in self.evaluate.splits:
                raise ValueError(
                    f"{name} is best, which is chosen on val: add val to evaluate.splits or "
                    f"{instead}"
                )
        if len(set(self.evaluate.splits)) != len(self.evaluate.splits):
            raise ValueError(f"evaluate.splits repeats a split: {self.evaluate.splits}")
        absent = [s for s in self.evaluate.splits if s not in self.data.annotations]
        if absent:
            raise ValueError(f"evaluate.splits names {absent}, which data.annotations lacks")
        return self


def trains(encoder: EncoderParams, train: TrainParams) -> bool:
    """Whether anything trains; if not, all scores are those of zero-shot CLIP."""
    heads_alone = encoder.cached_blocks == 0 and train.heads != "frozen"
    return train.blocks > 0 or heads_alone or train.temporal != "none"


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and validate a `params.yaml`.

    Raises:
        ParamsError: the file is absent, not YAML, or has wrong keys.
    """
    path = Path(path)
    try:
        # YAML 1.2, the dialect DVC writes: `1e-05` is a number there, a string in YAML 1.1.
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParamsError(
            f"{path}: cannot be read ({error.strerror})",
            "run this in the folder that holds it (`hlclip init FOLDER` makes such a project), or "
            "name the file",
        ) from error
    except (YAMLError, ValueError, LookupError, RecursionError) as error:
        # The last three are ruamel's own, for scalars like `2001-99-99`, `!!int ""` and `[[[[...`.
        raise ParamsError(f"{path}: not valid YAML: {error}") from error
    return check_params(
        content,
        path,
        "correct the values there or with `-S key=value`; values of a `dvc exp run -S` that failed "
        f"stay in the file, and `git checkout -- {path}` takes the committed ones back",
    )


def check_params(content: object, path: Path, remedy: str) -> Params:
    """Validate parameters that were read from `path`.

    Raises:
        ParamsError: a key is missing, unknown or wrong, or two contradict each other.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as failure:
        problems = (f"{path}: {problem}" for problem in problems_of(failure))
        raise ParamsError("\n".join(problems), remedy) from None
