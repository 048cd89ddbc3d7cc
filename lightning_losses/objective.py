"""The objective: a loss and the penalties that are added to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_losses._validation import unknown_arguments
from lightning_losses.decide import Decider
from lightning_losses.losses import ForeignLoss, Loss, Prediction, RowwiseLoss
from lightning_losses.losses.registry import LossSpec, get_loss
from lightning_losses.regularizers import ActivityRegularizer, ParameterRegularizer, Regularizer, build_regularizers


@dataclass(frozen=True)
class Terms:
    """The parts of an objective at one batch.

    Attributes:
        loss: The data term, a scalar.
        penalties: The value of each regularizer by its name, scalars.
        weight: What the mean of `loss` was divided by: rows, or the sum of their weights.
        batch_mean: The part that is a mean over the batch: `loss` and the penalties on outputs.
    """

    loss: Tensor
    penalties: dict[str, Tensor]
    weight: Tensor
    batch_mean: Tensor

    @property
    def total(self) -> Tensor:
        """The objective: the loss and all penalties."""
        return sum(self.penalties.values(), self.loss)


class Objective(nn.Module):
    """Loss + regularization.

    Args:
        loss: A loss, or what `get_loss` builds one from.
        regularizers: Penalties, or what `build_regularizers` builds them from.

    Attributes:
        decider: What `predict` decides by; None leaves it to the loss.

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
        self.loss = mean_loss(loss)
        self.regularizers: dict[str, Regularizer] = build_regularizers(regularizers or {})
        self.decider: Decider | None = None
        self._bound: tuple[nn.Module, ...] = ()  # in a tuple it is not a submodule, so no cycle of modules arises

    def bind(self, module: nn.Module) -> Objective:
        """Name the module that the penalties look at, and watch the layers whose outputs they look at.

        Args:
            module: The network, complete.

        Returns:
            The objective itself.

        Raises:
            ValueError: A regularizer names a layer that the module has not.
        """
        self._bound = (module,)
        for term in self.output_regularizers.values():
            term.attach(module)
        return self

    def unbind(self) -> None:
        """Forget the module and watch no layers any more."""
        self._bound = ()
        for term in self.output_regularizers.values():
            term.detach()

    @property
    def is_bound(self) -> bool:
        """Whether the penalties know what to look at."""
        return bool(self._bound)

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

    def terms(
        self, input: Tensor, target: Tensor, sample_weight: Tensor | None, penalties: Mapping[str, Tensor]
    ) -> Terms:
        """Return the terms at one batch, with penalties on parameters that are already known."""
        total, weight, row_weight = self._sum_and_weights(input, target, sample_weight)
        divisor = weight.where(weight > 0, 1)
        loss = total / divisor
        on_outputs = self._output_penalties(row_weight, divisor)
        named = {**penalties, **on_outputs}
        ordered = {name: named[name] for name in self.regularizers}
        return Terms(loss, ordered, weight, sum(on_outputs.values(), loss))

    def _sum_and_weights(
        self, input: Any, target: Any, sample_weight: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the summed loss, what its mean divides it by, and, if the loss has rows, the part of each in that."""
        if isinstance(self.loss, RowwiseLoss):
            rows = self.loss.rows(input, target, sample_weight)
            return rows.loss.sum(), rows.weight.sum(), rows.weight
        if isinstance(self.loss, Loss):
            return *self.loss.sum_and_weight(input, target, sample_weight), None
        first = next(iter(target)) if isinstance(target, Sequence) else target  # some criteria take several targets
        row_weight = torch.ones(first.shape[:1], device=first.device)
        weight = row_weight.sum()
        return self.loss(input, target, sample_weight) * weight, weight, row_weight

    def predict(self, input: Tensor) -> Prediction:
        """Return decisions and, where there are any, probabilities.

        Args:
            input: What the network returns.

        Returns:
            What the decider says, or without one the loss.
        """
        return self.loss.predict(input) if self.decider is None else self.decider(self.loss, input)

    def penalties(self) -> dict[str, Tensor]:
        """Return the value of each regularizer of parameters by its name."""
        if self.regularizers and not self.is_bound:
            raise RuntimeError("objective.bind(module) must be called first: penalties look at its parameters")
        return {name: term(*self._bound) for name, term in self.parameter_regularizers.items()}

    def forget_outputs(self) -> None:
        """Drop what watched layers have returned so far, before a forward that counts."""
        for term in self.output_regularizers.values():
            term.pop()

    def _output_penalties(self, weight: Tensor | None, divisor: Tensor) -> dict[str, Tensor]:
        """Return means over the batch in which each sample weighs what it weighs in the loss."""
        if not self.output_regularizers:
            return {}
        if weight is None:
            raise TypeError(f"penalties on outputs need a loss with rows, got {type(self.loss).__name__}")
        sample_weight = weight.reshape(len(weight), -1).sum(dim=1) if weight.dim() else weight.reshape(1)
        means = {}
        for name, term in self.output_regularizers.items():
            values = term.pop()
            if values is None or values.shape != sample_weight.shape:
                seen = "no samples" if values is None else f"{len(values)} samples"
                raise RuntimeError(f"regularizer {name!r} saw {seen} where the loss saw {len(sample_weight)}")
            means[name] = (values * sample_weight).sum() / divisor
        return means

    @property
    def parameter_regularizers(self) -> dict[str, ParameterRegularizer]:
        """The regularizers that act on parameters."""
        return {name: term for name, term in self.regularizers.items() if isinstance(term, ParameterRegularizer)}

    @property
    def output_regularizers(self) -> dict[str, ActivityRegularizer]:
        """The regularizers that act on the outputs of layers."""
        return {name: term for name, term in self.regularizers.items() if isinstance(term, ActivityRegularizer)}

    @property
    def is_exact(self) -> bool:
        """Whether the loss has a numerator and a denominator, so that its mean over a window can be exact."""
        return isinstance(self.loss, Loss)

    def extra_repr(self) -> str:
        """Show the regularizers, which are not submodules."""
        return ", ".join(f"{name}: {regularizer!r}" for name, regularizer in self.regularizers.items())


def mean_loss(loss: LossSpec) -> Loss | ForeignLoss:
    """Build a loss whose value is a mean, as an objective needs it.

    Args:
        loss: See `get_loss`.

    Returns:
        The loss.

    Raises:
        ValueError: Its `reduction` is another.
    """
    built = get_loss(loss)
    owner = built.function if isinstance(built, ForeignLoss) else built
    reduction = getattr(owner, "reduction", "mean")
    if reduction not in ("mean", "batchmean"):
        raise ValueError(f"reduction must be 'mean' in an objective, which averages by itself, got {reduction!r}")
    return built


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
