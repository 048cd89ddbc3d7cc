"""A linear layer and its loss in one."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from lightning_losses.functional._options import Reduction
from lightning_losses.functional._rows import RowLoss, reduce
from lightning_losses.kernels.linear import Rows, row_losses, sum_and_weight


class Rowwise(Protocol):
    """A multiclass loss on logits whose rows do not depend on each other."""

    @property
    def reduction(self) -> Reduction:
        """`"mean"`, `"sum"` or `"none"`."""

    def rows(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> RowLoss:
        """Return the weighted loss of each row and what it adds to the denominator of the mean."""


def linear_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    loss: Rowwise,
    sample_weight: Tensor | None = None,
) -> Tensor:
    r"""A loss on the outputs of a linear layer, which never exist as a whole.

    $$\text{loss}(h W^\top + b, y)$$

    For many classes: the logits of a language model take more memory than its other activations together. Blocks of
    rows are worked on one after the other, and their gradients are made on the way, so the result can be differentiated
    once. Rows that are ignored may hold anything.

    Args:
        hidden: `(..., H)`, what the linear layer takes.
        weight: `(C, H)`, possibly tied to an embedding.
        bias: `(C,)` or None.
        target: Class indices `(...)` or probabilities `(..., C)`.
        loss: A multiclass loss module on logits.
        sample_weight: `(...)`.

    Returns:
        A scalar, or with `reduction="none"` one loss for each row, `(...)`.

    Raises:
        ValueError: Shapes do not fit, or `target` or `sample_weight` requires a gradient, which only
            `reduction="none"` has for them.

    Example:
        >>> import torch, lightning_losses as ll
        >>> hidden, weight = torch.zeros(3, 8), torch.ones(4, 8)
        >>> linear_loss(hidden, weight, None, torch.tensor([0, 3, -100]), ll.FocalLoss(gamma=1.0))
        tensor(1.0397)

    Source:
        Hsu, Dai, Kothapalli, Song, Tang, Zhu, Shimizu, Sahni, Ning, Chen: Liger Kernel, 2024.
    """
    rows = hidden.shape[:-1]
    flat = sum_and_weight_arguments(hidden, weight, bias, target, sample_weight)
    if loss.reduction == "none":
        return row_losses(loss_and_weight(loss), *flat).reshape(rows)
    return reduce(RowLoss(*sum_and_weight(loss_and_weight(loss), *flat)), loss.reduction)


def loss_and_weight(loss: Rowwise) -> Rows:
    """Return the loss as a function of logits to its two tensors."""

    def rows(logits: Tensor, target: Tensor, sample_weight: Tensor | None) -> tuple[Tensor, Tensor]:
        result = loss.rows(logits, target, sample_weight)
        return result.loss, result.weight

    return rows


def sum_and_weight_arguments(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, sample_weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor | None]:
    """Return the arguments of `linear_loss` with all rows in one dimension, checked."""
    rows, classes = hidden.shape[:-1], len(weight)
    if weight.dim() != 2 or hidden.shape[-1:] != weight.shape[1:]:
        raise ValueError(
            f"hidden must end in the {tuple(weight.shape)[1:]} inputs of weight {tuple(weight.shape)}, "
            f"got shape {tuple(hidden.shape)}"
        )
    if target.shape not in (rows, (*rows, classes)):
        raise ValueError(
            f"target must have shape {tuple(rows)} (class indices) or {(*rows, classes)} (probabilities) for hidden of "
            f"shape {tuple(hidden.shape)}, got {tuple(target.shape)}"
        )
    if sample_weight is not None and sample_weight.shape != rows:
        raise ValueError(f"sample_weight must have shape {tuple(rows)}, got {tuple(sample_weight.shape)}")
    flat = target.reshape(-1) if target.shape == rows else target.reshape(-1, classes)
    return (
        hidden.reshape(-1, hidden.shape[-1]),
        weight,
        bias,
        flat,
        None if sample_weight is None else sample_weight.reshape(-1),
    )
