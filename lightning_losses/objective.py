"""The objective: a loss and the penalties that are added to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_losses._validation import unknown_arguments
from lightning_losses.losses import ForeignLoss, Loss
from lightning_losses.losses.registry import LossSpec, get_loss
from lightning_losses.regularizers import ParameterRegularizer, Regularizer, build_regularizers


@dataclass(frozen=True)
class Terms:
    """The parts of an objective at one batch.

    Attributes:
        loss: The data term, a scalar.
        penalties: The value of each regularizer by its name, scalars.
        weight: What the mean of `loss` was divided by: rows, or the sum of their weights.
    """

    loss: Tensor
    penalties: dict[str, Tensor]
    weight: Tensor

    @property
    def total(self) -> Tensor:
        """The objective: the loss and all penalties."""
        return sum(self.penalties.values(), self.loss)


class Objective(nn.Module):
    """Loss + regularization.

    Args:
        loss: A loss, or what `get_loss` builds one from.
        regularizers: Penalties, or what `build_regularizers` builds them from.

    Raises:
        ValueError: A name is unknown, or an argument is not allowed.
        TypeError: A part takes no such argument.

    Example:
        In a bare loop, through autograd:

        >>> import torch
        >>> net = torch.nn.Linear(2, 3)
        >>> objective = Objective("focal", {"l2": 0.01}).bind(net)
        >>> terms = objective(net(torch.zeros(4, 2)), torch.tensor([0, 1, 2, 0]))
        >>> terms.total.backward()
        >>> sorted(terms.penalties)
        ['l2']
    """

    def __init__(self, loss: LossSpec = "ce", regularizers: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.loss: Loss | ForeignLoss = get_loss(loss)
        self.regularizers: dict[str, Regularizer] = build_regularizers(regularizers or {})
        self._bound: tuple[nn.Module, ...] = ()  # in a tuple it is not a submodule, so no cycle of modules arises

    def bind(self, module: nn.Module) -> Objective:
        """Name the module whose parameters the penalties look at.

        Args:
            module: The network.

        Returns:
            The objective itself.
        """
        self._bound = (module,)
        return self

    def forward(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Terms:
        """Return the terms at one batch, all differentiable.

        Args:
            input: What the network returns.
            target: What it should return.
            sample_weight: Weight of each row, `(N,)`.

        Returns:
            The terms; `.total.backward()` gives the gradient of loss and penalties.

        Raises:
            RuntimeError: There are penalties, and `bind` was not called.
        """
        return self.terms(input, target, sample_weight, self.penalties())

    def terms(self, input: Tensor, target: Tensor, sample_weight: Tensor | None, penalties: dict[str, Tensor]) -> Terms:
        """Return the mean loss at one batch beside penalties that are already known."""
        if isinstance(self.loss, Loss):
            total, weight = self.loss.sum_and_weight(input, target, sample_weight)
            return Terms(total / weight.where(weight > 0, 1), penalties, weight)
        rows = torch.tensor(float(len(target) if target.dim() else 1), device=input.device)
        return Terms(self.loss(input, target, sample_weight), penalties, rows)

    def penalties(self) -> dict[str, Tensor]:
        """Return the value of each regularizer by its name."""
        if not self.regularizers:
            return {}
        if not self._bound:
            raise RuntimeError("objective.bind(module) must be called first: penalties look at its parameters")
        return {name: term(*self._bound) for name, term in self.parameter_regularizers.items()}

    @property
    def parameter_regularizers(self) -> dict[str, ParameterRegularizer]:
        """The regularizers that act on parameters."""
        return {name: term for name, term in self.regularizers.items() if isinstance(term, ParameterRegularizer)}

    @property
    def is_exact(self) -> bool:
        """Whether the loss has a numerator and a denominator, so that its mean over a window can be exact."""
        return isinstance(self.loss, Loss)

    def extra_repr(self) -> str:
        """Show the regularizers, which are not submodules."""
        return ", ".join(f"{name}: {regularizer!r}" for name, regularizer in self.regularizers.items())


def build(spec: Mapping[str, Any]) -> Objective:
    """Build an objective from a plain mapping or Hydra's config.

    Args:
        spec: `{"loss": ..., "regularizer": ...}`, both optional.

    Returns:
        The objective.

    Raises:
        ValueError: A name is unknown, or an argument is not allowed.
        TypeError: A part takes no such argument.

    Example:
        >>> build({"loss": "sce", "regularizer": {"l1": 1e-4}}).regularizers.keys()
        dict_keys(['l1'])
    """
    unknown_arguments("objective", spec, ("loss", "regularizer"))
    return Objective(spec.get("loss", "ce"), spec.get("regularizer"))
