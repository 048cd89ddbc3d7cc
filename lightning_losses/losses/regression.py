"""Regression losses as modules: each stores the arguments of the function of the same stem."""

from __future__ import annotations

from torch import Tensor

from lightning_losses._validation import choice
from lightning_losses.functional._pipeline import REDUCTIONS, Reduction, RowLoss
from lightning_losses.functional.regression import (
    Difference,
    absolute_error,
    element_loss,
    huber_error,
    smooth_absolute_error,
    squared_error,
)
from lightning_losses.losses.base import Loss


class RegressionLoss(Loss):
    """A loss of two tensors of one shape, element by element.

    Args:
        elementwise: Unreduced loss of two tensors.
        reduction: `"mean"`, `"sum"` or `"none"`.

    Raises:
        ValueError: `reduction` is not one of these.
    """

    def __init__(self, elementwise: Difference, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.elementwise = elementwise
        self._reduction = choice("reduction", reduction, REDUCTIONS)

    @property
    def reduction(self) -> Reduction:
        """`"mean"`, `"sum"` or `"none"`."""
        return self._reduction

    def rows(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> RowLoss:
        """Return the weighted loss of each element and what it adds to the denominator of the mean."""
        return element_loss(self.elementwise, input, target, sample_weight)


class MSELoss(RegressionLoss):
    """Mean squared error; see `mse_loss` in `lightning_losses.functional`.

    Example:
        >>> import torch
        >>> MSELoss()(torch.tensor([3.0]), torch.tensor([1.0]))
        tensor(4.)
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__(squared_error, reduction)


class L1Loss(RegressionLoss):
    """Mean absolute error; see `l1_loss` in `lightning_losses.functional`.

    Example:
        >>> import torch
        >>> L1Loss()(torch.tensor([3.0]), torch.tensor([1.0]))
        tensor(2.)
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__(absolute_error, reduction)


class SmoothL1Loss(RegressionLoss):
    """Smooth absolute error; see `smooth_l1_loss` in `lightning_losses.functional`.

    Example:
        >>> import torch
        >>> SmoothL1Loss(beta=1.0)(torch.tensor([3.0]), torch.tensor([0.0]))
        tensor(2.5000)
    """

    def __init__(self, beta: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__(smooth_absolute_error(beta), reduction)


class HuberLoss(RegressionLoss):
    """Huber loss; see `huber_loss` in `lightning_losses.functional`.

    Example:
        >>> import torch
        >>> HuberLoss(delta=1.0)(torch.tensor([3.0]), torch.tensor([0.0]))
        tensor(2.5000)
    """

    def __init__(self, delta: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__(huber_error(delta), reduction)
