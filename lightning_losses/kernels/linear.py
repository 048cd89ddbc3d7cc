"""A linear layer and a loss on its outputs in one, block by block, so that the logits never exist as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

Rows = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]  # logits, target, sample_weight: loss, weight

LEAST_ROWS = 64  # smaller products leave the arithmetic units idle


def _blocks(hidden: Tensor, weight: Tensor) -> Iterator[slice]:
    """A block of logits is a quarter as large as the weight, whose gradient each block reads and writes once."""
    size = max(LEAST_ROWS, weight.shape[1] // 4)
    for start in range(0, max(len(hidden), 1), size):
        yield slice(start, start + size)


class _SumAndWeight(torch.autograd.Function):
    """The gradients are made in the forward pass, while a block of logits exists, or it would be made twice."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Rows,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        sample_weight: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        _, *wanted, _, _ = ctx.needs_input_grad
        gradients = [
            _zeros(parameter) if needed and parameter is not None else None
            for parameter, needed in zip((hidden, weight, bias), wanted, strict=True)
        ]
        sums, weights = [], []
        for block in _blocks(hidden, weight):
            part = hidden[block]
            total, row_weight, slope = _loss_and_slope(
                rows, linear(part, weight, bias), any(wanted), target[block], _part(sample_weight, block)
            )
            sums.append(total)
            weights.append(row_weight)
            if slope is not None:
                _accumulate_(gradients, block, slope, part, weight)
            del slope  # before the next block of logits is made
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [None if t is None else t.dtype for t in (hidden, weight, bias)]
        result = torch.stack(sums).sum(), torch.stack(weights).sum()
        ctx.mark_non_differentiable(result[1])
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("a linear loss can be differentiated once: its gradients are made in the forward pass")
        gradients = (
            None if g is None else (g * grad).to(dtype) for g, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        )
        return None, *gradients, None, None


def _zeros(parameter: Tensor) -> Tensor:
    """Return what gradients of many blocks are added up in: float32 at least."""
    return torch.zeros_like(parameter, dtype=torch.promote_types(parameter.dtype, torch.float32))


def _part(sample_weight: Tensor | None, block: slice) -> Tensor | None:
    return None if sample_weight is None else sample_weight[block]


def _loss_and_slope(
    rows: Rows, logits: Tensor, wanted: bool, target: Tensor, sample_weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    logits.requires_grad_(wanted)
    with torch.set_grad_enabled(wanted):
        loss, weight = rows(logits, target, sample_weight)
        total = loss.sum()
    slope = torch.autograd.grad(total, logits)[0] if wanted else None
    return total.detach(), weight.sum(), slope


def _accumulate_(gradients: list[Tensor | None], block: slice, slope: Tensor, hidden: Tensor, weight: Tensor) -> None:
    hidden_gradient, weight_gradient, bias_gradient = gradients
    if hidden_gradient is not None:
        hidden_gradient[block] = slope @ weight
    if weight_gradient is not None:
        live = slope.any(dim=1, keepdim=True)  # a row that is left out may hold NaN, and 0 * NaN is NaN
        hidden = hidden.where(live, 0)
        if weight_gradient.dtype == slope.dtype:
            weight_gradient.addmm_(slope.t(), hidden)
        else:
            weight_gradient += slope.t() @ hidden
    if bias_gradient is not None:
        bias_gradient += slope.sum(dim=0, dtype=bias_gradient.dtype)


def sum_and_weight(
    rows: Rows, hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, sample_weight: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the summed loss of all rows and the sum of their weights; differentiable once.

    Args:
        rows: Maps logits `(n, C)`, targets and sample weights of some rows to their losses and weights, `(n,)`.
        hidden: `(N, H)`.
        weight: `(C, H)`.
        bias: `(C,)`.
        target: `(N,)` or `(N, C)`.
        sample_weight: `(N,)`.

    Returns:
        Two scalars.

    Raises:
        ValueError: The target or the sample weights require a gradient.
    """
    if not torch.is_grad_enabled():
        hidden, weight, bias = hidden.detach(), weight.detach(), None if bias is None else bias.detach()
    for name, constant in (("target", target), ("sample_weight", sample_weight)):
        if constant is not None and constant.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{name} must not require a gradient: a linear loss has none for it, detach it")
    result: tuple[Tensor, Tensor] = _SumAndWeight.apply(rows, hidden, weight, bias, target, sample_weight)
    return result


def row_losses(
    rows: Rows, hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, sample_weight: Tensor | None
) -> Tensor:
    """Return the loss of each row, `(N,)`; the backward pass makes each block of logits again.

    The arguments are those of `sum_and_weight`.
    """

    def losses(hidden: Tensor, target: Tensor, sample_weight: Tensor | None) -> Tensor:
        return rows(linear(hidden, weight, bias), target, sample_weight)[0]

    parts = [
        checkpoint(losses, hidden[block], target[block], _part(sample_weight, block), use_reentrant=False)
        for block in _blocks(hidden, weight)
    ]
    return torch.cat(parts)
