"""The losses of rows: with class indices, and with a share for every class."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import softplus

from lightning_losses.kernels import by_rows, plain
from lightning_losses.kernels.exponential import FAR
from lightning_losses.kernels.on_cuda.phi import cost, formula, has_formula, log1p
from lightning_losses.kernels.on_cuda.tiles import load_entries, load_scores, tile_for
from lightning_losses.kernels.phi import Phi


@triton.jit
def _forward_kernel(
    logits, target, used, shift, against, peak, target_gap, others,
    rows, classes, strides, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    dtype: tl.constexpr = peak.dtype.element_ty
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    label = tl.load(target + row, mask=row < rows, other=0)
    top = tl.full((ROWS,), float("-inf"), dtype)
    total = tl.zeros((ROWS,), dtype)
    for start in range(0, classes, WIDTH):
        column = start + tl.arange(0, WIDTH)[None, :]
        inside = (row[:, None] < rows) & (column < classes)
        scores = load_scores(logits, strides, shift, row[:, None], column, inside, dtype)
        higher = tl.maximum(top, tl.max(scores, 1))
        origin = tl.where(higher == float("-inf"), 0, higher)  # all so far may be -inf
        # the target is left out of the sum: on an easy row all information is in the others
        terms = tl.where(column == label[:, None], 0, tl.exp(scores - origin[:, None]))
        total = total * tl.exp(top - origin) + tl.sum(terms, 1)
        top = higher
    gap = load_scores(logits, strides, shift, row, label, row < rows, dtype) - top
    log_odds = tl.log(total) - gap
    if used is not None:  # what is left out is certainly right, whatever it holds
        log_odds = tl.where(tl.load(used + row, mask=row < rows, other=0), log_odds, float("-inf"))
    tl.store(against + row, log_odds, mask=row < rows)
    tl.store(peak + row, top, mask=row < rows)
    tl.store(target_gap + row, gap, mask=row < rows)
    tl.store(others + row, total, mask=row < rows)


@triton.jit
def _backward_kernel(
    grad, descent, gradient, logits, target, used, shift, peak, target_gap, others,
    rows, classes, strides, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    dtype: tl.constexpr = peak.dtype.element_ty
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)[None, :]
    inside = (row < rows) & (column < classes)
    scores = load_scores(logits, strides, shift, row, column, inside, dtype)
    rest = tl.load(others + row, mask=row < rows, other=1)
    factor = tl.load(grad + row, mask=row < rows, other=0) * tl.load(descent + row, mask=row < rows, other=0)
    factor /= tl.exp(tl.load(target_gap + row, mask=row < rows, other=0)) + rest
    # a class c gets factor * exp(z_c - peak), the target minus the sum of the others: nothing cancels
    values = factor * tl.exp(scores - tl.load(peak + row, mask=row < rows, other=0))
    values = tl.where(column == tl.load(target + row, mask=row < rows, other=0), -factor * rest, values)
    if used is not None:
        values = tl.where(tl.load(used + row, mask=row < rows, other=0), values, 0)  # also where the row holds NaN
    tl.store(gradient + row.to(tl.int64) * classes + column, values, mask=inside)


@triton.jit
def _cost_by_class(PHI: tl.constexpr, scores, peak, others, parameters):
    """Return what each class would cost as the true one, its descent, `p` and `1 - p`.

    `others` is the sum of `exp(z - peak)` without one class at the peak, the only one that may be close to 1.
    """
    gap = scores - peak
    odds, everything = tl.exp(gap), 1 + others
    p, miss = odds / everything, tl.where(gap == 0, others, everything - odds) / everything
    value, descent = cost(PHI, log1p(others) - gap, p, miss, parameters)
    return value, descent, p, miss


@triton.jit
def _expectation_kernel(
    loss, logits, coefficient, used, shift, peak, others, descent,
    rows, classes, strides, coefficient_strides, parameters, PHI: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    dtype: tl.constexpr = peak.dtype.element_ty
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    top = tl.full((ROWS, 1), float("-inf"), dtype)
    below = tl.zeros((ROWS, 1), dtype)
    ties = tl.zeros((ROWS, 1), dtype)  # classes at the top
    for start in range(0, classes, WIDTH):
        column = start + tl.arange(0, WIDTH)[None, :]
        inside = (row < rows) & (column < classes)
        scores = load_scores(logits, strides, shift, row, column, inside, dtype)
        higher = tl.maximum(top, tl.max(scores, 1)[:, None])
        origin = tl.where(higher == float("-inf"), 0, higher)  # all so far may be -inf
        at_top = scores == higher
        rises = higher > top
        below = tl.where(rises, (below + ties) * tl.exp(top - origin), below)
        below += tl.sum(tl.where(at_top, 0, tl.exp(scores - origin)), 1)[:, None]
        ties = tl.where(rises, 0, ties) + tl.sum(at_top.to(dtype), 1)[:, None]
        top = higher
    rest = below + (ties - 1)
    value = tl.zeros((ROWS, 1), dtype)
    slope = tl.zeros((ROWS, 1), dtype)
    for start in range(0, classes, WIDTH):  # a row that fits is still in the cache
        column = start + tl.arange(0, WIDTH)[None, :]
        inside = (row < rows) & (column < classes)
        scores = load_scores(logits, strides, shift, row, column, inside, dtype)
        amount = load_entries(coefficient, coefficient_strides, row, column, inside, dtype)
        cost, steepness, _, _ = _cost_by_class(PHI, scores, top, rest, parameters)
        value += tl.sum(tl.where(inside, amount * cost, 0), 1)[:, None]
        slope += tl.sum(tl.where(inside, amount * steepness, 0), 1)[:, None]
    if used is not None:
        value = tl.where(tl.load(used + row, mask=row < rows, other=0), value, 0)  # also where the row holds NaN
    tl.store(loss + row, value, mask=row < rows)
    tl.store(peak + row, top, mask=row < rows)
    tl.store(others + row, rest, mask=row < rows)
    tl.store(descent + row, slope, mask=row < rows)


@triton.jit
def _expectation_backward_kernel(
    grad, gradient, logits, coefficient, used, shift, peak, others, descent,
    rows, classes, strides, coefficient_strides, parameters, PHI: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    dtype: tl.constexpr = peak.dtype.element_ty
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)[None, :]
    inside = (row < rows) & (column < classes)
    scores = load_scores(logits, strides, shift, row, column, inside, dtype)
    amount = load_entries(coefficient, coefficient_strides, row, column, inside, dtype)
    top, rest = tl.load(peak + row, mask=row < rows, other=0), tl.load(others + row, mask=row < rows, other=0)
    _, steepness, p, miss = _cost_by_class(PHI, scores, top, rest, parameters)
    by_class = amount * steepness
    # p * sum(by_class) - by_class, without the cancellation where p is close to 1
    values = p * (tl.load(descent + row, mask=row < rows, other=0) - by_class) - by_class * miss
    values *= tl.load(grad + row, mask=row < rows, other=0)
    if used is not None:
        values = tl.where(tl.load(used + row, mask=row < rows, other=0), values, 0)  # also where the row holds NaN
    tl.store(gradient + row.to(tl.int64) * classes + column, values, mask=inside)


class _TargetLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, phi: Phi, logits: Tensor, target: Tensor, used: Tensor | None, shift: Tensor | None
    ) -> Tensor:
        rows, classes = logits.shape
        tile, target = tile_for(classes), target.contiguous()
        dtype = torch.promote_types(logits.dtype, torch.float32)
        against, *numbers = torch.empty((4, rows), dtype=dtype, device=logits.device)
        with torch.cuda.device_of(logits):
            _forward_kernel[triton.cdiv(rows, tile["ROWS"]),](
                logits, target, used, shift, against, *numbers, rows, classes, logits.stride(), **tile
            )
        value, descent = phi.value_and_descent(softplus(against, threshold=FAR), against.sigmoid())
        ctx.phi = phi
        ctx.save_for_backward(logits, target, used, shift, descent.contiguous(), *numbers)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, target, used, shift, descent, *numbers = ctx.saved_tensors
        if plain.needs_formula(grad):
            again = plain.differentiable_gradient(plain.target_loss, grad, ctx.phi, logits, target, used, shift)
            return None, again, None, None, None
        rows, classes = logits.shape
        tile, gradient = tile_for(classes), torch.empty_like(logits, memory_format=torch.contiguous_format)
        arguments = (grad.contiguous(), descent, gradient, logits, target, used, shift, *numbers)
        with torch.cuda.device_of(logits):
            _backward_kernel[triton.cdiv(rows, tile["ROWS"]), triton.cdiv(classes, tile["WIDTH"])](
                *arguments, rows, classes, logits.stride(), **tile
            )
        return None, gradient, None, None, None


def target_loss(
    phi: Phi, logits: Tensor, target: Tensor, used: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """See `plain.target_loss`."""
    result: Tensor = _TargetLoss.apply(phi, logits, target, used, shift)
    return result


class _RowExpectation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, phi: Phi, logits: Tensor, coefficient: Tensor, used: Tensor | None, shift: Tensor | None
    ) -> Tensor:
        rows, classes = logits.shape
        tile, dtype = tile_for(classes), torch.promote_types(logits.dtype, torch.float32)
        loss, *numbers = (torch.empty(rows, dtype=dtype, device=logits.device) for _ in range(4))
        strides = logits.stride(), coefficient.expand_as(logits).stride()
        with torch.cuda.device_of(logits):
            _expectation_kernel[triton.cdiv(rows, tile["ROWS"]),](
                loss, logits, coefficient, used, shift, *numbers, rows, classes, *strides, **formula(phi), **tile
            )
        ctx.phi = phi
        ctx.save_for_backward(logits, coefficient, used, shift, *numbers)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, coefficient, used, shift, *numbers = ctx.saved_tensors
        if plain.needs_formula(grad):
            again = plain.differentiable_gradient(
                plain.row_expectation, grad, ctx.phi, logits, coefficient, used, shift
            )
            return None, again, None, None, None
        rows, classes = logits.shape
        tile, gradient = tile_for(classes), torch.empty_like(logits, memory_format=torch.contiguous_format)
        arguments = (grad.contiguous(), gradient, logits, coefficient, used, shift, *numbers, rows, classes)
        strides = logits.stride(), coefficient.expand_as(logits).stride()
        with torch.cuda.device_of(logits):
            _expectation_backward_kernel[triton.cdiv(rows, tile["ROWS"]), triton.cdiv(classes, tile["WIDTH"])](
                *arguments, *strides, **formula(ctx.phi), **tile
            )
        return None, gradient, None, None, None


def row_expectation(
    phi: Phi, logits: Tensor, coefficient: Tensor, used: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """See `plain.row_expectation`."""
    if not has_formula(phi):
        return by_rows.row_expectation(phi, logits, coefficient, used, shift)
    result: Tensor = _RowExpectation.apply(phi, logits, coefficient, used, shift)
    return result
