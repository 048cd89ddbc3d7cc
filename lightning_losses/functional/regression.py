"""Regression losses: torch's own elementwise values under the package's sample weights and shape checks."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, TypedDict, get_args

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from lightning_losses._target_checks import check_values
from lightning_losses._validation import choice, in_interval, positive, unknown_arguments
from lightning_losses.functional._inputs import check_tensor
from lightning_losses.functional._options import REDUCTIONS, Reduction
from lightning_losses.functional._rows import RowLoss, reduce, weigh

Difference = Callable[[Tensor, Tensor], Tensor]

squared_error: Difference = partial(F.mse_loss, reduction="none")
absolute_error: Difference = partial(F.l1_loss, reduction="none")


class RegressionOptions(TypedDict, total=False):
    """The options of every regression loss.

    Attributes:
        sample_weight: Weight of each row, `(N,)` or the target's shape; the mean divides by the sum of the weights.
        reduction: `"mean"`, `"sum"` or `"none"`.
    """

    sample_weight: Tensor | None
    reduction: Reduction


def element_loss(
    elementwise: Difference, input: Tensor, target: Tensor, sample_weight: Tensor | None = None
) -> RowLoss:
    """Return the weighted loss of each element and what it adds to the denominator of the mean.

    Args:
        elementwise: Unreduced loss of two tensors of one shape.
        input: Predictions, any shape.
        target: Same shape; torch would broadcast `(N, 1)` with `(N,)` to `(N, N)`.
        sample_weight: See `RegressionOptions`.

    Returns:
        Two tensors of the input's shape, in float32 for half inputs.

    Raises:
        ValueError: The shapes differ.
        TypeError: An argument is no tensor of real numbers.
    """
    check_tensor("input", input)
    check_tensor("target", target)
    if target.shape != input.shape:
        raise ValueError(f"target must have the shape of input, {tuple(input.shape)}, got {tuple(target.shape)}")
    dtype = torch.promote_types(input.dtype, torch.float32)
    loss = elementwise(input.to(dtype), target.to(dtype))
    rows = RowLoss(loss, torch.ones_like(loss))
    return rows if sample_weight is None else weigh(rows, sample_weight)


def reduction_of(options: RegressionOptions) -> Reduction:
    """Return the checked reduction, or raise a TypeError if there is an unknown option beside it."""
    unknown_arguments("the loss", options, tuple(RegressionOptions.__annotations__))
    return choice("reduction", options.get("reduction", "mean"), REDUCTIONS)


def compute(elementwise: Difference, input: Tensor, target: Tensor, options: RegressionOptions) -> Tensor:
    """Return the reduced loss."""
    reduction = reduction_of(options)
    return reduce(element_loss(elementwise, input, target, options.get("sample_weight")), reduction)


def mse_loss(input: Tensor, target: Tensor, **options: Unpack[RegressionOptions]) -> Tensor:
    r"""Mean squared error.

    $$(x - y)^2$$

    Args:
        input: Predictions, any shape.
        target: Same shape.
        **options: See `RegressionOptions`.

    Returns:
        A scalar, or one loss for each element.

    Raises:
        ValueError: The shapes differ, or an option is not allowed.

    Example:
        >>> import torch
        >>> mse_loss(torch.ones(2, 2), torch.zeros(2, 2))
        tensor(1.)
    """
    return compute(squared_error, input, target, options)


def l1_loss(input: Tensor, target: Tensor, **options: Unpack[RegressionOptions]) -> Tensor:
    r"""Mean absolute error.

    $$|x - y|$$

    Args:
        input: Predictions, any shape.
        target: Same shape.
        **options: See `RegressionOptions`.

    Returns:
        A scalar, or one loss for each element.

    Raises:
        ValueError: The shapes differ, or an option is not allowed.

    Example:
        >>> import torch
        >>> l1_loss(torch.tensor([3.0]), torch.tensor([1.0]))
        tensor(2.)
    """
    return compute(absolute_error, input, target, options)


def smooth_absolute_error(beta: float) -> Difference:
    """Return the elementwise value of `smooth_l1_loss`."""
    return partial(F.smooth_l1_loss, reduction="none", beta=positive("beta", beta))


def smooth_l1_loss(input: Tensor, target: Tensor, beta: float = 1.0, **options: Unpack[RegressionOptions]) -> Tensor:
    r"""Absolute error with a parabola at the bottom; `huber_loss` divided by `beta`.

    $$\frac{(x - y)^2}{2 \beta} \text{ if } |x - y| < \beta, \text{ else } |x - y| - \beta / 2$$

    Args:
        input: Predictions, any shape.
        target: Same shape.
        beta: Difference at which the parabola ends, above 0.
        **options: See `RegressionOptions`.

    Returns:
        A scalar, or one loss for each element.

    Raises:
        ValueError: `beta` is not above 0, the shapes differ, or an option is not allowed.

    Example:
        >>> import torch
        >>> smooth_l1_loss(torch.tensor([0.5, 3.0]), torch.zeros(2), reduction="none")
        tensor([0.1250, 2.5000])

    Source:
        Girshick: Fast R-CNN, 2015.
    """
    return compute(smooth_absolute_error(beta), input, target, options)


def huber_error(delta: float) -> Difference:
    """Return the elementwise value of `huber_loss`."""
    return partial(F.huber_loss, reduction="none", delta=positive("delta", delta))


def huber_loss(input: Tensor, target: Tensor, delta: float = 1.0, **options: Unpack[RegressionOptions]) -> Tensor:
    r"""Squared error near the target, absolute error beyond.

    $$\tfrac{1}{2} (x - y)^2 \text{ if } |x - y| < \delta, \text{ else } \delta (|x - y| - \delta / 2)$$

    Args:
        input: Predictions, any shape.
        target: Same shape.
        delta: Difference at which the parabola ends, above 0.
        **options: See `RegressionOptions`.

    Returns:
        A scalar, or one loss for each element.

    Raises:
        ValueError: `delta` is not above 0, the shapes differ, or an option is not allowed.

    Example:
        >>> import torch
        >>> huber_loss(torch.tensor([0.5, 3.0]), torch.zeros(2), reduction="none")
        tensor([0.1250, 2.5000])

    Source:
        Huber: Robust Estimation of a Location Parameter, 1964.
    """
    return compute(huber_error(delta), input, target, options)


def absolute_percentage_error(epsilon: float) -> Difference:
    """Return the elementwise value of `mape_loss`."""
    return partial(_absolute_percentage_error, epsilon=positive("epsilon", epsilon))


def _absolute_percentage_error(input: Tensor, target: Tensor, epsilon: float) -> Tensor:
    return 100 * (input - target).abs() / target.abs().clamp_min(epsilon)


def mape_loss(input: Tensor, target: Tensor, epsilon: float = 1e-7, **options: Unpack[RegressionOptions]) -> Tensor:
    r"""Mean absolute percentage error.

    $$100\, \frac{|x - y|}{\max(|y|, \epsilon)}$$

    For positive targets of different sizes. A target of 0 costs `1 / epsilon` times as much as one of 1: choose
    `epsilon` as the size below which differences do not matter.

    Args:
        input: Predictions, any shape.
        target: Same shape.
        epsilon: Least size of a target, above 0.
        **options: See `RegressionOptions`.

    Returns:
        A scalar, or one loss for each element.

    Raises:
        ValueError: `epsilon` is not above 0, the shapes differ, or an option is not allowed.

    Example:
        >>> import torch
        >>> mape_loss(torch.tensor([1.5, 6.0]), torch.tensor([1.0, 5.0]))
        tensor(35.)
    """
    return compute(absolute_percentage_error(epsilon), input, target, options)


def log_cosh_error(input: Tensor, target: Tensor) -> Tensor:
    """Return the elementwise value of `log_cosh_loss`, with all its digits near 0 and far out."""
    size = (input - target).abs()
    near = torch.log1p(2 * (size.clamp_max(1) / 2).sinh().square())
    return torch.where(size < 1, near, size - math.log(2) + torch.log1p((-2 * size).exp()))


def log_cosh_loss(input: Tensor, target: Tensor, **options: Unpack[RegressionOptions]) -> Tensor:
    r"""Logarithm of the hyperbolic cosine: squared error near the target, absolute error beyond, smooth everywhere.

    $$\log \cosh(x - y)$$

    Args:
        input: Predictions, any shape.
        target: Same shape.
        **options: See `RegressionOptions`.

    Returns:
        A scalar, or one loss for each element.

    Raises:
        ValueError: The shapes differ, or an option is not allowed.

    Example:
        >>> import torch
        >>> log_cosh_loss(torch.tensor([1e-4, 1e4]), torch.zeros(2), reduction="none")
        tensor([5.0000e-09, 9.9993e+03])
    """
    return compute(log_cosh_error, input, target, options)


def pinball(q: float) -> Difference:
    """Return the elementwise value of `quantile_loss`."""
    in_interval("q", q, 0, 1)
    if q in (0, 1):
        raise ValueError(f"q must lie between 0 and 1, as the extremes of the targets are no quantiles, got {q!r}")
    return partial(_pinball, q=q)


def _pinball(input: Tensor, target: Tensor, q: float) -> Tensor:
    return torch.maximum((1 - q) * (input - target), q * (target - input))


def quantile_loss(input: Tensor, target: Tensor, q: float = 0.5, **options: Unpack[RegressionOptions]) -> Tensor:
    r"""Quantile (pinball) loss: its minimum is the `q`-quantile of the targets.

    $$\max\{(1 - q)(x - y),\ q (y - x)\}$$

    Two of them give an interval. `q` 0.5 is half of `l1_loss`.

    Args:
        input: Predictions, any shape.
        target: Same shape.
        q: The quantile, in (0, 1).
        **options: See `RegressionOptions`.

    Returns:
        A scalar, or one loss for each element.

    Raises:
        ValueError: `q` is out of range, the shapes differ, or an option is not allowed.

    Example:
        >>> import torch
        >>> quantile_loss(torch.tensor([0.0, 2.0]), torch.ones(2), q=0.9, reduction="none")
        tensor([0.9000, 0.1000])

    Source:
        Koenker, Bassett: Regression Quantiles, 1978.
    """
    return compute(pinball(q), input, target, options)


def hinge(margin: float) -> Difference:
    """Return the elementwise value of `hinge_loss`."""
    return partial(_hinge, margin=positive("margin", margin))


def _hinge(input: Tensor, target: Tensor, margin: float) -> Tensor:
    known = (target == 1) | (target == 0) | (target == -1)
    check_values("target", target, ~known, "labels -1 and 1, or 0 and 1")
    return (margin - torch.where(target > 0, input, -input)).clamp_min(0).where(known, torch.nan)


def hinge_loss(input: Tensor, target: Tensor, margin: float = 1.0, **options: Unpack[RegressionOptions]) -> Tensor:
    r"""Hinge loss of a support vector machine.

    $$\max\{0,\ \text{margin} - y x\}, \quad y \in \{-1, 1\}$$

    Args:
        input: Scores whose sign decides, any shape.
        target: Labels 1 and -1, or 1 and 0; same shape.
        margin: Score from which a right answer is free, above 0.
        **options: See `RegressionOptions`.

    Returns:
        A scalar, or one loss for each element.

    Raises:
        ValueError: A label or `margin` is out of range, the shapes differ, or an option is not allowed.

    Example:
        >>> import torch
        >>> hinge_loss(torch.tensor([0.5, 0.5]), torch.tensor([1, 0]), reduction="none")
        tensor([0.5000, 1.5000])

    Source:
        Cortes, Vapnik: Support-Vector Networks, 1995.
    """
    return compute(hinge(margin), input, target, options)


KLReduction = Literal["batchmean", "mean", "sum", "none"]
KL_REDUCTIONS: tuple[KLReduction, ...] = get_args(KLReduction)


def kl_div_rows(input: Tensor, target: Tensor, sample_weight: Tensor | None, reduction: KLReduction) -> RowLoss:
    """Return the weighted elements; for `"batchmean"` those of a row add up to a weight of 1."""
    rows = element_loss(partial(F.kl_div, reduction="none"), input, target, sample_weight)
    if reduction != "batchmean":
        return rows
    return RowLoss(rows.loss, rows.weight / input.shape[min(input.dim() - 1, 1) :].numel())


def plain_reduction(reduction: KLReduction) -> Reduction:
    """Return `"mean"` for `"batchmean"`, which it is with weights that count rows."""
    return "mean" if reduction == "batchmean" else reduction


def kl_div_loss(
    input: Tensor,
    target: Tensor,
    *,
    sample_weight: Tensor | None = None,
    reduction: KLReduction = "batchmean",
) -> Tensor:
    r"""Kullback-Leibler divergence of the target from the model's distribution.

    $$\sum_c y_c (\log y_c - x_c)$$

    Cross entropy with probability targets, less their entropy, so its minimum is 0: the gradient is the same. For
    distillation. `torch.nn.functional.kl_div`.

    Args:
        input: Log-probabilities, `(C,)`, `(N, C)` or `(N, C, d1, ...)`.
        target: Probabilities, same shape.
        sample_weight: `(N,)` or the input's shape.
        reduction: `"batchmean"` divides by the rows and is the divergence; `"mean"` divides by the elements, so it is
            C times less.

    Returns:
        A scalar, or one value for each element.

    Raises:
        ValueError: The shapes differ, or an option is not allowed.

    Example:
        >>> import torch
        >>> kl_div_loss(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
        tensor(0.6931)
    """
    choice("reduction", reduction, KL_REDUCTIONS)
    rows = kl_div_rows(input, target, sample_weight, reduction)
    return reduce(rows, plain_reduction(reduction))


def cosine_rows(input: Tensor, target: Tensor, sample_weight: Tensor | None, dim: int) -> RowLoss:
    """Return the weighted distance of each pair of vectors."""
    if target.shape != input.shape or not input.dim():
        raise ValueError(f"target must have the shape of input, {tuple(input.shape)}, got {tuple(target.shape)}")
    dtype = torch.promote_types(input.dtype, torch.float32)
    loss = 1 - F.cosine_similarity(input.to(dtype), target.to(dtype), dim=dim)
    rows = RowLoss(loss, torch.ones_like(loss))
    return rows if sample_weight is None else weigh(rows, sample_weight)


def cosine_similarity_loss(
    input: Tensor, target: Tensor, dim: int = -1, **options: Unpack[RegressionOptions]
) -> Tensor:
    r"""One minus the cosine of the angle between two vectors.

    $$1 - \frac{x \cdot y}{\lVert x \rVert \lVert y \rVert}$$

    For embeddings, of which only the direction counts. Keras' is this one less 1.

    Args:
        input: Vectors, `(N, D)`.
        target: Same shape.
        dim: The dimension of the components.
        **options: See `RegressionOptions`.

    Returns:
        A scalar, or one loss for each vector.

    Raises:
        ValueError: The shapes differ, or an option is not allowed.

    Example:
        >>> import torch
        >>> cosine_similarity_loss(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[2.0, 0.0], [3.0, 0.0]]))
        tensor(0.5000)
    """
    reduction = reduction_of(options)
    return reduce(cosine_rows(input, target, options.get("sample_weight"), dim), reduction)
