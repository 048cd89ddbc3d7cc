"""Targets, checked: class indices, shares of classes, and values of single elements."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_losses._target_checks import check_values, may_look
from lightning_losses.functional._inputs import as_matrix
from lightning_losses.functional._options import Settings


class Target(NamedTuple):
    """A checked target: indices (0 where not used) or shares; which rows are used, which out of range.

    None for the two masks: every row is used, none is out of range.
    """

    values: Tensor
    used: Tensor | None
    bad: Tensor | None


def hard_target(
    settings: Settings, matrix: Tensor, shape: torch.Size, input_shape: torch.Size, target: Tensor
) -> Target:
    """Return class indices, one for each row of `matrix`."""
    if target.shape != shape:
        raise ValueError(
            f"target must have shape {tuple(shape)} (class indices) or {tuple(input_shape)} (one-hot rows or "
            f"probabilities) for input of shape {tuple(input_shape)}, got {tuple(target.shape)}"
        )
    if target.is_floating_point() or target.dtype == torch.bool:
        raise TypeError(f"target must hold integers as class indices, got {target.dtype}")
    classes = matrix.shape[1]
    target = (target if target.dim() == 1 else target.reshape(-1)).long()
    if target.numel() and may_look(target):
        ends = target.aminmax()
        low, high = ends.min.item(), ends.max.item()
        if low >= 0 and high < classes and not low <= settings.ignore_index <= high:
            return Target(target, None, None)
    ignored = target == settings.ignore_index
    bad = ~ignored & ((target < 0) | (target >= classes))
    allowed = f"class indices in [0, {classes - 1}] or ignore_index={settings.ignore_index}"
    check_values("target", target, bad, allowed)
    used = ~ignored & ~bad
    return Target(target.where(used, 0), used, bad)


def soft_target(settings: Settings, target: Tensor) -> Target:
    """Return the share of each class, `(rows, C)`."""
    share, _ = as_matrix(target)
    used = ~(share == settings.ignore_index).all(dim=1)
    bad = used.unsqueeze(1) & ~((share >= 0) & (share <= 1))
    check_values("target", share, bad, "probabilities in [0, 1]")
    bad = bad.any(dim=1)
    used = used & ~bad
    return Target(share.where(used.unsqueeze(1), 0), used, bad)


def element_target(settings: Settings, target: Tensor) -> Target:
    """Return the share of class 1 of each element, in the target's shape."""
    if target.numel() and may_look(target):
        low, high = (end.item() for end in target.aminmax())
        if low >= 0 and high <= 1 and not low <= settings.ignore_index <= high:
            return Target(target, None, None)
    ignored = target == settings.ignore_index
    bad = ~ignored & ~((target >= 0) & (target <= 1))
    check_values("target", target, bad, f"values in [0, 1] or ignore_index={settings.ignore_index}")
    used = ~ignored & ~bad
    return Target(target.where(used, 0), used, bad)


def smooth(settings: Settings, share: Tensor) -> Tensor:
    """Return shares `(rows, C)` after label smoothing."""
    return (1 - settings.label_smoothing) * share + settings.label_smoothing / share.shape[1]


def nan_where(bad: Tensor | None, loss: Tensor) -> Tensor:
    """Mark rows whose target is out of range where `check_values` may not look."""
    return loss if bad is None or may_look(bad) else loss.where(~bad, torch.nan)
