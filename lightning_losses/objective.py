"""The objective: a loss and the penalties that are added to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from lightning_losses._validation import unknown_arguments
from lightning_losses.decide import Decider
from lightning_losses.functional._mean import ratio
from lightning_losses.losses import CombinedLoss, ForeignLoss, HeadsLoss, Loss, RowwiseLoss
from lightning_losses.losses.registry import LossSpec, get_loss
from lightning_losses.regularizers import ActivityRegularizer, ParameterRegularizer, Regularizer, build_regularizers

Auxiliary: TypeAlias = "Tensor | tuple[Tensor, Tensor]"


class Part(NamedTuple):
    """A part of an objective that is a mean over a batch.

    Attributes:
        mean: Its value, with a graph.
        weight: What the mean was divided by.
    """

    mean: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Terms:
    """The parts of an objective at one batch.

    Attributes:
        loss: The data term, a scalar: the sum of `parts`.
        parts: What it consists of: `"loss"`, or `"loss/<head>"` and `"loss/<term>"` for several heads and for sums.
        auxiliary: Further means over the batch by their names, such as those of `auxiliary_losses`.
        penalties: The value of each regularizer by its name, scalars.
        weight: What the mean of `loss` was divided by: rows, or the sum of their weights; of several heads the sum.
        batch_mean: The part that is a mean over the batch: `loss`, `auxiliary` and the penalties on outputs.
    """

    loss: Tensor
    parts: dict[str, Part]
    auxiliary: dict[str, Part]
    penalties: dict[str, Tensor]
    weight: Tensor
    batch_mean: Tensor

    @cached_property
    def total(self) -> Tensor:
        """The objective: the loss, auxiliary terms and all penalties."""
        return _sum([self.loss, *(part.mean for part in self.auxiliary.values()), *self.penalties.values()])

    @cached_property
    def named(self) -> dict[str, Part]:
        """All parts by the names under which they are logged; their means add up to `total`."""
        auxiliary = {f"auxiliary/{name}": part for name, part in self.auxiliary.items()}
        penalties = {f"regularizer/{name}": Part(value, self.weight) for name, value in self.penalties.items()}
        return {**self.parts, **auxiliary, **penalties}

    @property
    def denominators(self) -> list[Tensor]:
        """The different weights that means over the batch were divided by."""
        parts = [*self.parts.values(), *self.auxiliary.values()]
        return list({id(part.weight): part.weight for part in parts}.values())


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

    def forward(self, input: Any, target: Any, sample_weight: Any = None) -> Terms:
        """Return the terms at one batch, all differentiable.

        Args:
            input: What the network returns; with several heads a mapping.
            target: What it should return; with several heads a mapping.
            sample_weight: Weight of each row, `(N,)`; with several heads one for all or a mapping.

        Returns:
            The terms; `.total.backward()` gives the gradient of loss and penalties.

        Raises:
            RuntimeError: There are penalties, and `bind` was not called.
        """
        return self.terms(input, target, sample_weight, self.penalties())

    def terms(
        self,
        input: Any,
        target: Any,
        sample_weight: Any,
        penalties: Mapping[str, Tensor],
        auxiliary: Mapping[str, Auxiliary] | None = None,
    ) -> Terms:
        """Return the terms at one batch, with penalties on parameters that are already known.

        Args:
            input: What the network returns.
            target: What it should return.
            sample_weight: Weight of each row.
            penalties: The value of each regularizer of parameters.
            auxiliary: Further terms by name: a sum and its weight, or a mean over the rows of the loss.

        Returns:
            The terms.
        """
        parts, row_weight = self._data_parts(input, target, sample_weight)
        weight = _sum({id(part.weight): part.weight for part in parts.values()}.values())
        loss = _sum(part.mean for part in parts.values())
        others = {name: _auxiliary_part(name, term, weight) for name, term in (auxiliary or {}).items()}
        on_outputs = self._output_penalties(row_weight)
        named = {**penalties, **on_outputs}
        batch_mean = _sum([loss, *(part.mean for part in others.values()), *on_outputs.values()])
        return Terms(loss, parts, others, {name: named[name] for name in self.regularizers}, weight, batch_mean)

    def _data_parts(self, input: Any, target: Any, sample_weight: Any) -> tuple[dict[str, Part], Tensor | None]:
        """Return the parts of the loss by name, and what each row adds to the denominator where that is known."""
        if isinstance(self.loss, HeadsLoss):
            parts, row_weights = {}, []
            for name, head in self.loss.heads(input, target, sample_weight):
                part, row_weight = _mean_part(head.loss, head.input, head.target, head.sample_weight)
                parts[f"loss/{name}"] = Part(head.factor * part.mean, part.weight)
                row_weights.append(row_weight)
            return parts, next((weight for weight in row_weights if weight is not None), None)
        if isinstance(self.loss, CombinedLoss):
            rows = self.loss.term_rows(input, target, sample_weight)
            row_weight = next(iter(rows.values())).weight
            weight = row_weight.sum()
            parts = {f"loss/{name}": Part(ratio(row.loss.sum(), weight), weight) for name, row in rows.items()}
            return parts, row_weight
        part, row_weight = _mean_part(self.loss, input, target, sample_weight)
        return {"loss": part}, row_weight

    def predict(self, input: Any) -> Any:
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

    def _output_penalties(self, weight: Tensor | None) -> dict[str, Tensor]:
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
            means[name] = ratio((values * sample_weight).sum(), sample_weight.sum())
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
    def inexact(self) -> str | None:
        """Why its mean over a window depends on how the rows are cut into batches, or None."""
        if isinstance(self.loss, Loss):
            return self.loss.inexact
        return f"{self.loss} has no numerator and denominator"

    def extra_repr(self) -> str:
        """Show the regularizers, which are not submodules."""
        return ", ".join(f"{name}: {regularizer!r}" for name, regularizer in self.regularizers.items())


def _sum(values: Iterable[Tensor]) -> Tensor:
    first, *others = values
    return sum(others, first)


def _mean_part(
    loss: Loss | ForeignLoss, input: Any, target: Any, sample_weight: Tensor | None
) -> tuple[Part, Tensor | None]:
    """Return the mean of a loss and, if it has rows, what each adds to the denominator."""
    if isinstance(loss, RowwiseLoss):
        rows = loss.rows(input, target, sample_weight)
        return Part(*rows.mean_and_weight()), rows.weight
    if isinstance(loss, Loss):
        total, weight = loss.sum_and_weight(input, target, sample_weight)
        return Part(ratio(total, weight), weight), None
    first = next(iter(target)) if isinstance(target, Sequence) else target  # some criteria take several targets
    row_weight = torch.ones(first.shape[:1], device=first.device)
    return Part(loss(input, target, sample_weight), row_weight.sum()), row_weight


def _auxiliary_part(name: str, term: Auxiliary, weight: Tensor) -> Part:
    mean, own_weight = (term, weight) if isinstance(term, Tensor) else (ratio(*term), term[1].detach())
    if mean.dim() or own_weight.dim():
        raise ValueError(
            f"auxiliary_losses[{name!r}] must be a scalar mean, or a scalar sum and a scalar weight, got shapes "
            f"{tuple(mean.shape)} and {tuple(own_weight.shape)}"
        )
    return Part(mean, own_weight)


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
    for owner in built.losses.values() if isinstance(built, HeadsLoss) else [built]:
        reduction = getattr(owner.function if isinstance(owner, ForeignLoss) else owner, "reduction", "mean")
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
