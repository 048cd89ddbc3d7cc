"""Penalties on parameters and on the outputs of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_losses._terms import Term, build_terms
from lightning_losses._validation import finite_non_negative, nearest
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
from lightning_losses.functional.penalties import (
    add_elastic_net_gradient_,
    elastic_net_penalty,
    group_lasso_penalty,
    l1_penalty,
    l2_penalty,
    l2sp_penalty,
    orthogonal_penalty,
    power_iteration,
    spectral_penalty,
)
from lightning_losses.parameters import Selection, Where, find_entries


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


class GroupLasso(ParameterRegularizer):
    """Sum of the norms of output units, which switches off whole units.

    `factor * sqrt(K) * sum_n ||w_n||` with K numbers in each output unit

    Args:
        factor: Finite, at least 0.
        where: What it acts on, see [`select`][lightning_losses.parameters.select].

    Raises:
        ValueError: If the factor is negative, infinite or NaN.

    Example:
        >>> net = torch.nn.Linear(4, 2)
        >>> _ = net.weight.data.copy_(torch.tensor([[3.0, 0.0, 4.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
        >>> GroupLasso(0.1)(net).item()
        1.0

    Source:
        M. Yuan, Y. Lin, Model Selection and Estimation in Regression with Grouped Variables, 2006.
    """

    name = "group_lasso"

    def penalty(self, name: str, weight: Tensor) -> Tensor:
        """Return `sqrt(K) * sum_n ||w_n||`."""
        return group_lasso_penalty(weight)

    def splits_at(self, dim: int) -> bool:
        """Units are independent, their numbers are not."""
        return dim == 0


class Orthogonal(ParameterRegularizer):
    """Squared distance of the rows (or, if these are more, of the columns) from being orthonormal.

    `factor * ||W W^T - I||_F^2`

    Args:
        factor: Finite, at least 0.
        where: What it acts on, see [`select`][lightning_losses.parameters.select]; convolution kernels are flattened to
            a row for each output channel.

    Raises:
        ValueError: If the factor is negative, infinite or NaN.

    Example:
        >>> net = torch.nn.Linear(3, 2)
        >>> _ = torch.nn.init.zeros_(net.weight)
        >>> Orthogonal(0.5)(net).item()
        1.0

    Source:
        A. Brock, T. Lim, J. Ritchie, N. Weston, Neural Photo Editing with Introspective Adversarial Networks, 2017;
        N. Bansal, X. Chen, Z. Wang, Can We Gain More from Orthogonality Regularizations in Training CNNs?, 2018.
    """

    name = "orthogonal"

    def penalty(self, name: str, weight: Tensor) -> Tensor:
        """Return `||W W^T - I||_F^2`."""
        return orthogonal_penalty(weight)


_FIRST_ITERATIONS = 20


class Spectral(ParameterRegularizer):
    """Half the square of the largest singular value, which bounds how much a layer can stretch its input.

    `factor * 0.5 * sigma_max(W)^2`

    The singular vectors are followed by power iteration: twenty steps at first sight, then a few each time.

    Args:
        factor: Finite, at least 0.
        where: What it acts on, see [`select`][lightning_losses.parameters.select]; convolution kernels are flattened to
            a row for each output channel.
        iterations: Steps of the power iteration each time, at least 1.

    Raises:
        ValueError: If the factor is negative, infinite or NaN, or `iterations` is not a positive integer.

    Example:
        >>> net = torch.nn.Linear(2, 2)
        >>> _ = net.weight.data.copy_(torch.tensor([[3.0, 0.0], [0.0, 2.0]]))
        >>> round(Spectral(1.0)(net).item(), 4)
        4.5

    Source:
        Y. Yoshida, T. Miyato, Spectral Norm Regularization for Improving the Generalizability of Deep Learning, 2017.
    """

    name = "spectral"

    def __init__(self, factor: float = 1e-4, where: Where = None, iterations: int = 1) -> None:
        super().__init__(factor, where)
        if int(iterations) != iterations or iterations < 1:
            raise ValueError(f"iterations must be an integer >= 1, got {iterations!r}")
        self.iterations = iterations
        self._right: dict[str, Tensor] = {}

    def penalty(self, name: str, weight: Tensor) -> Tensor:
        """Return `0.5 * sigma_max(W)^2`."""
        known = self._right.get(name)
        first = _FIRST_ITERATIONS if known is None else 0
        vectors = power_iteration(weight.detach(), known, first + self.iterations)
        self._right[name] = vectors[1]
        return spectral_penalty(weight, vectors)


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


class ActivityRegularizer(Regularizer):
    """A penalty on the outputs of layers, for each sample: it belongs to the loss's own sum and mean.

    `attach` puts forward hooks on the layers, each forward then adds to what `pop` returns, `detach` removes the hooks.

    Subclasses define `penalty`.

    Args:
        factor: Finite, at least 0. The attribute may be changed at any time, as a schedule does.
        where: Names or globs of layers, submodules, or a sequence of these; by default each layer that owns a weight.
            The first dimension of a layer's output (of the first output, if there are several) has to be the batch.

    Raises:
        ValueError: If the factor is negative, infinite or NaN.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.ReLU())
        >>> penalty = ActivityL1(0.5, where="1")
        >>> penalty.attach(net)
        >>> _ = net(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        >>> penalty.pop()
        tensor([0.5000, 3.5000])
        >>> penalty.detach()
    """

    def __init__(self, factor: float = 1e-4, where: Where = None) -> None:
        super().__init__(factor)
        self.where = where
        self._handles: list[RemovableHandle] = []
        self._values: Tensor | None = None

    def penalty(self, output: Tensor) -> Tensor:
        """Return the penalty of each number, of the shape of `output`."""
        raise NotImplementedError(f"{type(self).__name__} must define penalty(output)")

    def attach(self, module: nn.Module) -> None:
        """Watch the layers of a module from now on.

        Raises:
            ValueError: If `where` names no layer of it.
        """
        self.detach()
        self._handles = [layer.register_forward_hook(self._watch) for layer in _layers(module, self.where)]

    def detach(self) -> None:
        """Watch no longer, and forget what was seen."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._values = None

    def pop(self) -> Tensor | None:
        """Return what the forwards since the last call have added up, and start again.

        Call it once before a forward as well, if others may have run in between.

        Returns:
            `factor * sum of penalty(output)` of each sample, `(N,)`, with a graph; None if no layer has run.
        """
        values, self._values = self._values, None
        return None if values is None else self.factor * values

    def __getstate__(self) -> dict[str, Any]:
        # What was seen hangs on a graph, which cannot be copied.
        return {**vars(self), "_values": None}

    def _watch(self, layer: nn.Module, _: Any, output: Any) -> None:
        output = output[0] if isinstance(output, tuple) else output
        samples = self.penalty(output).float().reshape(len(output), -1).sum(1)
        if self._values is not None and len(self._values) != len(samples):
            raise ValueError(
                f"{type(self).__name__}: {type(layer).__name__} returned {len(samples)} samples, others returned "
                f"{len(self._values)}; the first dimension of each output has to be the batch"
            )
        self._values = samples if self._values is None else self._values + samples


def _layers(module: nn.Module, where: Where) -> list[nn.Module]:
    if where is None:
        owners = [site.raw_name for entry in find_entries(module) if entry.role == "weight" for site in entry.sites]
        paths = [name.rpartition(".")[0].partition(".parametrizations.")[0] for name in owners]
        return [module.get_submodule(path) for path in dict.fromkeys(paths)]
    named = dict(module.named_modules())
    layers: dict[str, nn.Module] = {}
    for item in [where] if isinstance(where, (str, nn.Module)) else where:
        found = {path: layer for path, layer in named.items() if layer is item or _is_named(path, item)}
        if not found:
            raise ValueError(f"where: {item!r} is no layer{nearest(item, named)}")
        layers |= found
    return list(layers.values())


def _is_named(path: str, item: str | nn.Module) -> bool:
    return isinstance(item, str) and fnmatchcase(path, item)


class ActivityL1(ActivityRegularizer):
    """Sum of the absolute outputs of layers, for each sample.

    `factor * sum|a|`

    Args:
        factor: Finite, at least 0.
        where: As for [`ActivityRegularizer`][lightning_losses.regularizers.ActivityRegularizer].

    Raises:
        ValueError: If the factor is negative, infinite or NaN.

    Source:
        X. Glorot, A. Bordes, Y. Bengio, Deep Sparse Rectifier Neural Networks, 2011.
    """

    name = "activity_l1"

    def penalty(self, output: Tensor) -> Tensor:
        """Return `|a|`."""
        return output.abs()


class ActivityL2(ActivityRegularizer):
    """Half the sum of the squared outputs of layers, for each sample.

    `factor * 0.5 * sum a^2`

    Args:
        factor: Finite, at least 0.
        where: As for [`ActivityRegularizer`][lightning_losses.regularizers.ActivityRegularizer].

    Raises:
        ValueError: If the factor is negative, infinite or NaN.

    Source:
        S. Merity, B. McCann, R. Socher, Revisiting Activation Regularization for Language RNNs, 2017.
    """

    name = "activity_l2"

    def penalty(self, output: Tensor) -> Tensor:
        """Return `0.5 * a^2`."""
        return 0.5 * output.float().square()


_REGULARIZERS: dict[str, type[Regularizer]] = {
    cls.name: cls
    for cls in (
        *(L1, L2, ElasticNet, ProximalL1, GroupLasso, Orthogonal, Spectral, L2SP, Custom),
        *(ActivityL1, ActivityL2),
    )
}


def list_regularizers() -> list[str]:
    """Return the names that `build_regularizers` knows, sorted.

    Example:
        >>> "l2" in list_regularizers()
        True
    """
    return sorted(_REGULARIZERS)


def build_regularizers(spec: Any) -> dict[str, Regularizer]:
    """Build the penalties of an objective, each under a name of its own.

    Args:
        spec: `{"l2": 1e-4}`; named terms `{"encoder": {"name": "l2", "factor": 0.01, "where": "encoder.*"}}`, where the
            term's own name serves if there is no `name`; or a name, a penalty or a function of one parameter, alone, in
            a sequence, or as a term. None is no penalty.

    Returns:
        Term -> penalty, in the given order.

    Raises:
        ValueError: If a name is unknown, a factor is out of range, or two terms have one name.
        TypeError: If a penalty takes no such argument.

    Example:
        >>> build_regularizers({"l2": 1e-4, "sparse": {"name": "l1", "factor": 1e-3, "where": "embedding"}})
        {'l2': L2(factor=0.0001, where=None), 'sparse': L1(factor=0.001, where='embedding')}
    """
    if isinstance(spec, Mapping):
        spec = {term: _adopt(value) for term, value in spec.items()}
    elif isinstance(spec, Sequence) and not isinstance(spec, str):
        spec = [_adopt(value) for value in spec]
    else:
        spec = _adopt(spec)
    return build_terms("regularizer", spec, _REGULARIZERS, Regularizer)


def _adopt(value: Any) -> Any:
    return Custom(value) if callable(value) and not isinstance(value, Term) else value
