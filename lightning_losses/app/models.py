"""Networks by name, and a user's own by `_target_`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import hydra
from torch import nn

from lightning_losses._validation import choice, in_interval, nearest, positive


def build_model(mapping: Mapping[str, Any]) -> nn.Module:
    """Build the network of the config group `model`.

    Args:
        mapping: `{name: mlp, ...}`, or `{_target_: my.package.Net, ...}` with the arguments of the user's own.

    Returns:
        The network.

    Raises:
        ValueError: An unknown name or activation, or a number out of range.
        TypeError: `_target_` returned something else than a module.
    """
    if "_target_" in mapping:
        model = hydra.utils.instantiate(mapping)
        if not isinstance(model, nn.Module):
            raise TypeError(f"model._target_={mapping['_target_']} must return an nn.Module, got {model!r}")
        return model
    arguments = dict(mapping)
    return MODELS[choice("model.name", arguments.pop("name"), MODELS)](**arguments)


def mlp(
    in_features: int,
    out_features: int,
    hidden: Sequence[int] = (64, 64),
    activation: str = "ReLU",
    norm: str | None = None,
    dropout: float = 0.0,
    output: str | None = None,
) -> nn.Sequential:
    """Return linear layers with an activation between them.

    Args:
        in_features: Number of features.
        out_features: Number of outputs.
        hidden: Units of each hidden layer.
        activation: Class of `torch.nn` behind each hidden layer.
        norm: Class of `torch.nn` between a hidden layer and its activation, given the number of units.
        dropout: Probability of dropout behind each activation.
        output: Class of `torch.nn` at the end, such as `Sigmoid`; None gives logits.

    Returns:
        Layers named `hidden_1`, `activation_1`, ..., `output`.

    Raises:
        ValueError: `torch.nn` has no such class, or a number is out of range.
    """
    in_interval("model.dropout", dropout, 0.0, 1.0)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    width = in_features
    for i, units in enumerate(hidden, start=1):
        layers[f"hidden_{i}"] = nn.Linear(width, int(positive("model.hidden", units)))
        if norm is not None:
            layers[f"norm_{i}"] = _torch_class("model.norm", norm)(units)
        layers[f"activation_{i}"] = _torch_class("model.activation", activation)()
        if dropout:
            layers[f"dropout_{i}"] = nn.Dropout(dropout)
        width = units
    layers["output"] = nn.Linear(width, out_features)
    if output is not None:
        layers["probability"] = _torch_class("model.output", output)()
    return nn.Sequential(layers)


MODELS: dict[str, Callable[..., nn.Module]] = {"mlp": mlp}


def _torch_class(argument: str, name: str) -> type[nn.Module]:
    found = getattr(nn, name, None)
    if not isinstance(found, type):
        known = [key for key, value in vars(nn).items() if isinstance(value, type)]
        raise ValueError(f"{argument} must be a class of torch.nn, got {name!r}{nearest(name, known)}")
    return found
