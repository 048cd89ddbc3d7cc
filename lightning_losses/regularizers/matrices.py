"""Penalties that look at a parameter as a matrix with a row for each output unit."""

from __future__ import annotations

from torch import Tensor

from lightning_losses.functional.penalties import (
    group_lasso_penalty,
    orthogonal_penalty,
    power_iteration,
    spectral_penalty,
)
from lightning_losses.parameters import Where
from lightning_losses.regularizers.base import ParameterRegularizer


class GroupLasso(ParameterRegularizer):
    """Sum of the norms of output units, which switches off whole units.

    `factor * sqrt(K) * sum_n ||w_n||` with K numbers in each output unit

    Args:
        factor: Finite, at least 0.
        where: What it acts on, see [`select`][lightning_losses.parameters.select].

    Raises:
        ValueError: If the factor is negative, infinite or NaN.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(4, 2)
        >>> _ = net.weight.data.copy_(torch.tensor([[3.0, 0.0, 4.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
        >>> GroupLasso(0.1)(net).item()
        1.0

    Source:
        M. Yuan, Y. Lin, Model Selection and Estimation in Regression with Grouped Variables, 2006.
    """

    name = "group_lasso"

    def penalty(self, name: str, weight: Tensor) -> Tensor:
        """Return `sqrt(K) * sum_n ||w_n||`."""
        return group_lasso_penalty(weight)

    def splits_at(self, dim: int) -> bool:
        """Units are independent, their numbers are not."""
        return dim == 0


class Orthogonal(ParameterRegularizer):
    """Squared distance of the rows (or, if these are more, of the columns) from being orthonormal.

    `factor * ||W W^T - I||_F^2`

    Args:
        factor: Finite, at least 0.
        where: What it acts on, see [`select`][lightning_losses.parameters.select]; convolution kernels are flattened to
            a row for each output channel.

    Raises:
        ValueError: If the factor is negative, infinite or NaN.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(3, 2)
        >>> _ = torch.nn.init.zeros_(net.weight)
        >>> Orthogonal(0.5)(net).item()
        1.0

    Source:
        A. Brock, T. Lim, J. Ritchie, N. Weston, Neural Photo Editing with Introspective Adversarial Networks, 2017;
        N. Bansal, X. Chen, Z. Wang, Can We Gain More from Orthogonality Regularizations in Training CNNs?, 2018.
    """

    name = "orthogonal"

    def penalty(self, name: str, weight: Tensor) -> Tensor:
        """Return `||W W^T - I||_F^2`."""
        return orthogonal_penalty(weight)


_FIRST_ITERATIONS = 20


class Spectral(ParameterRegularizer):
    """Half the square of the largest singular value, which bounds how much a layer can stretch its input.

    `factor * 0.5 * sigma_max(W)^2`

    The singular vectors are followed by power iteration: twenty steps at first sight, then a few each time.

    Args:
        factor: Finite, at least 0.
        where: What it acts on, see [`select`][lightning_losses.parameters.select]; convolution kernels are flattened to
            a row for each output channel.
        iterations: Steps of the power iteration each time, at least 1.

    Raises:
        ValueError: If the factor is negative, infinite or NaN, or `iterations` is not a positive integer.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(2, 2)
        >>> _ = net.weight.data.copy_(torch.tensor([[3.0, 0.0], [0.0, 2.0]]))
        >>> round(Spectral(1.0)(net).item(), 4)
        4.5

    Source:
        Y. Yoshida, T. Miyato, Spectral Norm Regularization for Improving the Generalizability of Deep Learning, 2017.
    """

    name = "spectral"

    def __init__(self, factor: float = 1e-4, where: Where = None, iterations: int = 1) -> None:
        super().__init__(factor, where)
        if int(iterations) != iterations or iterations < 1:
            raise ValueError(f"iterations must be an integer >= 1, got {iterations!r}")
        self.iterations = iterations
        self._right: dict[str, Tensor] = {}

    def penalty(self, name: str, weight: Tensor) -> Tensor:
        """Return `0.5 * sigma_max(W)^2`."""
        known = self._right.get(name)
        first = _FIRST_ITERATIONS if known is None else 0
        vectors = power_iteration(weight.detach(), known, first + self.iterations)
        self._right[name] = vectors[1]
        return spectral_penalty(weight, vectors)
