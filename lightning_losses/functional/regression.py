"""Regression losses: torch's own elementwise values under the package's sample weights and shape checks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (torch's own idiom)
from typing_extensions import Unpack

from lightning_losses._validation import choice, positive
from lightning_losses.functional._pipeline import REDUCTIONS, Reduction, RowLoss, reduce, weigh

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
    """
    if target.shape != input.shape:
        raise ValueError(f"target must have the shape of input, {tuple(input.shape)}, got {tuple(target.shape)}")
    dtype = torch.promote_types(input.dtype, torch.float32)
    loss = elementwise(input.to(dtype), target.to(dtype))
    rows = RowLoss(loss, torch.ones_like(loss, requires_grad=False))
    return rows if sample_weight is None else weigh(rows, sample_weight)


def compute(elementwise: Difference, input: Tensor, target: Tensor, options: RegressionOptions) -> Tensor:
    """Return the reduced loss."""
    reduction = choice("reduction", options.get("reduction", "mean"), REDUCTIONS)
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
