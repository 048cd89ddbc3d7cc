"""Regression losses as modules: each stores the arguments of the function of the same stem."""

from __future__ import annotations

from torch import Tensor

from lightning_losses._validation import choice
from lightning_losses.functional._options import REDUCTIONS, Reduction
from lightning_losses.functional._rows import RowLoss
from lightning_losses.functional.regression import (
    KL_REDUCTIONS,
    Difference,
    KLReduction,
    absolute_error,
    absolute_percentage_error,
    cosine_rows,
    element_loss,
    hinge,
    huber_error,
    kl_div_rows,
    log_cosh_error,
    pinball,
    plain_reduction,
    smooth_absolute_error,
    squared_error,
)
from lightning_losses.losses.base import Prediction, RowwiseLoss


class RegressionLoss(RowwiseLoss):
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


class MAPELoss(RegressionLoss):
    """Mean absolute percentage error; see `mape_loss` in `lightning_losses.functional`.

    Example:
        >>> import torch
        >>> MAPELoss()(torch.tensor([6.0]), torch.tensor([5.0]))
        tensor(20.)
    """

    def __init__(self, epsilon: float = 1e-7, reduction: Reduction = "mean") -> None:
        super().__init__(absolute_percentage_error(epsilon), reduction)


class LogCoshLoss(RegressionLoss):
    """Logarithm of the hyperbolic cosine; see `log_cosh_loss` in `lightning_losses.functional`.

    Example:
        >>> import torch
        >>> LogCoshLoss()(torch.tensor([3.0]), torch.tensor([0.0]))
        tensor(2.3093)
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__(log_cosh_error, reduction)


class QuantileLoss(RegressionLoss):
    """Quantile loss; see `quantile_loss` in `lightning_losses.functional`.

    Example:
        >>> import torch
        >>> QuantileLoss(q=0.9)(torch.tensor([0.0]), torch.tensor([1.0]))
        tensor(0.9000)
    """

    def __init__(self, q: float = 0.5, reduction: Reduction = "mean") -> None:
        super().__init__(pinball(q), reduction)


class HingeLoss(RegressionLoss):
    """Hinge loss; see `hinge_loss` in `lightning_losses.functional`.

    Example:
        >>> import torch
        >>> HingeLoss()(torch.tensor([0.5, 0.5]), torch.tensor([1, 0]))
        tensor(1.)
    """

    task = "binary"
    unsupported = dict.fromkeys(
        ("weight", "pos_weight", "normalizer", "label_smoothing", "ignore_index", "from_logits", "z_loss"),
        "it is a margin between scores; sample_weight weighs its rows",
    )

    def __init__(self, margin: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__(hinge(margin), reduction)

    def predict(self, input: Tensor) -> Prediction:
        """Return 1 where the score is positive, else 0."""
        return Prediction((input > 0).long(), None)


class CosineSimilarityLoss(RowwiseLoss):
    """One minus the cosine; see `cosine_similarity_loss` in `lightning_losses.functional`.

    Example:
        >>> import torch
        >>> CosineSimilarityLoss()(torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 0.0]]))
        tensor(1.)
    """

    def __init__(self, dim: int = -1, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.dim = dim
        self._reduction = choice("reduction", reduction, REDUCTIONS)

    @property
    def reduction(self) -> Reduction:
        """`"mean"`, `"sum"` or `"none"`."""
        return self._reduction

    def rows(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> RowLoss:
        """Return the weighted loss of each vector and what it adds to the denominator of the mean."""
        return cosine_rows(input, target, sample_weight, self.dim)


class KLDivLoss(RowwiseLoss):
    """Kullback-Leibler divergence; see `kl_div_loss` in `lightning_losses.functional`.

    Example:
        >>> import torch
        >>> KLDivLoss()(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
        tensor(0.6931)
    """

    task = "multiclass"
    unsupported = dict.fromkeys(
        ("weight", "pos_weight", "normalizer", "label_smoothing", "ignore_index", "from_logits", "z_loss"),
        "it compares log-probabilities with probabilities as torch does; use ce with probability targets",
    )

    def __init__(self, reduction: KLReduction = "batchmean") -> None:
        super().__init__()
        self.kl_reduction = choice("reduction", reduction, KL_REDUCTIONS)

    @property
    def reduction(self) -> Reduction:
        """`"mean"`, which `"batchmean"` is with weights that count rows, `"sum"` or `"none"`."""
        return plain_reduction(self.kl_reduction)

    def rows(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> RowLoss:
        """Return the weighted loss of each element and what it adds to the denominator of the mean."""
        return kl_div_rows(input, target, sample_weight, self.kl_reduction)

    def posterior(self, input: Tensor) -> Tensor:
        """Return the class probabilities whose logarithms `input` holds."""
        return input.softmax(dim=min(input.dim() - 1, 1))

    def predict(self, input: Tensor) -> Prediction:
        """Return the class with the largest log-probability, and the probabilities."""
        return Prediction(input.argmax(dim=min(input.dim() - 1, 1)), self.posterior(input))
