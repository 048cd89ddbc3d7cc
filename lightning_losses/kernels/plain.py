"""The operations in plain torch: differentiable to any order, and the oracle of every faster version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from lightning_losses.kernels.phi import Phi, apply

LOWEST = torch.finfo(torch.float32).min  # -inf says that no value was bad


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


def _scores(logits: Tensor, used: Tensor | None, shift: Tensor | None) -> Tensor:
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if shift is not None:
        scores = scores + shift
    return scores if used is None else scores.where(used.unsqueeze(1), 0)


def log_likelihood(logits: Tensor, target: Tensor, used: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """Return `log p` of the target class of each row, and 0 for a row that is left out; see `target_loss`."""
    log_p = log_softmax(_scores(logits, used, shift)).gather(1, target.unsqueeze(1)).squeeze(1)
    return log_p if used is None else log_p.where(used, 0)


def checked_target(
    target: Tensor, largest: int, ignored: int, worst: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Tell apart the rows of a target that count, those that are ignored and those that are out of range.

    Args:
        target: `(N,)`, or `(N, C)`: a row is ignored if all its entries are, otherwise out of range if one of them is.
        largest: What is allowed are the numbers from 0 to this one.
        ignored: The value that marks what is ignored.
        worst: A float32 scalar on the same device that is raised to the largest value out of range, if there is one.

    Returns:
        The target, 0 in rows that do not count, in int64 for integers and float32 for half numbers; which rows count,
        `(N,)`; which are out of range, `(N,)`.
    """
    target = target.to(target_dtype(target))
    by_row = target.dim() == 2
    skipped = target == ignored
    skipped = skipped.all(dim=1, keepdim=True) if by_row else skipped
    wrong = ~skipped & outside(target, largest)
    if worst is not None:
        keep_worst_(worst, target, wrong)
    bad = wrong.any(dim=1, keepdim=True) if by_row else wrong
    used = ~skipped & ~bad
    values = target.where(used, 0)
    return (values, used.squeeze(1), bad.squeeze(1)) if by_row else (values, used, bad)


def target_dtype(target: Tensor) -> torch.dtype:
    """Return the dtype in which a target is compared: int64 for integers, float32 for half numbers."""
    return torch.promote_types(target.dtype, torch.float32) if target.is_floating_point() else torch.int64


def outside(values: Tensor, largest: int) -> Tensor:
    """Return which values are not in [0, largest]; NaN is not."""
    return ~((values >= 0) & (values <= largest))


@torch.no_grad()
def keep_worst_(worst: Tensor, values: Tensor, bad: Tensor) -> None:
    """Raise `worst` to the largest of the bad values, NaN above all, without waiting for the device."""
    if values.numel():
        torch.maximum(worst, values.float().clamp_min(LOWEST).where(bad, -torch.inf).amax(), out=worst)


def target_loss(
    phi: Phi, logits: Tensor, target: Tensor, used: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """Return `phi(log p)` of the target class of each row.

    Args:
        phi: The loss as a function of the log-likelihood.
        logits: `(N, C)`.
        target: `(N,)`, class indices.
        used: `(N,)`, False for a row that is left out: its result is 0 and its gradient is 0, whatever the row holds.
            None if all count.
        shift: `(C,)`, what is added to the logits.

    Returns:
        `(N,)`, in float32 for half inputs.
    """
    return apply(phi, log_likelihood(logits, target, used, shift))


def row_expectation(
    phi: Phi, logits: Tensor, coefficient: Tensor, used: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """Return `sum_c coefficient_c * phi(log p_c)` of each row.

    Args:
        phi: The loss as a function of the log-likelihood.
        logits: `(N, C)`.
        coefficient: `(N, C)` or `(C,)`.
        used: As in `target_loss`.
        shift: As in `target_loss`.

    Returns:
        `(N,)`, in float32 for half inputs.
    """
    terms = coefficient * apply(phi, log_softmax(_scores(logits, used, shift)))
    return (terms if used is None else terms.where(used.unsqueeze(1), 0)).sum(dim=1)


def element_loss(
    phi: Phi, logits: Tensor, share: Tensor, positive: Tensor, negative: Tensor, used: Tensor | None = None
) -> Tensor:
    """Return `positive * share * phi(log p) + negative * (1 - share) * phi(log(1 - p))` of each element.

    Args:
        phi: The loss as a function of the log-likelihood.
        logits: Any shape.
        share: Labels or probabilities of class 1, same shape.
        positive: Factor of class 1, broadcast against the logits, the same for every sample.
        negative: Factor of class 0, likewise.
        used: Same shape as the logits, False where an element is left out: its result is 0 and its gradient is 0,
            whatever it holds. None if all count.

    Returns:
        Same shape, in float32 for half inputs.
    """
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32))
    share = share.to(scores.dtype)
    if used is not None:
        scores, share = scores.where(used, 0), share.where(used, 0)
    of_one, of_zero = apply(phi, logsigmoid(scores)), apply(phi, logsigmoid(-scores))
    loss = positive * share * of_one + negative * (1 - share) * of_zero
    return loss if used is None else loss.where(used, 0)


def needs_formula(grad: Tensor) -> bool:
    """Return whether the gradient must come from these operations: to be differentiated again, or as one of a batch."""
    return torch.is_grad_enabled() or torch._C._functorch.is_legacy_batchedtensor(grad)


@torch.enable_grad()
def differentiable_gradient(
    operation: Callable[..., Tensor], grad: Tensor, phi: Phi, logits: Tensor, *others: Tensor | None
) -> Tensor:
    """Return the gradient of one of these operations by its logits; see `needs_formula`.

    Args:
        operation: `target_loss`, `row_expectation` or `element_loss`.
        grad: What the gradient is by the operation's result, of its shape.
        phi: See the operation, as for `logits` and `others`.
        logits: Those that autograd tracks.
        *others: The other arguments.

    Returns:
        A tensor of the logits' shape, with a graph.
    """
    return torch.autograd.grad(operation(phi, logits, *others), logits, grad, create_graph=True)[0]
