"""The plain operations for accelerators: in blocks of rows, which bounds their memory by that of a block.

The forward pass saves its arguments alone, and the backward pass computes each block once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from lightning_losses.kernels import plain
from lightning_losses.kernels.phi import Phi

checked_target = plain.checked_target

BLOCK = 2**22  # elements that are worked on at a time: enough to keep a device busy, few beside a batch of logits


class _ByRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, operation: Callable[..., Tensor], logits: Tensor, *by_row: Tensor | None) -> Tensor:
        ctx.operation = operation
        ctx.save_for_backward(logits, *by_row)
        return torch.cat([operation(*block) for _, block in _blocks(logits, *by_row)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, *by_row = ctx.saved_tensors
        rest = (None,) * len(by_row)
        if plain.needs_formula(grad):
            with torch.enable_grad():
                return None, *_gradient(ctx.operation, grad, logits, *by_row, create_graph=True), *rest
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        for rows, (block, *others) in _blocks(logits.detach(), *by_row):
            with torch.enable_grad():
                (gradient[rows],) = _gradient(ctx.operation, grad[rows], block.requires_grad_(), *others)
        return None, gradient, *rest


def _gradient(
    operation: Callable[..., Tensor],
    grad: Tensor,
    logits: Tensor,
    *by_row: Tensor | None,
    create_graph: bool = False,
) -> tuple[Tensor, ...]:
    return torch.autograd.grad(operation(logits, *by_row), logits, grad, create_graph=create_graph)


def _blocks(logits: Tensor, *by_row: Tensor | None) -> Iterator[tuple[slice, list[Any]]]:
    size = max(1, BLOCK * len(logits) // max(logits.numel(), 1))
    for start in range(0, max(len(logits), 1), size):
        rows = slice(start, start + size)
        yield rows, [None if values is None else values[rows] for values in (logits, *by_row)]


def target_loss(
    phi: Phi, logits: Tensor, target: Tensor, used: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """See `plain.target_loss`."""

    def operation(logits: Tensor, target: Tensor, used: Tensor | None) -> Tensor:
        return plain.target_loss(phi, logits, target, used, shift)

    result: Tensor = _ByRows.apply(operation, logits, target, used)
    return result


def row_expectation(
    phi: Phi, logits: Tensor, coefficient: Tensor, used: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """See `plain.row_expectation`."""

    def operation(logits: Tensor, coefficient: Tensor, used: Tensor | None) -> Tensor:
        return plain.row_expectation(phi, logits, coefficient, used, shift)

    result: Tensor = _ByRows.apply(operation, logits, coefficient.expand_as(logits), used)
    return result


def element_loss(
    phi: Phi, logits: Tensor, share: Tensor, positive: Tensor, negative: Tensor, used: Tensor | None = None
) -> Tensor:
    """See `plain.element_loss`."""
    if not logits.dim():
        return plain.element_loss(phi, logits, share, positive, negative, used)

    def operation(logits: Tensor, *others: Any) -> Tensor:
        return plain.element_loss(phi, logits, *others)

    factors = positive.expand_as(logits), negative.expand_as(logits)
    result: Tensor = _ByRows.apply(operation, logits, share, *factors, used)
    return result
