"""What follows an optimizer step: the soft thresholds of proximal penalties, then projections."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lightning_losses.constraints import Constraint
from lightning_losses.optimizers import learning_rate_of
from lightning_losses.regularizers import ProximalL1, Regularizer


def follow_steps(
    optimizers: Iterable[Optimizer],
    module: nn.Module,
    regularizers: Iterable[Regularizer],
    constraints: Iterable[Constraint],
) -> list[RemovableHandle]:
    """Let thresholds and projections follow each step of each optimizer, and return what stops that.

    Args:
        optimizers: Those whose steps count.
        module: Whose parameters they step.
        regularizers: The proximal ones among them are applied; a dictionary's view shows those added later too.
        constraints: Applied last.
    """

    def after_step(optimizer: Optimizer, *_: Any) -> None:
        if not any(p.grad is not None for group in optimizer.param_groups for p in group["params"]):
            return  # a skipped step
        for term in regularizers:
            if isinstance(term, ProximalL1):
                term.prox_(module, learning_rate_of(optimizer))
        for constraint in constraints:
            constraint(module)

    return [optimizer.register_step_post_hook(after_step) for optimizer in optimizers]
