"""Targets, checked: class indices, shares of classes, and values of single elements."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_losses._target_checks import check_values, deferred_worst, may_look
from lightning_losses.functional._inputs import as_matrix
from lightning_losses.functional._options import Settings
from lightning_losses.kernels import checked_target, outside


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
    allowed = f"class indices in [0, {classes - 1}] or ignore_index={settings.ignore_index}"
    return Target(*_checked(settings, target, classes - 1, allowed))


def soft_target(settings: Settings, target: Tensor) -> Target:
    """Return the share of each class, `(rows, C)`."""
    share, _ = as_matrix(target)
    return Target(*_checked(settings, share, 1, "probabilities in [0, 1]"))


def element_target(settings: Settings, target: Tensor) -> Target:
    """Return the share of class 1 of each element, in the target's shape."""
    if target.numel() and may_look(target):
        low, high = (end.item() for end in target.aminmax())
        if low >= 0 and high <= 1 and not low <= settings.ignore_index <= high:
            return Target(target, None, None)
    checked = _checked(settings, target.reshape(-1), 1, f"values in [0, 1] or ignore_index={settings.ignore_index}")
    return Target(*(part.reshape(target.shape) for part in checked))


def _checked(settings: Settings, target: Tensor, largest: int, allowed: str) -> tuple[Tensor, Tensor, Tensor]:
    worst = deferred_worst("target", target, allowed)
    values, used, bad = checked_target(target, largest, settings.ignore_index, worst)
    if may_look(bad) and bool(bad.any()):
        suspects = target[bad]
        check_values("target", suspects, outside(suspects, largest), allowed)
    return values, used, bad


def smooth(settings: Settings, share: Tensor) -> Tensor:
    """Return shares `(rows, C)` after label smoothing."""
    return (1 - settings.label_smoothing) * share + settings.label_smoothing / share.shape[1]


def nan_where(bad: Tensor | None, loss: Tensor) -> Tensor:
    """Mark rows whose target is out of range where `check_values` may not look."""
    return loss if bad is None or may_look(bad) else torch.where(bad, torch.nan, loss)
