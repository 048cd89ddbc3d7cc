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
from lightning_losses.kernels.phi import Phi

BLOCK = 2**17  # elements that are worked on at a time
FAR = 40.0  # e^-40 is lost beside 1 even in float64


class _ElementLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, phi: Phi, logits: Tensor, share: Tensor, positive: Tensor, negative: Tensor, used: Tensor | None
    ) -> Tensor:
        dtype = torch.promote_types(logits.dtype, torch.float32)
        loss, slope = (torch.empty(logits.shape, dtype=dtype, device=logits.device) for _ in range(2))
        given = [logits, share, loss, slope] if used is None else [logits, share, loss, slope, used]
        if not (positive.dim() or negative.dim()):  # a block may begin and end anywhere
            given = [values.reshape(-1) for values in given]
        elif logits.dim() == 1:  # one sample whose labels have factors of their own
            given = [values.unsqueeze(0) for values in given]
        for scores, part, *rest in _blocks(given):
            _write(phi, positive, negative, scores.to(dtype), part.to(dtype), *rest)
        ctx.phi = phi
        ctx.save_for_backward(logits, share, positive, negative, used, slope)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None, None, None]:
        logits, share, positive, negative, used, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient itself will be differentiated
            loss = plain.element_loss(ctx.phi, logits, share, positive, negative, used)
            return None, *torch.autograd.grad(loss, logits, grad, create_graph=True), None, None, None, None
        return None, (grad * slope).to(logits.dtype), None, None, None, None


def _blocks(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    first = tensors[0]
    size = max(1, BLOCK * len(first) // max(first.numel(), 1))
    for start in range(0, len(first), size):
        yield [values[start : start + size] for values in tensors]


def _write(
    phi: Phi,
    positive: Tensor,
    negative: Tensor,
    scores: Tensor,
    share: Tensor,
    loss: Tensor,
    slope: Tensor,
    used: Tensor | None = None,
) -> None:
    """Write the loss of each element and its derivative by the score."""
    if torch.frac(share, out=slope).sum().item() == 0:  # all are labels
        against = torch.addcmul(scores, scores, share, value=-2)  # minus the score of label 1
        factor = negative - share * (positive + negative)  # minus that of label 1
        _write_side(phi, _used_alone(against, used), factor, loss, slope)
    else:
        other_loss, other_slope = torch.empty_like(loss), torch.empty_like(slope)
        _write_side(phi, _used_alone(-scores, used), -positive * share, loss, slope)
        _write_side(phi, _used_alone(scores, used), negative * (1 - share), other_loss, other_slope)
        loss += other_loss
        slope += other_slope


def _used_alone(against: Tensor, used: Tensor | None) -> Tensor:
    """Make what is left out certainly right, which costs nothing and has no slope, whatever it holds."""
    return against if used is None else against.where(used, -torch.inf)


def _write_side(phi: Phi, against: Tensor, factor: Tensor, loss: Tensor, slope: Tensor) -> None:
    """Write `|factor| * phi(log p)` and `factor * dphi/dagainst`, for `p = sigmoid(-against)`."""
    miss, surprise = against.sigmoid(), softplus(against, threshold=FAR)
    value, descent = phi.value_and_descent(surprise, miss)
    torch.abs(factor, out=loss).mul_(value)
    torch.mul(descent.mul_(miss), factor, out=slope)


def element_loss(
    phi: Phi, logits: Tensor, share: Tensor, positive: Tensor, negative: Tensor, used: Tensor | None = None
) -> Tensor:
    """See `plain.element_loss`."""
    if not logits.dim() or not (logits.requires_grad and torch.is_grad_enabled()):
        return plain.element_loss(phi, logits, share, positive, negative, used)
    result: Tensor = _ElementLoss.apply(phi, logits, share, positive, negative, used)
    return result
