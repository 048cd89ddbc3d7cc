"""What all penalties share, and what those on parameters share: selection, shards, values and gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_losses._terms import Term
from lightning_losses._validation import finite_non_negative
from lightning_losses.functional._sharding import (
    Layout,
    close_gradient,
    layout_of,
    local,
    open_gradient,
    sharded_dims,
    sum_over_shards,
    whole,
)
from lightning_losses.parameters import Selection, Where


class Regularizer(Term):
    """What an objective adds to the loss: either a `ParameterRegularizer` or an `ActivityRegularizer`.

    Args:
        factor: Finite, at least 0. The attribute may be changed at any time, as a schedule does.

    Raises:
        ValueError: If the factor is negative, infinite or NaN.
    """

    name = "regularizer"
    number: ClassVar[str | None] = "factor"

    def __init__(self, factor: float) -> None:
        self.factor = finite_non_negative("factor", factor)


class ParameterRegularizer(Regularizer):
    """A penalty on parameters: `factor * sum over the selected parameters of penalty(parameter)`.

    Call it with a module for a value that autograd can differentiate, or call `add_gradient_` to have the gradient
    added to `.grad` without a graph. Parameters that are DTensors give the value of all shards together, and their
    gradient on this rank's shard; every rank of the mesh has to call it.

    Subclasses define `penalty`, and `add_penalty_gradient_` if they can do better than autograd.

    Args:
        factor: Finite, at least 0. The attribute may be changed at any time, as a schedule does.
        where: What it acts on, see [`select`][lightning_losses.parameters.select]; by default everything whose role is
            not exempt, so that biases, norms and scales are left alone.

    Raises:
        ValueError: If a factor is negative, infinite or NaN.
    """

    def __init__(self, factor: float = 1e-4, where: Where = None) -> None:
        super().__init__(factor)
        self._select = Selection(where)

    @property
    def where(self) -> Where:
        """What it acts on."""
        return self._select.where

    def penalty(self, name: str, weight: Tensor) -> Tensor:
        """Return the penalty of one parameter, without the factor.

        Args:
            name: The parameter's name.
            weight: The parameter, any shape.

        Returns:
            A differentiable scalar.
        """
        raise NotImplementedError(f"{type(self).__name__} must define penalty(name, weight)")

    def add_penalty_gradient_(self, weights: dict[str, Tensor], gradients: list[Tensor]) -> Tensor:
        """Add the gradient of `factor * penalty` of some parameters in place; here through a graph for each.

        Args:
            weights: Name -> parameter, detached.
            gradients: Their gradients, to be changed.

        Returns:
            The value, a scalar.
        """
        total = torch.zeros(())
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
            with torch.enable_grad():
                leaf = weight.detach().requires_grad_()
                value = self.factor * self.penalty(name, leaf)
            gradient.add_(torch.autograd.grad(value, leaf)[0])
            total = total + value.detach()
        return total

    def splits_at(self, dim: int) -> bool:
        """Tell whether the penalty is the sum of those of the pieces, if a parameter is cut along a dimension."""
        return False

    def parameters(self, module: nn.Module) -> dict[str, nn.Parameter]:
        """Return what it acts on in a module, by name."""
        return self._select(module)

    def __call__(self, module: nn.Module) -> Tensor:
        """Return the value for a module, a scalar with a graph."""
        total = torch.zeros(())
        for layout, parameters in self._groups(self.parameters(module)):
            view = local if layout else whole
            values = (self.penalty(name, view(parameter)) for name, parameter in parameters.items())
            total = total + sum_over_shards(self.factor * sum(values, torch.zeros(())), layout)
        return total

    @torch.no_grad()
    def add_gradient_(self, module: nn.Module, among: Iterable[nn.Parameter] | None = None) -> Tensor:
        """Add the gradient to the `.grad` of the module's parameters and return the value, a scalar without a graph.

        Args:
            module: Any module.
            among: Only these parameters, such as those of one of several optimizers; None: all that it acts on.

        Returns:
            The value for the parameters looked at.
        """
        total = torch.zeros(())
        chosen = self.parameters(module)
        if among is not None:
            allowed = set(map(id, among))
            chosen = {name: parameter for name, parameter in chosen.items() if id(parameter) in allowed}
        for layout, parameters in self._groups(chosen):
            view = local if layout else whole
            weights = {name: view(parameter).detach() for name, parameter in parameters.items()}
            gradients = [open_gradient(name, parameter, layout) for name, parameter in parameters.items()]
            total = total + sum_over_shards(self.add_penalty_gradient_(weights, gradients), layout)
            for parameter, gradient in zip(parameters.values(), gradients, strict=True):
                close_gradient(parameter, gradient, layout)
        return total

    def _groups(self, chosen: Mapping[str, nn.Parameter]) -> list[tuple[Layout | None, dict[str, nn.Parameter]]]:
        """Parameters that are looked at together: by their local parts if these have a layout, otherwise whole."""
        together: dict[Layout | None, dict[str, nn.Parameter]] = {}
        gathered = []
        for name, parameter in chosen.items():
            layout = layout_of(parameter)
            if layout and not all(map(self.splits_at, sharded_dims(layout))):
                gathered.append((None, {name: parameter}))  # alone, since all of it has to be held
            else:
                together.setdefault(layout, {})[name] = parameter
        return [*together.items(), *gathered]
