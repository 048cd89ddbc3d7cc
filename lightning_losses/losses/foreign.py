"""Losses that are not ours: torch's criteria and the user's own callables."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from lightning_losses._validation import choice, unknown_arguments
from lightning_losses.losses.base import Prediction


def torch_criteria() -> dict[str, type[nn.Module]]:
    """Return every criterion of `torch.nn` by its class name."""
    base = nn.modules.loss._Loss
    named = {name: getattr(nn, name) for name in dir(nn) if name.endswith("Loss")}
    return {name: cls for name, cls in named.items() if isinstance(cls, type) and issubclass(cls, base)}


class ForeignLoss(nn.Module):
    """Any callable of `(input, target)` that returns a scalar, in the place of a loss.

    It has no numerator and denominator of its own, so means over micro-batches are ordinary ones.

    Args:
        function: The callable; a module's parameters and buffers are this module's.
        task: Decides what `predict` returns: with `"multiclass"` the largest output, with `"binary"` and
            `"multilabel"` the sign, otherwise the outputs.

    Example:
        >>> import torch
        >>> ForeignLoss(lambda input, target: (input - target).abs().max())(torch.zeros(2), torch.tensor([1.0, 3.0]))
        tensor(3.)
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], task: str = "regression") -> None:
        super().__init__()
        self.function = function
        self.task = choice("task", task, ("regression", "multiclass", "binary", "multilabel"))

    def forward(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Return the scalar loss.

        Args:
            input: What the model returns.
            target: What it should return.
            sample_weight: Must be None.

        Raises:
            TypeError: A sample weight is given.
        """
        if sample_weight is not None:
            raise TypeError(f"{self.function!r} takes no sample_weight")
        return self.function(input, target)

    def predict(self, input: Tensor) -> Prediction:
        """Return decisions without probabilities."""
        if self.task == "multiclass":
            return Prediction(input.argmax(dim=min(input.dim() - 1, 1)), None)
        return Prediction(input if self.task == "regression" else (input > 0).long(), None)


def torch_loss(name: str, arguments: dict[str, Any]) -> ForeignLoss:
    """Build the criterion `torch.nn.<name>`.

    Args:
        name: Its class name, such as `"PoissonNLLLoss"`.
        arguments: Its constructor's arguments, and `task` of `ForeignLoss`.

    Raises:
        ValueError: torch has no criterion of this name.
        TypeError: It takes no such argument.
    """
    criteria = torch_criteria()
    criterion = criteria[choice("loss", name, criteria)]
    task = arguments.pop("task", "regression")
    unknown_arguments(f"torch.nn.{name}", arguments, tuple(inspect.signature(criterion).parameters))
    return ForeignLoss(criterion(**arguments), task=task)
