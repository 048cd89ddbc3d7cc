"""The loss of each row and its share of the denominator: weighed by samples, and reduced."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lightning_losses._target_checks import check_values
from lightning_losses.functional._inputs import check_tensor
from lightning_losses.functional._mean import ratio
from lightning_losses.functional._options import Normalizer, Reduction


@dataclass
class RowLoss:
    """Weighted loss of each row and what it adds to the denominator of the mean, both of the target's shape."""

    loss: Tensor
    weight: Tensor

    def totals(self) -> tuple[Tensor, Tensor]:
        """Return the numerator and the denominator of the mean."""
        return self.loss.sum(), self.weight.sum()

    def mean_and_weight(self) -> tuple[Tensor, Tensor]:
        """Return the mean, 0 over no weight, and its denominator."""
        total, weight = self.totals()
        return ratio(total, weight), weight


class EqualRows(RowLoss):
    """Rows that add 1 each to the denominator of the mean, which is made where it is asked for."""

    def __init__(self, loss: Tensor) -> None:
        self.loss = loss

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """1 for each row."""
        return self.loss.new_ones(()).expand(self.loss.shape)

    def totals(self) -> tuple[Tensor, Tensor]:
        """Return the numerator and the denominator of the mean."""
        return self.loss.sum(), self.loss.new_full((), self.loss.numel())

    def mean_and_weight(self) -> tuple[Tensor, Tensor]:
        """Return the mean and its denominator; `Tensor.mean` would write its gradient for every row."""
        if not self.loss.numel():
            return super().mean_and_weight()
        total, weight = self.totals()
        return total / weight, weight


def weigh(rows: RowLoss, sample_weight: Tensor, normalizer: Normalizer = "weights") -> RowLoss:
    """Multiply each row by its sample weight, which counts in the denominator unless that is the number of rows."""
    check_tensor("sample_weight", sample_weight)
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
    return rows.mean_and_weight()[0]
