"""The operations for GPUs: Triton kernels that read the logits once, and once more to write the gradient.

What depends on the loss stays out of them, so that a formula is written once: `phi` is applied in torch to the numbers
of each row. Where every class needs it, in `row_expectation` and `element_loss`, torch works by blocks of rows.
One more kernel checks targets.

Checked in Triton's interpreter against `plain`, and compiled for GPUs; not run on one.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import softplus

from lightning_losses.kernels import by_rows, plain
from lightning_losses.kernels.exponential import FAR
from lightning_losses.kernels.phi import Phi

row_expectation, element_loss = by_rows.row_expectation, by_rows.element_loss

TILE = 4096  # elements that a program works on at a time
WARPS = 8
LOWEST = tl.constexpr(plain.LOWEST)  # a global of a kernel has to be one


@triton.jit
def _load(logits, shift, row, column, inside, row_stride, class_stride, dtype: tl.constexpr):
    """Return shifted logits; outside the matrix -inf, which adds nothing to a sum of exponentials."""
    at = row.to(tl.int64) * row_stride + column.to(tl.int64) * class_stride
    scores = tl.load(logits + at, mask=inside, other=float("-inf")).to(dtype)
    if shift is not None:
        scores += tl.load(shift + tl.broadcast_to(column, inside.shape), mask=inside, other=0).to(dtype)
    return scores


@triton.jit
def _entries(target, row, column, inside, row_stride, column_stride, dtype: tl.constexpr):
    at = row.to(tl.int64) * row_stride + column.to(tl.int64) * column_stride
    return tl.load(target + at, mask=inside, other=0).to(dtype)


@triton.jit
def _outside(values, largest):
    return ~((values >= 0) & (values <= largest))


@triton.jit
def _as_worst(values):
    """Return numbers above the -inf of a flag that nothing has raised, and one NaN, which an atomic maximum keeps."""
    values = values.to(tl.float32)
    return tl.where(values == values, tl.maximum(values, LOWEST), float("nan"))  # noqa: PLR0124


@triton.jit
def _target_kernel(
    target, largest, ignored, worst, values, used, bad, rows, width, row_stride, column_stride,
    ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    dtype: tl.constexpr = values.dtype.element_ty
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    kept = tl.zeros((ROWS, WIDTH), tl.int32)  # whether an entry is not ignored
    wrong = tl.zeros((ROWS, WIDTH), tl.int32)
    for start in range(0, width, WIDTH):
        column = start + tl.arange(0, WIDTH)[None, :]
        inside = (row < rows) & (column < width)
        entries = _entries(target, row, column, inside, row_stride, column_stride, dtype)
        tl.store(values + row.to(tl.int64) * width + column, entries, mask=inside)
        kept |= (inside & (entries != ignored)).to(tl.int32)
        wrong |= (inside & _outside(entries, largest)).to(tl.int32)
    kept, wrong = tl.max(kept, 1)[:, None] > 0, tl.max(wrong, 1)[:, None] > 0
    tl.store(used + row, kept & ~wrong, mask=row < rows)
    tl.store(bad + row, kept & wrong, mask=row < rows)
    tl.debug_barrier()  # what is written twice gets its last value
    for start in range(0, width, WIDTH):  # the rows that do not count, which are few
        column = start + tl.arange(0, WIDTH)[None, :]
        inside = (row < rows) & (column < width)
        tl.store(values + row.to(tl.int64) * width + column, 0, mask=inside & ~(kept & ~wrong))
        if worst is not None:
            inside &= kept & wrong
            entries = _entries(target, row, column, inside, row_stride, column_stride, dtype)
            every = tl.zeros(inside.shape, tl.int32)
            tl.atomic_max(worst + every, _as_worst(entries), mask=inside & _outside(entries, largest))


@triton.jit
def _forward_kernel(
    logits, target, used, shift, against, peak, target_gap, others,
    rows, classes, row_stride, class_stride, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    dtype: tl.constexpr = peak.dtype.element_ty
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    label = tl.load(target + row, mask=row < rows, other=0)
    top = tl.full((ROWS,), float("-inf"), dtype)
    total = tl.zeros((ROWS,), dtype)
    for start in range(0, classes, WIDTH):
        column = start + tl.arange(0, WIDTH)[None, :]
        inside = (row[:, None] < rows) & (column < classes)
        scores = _load(logits, shift, row[:, None], column, inside, row_stride, class_stride, dtype)
        higher = tl.maximum(top, tl.max(scores, 1))
        origin = tl.where(higher == float("-inf"), 0, higher)  # all so far may be -inf
        # the target is left out of the sum: on an easy row all information is in the others
        terms = tl.where(column == label[:, None], 0, tl.exp(scores - origin[:, None]))
        total = total * tl.exp(top - origin) + tl.sum(terms, 1)
        top = higher
    gap = _load(logits, shift, row, label, row < rows, row_stride, class_stride, dtype) - top
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
    rows, classes, row_stride, class_stride, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    dtype: tl.constexpr = peak.dtype.element_ty
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)[None, :]
    inside = (row < rows) & (column < classes)
    scores = _load(logits, shift, row, column, inside, row_stride, class_stride, dtype)
    rest = tl.load(others + row, mask=row < rows, other=1)
    factor = tl.load(grad + row, mask=row < rows, other=0) * tl.load(descent + row, mask=row < rows, other=0)
    factor /= tl.exp(tl.load(target_gap + row, mask=row < rows, other=0)) + rest
    # a class c gets factor * exp(z_c - peak), the target minus the sum of the others: nothing cancels
    values = factor * tl.exp(scores - tl.load(peak + row, mask=row < rows, other=0))
    values = tl.where(column == tl.load(target + row, mask=row < rows, other=0), -factor * rest, values)
    if used is not None:
        values = tl.where(tl.load(used + row, mask=row < rows, other=0), values, 0)  # also where the row holds NaN
    tl.store(gradient + row.to(tl.int64) * classes + column, values, mask=inside)


def _tile(classes: int) -> dict[str, int]:
    width = min(triton.next_power_of_2(classes), TILE)
    return {"ROWS": max(1, TILE // width), "WIDTH": width, "num_warps": WARPS}


def checked_target(
    target: Tensor, largest: int, ignored: int, worst: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """See `plain.checked_target`."""
    rows, width = target.shape if target.dim() == 2 else (len(target), 1)
    tile, (row_stride, column_stride) = _tile(width), (*target.stride(), 1)[:2]
    values = target.new_empty(target.shape, dtype=plain.target_dtype(target))
    used, bad = (target.new_empty(rows, dtype=torch.bool) for _ in range(2))
    with torch.cuda.device_of(target):
        _target_kernel[triton.cdiv(rows, tile["ROWS"]),](
            target, largest, ignored, worst, values, used, bad, rows, width, row_stride, column_stride, **tile
        )
    return values, used, bad


class _TargetLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, phi: Phi, logits: Tensor, target: Tensor, used: Tensor | None, shift: Tensor | None
    ) -> Tensor:
        rows, classes = logits.shape
        tile, target = _tile(classes), target.contiguous()
        dtype = torch.promote_types(logits.dtype, torch.float32)
        against, *numbers = torch.empty((4, rows), dtype=dtype, device=logits.device)
        with torch.cuda.device_of(logits):
            _forward_kernel[triton.cdiv(rows, tile["ROWS"]),](
                logits, target, used, shift, against, *numbers, rows, classes, *logits.stride(), **tile
            )
        value, descent = phi.value_and_descent(softplus(against, threshold=FAR), against.sigmoid())
        ctx.phi = phi
        ctx.save_for_backward(logits, target, used, shift, descent, *numbers)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, target, used, shift, descent, *numbers = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient itself will be differentiated
            loss = plain.target_loss(ctx.phi, logits, target, used, shift)
            return None, *torch.autograd.grad(loss, logits, grad, create_graph=True), None, None, None
        rows, classes = logits.shape
        tile, gradient = _tile(classes), torch.empty_like(logits, memory_format=torch.contiguous_format)
        arguments = (grad.contiguous(), descent, gradient, logits, target, used, shift, *numbers)
        with torch.cuda.device_of(logits):
            _backward_kernel[triton.cdiv(rows, tile["ROWS"]), triton.cdiv(classes, tile["WIDTH"])](
                *arguments, rows, classes, *logits.stride(), **tile
            )
        return None, gradient, None, None, None


def target_loss(
    phi: Phi, logits: Tensor, target: Tensor, used: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """See `plain.target_loss`."""
    result: Tensor = _TargetLoss.apply(phi, logits, target, used, shift)
    return result
