"""Networks by name, and a user's own by `_target_`."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from lightning_losses._instantiate import CODE, instantiate
from lightning_losses._validation import check_types, choice, in_interval, nearest, positive


def build_model(mapping: Mapping[str, Any]) -> nn.Module:
    """Build the network of the config group `model`.

    Args:
        mapping: `{name: mlp, ...}`, or `{_target_: my.package.Net, ...}` with the arguments of the user's own.

    Returns:
        The network.

    Raises:
        ValueError: An unknown name or activation, or a number out of range.
        TypeError: A value is of another type, or `_target_` returned something else than a module.
    """
    if CODE in mapping:
        model = instantiate(mapping)
        if not isinstance(model, nn.Module):
            raise TypeError(f"model._target_={mapping['_target_']} must return an nn.Module, got {model!r}")
        return model
    arguments = dict(mapping)
    build = MODELS[choice("model.name", arguments.pop("name"), MODELS)]
    check_types("model", arguments, build)
    model = build(**arguments)
    return convert_conv2d_weight_memory_format(model, torch.channels_last)  # faster on processors


def mlp(
    in_features: int | Sequence[int],
    out_features: int,
    hidden: Sequence[int] = (64, 64),
    activation: str = "ReLU",
    norm: str | None = None,
    dropout: float = 0.0,
    output: str | None = None,
) -> nn.Sequential:
    """Return linear layers with an activation between them.

    Args:
        in_features: Number of features, or the shape of an image, which is flattened.
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
    if isinstance(in_features, Sequence):
        layers["flatten"] = nn.Flatten()
        width = math.prod(in_features)
    else:
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


def cnn(
    in_shape: int | Sequence[int],
    out_features: int,
    channels: Sequence[int] = (32, 64),
    hidden: int = 128,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Return blocks of convolution (3 x 3), batch norm, ReLU and pooling (2 x 2), then a hidden layer.

    With its defaults the network of Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, 2020, for
    images of 28 x 28.

    Args:
        in_shape: Channels, height and width of an image.
        out_features: Number of outputs.
        channels: Of each block, which halves height and width.
        hidden: Units of the layer before the output.
        dropout: Probability of dropout before the output.

    Returns:
        Layers named `conv_1`, `norm_1`, `activation_1`, `pool_1`, ..., `output`.

    Raises:
        ValueError: The rows are no images, the images are too small for so many blocks, or a number is out of range.
    """
    before, height, width = _image("cnn", in_shape)
    in_interval("model.dropout", dropout, 0.0, 1.0)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, count in enumerate(channels, start=1):
        layers[f"conv_{i}"] = nn.Conv2d(before, int(positive("model.channels", count)), 3, padding=1)
        layers[f"norm_{i}"] = nn.BatchNorm2d(count)
        layers[f"activation_{i}"] = nn.ReLU()
        layers[f"pool_{i}"] = nn.MaxPool2d(2)
        before, height, width = count, height // 2, width // 2
    if not height * width:
        raise ValueError(f"model.channels: images of {in_shape} are too small for {len(channels)} blocks")
    layers["flatten"] = nn.Flatten()
    layers["hidden"] = nn.Linear(before * height * width, int(positive("model.hidden", hidden)))
    layers["hidden_norm"] = nn.BatchNorm1d(hidden)
    layers["hidden_activation"] = nn.ReLU()
    if dropout:
        layers["dropout"] = nn.Dropout(dropout)
    layers["output"] = nn.Linear(hidden, out_features)
    return nn.Sequential(layers)


def resnet18(in_shape: int | Sequence[int], out_features: int) -> nn.Module:
    """Return MONAI's ResNet-18 with the stem for small images: a convolution of 3 x 3 without stride, and no pooling.

    Args:
        in_shape: Channels, height and width of an image.
        out_features: Number of outputs.

    Returns:
        The network, with random weights.

    Raises:
        ValueError: The rows are no images.
        ImportError: MONAI is not installed.

    Source:
        He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2016.
    """
    channels, _, _ = _image("resnet18", in_shape)
    try:
        from monai.networks.nets.resnet import resnet18 as build
    except ModuleNotFoundError as error:
        raise ImportError('model=resnet18 needs MONAI: pip install "lightning-losses[resnet]"') from error
    net: nn.Module = build(
        spatial_dims=2,
        n_input_channels=channels,
        num_classes=out_features,
        conv1_t_size=3,
        conv1_t_stride=1,
        no_max_pool=True,
        bias_downsample=False,
    )
    return net


MODELS: dict[str, Callable[..., nn.Module]] = {"cnn": cnn, "mlp": mlp, "resnet18": resnet18}


def _image(model: str, in_shape: int | Sequence[int]) -> tuple[int, int, int]:
    """Return channels, height and width."""
    if not isinstance(in_shape, Sequence):
        raise ValueError(f"model={model} is for images, these data have {in_shape} features: choose model=mlp")
    channels, height, width = in_shape
    return channels, height, width


def _torch_class(argument: str, name: str) -> type[nn.Module]:
    found = getattr(nn, name, None)
    if not isinstance(found, type):
        known = [key for key, value in vars(nn).items() if isinstance(value, type)]
        raise ValueError(f"{argument} must be a class of torch.nn, got {name!r}{nearest(name, known)}")
    return found
