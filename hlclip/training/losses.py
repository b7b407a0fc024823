"""What a training minimises: a loss of the cosines of a batch, computed in pieces.

Each loss is a mean over the whole batch. A piece gives its share, and the shares add up to the
loss, so the gradients do not depend on the pieces.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn, tensor

from hlclip.params import TrainParams
from hlclip.training.batches import Batch

LossName = Literal["mse", "centred", "correlation", "mse+contrastive"]
Scale = Literal["literal", "fixed", "learned"]

NEAR_TIE = 0.1 - 1e-6
"""Targets that differ by less are a tie: one rating of three that is one point higher is 1/12. Not
0.1 itself: between targets 0.1 apart, as on a scale of 0 to 10, rounding would decide."""

SMALLEST_SPREAD = 1e-4
"""Standard deviations of cosines or targets below it count as it, so that a gradient stays finite.
The rounding of float32 cosines is a thousandth of it."""


class Loss(nn.Module):
    """A loss of the prediction scale * cosine + bias against the target.

    Scale and bias change the gradients, but no ranking within a query and so no metric.

    Args:
        name: `mse`, the mean squared error over all frames of the batch (Eq. 4). `centred`, the
            same of predictions and targets minus their means over the query's frames.
            `correlation`, 1 - Pearson's correlation within the query, the mean over the queries; it
            is 0 for flat predictions or targets, and scale and bias do not matter.
            `mse+contrastive`, `mse` plus a weighted contrast of cosines, see `_contrast`.
        scale: `literal` is scale 1 and bias 0, as in the paper; `fixed` keeps the given values;
            `learned` starts from them and trains them.
        scale_init, bias_init: values for `fixed` and `learned`.
        contrastive_weight, contrastive_temperature: of `mse+contrastive`.
    """

    def __init__(
        self,
        name: LossName,
        scale: Scale,
        *,
        scale_init: float = 1.0,
        bias_init: float = 0.0,
        contrastive_weight: float = 0.1,
        contrastive_temperature: float = 0.07,
    ) -> None:
        super().__init__()
        if scale == "literal":
            scale_init, bias_init = 1.0, 0.0
        self.name: LossName = name
        self.scale = nn.Parameter(tensor(scale_init), requires_grad=scale == "learned")
        self.bias = nn.Parameter(tensor(bias_init), requires_grad=scale == "learned")
        self.contrastive_weight = contrastive_weight
        self.contrastive_temperature = contrastive_temperature

    @property
    def needs_whole_rows(self) -> bool:
        """Whether the frames of a row must be in one piece."""
        return self.name != "mse"

    @property
    def needs_all_queries(self) -> bool:
        """Whether `forward` takes the cosine of each frame with every query of the batch."""
        return self.name == "mse+contrastive"

    @torch.no_grad()
    def start(self, scale: float, bias: float) -> None:
        """Put other initial values in place of `scale_init` and `bias_init`."""
        self.scale.fill_(scale)
        self.bias.fill_(bias)

    def forward(
        self, cosines: Tensor, batch: Batch, start: int = 0, *, all_cosines: Tensor | None = None
    ) -> Tensor:
        """The share of a piece in the batch's loss, float32 [].

        Args:
            cosines: float32 [frames of the piece], -1..1; whole rows if `needs_whole_rows`.
            batch: the whole batch.
            start: index of the piece's first frame in the batch.
            all_cosines: float32 [frames of the piece, queries of the batch], if
                `needs_all_queries`.
        """
        piece = slice(start, start + len(cosines))
        target, prediction = batch.target[piece], self.scale * cosines
        if self.name in ("mse", "mse+contrastive"):
            # mean over the batch = sum over pieces of (mean over the piece) * (its share of frames)
            share = F.mse_loss(prediction + self.bias, target) * (len(target) / len(batch.target))
            if all_cosines is not None:
                share = share + self.contrastive_weight * self._contrast(all_cosines, batch, piece)
            return share
        rows = _rows(batch)[:, piece]
        if self.name == "centred":  # the bias is a part of the mean
            error = _centred(prediction, rows) - _centred(target, rows)
            return (error.square().sum() / len(batch.target)).float()
        shares = rows.any(1).double() - _correlation(cosines, target, rows)  # [queries]
        return (shares.sum() / len(rows)).float()

    def _contrast(self, all_cosines: Tensor, batch: Batch, piece: slice) -> Tensor:
        """Share of a piece in the sum of two means of -log softmax(cosine / temperature).

        Within a video: a clip against the clips of its row that are rated lower, or not rated, by
        more than `NEAR_TIE`; the mean over the clips that have such clips. Across the batch: the
        cosine of a clip that is rated above `NEAR_TIE` with its query, against its cosines with the
        queries of other videos, `batch.unrelated`; the mean over the clips that have such queries.
        """
        # The lowest target of each frame's row, [frames of the batch].
        lowest = torch.where(_rows(batch), batch.target, torch.inf).amin(1)[batch.image_query]
        ranked = lowest < batch.target - NEAR_TIE
        paired = (batch.target > NEAR_TIE) & batch.unrelated.any(1)[batch.image_query]

        target, query = batch.target[piece], batch.image_query[piece]
        logits = all_cosines / self.contrastive_temperature  # [frames, queries]
        own = logits.gather(1, query[:, None])  # [frames, 1]
        # [frames, frames]: for the clip of a line, the clips that it should exceed.
        lower = (target < target[:, None] - NEAR_TIE) & (query == query[:, None])
        within = _log_softmax(own, own.T, lower)[ranked[piece]]
        across = _log_softmax(own, logits, batch.unrelated[query])[paired[piece]]
        return -within.sum() / ranked.sum().clamp(min=1) - across.sum() / paired.sum().clamp(min=1)


def make_loss(params: TrainParams) -> Loss:
    """The loss of the parameters; with `scale_init: fit` at scale 1 and bias 0, before the fit."""
    return Loss(
        params.loss,
        params.scale,
        scale_init=1.0 if params.scale_init == "fit" else params.scale_init,
        bias_init=0.0 if params.scale_init == "fit" else params.bias_init,
        contrastive_weight=params.contrastive_weight,
        contrastive_temperature=params.contrastive_temperature,
    )


def _rows(batch: Batch) -> Tensor:
    """bool [queries, frames]: whether a frame belongs to the row of a query."""
    queries = torch.arange(len(batch.text_lengths), device=batch.image_query.device)
    return batch.image_query == queries[:, None]


def _row_means(values: Tensor, rows: Tensor) -> Tensor:
    """Mean of each row, float64 [queries], 0 for rows without frames; of equal values exact."""
    return rows.double() @ values.double() / rows.sum(1).clamp(min=1)


def _centred(values: Tensor, rows: Tensor) -> Tensor:
    """Values minus the mean of their row, float64 [frames]."""
    return values.double() - rows.double().T @ _row_means(values, rows)


def _correlation(cosines: Tensor, target: Tensor, rows: Tensor) -> Tensor:
    """Pearson's correlation of each row, float64 [queries], 0 if one of both is flat."""
    x, y = _centred(cosines, rows), _centred(target, rows)
    # The clamp passes no gradient below the bound, where that of the root would be infinite.
    spread = [_row_means(v.square(), rows).clamp(min=SMALLEST_SPREAD**2).sqrt() for v in (x, y)]
    return _row_means(x * y, rows) / (spread[0] * spread[1])


def _log_softmax(own: Tensor, others: Tensor, mask: Tensor) -> Tensor:
    """log(exp(own) / (exp(own) + sum of exp(others) where the mask is true)), [frames].

    Args:
        own: [frames, 1].
        others: [frames or 1, others].
        mask: bool [frames, others].
    """
    differences = (others - own).masked_fill(~mask, -torch.inf)
    return -torch.cat([torch.zeros_like(own), differences], dim=1).logsumexp(1)
