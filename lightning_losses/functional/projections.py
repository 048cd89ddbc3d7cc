"""Projections of one parameter onto a set; what lies in the set stays as it is, to the last bit."""

from __future__ import annotations

import torch
from torch import Tensor


def unit_norms(weight: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Return the Euclidean norms of the units, with the dimensions they were taken over kept as 1.

    Args:
        weight: Any shape.
        dim: The dimensions over which the norm is taken; by default all but the first, so that a unit is an output of a
            linear layer or of a convolution. Of a vector each number, of a scalar itself.

    Returns:
        Norms, at least of float32, of the shape of `weight` with 1 for each of `dim`.

    Raises:
        ValueError: If the weight has no such dimension.

    Example:
        >>> import torch
        >>> unit_norms(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        tensor([[5.],
                [1.]])
    """
    if dim is None:
        dim = tuple(range(1, weight.ndim))
    dims = (dim,) if isinstance(dim, int) else dim
    if not all(-weight.ndim <= d < weight.ndim for d in dims):
        raise ValueError(f"dim must be dimensions of the weight, whose shape is {tuple(weight.shape)}, got {dim}")
    accurate = torch.promote_types(weight.dtype, torch.float32)
    if not dims:
        return weight.abs().to(accurate)
    return torch.linalg.vector_norm(weight, dim=dims, keepdim=True, dtype=accurate)


def max_norm_projection(weight: Tensor, max_value: float, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Scale the units whose norm is too large down to it.

    `w * min(1, max_value / ||w||)`

    Args:
        weight: Any shape.
        max_value: The largest norm that is allowed.
        dim: See `unit_norms`.

    Returns:
        The nearest weight inside the ball, of the same shape.

    Example:
        >>> import torch
        >>> max_norm_projection(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), max_value=2.0)
        tensor([[1.2000, 1.6000],
                [0.0000, 1.0000]])

    Source:
        N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov, Dropout: A Simple Way to Prevent Neural
        Networks from Overfitting, 2014.
    """
    return min_max_norm_projection(weight, 0.0, max_value, dim=dim)


def min_max_norm_projection(
    weight: Tensor,
    min_value: float,
    max_value: float,
    rate: float = 1.0,
    dim: int | tuple[int, ...] | None = None,
) -> Tensor:
    """Scale the units whose norm is too small or too large towards the nearest allowed one.

    `w * (rate * clip(||w||, min_value, max_value) + (1 - rate) * ||w||) / ||w||`

    Args:
        weight: Any shape.
        min_value: The smallest norm that is allowed.
        max_value: The largest norm that is allowed.
        rate: Share of the way to go, in [0, 1].
        dim: See `unit_norms`.

    Returns:
        A weight of the same shape. A unit of zeros has no direction and stays zero.

    Example:
        >>> import torch
        >>> min_max_norm_projection(torch.tensor([[3.0, 4.0], [0.0, 0.5]]), min_value=1.0, max_value=2.0)
        tensor([[1.2000, 1.6000],
                [0.0000, 1.0000]])
    """
    norms = unit_norms(weight, dim)
    wanted = torch.lerp(norms, norms.clamp(min_value, max_value), rate)
    return (weight * (wanted / norms).where(norms > 0, 1.0)).to(weight.dtype)


def unit_norm_projection(weight: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Scale every unit to norm 1.

    `w / ||w||`

    Args:
        weight: Any shape.
        dim: See `unit_norms`.

    Returns:
        A weight of the same shape. A unit of zeros has no direction and stays zero.

    Example:
        >>> import torch
        >>> unit_norm_projection(torch.tensor([[3.0, 4.0], [0.0, 0.5]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 1.0000]])
    """
    return min_max_norm_projection(weight, 1.0, 1.0, dim=dim)


def non_neg_projection(weight: Tensor) -> Tensor:
    """Set negative numbers to zero.

    `max(w, 0)`

    Args:
        weight: Any shape.

    Returns:
        A weight of the same shape.

    Example:
        >>> import torch
        >>> non_neg_projection(torch.tensor([1.0, -2.0]))
        tensor([1., 0.])
    """
    return weight.clamp_min(0)
