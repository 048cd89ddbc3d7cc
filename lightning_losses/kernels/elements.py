"""The loss of single decisions on CPUs: in blocks that stay in the cache, with as few operations as torch allows.

The derivative is made in the forward pass: it needs the same numbers as the loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from lightning_losses.kernels import plain
from lightning_losses.kernels.exponential import FAR
from lightning_losses.kernels.phi import Phi

BLOCK = 2**17  # elements that are worked on at a time


class _ElementLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, phi: Phi, logits: Tensor, share: Tensor, positive: Tensor, negative: Tensor, used: Tensor | None
    ) -> Tensor:
        loss, slope = _loss_and_slope(phi, logits, share, positive, negative, used)
        ctx.phi, ctx.is_given_away = phi, False
        ctx.save_for_backward(logits, share, positive, negative, used, slope)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None, None, None]:
        logits, share, positive, negative, used, slope = ctx.saved_tensors
        if plain.needs_formula(grad):
            given = share, positive, negative, used
            again = plain.differentiable_gradient(plain.element_loss, grad, ctx.phi, logits, *given)
            return None, again, None, None, None, None
        if ctx.is_given_away:  # a second backward pass makes it again
            _, slope = _loss_and_slope(ctx.phi, logits, share, positive, negative, used)
        ctx.is_given_away = True
        # of `data`: autograd would refuse a second pass what has changed
        return None, slope.data.mul_(grad).to(logits.dtype), None, None, None, None


def _loss_and_slope(
    phi: Phi, logits: Tensor, share: Tensor, positive: Tensor, negative: Tensor, used: Tensor | None
) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(logits.dtype, torch.float32)
    loss, slope = (torch.empty(logits.shape, dtype=dtype, device=logits.device) for _ in range(2))
    given = [logits, share, loss, slope] if used is None else [logits, share, loss, slope, used]
    if not (positive.dim() or negative.dim()):  # a block may begin and end anywhere
        given = [values.reshape(-1) for values in given]
    elif logits.dim() == 1:  # one sample whose labels have factors of their own
        given = [values.unsqueeze(0) for values in given]
    factors = None if _are_one(positive, negative) else (positive.to(dtype), negative.to(dtype))
    for scores, part, *rest in _blocks(given):
        _write(phi, factors, scores.to(dtype), part.to(dtype), *rest)
    return loss, slope


def _blocks(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    first = tensors[0]
    size = max(1, BLOCK * len(first) // max(first.numel(), 1))
    for start in range(0, len(first), size):
        yield [values[start : start + size] for values in tensors]


def _are_one(*factors: Tensor) -> bool:
    return all(not factor.dim() and factor.item() == 1 for factor in factors)


def _write(
    phi: Phi,
    factors: tuple[Tensor, Tensor] | None,
    scores: Tensor,
    share: Tensor,
    loss: Tensor,
    slope: Tensor,
    used: Tensor | None = None,
) -> None:
    """Write the loss of each element and its derivative by the score."""
    if torch.frac(share, out=slope).sum().item() == 0:  # all are labels
        sign = torch.rsub(share, 1, alpha=2)  # -1 of label 1
        _write_phi(phi, scores * sign, used, loss, slope)
        slope.mul_(sign)
        if factors is not None:
            factor = torch.lerp(factors[1], factors[0], share)
            loss.mul_(factor)
            slope.mul_(factor)
    else:
        of_zero, slope_of_zero = torch.empty_like(loss), torch.empty_like(slope)
        _write_phi(phi, -scores, used, loss, slope)
        _write_phi(phi, scores, used, of_zero, slope_of_zero)
        factor, factor_of_zero = share, 1 - share
        if factors is not None:
            factor, factor_of_zero = factors[0] * factor, factors[1] * factor_of_zero
        loss.mul_(factor).addcmul_(factor_of_zero, of_zero)
        slope.mul_(-factor).addcmul_(factor_of_zero, slope_of_zero)


def _write_phi(phi: Phi, against: Tensor, used: Tensor | None, loss: Tensor, slope: Tensor) -> None:
    """Write `phi(log p)` and its derivative by `against`, for `p = sigmoid(-against)`."""
    if not against.amin().item() > -torch.inf:  # NaN, as torch has it, though the limit is 0
        against = against.where(against > -torch.inf, torch.nan)
    if used is not None:  # certainly right, which costs nothing and has no slope, whatever it holds
        against = against.where(used, -torch.inf)
    miss = against.sigmoid()  # in memory of its own: it may be the value
    surprise = softplus(against, threshold=FAR, out=loss)  # type: ignore[call-arg]
    value, descent = phi.value_and_descent(surprise, miss)
    torch.mul(descent, miss, out=slope)
    if value is not loss:
        loss.copy_(value)


def element_loss(
    phi: Phi, logits: Tensor, share: Tensor, positive: Tensor, negative: Tensor, used: Tensor | None = None
) -> Tensor:
    """See `plain.element_loss`."""
    if not logits.dim() or not (logits.requires_grad and torch.is_grad_enabled()):
        return plain.element_loss(phi, logits, share, positive, negative, used)
    result: Tensor = _ElementLoss.apply(phi, logits, share, positive, negative, used)
    return result
