"""What a loss does to a row, as curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lightning_losses.losses.base import RowwiseLoss
from lightning_losses.losses.registry import LossSpec, get_loss

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class LossCurves(NamedTuple):
    """A loss over the probability of the true class.

    Attributes:
        probability: Probabilities of the true class, (N,).
        value: What a row costs, (N,).
        gradient_weight: Its gradient at the logits as a multiple of cross entropy's, (N,); for `phi(l)`: `-phi'(l)`.
    """

    probability: Tensor
    value: Tensor
    gradient_weight: Tensor


def loss_curves(loss: LossSpec) -> LossCurves:
    """Compute a loss and its gradient for rows of two classes (one logit, where the task is not multiclass).

    Args:
        loss: A classification loss, or what `get_loss` builds one from.

    Returns:
        The curves, for `p` from 0.001 to 0.999.

    Raises:
        TypeError: The loss is not one of classes, row by row.

    Example:
        >>> loss_curves({"name": "gce", "q": 1.0}).gradient_weight[[0, 499, 998]]
        tensor([0.0010, 0.5000, 0.9990], dtype=torch.float64)
    """
    built = get_loss(loss)
    if not isinstance(built, RowwiseLoss) or built.task == "regression":
        raise TypeError(f"loss must be one of classes, row by row, got {type(built).__name__}")
    probability = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    logit = probability.logit().requires_grad_()
    if built.task == "multiclass":
        # log-probabilities are logits too, and all that `nll` takes
        input_ = torch.stack([torch.zeros_like(logit), logit], dim=1).log_softmax(dim=1)
        target = torch.ones(len(logit), dtype=torch.int64)
    else:
        input_, target = logit.unsqueeze(1), torch.ones(len(logit), 1, dtype=torch.int64)
    value = built.rows(input_, target).loss.flatten()
    (gradient,) = torch.autograd.grad(value.sum(), logit)
    return LossCurves(probability, value.detach(), -gradient / (1 - probability))


def plot_loss(loss: LossSpec, ax: Sequence[Axes] | None = None, label: str | None = None) -> Sequence[Axes]:
    """Draw what a row costs, and how strong its gradient is beside cross entropy's, over the probability of its class.

    It needs matplotlib, which the extra `app` brings.

    Args:
        loss: A classification loss, or what `get_loss` builds one from.
        ax: Two axes to draw into; None makes them. Several losses can share them.
        label: Of the curves.

    Returns:
        The two axes.

    Raises:
        TypeError: The loss is not one of classes, row by row.

    Example:
        >>> left, right = plot_loss("focal", label="focal")
        >>> _ = plot_loss("ce", ax=(left, right), label="ce")
        >>> [line.get_label() for line in left.lines]
        ['focal', 'ce']
    """
    from matplotlib import pyplot as plt  # noqa: PLC0415 -- not everyone who trains plots

    curves = loss_curves(loss)
    if ax is None:
        ax = tuple(plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")[1])
    left, right = ax
    left.plot(curves.probability, curves.value, label=label)
    left.set(xlabel="probability of the true class", ylabel="loss")
    right.plot(curves.probability, curves.gradient_weight, label=label)
    right.set(xlabel="probability of the true class", ylabel="gradient weight (cross entropy: 1)")
    return ax
