"""All gradient arithmetic of a training step.

A window is what one optimizer step learns from: all micro-batches of all ranks. Each contributes the gradient of its
*sum*; only when the window is complete is it known what the mean has to divide by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_losses._target_checks import may_look
from lightning_losses.functional._mean import ratio
from lightning_losses.functional._sharding import local
from lightning_losses.regularizers import ParameterRegularizer

# Denominators of one window are taken for proportional up to this squared sine of the angle between them: rounding in
# float32 stays below 1e-12.
_PROPORTIONAL = 1e-10


class Verdict(NamedTuple):
    """What the ranks together know of a window, in tensors that need not be read.

    Attributes:
        not_finite: How many of its batches had an objective that is not finite.
        unequal: Whether its means have denominators that are not proportional, so that it has no exact mean; None where
            there is one denominator only.
    """

    not_finite: Tensor
    unequal: Tensor | None


class GradientWindow:
    """What has been seen since the last optimizer step: the data term's denominators, and whether all is finite."""

    def __init__(self) -> None:
        self.scale: float | None = None
        self._weights: Tensor | None = None
        self._not_finite: Tensor | None = None

    @property
    def is_open(self) -> bool:
        """Whether gradients wait for their denominator."""
        return self._weights is not None

    def watch(self, objective: Tensor) -> None:
        """Note whether a batch's objective is finite.

        Args:
            objective: A scalar.
        """
        value = objective.detach()
        bad = value.new_tensor(not math.isfinite(value.item())) if may_look(value) else (~value.isfinite()).to(value)
        self._not_finite = bad if self._not_finite is None else self._not_finite + bad

    def add(self, mean: Tensor, weights: Sequence[Tensor], largest: Callable[[Tensor], Tensor]) -> Tensor:
        """Add a micro-batch and return the scalar to differentiate.

        Args:
            mean: Mean loss of the micro-batch, a scalar with a graph.
            weights: What it was divided by, a scalar; several if it is a sum of means with different denominators.
            largest: Returns the largest of the scalars that the ranks pass; called once in a run.

        Returns:
            The sum over a power of two near the number of rows, equal on all ranks: it keeps the gradients of
            half-precision runs in range and rounds nothing.
        """
        if len(weights) == 1:
            weight = weights[0].detach()
            seen = weight.reshape(1)
        else:
            numbers = torch.stack(tuple(weights)).detach()
            weight, seen = numbers.sum(), _with_products(numbers)
        if self.scale is None:
            self.scale = 2.0 ** round(math.log2(max(largest(weight).item(), 1.0)))
        self._weights = seen if self._weights is None else self._weights + seen
        return mean * (weight / self.scale)

    def finish(
        self, parameters: Iterable[nn.Parameter], divided_by: float, total: Callable[[Tensor], Tensor]
    ) -> Verdict | None:
        """Turn the accumulated gradient of the sums into the gradient of the mean over the window.

        Args:
            parameters: Those whose `.grad` was accumulated.
            divided_by: What the trainer and the averaging over ranks have divided the gradient by.
            total: Sums a vector over the ranks; called once.

        Returns:
            What was seen in the window, None if nothing was.
        """
        if self._not_finite is None:
            return None
        seen = self._not_finite.reshape(1)
        if self._weights is not None:
            seen = torch.cat([seen.to(self._weights), self._weights])
        not_finite, *weights = total(seen)
        self._weights = self._not_finite = None
        if not weights or self.scale is None:
            return Verdict(not_finite, None)
        factor = ratio(self.scale * divided_by, weights[0]).float()
        gradients = [local(p.grad) for p in parameters if p.grad is not None]
        if gradients:
            torch._foreach_mul_(gradients, factor)
        return Verdict(not_finite, _unequal(weights))


def _with_products(weights: Tensor) -> Tensor:
    """Return the sum of some weights, its square, and with each weight its product and the weight's square."""
    exact = weights if weights.device.type == "mps" else weights.double()  # Apple's devices have no float64
    weight = exact.sum()
    return torch.cat([weight.reshape(1), weight.square().reshape(1), weight * exact, exact.square()])


def _unequal(sums: Sequence[Tensor]) -> Tensor | None:
    """Return whether a weight's batches are not proportional to those of all weights together, by Cauchy-Schwarz."""
    if len(sums) == 1:
        return None
    products, squares = torch.stack(tuple(sums[2:])).chunk(2)
    both = sums[1] * squares
    return (both - products.square() > _PROPORTIONAL * both).any()


def add_penalties_(
    module: nn.Module, regularizers: Mapping[str, ParameterRegularizer], optimizer: Optimizer
) -> dict[str, Tensor]:
    """Add the gradient of each penalty to `.grad` of what an optimizer is about to step, and return their values."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {name: regularizer.add_gradient_(module, parameters) for name, regularizer in regularizers.items()}
