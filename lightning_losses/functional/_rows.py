"""The loss of each row and its share of the denominator: weighed by samples, and reduced."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from lightning_losses._target_checks import check_values
from lightning_losses.functional._mean import ratio
from lightning_losses.functional._options import Normalizer, Reduction


class RowLoss(NamedTuple):
    """Weighted loss of each row and what it adds to the denominator of the mean, both of the target's shape."""

    loss: Tensor
    weight: Tensor


class EqualRows(RowLoss):
    """Rows that add 1 each to the denominator of the mean."""


def weigh(rows: RowLoss, sample_weight: Tensor, normalizer: Normalizer = "weights") -> RowLoss:
    """Multiply each row by its sample weight, which counts in the denominator unless that is the number of rows."""
    shape = rows.loss.shape
    if sample_weight.shape not in (shape, shape[:1]):
        raise ValueError(
            f"sample_weight must have shape {tuple(shape[:1])} or {tuple(shape)}, got {tuple(sample_weight.shape)}"
        )
    factor = sample_weight.to(rows.loss).reshape([*sample_weight.shape, *[1] * (len(shape) - sample_weight.dim())])
    check_values("sample_weight", factor, ~((factor >= 0) & factor.isfinite()), "finite numbers >= 0")
    return RowLoss(rows.loss * factor, rows.weight * factor if normalizer == "weights" else rows.weight)


def reduce(rows: RowLoss, reduction: Reduction) -> Tensor:
    """Reduce to the mean, the sum or nothing; the mean over no weight at all is 0, with a graph."""
    if reduction == "none":
        return rows.loss
    if reduction == "sum":
        return rows.loss.sum()
    if isinstance(rows, EqualRows) and rows.loss.numel():
        return rows.loss.mean()
    return ratio(rows.loss.sum(), rows.weight.sum())
