"""The operations in plain torch: differentiable to any order, and the oracle of every faster version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _LogSoftmax(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor) -> Tensor:
        peak, peak_class = logits.max(dim=1, keepdim=True)
        gap = logits - peak
        rest = gap.exp().scatter(1, peak_class, 0.0).sum(dim=1, keepdim=True)
        return gap - rest.log1p()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (log_p,) = ctx.saved_tensors
        # grad - p * sum(grad), without the cancellation where p is close to 1
        return -grad * log_p.expm1() - log_p.exp() * (grad.sum(dim=1, keepdim=True) - grad)


def log_softmax(logits: Tensor) -> Tensor:
    """Return `log p` of every class, exact to rounding also where `p` is close to 1.

    `torch.log_softmax` takes `log` of a sum that contains the largest term, 1, so the tail that an easy row consists
    of is lost below 1e-7. Here the largest term is left out of the sum and `log1p` puts it back; the gradient has the
    same care.

    Args:
        logits: `(N, C)`.

    Returns:
        `(N, C)`, in the dtype of `logits`.
    """
    result: Tensor = _LogSoftmax.apply(logits)
    return result


def target_log_likelihood(logits: Tensor, target: Tensor) -> Tensor:
    """Return `log p` of the target class of each row.

    Args:
        logits: `(N, C)`.
        target: `(N,)`, class indices; a negative one marks a row that is left out: its result is 0 and its gradient is
            0, whatever the row holds.

    Returns:
        `(N,)`, in the dtype of `logits`.
    """
    used = (target >= 0).unsqueeze(1)
    return log_softmax(logits.where(used, 0)).gather(1, target.clamp_min(0).unsqueeze(1)).where(used, 0).squeeze(1)


def row_expectation(logits: Tensor, coefficient: Tensor, phi: Callable[[Tensor], Tensor], used: Tensor) -> Tensor:
    """Return `sum_c coefficient_c * phi(log p_c)` of each row.

    Args:
        logits: `(N, C)`.
        coefficient: `(N, C)` or `(C,)`.
        phi: Elementwise function of the log-likelihood.
        used: `(N,)`, False for a row that is left out: its result is 0 and its gradient is 0, whatever the row holds.

    Returns:
        `(N,)`, in the dtype of `logits`.
    """
    rows = used.unsqueeze(1)
    terms = coefficient * phi(log_softmax(logits.where(rows, 0)))
    return torch.where(rows, terms, 0).sum(dim=1)
