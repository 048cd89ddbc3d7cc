"""Penalties that are the sum of those of the single numbers of a parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from lightning_losses._validation import finite_non_negative
from lightning_losses.functional._sharding import local, whole
from lightning_losses.functional.penalties import (
    add_elastic_net_gradient_,
    elastic_net_penalty,
    l1_penalty,
    l2_penalty,
    l2sp_penalty,
)
from lightning_losses.parameters import Where
from lightning_losses.regularizers.base import ParameterRegularizer


class _Elementwise(ParameterRegularizer):
    """A penalty that is the sum of those of the single numbers."""

    def splits_at(self, dim: int) -> bool:
        """Any piece is independent of the others."""
        return True


class ElasticNet(_Elementwise):
    """L1 and L2 penalty together.

    `factor * (l1 * sum|w| + 0.5 * l2 * sum w^2)`

    Args:
        l1: Factor of the absolute values, at least 0.
        l2: Factor of the squares, at least 0; as everywhere with the half that makes it SGD's `weight_decay`.
        factor: Factor of both, for a schedule.
        where: What it acts on, see [`select`][lightning_losses.parameters.select].

    Raises:
        ValueError: If a factor is negative, infinite or NaN.

    Example:
        >>> net = torch.nn.Linear(2, 1)
        >>> _ = torch.nn.init.constant_(net.weight, -2.0)
        >>> ElasticNet(l1=0.5, l2=0.1)(net).item()
        2.4000000953674316

    Source:
        H. Zou, T. Hastie, Regularization and Variable Selection via the Elastic Net, 2005.
    """

    name = "elastic_net"
    number = None

    def __init__(self, l1: float = 1e-4, l2: float = 1e-4, factor: float = 1.0, where: Where = None) -> None:
        super().__init__(factor, where)
        self.l1 = finite_non_negative("l1", l1)
        self.l2 = finite_non_negative("l2", l2)

    def penalty(self, name: str, weight: Tensor) -> Tensor:
        """Return `l1 * sum|w| + 0.5 * l2 * sum w^2`."""
        return elastic_net_penalty(weight, self.l1, self.l2)

    def add_penalty_gradient_(self, weights: dict[str, Tensor], gradients: list[Tensor]) -> Tensor:
        """Add `factor * (l1 * sign(w) + l2 * w)`."""
        return add_elastic_net_gradient_([*weights.values()], gradients, self.factor * self.l1, self.factor * self.l2)


class L1(_Elementwise):
    """Sum of absolute values.

    `factor * sum|w|`

    The gradient never stops moving a weight across zero; [`ProximalL1`][lightning_losses.regularizers.ProximalL1] makes
    exact zeros.

    Args:
        factor: Finite, at least 0.
        where: What it acts on, see [`select`][lightning_losses.parameters.select].

    Raises:
        ValueError: If the factor is negative, infinite or NaN.

    Example:
        >>> net = torch.nn.Linear(2, 1)
        >>> _ = torch.nn.init.constant_(net.weight, -2.0)
        >>> L1(0.5)(net).item()
        2.0

    Source:
        R. Tibshirani, Regression Shrinkage and Selection via the Lasso, 1996.
    """

    name = "l1"

    def penalty(self, name: str, weight: Tensor) -> Tensor:
        """Return `sum|w|`."""
        return l1_penalty(weight)

    def add_penalty_gradient_(self, weights: dict[str, Tensor], gradients: list[Tensor]) -> Tensor:
        """Add `factor * sign(w)`."""
        return add_elastic_net_gradient_([*weights.values()], gradients, self.factor, 0.0)


class L2(_Elementwise):
    """Half the sum of squares.

    `factor * 0.5 * sum w^2`, gradient `factor * w`

    Under SGD this is `weight_decay=factor`. Under Adam it does not decay: its gradient is divided by the running size
    of all gradients, so that weights with large gradients hardly shrink; `torch.optim.Adam`'s own `weight_decay` does
    the same. That is why AdamW exists, whose decay shrinks all weights alike. Keras' `l2(f)` has no half: it is
    `L2(2 * f)`.

    Args:
        factor: Finite, at least 0.
        where: What it acts on, see [`select`][lightning_losses.parameters.select].

    Raises:
        ValueError: If the factor is negative, infinite or NaN.

    Example:
        >>> net = torch.nn.Linear(2, 1)
        >>> _ = torch.nn.init.constant_(net.weight, -2.0)
        >>> penalty = L2(0.5)
        >>> penalty(net).item()
        2.0
        >>> penalty.add_gradient_(net), net.weight.grad
        (tensor(2.), tensor([[-1., -1.]]))

    Source:
        A. Hoerl, R. Kennard, Ridge Regression, 1970; A. Krogh, J. Hertz, A Simple Weight Decay Can Improve
        Generalization, 1992; I. Loshchilov, F. Hutter, Decoupled Weight Decay Regularization, 2019.
    """

    name = "l2"

    def penalty(self, name: str, weight: Tensor) -> Tensor:
        """Return `0.5 * sum w^2`."""
        return l2_penalty(weight)

    def add_penalty_gradient_(self, weights: dict[str, Tensor], gradients: list[Tensor]) -> Tensor:
        """Add `factor * w`."""
        return add_elastic_net_gradient_([*weights.values()], gradients, 0.0, self.factor)


class ProximalL1(L1):
    """L1 penalty that makes exact zeros: not by its gradient, but by a soft threshold after the optimizer step.

    `w <- sign(w) * max(|w| - lr * factor, 0)`

    Its value is part of the objective, its gradient is not: `prox_` has to be called after each step.

    Args:
        factor: Finite, at least 0.
        where: What it acts on, see [`select`][lightning_losses.parameters.select].

    Raises:
        ValueError: If the factor is negative, infinite or NaN.

    Example:
        >>> net = torch.nn.Linear(2, 1)
        >>> _ = net.weight.data.copy_(torch.tensor([[0.05, -2.0]]))
        >>> penalty = ProximalL1(1.0)
        >>> penalty.prox_(net, lambda parameter: 0.1)
        >>> net.weight.data, penalty.sparsity(net)
        (tensor([[ 0.0000, -1.9000]]), 0.5)

    Source:
        I. Daubechies, M. Defrise, C. De Mol, An Iterative Thresholding Algorithm for Linear Inverse Problems with a
        Sparsity Constraint, 2004.
    """

    name = "proximal_l1"

    def penalty(self, name: str, weight: Tensor) -> Tensor:
        """Return `sum|w|`, cut off from the graph."""
        return l1_penalty(weight.detach())

    def add_penalty_gradient_(self, weights: dict[str, Tensor], gradients: list[Tensor]) -> Tensor:
        """Add nothing."""
        return self.factor * sum(map(l1_penalty, weights.values()), torch.zeros(()))

    @torch.no_grad()
    def prox_(self, module: nn.Module, lr_of: Callable[[nn.Parameter], float]) -> None:
        """Apply the soft threshold in place.

        Args:
            module: Whose parameters have just been stepped.
            lr_of: The learning rate of a parameter, such as `learning_rate_of(optimizer)` of
                `lightning_losses.optimizers`.
        """
        for parameter in self.parameters(module).values():
            threshold = self.factor * lr_of(parameter)
            weight = local(parameter)
            weight.sub_(weight.clamp(-threshold, threshold))

    @torch.no_grad()
    def sparsity(self, module: nn.Module) -> float:
        """Return the share of exact zeros among the numbers that it acts on."""
        zeros = numbers = 0
        for parameter in self.parameters(module).values():
            zeros += int(whole(parameter == 0).sum())
            numbers += parameter.numel()
        return zeros / max(numbers, 1)


class L2SP(_Elementwise):
    """Half the squared distance from the weights that training started from, for fine-tuning.

    `factor * 0.5 * sum (w - w0)^2`

    The starting weights are those that it sees first; they are kept, and belong into the checkpoint (`state_dict`).

    Args:
        factor: Finite, at least 0.
        where: What it acts on, see [`select`][lightning_losses.parameters.select].

    Raises:
        ValueError: If the factor is negative, infinite or NaN.

    Example:
        >>> net = torch.nn.Linear(2, 1)
        >>> penalty = L2SP(0.5)
        >>> penalty(net).item()
        0.0
        >>> _ = net.weight.data.add_(2.0)
        >>> round(penalty(net).item(), 5)
        2.0

    Source:
        X. Li, Y. Grandvalet, F. Davoine, Explicit Inductive Bias for Transfer Learning with Convolutional Networks,
        2018.
    """

    name = "l2_sp"

    def __init__(self, factor: float = 1e-4, where: Where = None) -> None:
        super().__init__(factor, where)
        self._start: dict[str, Tensor] = {}

    def penalty(self, name: str, weight: Tensor) -> Tensor:
        """Return `0.5 * sum (w - w0)^2`."""
        return l2sp_penalty(weight, self._start_of(name, weight))

    def add_penalty_gradient_(self, weights: dict[str, Tensor], gradients: list[Tensor]) -> Tensor:
        """Add `factor * (w - w0)`."""
        total = torch.zeros(())
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
            moved = weight - self._start_of(name, weight)
            total = total + add_elastic_net_gradient_([moved], [gradient], 0.0, self.factor)
        return total

    def state_dict(self) -> dict[str, Tensor]:
        """Return the starting weights by name; of sharded parameters this rank's part."""
        return dict(self._start)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the starting weights from an earlier run."""
        self._start = dict(state)

    def _start_of(self, name: str, weight: Tensor) -> Tensor:
        if name not in self._start:
            self._start[name] = weight.detach().clone()
        self._start[name] = self._start[name].to(weight.device)  # a checkpoint may have been loaded elsewhere
        return self._start[name]
