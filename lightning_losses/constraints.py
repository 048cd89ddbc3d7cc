"""Sets that parameters are kept in, by a projection after each optimizer step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_losses._terms import Term, build_terms
from lightning_losses._validation import finite_non_negative, in_interval, positive
from lightning_losses.functional._sharding import layout_of, local, shard, sharded_dims, whole
from lightning_losses.functional.projections import (
    max_norm_projection,
    min_max_norm_projection,
    non_neg_projection,
    unit_norm_projection,
)
from lightning_losses.parameters import Selection, Where


class Constraint(Term):
    """A set that the selected parameters are projected onto.

    Subclasses define `project`.

    Args:
        where: What it acts on, see [`select`][lightning_losses.parameters.select]; by default everything whose role is
            not exempt, so that biases, norms and scales are left alone.
    """

    name = "constraint"

    def __init__(self, where: Where = None) -> None:
        self._select = Selection(where)

    @property
    def where(self) -> Where:
        """What it acts on."""
        return self._select.where

    def project(self, weight: Tensor) -> Tensor:
        """Return the projection of one parameter."""
        raise NotImplementedError(f"{type(self).__name__} must define project(weight)")

    def splits_at(self, dim: int) -> bool:
        """Tell whether the pieces can be projected one by one, if a parameter is cut along a dimension."""
        return False

    @torch.no_grad()
    def __call__(self, module: nn.Module) -> None:
        """Project the parameters of a module in place; if they are DTensors, every rank of the mesh has to call it."""
        for parameter in self._select(module).values():
            layout = layout_of(parameter)
            weight = local(parameter)
            if layout is None or all(map(self.splits_at, sharded_dims(layout))):
                weight.copy_(self.project(weight))
            else:
                weight.copy_(local(shard(self.project(whole(parameter)), layout)))


class _NormConstraint(Constraint):
    """A constraint on the norms of units."""

    def __init__(self, dim: int | Sequence[int] | None, where: Where) -> None:
        super().__init__(where)
        numbers = dim if isinstance(dim, Sequence) else [dim]
        if dim is not None and not all(isinstance(number, int) for number in numbers):
            raise TypeError(f"dim must be an integer, a sequence of integers or None, got {dim!r}")
        self.dim = tuple(dim) if isinstance(dim, Sequence) else dim

    def splits_at(self, dim: int) -> bool:
        """Units are independent, their numbers are not."""
        return self.dim is None and dim == 0


class MaxNorm(_NormConstraint):
    """Each unit's norm is at most `max_value`.

    `w <- w * min(1, max_value / ||w||)`

    Units inside the ball stay exactly as they are. Keras' `MaxNorm(max_value, axis=0)` of a Dense kernel, which is
    stored (in, out), is the default here: torch's is stored (out, in).

    Args:
        max_value: Above 0.
        dim: The dimensions over which the norm is taken; by default all but the first, so each output unit of a linear
            layer and each output channel of a convolution.
        where: What it acts on, see [`select`][lightning_losses.parameters.select].

    Raises:
        ValueError: If `max_value` is not a finite number above 0.
        TypeError: If `dim` holds anything but integers.

    Example:
        >>> net = torch.nn.Linear(2, 1)
        >>> _ = net.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
        >>> MaxNorm(2.0)(net)
        >>> net.weight.data
        tensor([[1.2000, 1.6000]])

    Source:
        N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov, Dropout: A Simple Way to Prevent Neural
        Networks from Overfitting, 2014.
    """

    name = "max_norm"
    number = "max_value"

    def __init__(self, max_value: float = 2.0, dim: int | Sequence[int] | None = None, where: Where = None) -> None:
        super().__init__(dim, where)
        self.max_value = positive("max_value", max_value)

    def project(self, weight: Tensor) -> Tensor:
        """Return the nearest weight inside the ball."""
        return max_norm_projection(weight, self.max_value, self.dim)


class MinMaxNorm(_NormConstraint):
    """Each unit's norm is between `min_value` and `max_value`.

    `w <- w * (rate * clip(||w||, min_value, max_value) + (1 - rate) * ||w||) / ||w||`

    Args:
        min_value: At least 0.
        max_value: At least `min_value`.
        rate: Share of the way to go in one step, in [0, 1].
        dim: As for [`MaxNorm`][lightning_losses.constraints.MaxNorm].
        where: What it acts on, see [`select`][lightning_losses.parameters.select].

    Raises:
        ValueError: If a value is out of range.
        TypeError: If `dim` holds anything but integers.

    Example:
        >>> net = torch.nn.Linear(2, 1)
        >>> _ = net.weight.data.copy_(torch.tensor([[0.0, 0.5]]))
        >>> MinMaxNorm(1.0, 2.0)(net)
        >>> net.weight.data
        tensor([[0., 1.]])
    """

    name = "min_max_norm"

    def __init__(
        self,
        min_value: float = 0.0,
        max_value: float = 1.0,
        rate: float = 1.0,
        dim: int | Sequence[int] | None = None,
        where: Where = None,
    ) -> None:
        super().__init__(dim, where)
        self.min_value = finite_non_negative("min_value", min_value)
        self.max_value = positive("max_value", max_value)
        if self.max_value < self.min_value:
            raise ValueError(f"max_value must be at least min_value = {min_value}, got {max_value}")
        self.rate = in_interval("rate", rate, 0, 1)

    def project(self, weight: Tensor) -> Tensor:
        """Return the weight with its units' norms moved towards the interval."""
        return min_max_norm_projection(weight, self.min_value, self.max_value, self.rate, self.dim)


class UnitNorm(_NormConstraint):
    """Each unit's norm is 1.

    `w <- w / ||w||`

    Args:
        dim: As for [`MaxNorm`][lightning_losses.constraints.MaxNorm].
        where: What it acts on, see [`select`][lightning_losses.parameters.select].

    Raises:
        TypeError: If `dim` holds anything but integers.

    Example:
        >>> net = torch.nn.Linear(2, 1)
        >>> _ = net.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
        >>> UnitNorm()(net)
        >>> net.weight.data
        tensor([[0.6000, 0.8000]])
    """

    name = "unit_norm"

    def __init__(self, dim: int | Sequence[int] | None = None, where: Where = None) -> None:
        super().__init__(dim, where)

    def project(self, weight: Tensor) -> Tensor:
        """Return the weight with units of norm 1."""
        return unit_norm_projection(weight, self.dim)


class NonNeg(Constraint):
    """No number is negative.

    `w <- max(w, 0)`

    Args:
        where: What it acts on, see [`select`][lightning_losses.parameters.select].

    Example:
        >>> net = torch.nn.Linear(2, 1)
        >>> _ = net.weight.data.copy_(torch.tensor([[3.0, -4.0]]))
        >>> NonNeg()(net)
        >>> net.weight.data
        tensor([[3., 0.]])
    """

    name = "non_neg"

    def project(self, weight: Tensor) -> Tensor:
        """Return the weight with its negative numbers set to zero."""
        return non_neg_projection(weight)

    def splits_at(self, dim: int) -> bool:
        """Each number is independent of the others."""
        return True


_CONSTRAINTS: dict[str, type[Constraint]] = {cls.name: cls for cls in (MaxNorm, MinMaxNorm, NonNeg, UnitNorm)}


def list_constraints() -> list[str]:
    """Return the names that `build_constraints` knows, sorted.

    Example:
        >>> list_constraints()
        ['max_norm', 'min_max_norm', 'non_neg', 'unit_norm']
    """
    return sorted(_CONSTRAINTS)


def build_constraints(spec: Any) -> dict[str, Constraint]:
    """Build constraints, each under a name of its own.

    Args:
        spec: `{"max_norm": 2.0}`; named terms `{"kernels": {"name": "max_norm", "max_value": 2.0, "where": "conv*"}}`,
            where the term's own name serves if there is no `name`; or a name or a constraint, alone, in a sequence, or
            as a term. None is no constraint.

    Returns:
        Term -> constraint, in the given order.

    Raises:
        ValueError: If a name is unknown, a value is out of range, or two terms have one name.
        TypeError: If a constraint takes no such argument.

    Example:
        >>> build_constraints({"max_norm": 3.0, "positive": {"name": "non_neg", "where": "head.*"}})
        {'max_norm': MaxNorm(max_value=3.0, dim=None, where=None), 'positive': NonNeg(where='head.*')}
    """
    return build_terms("constraint", spec, _CONSTRAINTS, Constraint)
