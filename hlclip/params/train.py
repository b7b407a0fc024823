"""The section `train`."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from hlclip.params.values import (
    Count,
    Frames,
    Rate,
    Scale,
    ScaleInit,
    Section,
    odd_window,
)


class TrainParams(Section):
    """HL-CLIP's fine-tuning (Eq. 4) of the tail of both towers."""

    blocks: Annotated[int, Field(ge=0)]
    """Last blocks that train in each tower: 1 or 2 in the paper; 0 is zero-shot CLIP, unless
    `encoder.cached_blocks` is 0 or there is a temporal head."""
    heads: Literal["frozen", "norm", "pool", "projection", "all"]
    """Which heads train together with the blocks: the final LayerNorms, the pooling head of an
    image tower that pools by attention (`pool`), the projections. docs/weights.md lists them."""
    temporal: Literal["none", "conv"]
    """`conv` adds a head that the paper does not have: convolutions over the clips of a video,
    conditioned on the query, whose result is added to the image features. It trains with the tail,
    and also where `blocks` is 0. `none` is the paper."""
    temporal_width: Annotated[int, Field(gt=0, le=4096)]
    """Channels between the layers of the temporal head; unused by `none`."""
    temporal_kernel: Annotated[int, Field(le=75), BeforeValidator(odd_window)]
    """Clips that a convolution reads, odd: 5 are the clip itself and two on each side. Unused by
    `none`."""
    temporal_depth: Annotated[int, Field(ge=1, le=2)]
    """Number of convolutions, one after another; unused by `none`."""
    target: Literal["mean", "median", "max", "min"]
    """How the annotators' ratings of a clip become one target (0..1 of the scale of ratings)."""
    loss: Literal["mse", "centred", "correlation", "mse+contrastive"]
    """What is minimised. `mse`: squared error of prediction and target, Eq. 4 of the paper.
    `centred`: the same after both lose their mean over the clips of the query. `correlation`: 1 -
    Pearson's correlation over the clips of the query. `mse+contrastive`: `mse`, plus a contrast of
    clips rated higher with clips rated lower, and of queries with those of other videos."""
    contrastive_weight: Scale
    """Weight of the contrast in `mse+contrastive`; unused by the other losses."""
    contrastive_temperature: Annotated[float, Field(ge=1e-3, le=1e3)]
    """The contrast is a softmax of cosine / temperature; unused by the other losses."""
    scale: Literal["literal", "fixed", "learned"]
    """The prediction that regresses the target: `literal`, the cosine itself; `fixed`, scale_init *
    cosine + bias_init; `learned`, the same with a scale and a bias that train."""
    scale_init: ScaleInit
    """Scale of `fixed`, initial scale of `learned`; unused by `literal`. `fit`: scale and bias are
    the least squares of the targets over the zero-shot cosines of train."""
    bias_init: Annotated[float, Field(ge=-1e6, le=1e6)]
    """Bias of `fixed`, initial bias of `learned`; unused by `literal` and by `scale_init: fit`."""
    scale_lr: Rate
    """Peak learning rate of the `learned` scale and bias. These two numbers move far during
    training; at the learning rate of the weights they would hardly move."""
    lr: Rate
    """Peak learning rate of AdamW."""
    schedule: Literal["constant", "cosine"]
    """Learning rate over the steps behind the warmup: constant, or cosine decay to zero."""
    warmup: Annotated[float, Field(ge=0, lt=1)]
    """Share of all steps in which the learning rate rises linearly to its peak; 0 is none."""
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    """Factor of the learning rate from block to block: the heads train at `lr`, the last block of
    both towers at `lr * layer_decay`, the one before at `lr * layer_decay^2`. 1 is none."""
    weight_decay: Annotated[float, Field(ge=0, le=1e6)]
    """AdamW's decoupled weight decay, on matrices only."""
    epochs: Count
    """Passes over the train split."""
    batch: Count
    """Queries (each with all clips of its video) per step: N of Eq. 4."""
    micro_batch: Frames
    """Frames per forward and backward pass; gradients of a step are summed. 0 is all frames of the
    step. Speed and memory only, up to rounding. `auto` is 25 on a CPU, where ViT-B/32 then fits
    into the caches, and 0 on CUDA. Losses but `mse`, and a temporal head, take whole videos: as
    many as fit, at least one."""
    select: Literal["best", "last"]
    """Chosen epoch: best VeryGood mAP on val (the earliest of equals), or the last."""
    select_on: Literal["unpooled", "pooled"]
    """The scores on val that `train.csv` measures and `best` chooses by: as they are, or after mean
    pooling over `select_window` clips with border `neighbours`."""
    select_window: Annotated[int, BeforeValidator(odd_window)]
    """Clips of the window of `select_on: pooled`, odd; unused by `unpooled`. The section `pool`
    has its own, so that a change of `pool` trains nothing again."""
    ema: Annotated[float, Field(ge=0, lt=1)]
    """Decay per step of a moving average of the weights, which begins at the pretrained weights.
    Validation, the choice of the epoch and the checkpoint take the average. 0 is none."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the batch order and of a temporal head's initial weights."""
    precision: Literal["auto", "fp32", "bf16"]
    """Autocast of the training steps: `auto` is bf16 on CUDA and fp32 on the CPU. Scores are always
    computed in float32."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]+)?|mps)$")]
    """`auto` (CUDA if available), `cpu`, `cuda`, `cuda:N` or `mps` (Apple): the device of the
    stages activations, train and score."""
    processes: Annotated[int, Field(ge=1, le=4096)]
    """Processes that train together, on CUDA each on a GPU of its own. They share the queries of a
    step, so `batch` is still that of the step. The result depends on their number, but by rounding
    alone."""

    def facts(self) -> dict[str, Any]:
        """What a trained tail depends on: all but the device, and `processes` if it is not 1."""
        one = {"processes"} if self.processes == 1 else set()
        return self.model_dump(exclude={"device"} | one)

    @model_validator(mode="after")
    def _a_device_of_each(self) -> "TrainParams":
        if self.processes > 1 and (":" in self.device or self.device == "mps"):
            raise ValueError(
                f"device is {self.device}, one GPU, but processes is {self.processes}, each on a "
                "GPU of its own: set device to cuda, or processes to 1"
            )
        return self

    @model_validator(mode="after")
    def _a_device_that_computes_the_loss(self) -> "TrainParams":
        if self.device == "mps" and self.loss in ("centred", "correlation"):
            raise ValueError(
                f"device is mps, which has no float64, but loss is {self.loss}, which needs it: "
                "set device to cpu, or loss to mse or mse+contrastive"
            )
        return self

    @model_validator(mode="after")
    def _one_name_of_a_training(self) -> "TrainParams":
        no_bias = self.bias_init == 0 or self.loss == "centred"
        if self.scale == "fixed" and self.scale_init == 1 and no_bias:
            raise ValueError(
                f"scale is fixed at scale_init 1 and bias_init {self.bias_init:g}, which for loss "
                f"{self.loss} is literal: set scale to literal, or other values"
            )
        return self

    @model_validator(mode="after")
    def _a_scale_that_matters(self) -> "TrainParams":
        if self.scale_init == "fit" and self.scale == "literal":
            raise ValueError(
                "scale_init is fit, but scale is literal, the cosine itself: set scale to fixed or "
                "learned, or scale_init to a number"
            )
        if self.loss == "correlation" and self.scale != "literal":
            raise ValueError(
                f"scale is {self.scale}, but loss is correlation, which no scale or bias changes: "
                "set scale to literal, or another loss"
            )
        return self
