"""Penalties that are a function of the user's own."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lightning_losses.parameters import Where
from lightning_losses.regularizers.base import ParameterRegularizer


class Custom(ParameterRegularizer):
    """Any differentiable function of one parameter.

    `factor * sum over the selected parameters of function(parameter)`

    Args:
        function: Parameter -> scalar.
        factor: Finite, at least 0.
        where: What it acts on, see [`select`][lightning_losses.parameters.select].

    Raises:
        TypeError: If the function cannot be called.
        ValueError: If the factor is negative, infinite or NaN.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(2, 1)
        >>> _ = torch.nn.init.constant_(net.weight, -2.0)
        >>> Custom(lambda weight: weight.abs().max(), factor=0.5)(net).item()
        1.0
    """

    name = "custom"

    def __init__(self, function: Callable[[Tensor], Tensor], factor: float = 1.0, where: Where = None) -> None:
        super().__init__(factor, where)
        if not callable(function):
            raise TypeError(f"function must be a function of one parameter, got {function!r}")
        self.function = function

    def penalty(self, name: str, weight: Tensor) -> Tensor:
        """Return `function(weight)`."""
        return self.function(weight)
