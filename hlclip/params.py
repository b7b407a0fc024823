"""The keys of `params.yaml`, with units and allowed values.

`params.yaml` is complete: nothing has a default in code, so the file (and `dvc params diff`) shows
everything that a result depends on. Parameter objects stop at the stage modules; engines take
plain values.

The sets of values are listed here and not imported: every stage depends on this module and on what
it imports, so an import of `hlclip.evaluation` would rerun ffmpeg after an edit of a metric.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hlclip.formats import or_best, problems_of
from hlclip.system import HlclipError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
# Beyond these bounds a number, its square or a product of two leaves the range of float32 or int64.
Count = Annotated[int, Field(gt=0, le=10**9)]
Rate = Annotated[float, Field(ge=1e-30, le=1e30)]
Scale = Annotated[float, Field(ge=1e-6, le=1e6)]
PathText = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
Split = Literal["train", "val", "test"]
Decoder = Literal["ffmpeg", "pyav"]

Window = Annotated[
    int | Literal["best"],
    or_best(lambda n: type(n) is int and n in range(1, 100_000, 2), "an odd number of clips"),
]
Sigma = Annotated[
    float | Literal["best"],
    or_best(lambda n: type(n) in (int, float) and 0 <= n <= 1000, "0 to 1000 clips"),
]


class ParamsError(HlclipError):
    """`params.yaml` has missing, unknown, ill-typed or contradictory keys; all are named."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataParams(_Section):
    """The data set: a folder with QVHighlights rows (jsonl) and `videos/<vid>.<extension>`."""

    root: PathText
    """Folder of the data set; relative paths start at the folder of `params.yaml`."""
    annotations: dict[Split, PathText]
    """Annotation file of each split, relative to `root`; any of train, val and test."""
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


class FramesParams(_Section):
    """One RGB frame per clip, at its middle."""

    size: Annotated[int, Field(gt=0, le=4096)]
    """Height and width of a frame in pixels: the encoder's image size."""
    resize: Literal["shortest", "squash"]
    """`shortest`: the shorter side becomes `size`, then centre crop; `squash`: both sides do."""
    interpolation: Literal["bicubic", "bilinear"]
    """Interpolation of ffmpeg's scaler: the encoder's."""
    decoder: Decoder
    """`ffmpeg` decodes every frame; `pyav` skips the packets of an H.264 video that no sampled
    frame needs. Speed only: the pixels are the same."""


class EncoderParams(_Section):
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


class TrainParams(_Section):
    """HL-CLIP's fine-tuning (Eq. 4) of the tail of both towers."""

    blocks: Annotated[int, Field(ge=0)]
    """Last blocks that train in each tower: 1 or 2 in the paper; 0 is zero-shot CLIP, unless
    `encoder.cached_blocks` is 0."""
    heads: Literal["frozen", "norm", "pool", "projection", "all"]
    """Which heads train together with the blocks: the final LayerNorms, the pooling head of an
    image tower that pools by attention (`pool`), the projections. docs/weights.md lists them."""
    target: Literal["mean", "median", "max", "min"]
    """How the annotators' ratings of a clip become one target (then divided by 4: 0..1)."""
    scale: Literal["literal", "fixed", "learned"]
    """The prediction that regresses the target: `literal`, the cosine itself; `fixed`, scale_init *
    cosine + bias_init; `learned`, the same with a scale and a bias that train."""
    scale_init: Scale
    """Scale of `fixed`, initial scale of `learned`; unused by `literal`."""
    bias_init: Annotated[float, Field(ge=-1e6, le=1e6)]
    """Bias of `fixed`, initial bias of `learned`; unused by `literal`."""
    scale_lr: Rate
    """Peak learning rate of the `learned` scale and bias. These two numbers move far during
    training; at the learning rate of the weights they would hardly move."""
    lr: Rate
    """Peak learning rate of AdamW."""
    schedule: Literal["constant", "cosine"]
    """Learning rate over the steps: constant, or cosine decay to zero."""
    weight_decay: Annotated[float, Field(ge=0, le=1e6)]
    """AdamW's decoupled weight decay, on matrices only."""
    epochs: Count
    """Passes over the train split."""
    batch: Count
    """Queries (each with all clips of its video) per step: N of Eq. 4."""
    micro_batch: Annotated[int, Field(ge=0, le=10**9)] | Literal["auto"]
    """Frames per forward and backward pass; gradients of a step are summed. 0 is all frames of the
    step. Speed and memory only, up to rounding. `auto` is 25 on a CPU, where ViT-B/32 then fits
    into the caches, and 0 on CUDA."""
    select: Literal["best", "last"]
    """Chosen epoch: best unpooled VeryGood mAP on val (the earliest of equals), or the last."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the batch order."""
    precision: Literal["auto", "fp32", "bf16"]
    """Autocast of the training steps: `auto` is bf16 on CUDA and fp32 on the CPU. Scores are always
    computed in float32."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")]
    """`auto` (CUDA if available), `cpu`, `cuda` or `cuda:N`: the device of the stages activations,
    train and score."""

    @model_validator(mode="after")
    def _one_name_of_a_training(self) -> "TrainParams":
        if self.scale == "fixed" and (self.scale_init, self.bias_init) == (1, 0):
            raise ValueError(
                "scale is fixed at scale_init 1 and bias_init 0, which is literal: set scale to "
                "literal, or other values"
            )
        return self


class PoolParams(_Section):
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


class MomentsParams(_Section):
    """Moments from the scores of the clips; only `evaluate` reads it."""

    rule: Literal["consensus", "histogram", "thresholds", "threshold", "contrast", "peaks", "best"]
    """How the scores become windows. `best`: the rule, and the focus of `consensus` (1, 2, 4 or 8),
    with the highest MR mAP of the pooled scores on val, for each variant; no other split is
    used."""
    focus: Annotated[float, Field(ge=0, le=100)]
    """Of `consensus`: 0 trusts all levels of the curve alike, 8 only those near its top, which
    gives shorter windows. Unused by the other rules and by `best`."""


class EvaluateParams(_Section):
    """The splits that are scored and measured."""

    splits: Annotated[list[Split], Field(min_length=1)]
    """Splits that are scored; those with ground truth are measured."""


class Params(_Section):
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
        if self.train.blocks:
            if self.train.select == "best" and "val" in self.data.annotations:
                needed["val"] = "train.select is best, which is chosen on val"
            needed["train"] = f"train.blocks is {self.train.blocks}"
        return needed

    @model_validator(mode="after")
    def _no_contradiction(self) -> "Params":
        if self.train.blocks > self.encoder.cached_blocks:
            raise ValueError(
                f"train.blocks is {self.train.blocks} but encoder.cached_blocks is "
                f"{self.encoder.cached_blocks}: only cached blocks can train"
            )
        if trains(self.encoder, self.train) and "train" not in self.data.annotations:
            raise ValueError(
                "data.annotations.train is missing: give it, or set train.blocks to 0 and "
                "train.heads to frozen (zero-shot)"
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
    return train.blocks > 0 or (encoder.cached_blocks == 0 and train.heads != "frozen")


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
            "run this in the folder that holds it, or name the file",
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
