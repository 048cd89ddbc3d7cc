"""DTensors: their local part, the whole of them, and sums over all shards.

`torch.distributed.tensor` takes long to import, so only those who have DTensors pay for it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

Layout: TypeAlias = tuple[Any, tuple[Any, ...]]  # the mesh, and a placement for each of its dimensions


def layout_of(tensor: Tensor) -> Layout | None:
    """Return how a DTensor lies on its mesh, None for any other tensor."""
    return (
        (tensor.device_mesh, tensor.placements)
        if hasattr(tensor, "device_mesh") and hasattr(tensor, "placements")
        else None
    )


def local(tensor: Tensor) -> Tensor:
    """Return this rank's part, in the tensor's own memory."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def whole(tensor: Tensor) -> Tensor:
    """Return all of it, gathered from the ranks."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def sharded_dims(layout: Layout) -> set[int]:
    """Return the dimensions of the tensor that are divided among ranks."""
    return {placement.dim for placement in layout[1] if placement.is_shard()}


def sum_over_shards(value: Tensor, layout: Layout | None) -> Tensor:
    """Add up a scalar of each shard, with a graph; replicas count once."""
    if layout is None:
        return value
    from torch.distributed.tensor import DTensor, Partial, Replicate  # noqa: PLC0415

    mesh, placements = layout
    parts = [Partial() if placement.is_shard() else Replicate() for placement in placements]
    return DTensor.from_local(value, mesh, parts).full_tensor()


def shard(tensor: Tensor, layout: Layout) -> Tensor:
    """Return the DTensor of a tensor that every rank has whole."""
    from torch.distributed.tensor import DTensor, Replicate  # noqa: PLC0415

    mesh, placements = layout
    return DTensor.from_local(tensor, mesh, [Replicate()] * len(placements)).redistribute(placements=placements)


def open_gradient(name: str, parameter: nn.Parameter, layout: Layout | None) -> Tensor:
    """Return the tensor to which those who look at a parameter with `layout` have to add its gradient.

    That is `.grad` itself, made where it is None; for a DTensor that is looked at whole, zeros for `close_gradient`.
    """
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    if parameter.grad.layout != torch.strided:
        raise ValueError(f"the gradient of {name!r} is sparse, that of a penalty is dense: leave it out of `where`")
    if layout == layout_of(parameter):
        return local(parameter.grad)
    return torch.zeros(parameter.shape, dtype=parameter.dtype, device=parameter.device)


def close_gradient(parameter: nn.Parameter, gradient: Tensor, layout: Layout | None) -> None:
    """Take over what has been added to the tensor that `open_gradient` returned."""
    own = layout_of(parameter)
    if own is not None and own != layout and parameter.grad is not None:
        parameter.grad.add_(shard(gradient, own))
