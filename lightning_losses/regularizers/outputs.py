"""Penalties on the outputs of layers."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_losses._validation import nearest
from lightning_losses.functional._inputs import compute_dtype
from lightning_losses.parameters import Where, find_entries
from lightning_losses.regularizers.base import Regularizer


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
        >>> import torch
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
        """Return the penalty of each number, of the shape of `output`, which is at least of float32."""
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
        samples = self.penalty(output.to(compute_dtype(output))).unsqueeze(1).flatten(1).sum(1)
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
        return 0.5 * output.square()
