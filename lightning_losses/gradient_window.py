"""All gradient arithmetic of a training step.

A window is what one optimizer step learns from: all micro-batches of all ranks. Each contributes the gradient of its
*sum*; only when the window is complete is it known what the mean has to divide by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_losses.functional._sharding import local
from lightning_losses.regularizers import ParameterRegularizer


class GradientWindow:
    """The denominator of the data term since the last optimizer step."""

    def __init__(self) -> None:
        self.scale: float | None = None
        self.weight: Tensor | None = None

    @property
    def is_open(self) -> bool:
        """Whether gradients wait for their denominator."""
        return self.weight is not None

    def add(self, mean: Tensor, weight: Tensor, largest: Callable[[Tensor], Tensor]) -> Tensor:
        """Add a micro-batch and return the scalar to differentiate.

        Args:
            mean: Mean loss of the micro-batch, a scalar with a graph.
            weight: What it was divided by, a scalar.
            largest: Returns the largest of the scalars that the ranks pass; called once in a run.

        Returns:
            The sum over a power of two near the number of rows, equal on all ranks: it keeps the gradients of
            half-precision runs in range and rounds nothing.
        """
        weight = weight.detach()
        if self.scale is None:
            self.scale = 2.0 ** round(math.log2(max(largest(weight).item(), 1.0)))
        self.weight = weight if self.weight is None else self.weight + weight
        return mean * (weight / self.scale)

    def finish(self, parameters: Iterable[nn.Parameter], divided_by: float, total: Callable[[Tensor], Tensor]) -> None:
        """Turn the accumulated gradient of the sums into the gradient of the mean over the window.

        Args:
            parameters: Those whose `.grad` was accumulated.
            divided_by: What the trainer and the averaging over ranks have divided the gradient by.
            total: Sums a scalar over the ranks.
        """
        if self.weight is None or self.scale is None:
            return
        weight = total(self.weight)
        factor = self.scale * divided_by / weight.where(weight > 0, 1)
        self.weight = None
        gradients = [local(p.grad) for p in parameters if p.grad is not None]
        if gradients:
            torch._foreach_mul_(gradients, factor)


def add_penalties_(
    module: nn.Module, regularizers: Mapping[str, ParameterRegularizer], optimizer: Optimizer
) -> dict[str, Tensor]:
    """Add the gradient of each penalty to `.grad` of what an optimizer is about to step, and return their values."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {name: regularizer.add_gradient_(module, parameters) for name, regularizer in regularizers.items()}
