"""What a model returns: its rows, the precision to compute in, and the probabilities that it may hold."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from lightning_losses._target_checks import check_values
from lightning_losses.functional._options import Settings


def check_tensor(name: str, value: object) -> None:
    """Raise a TypeError for what is no tensor of real numbers."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if value.is_complex():
        raise TypeError(f"{name} must hold real numbers, got {value.dtype}")


def compute_dtype(input: Tensor) -> torch.dtype:
    """Return float32 for half inputs, otherwise the input's own."""
    return torch.promote_types(input.dtype, torch.float32)


def as_matrix(values: Tensor) -> tuple[Tensor, torch.Size]:
    """Return `(rows, C)` and the shape of the rows, for values `(C,)` or `(N, C, d1, ...)`."""
    shape = values.shape
    if not shape:
        raise ValueError("input must have a class dimension in the multiclass task, got a 0-dimensional tensor")
    if not shape[min(values.dim() - 1, 1)]:
        raise ValueError(f"input must have at least one class in the multiclass task, got shape {tuple(shape)}")
    if values.dim() == 2:
        return values, shape[:1]
    last = values.movedim(min(values.dim() - 1, 1), -1)
    return last.unsqueeze(0).flatten(end_dim=-2), last.shape[:-1]


def given_probabilities(values: Tensor, used: Tensor | None = None) -> Tensor:
    """Return the probabilities that count, checked, in float32 at least, and 1 in the rows that do not."""
    probabilities = values.to(compute_dtype(values))
    if used is not None:
        probabilities = probabilities.where(used.unsqueeze(1), 1)
    bad = (probabilities < 0) | (probabilities > 1)
    check_values("input", probabilities, bad, "probabilities in [0, 1], as from_logits=False")
    return probabilities


def warn_if_probabilities(settings: Settings, input: Tensor) -> None:
    """Warn if what should be logits are probabilities: in [0, 1] with a sum of 1 over at least two classes."""
    if settings.task != "multiclass" or not settings.from_logits or not input.dim() or not input.numel():
        return
    sums = input.detach().sum(dim=min(input.dim() - 1, 1))
    tolerance = 4 * torch.finfo(input.dtype).eps
    if bool((input >= 0).all()) and bool(((sums - 1).abs() <= tolerance).all()):
        warnings.warn(
            "the logits all lie in [0, 1] and sum to 1: if they are probabilities, give the loss from_logits=False",
            stacklevel=6,  # the line that calls the module
        )
