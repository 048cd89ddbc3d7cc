"""The operations for GPUs: Triton kernels that read the logits once, and once more to write the gradient.

What depends on the loss stays out of them, so that a formula is written once: `phi` is applied in torch to the one
number of each row. Where every class needs it, in `row_expectation` and `element_loss`, torch works by blocks of rows.

Checked in Triton's interpreter against `plain`; not run on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import logsigmoid

from lightning_losses.kernels import by_rows, plain
from lightning_losses.kernels.phi import Phi, apply

row_expectation, element_loss = by_rows.row_expectation, by_rows.element_loss

TILE = 4096  # elements that a program works on at a time
WARPS = 8


@triton.jit
def _load(logits, shift, row, column, inside, row_stride, class_stride, dtype: tl.constexpr):
    """Return shifted logits; outside the matrix -inf, which adds nothing to a sum of exponentials."""
    at = row.to(tl.int64) * row_stride + column.to(tl.int64) * class_stride
    scores = tl.load(logits + at, mask=inside, other=float("-inf")).to(dtype)
    if shift is not None:
        scores += tl.load(shift + column, mask=inside, other=0).to(dtype)
    return scores


@triton.jit
def _forward_kernel(
    logits, target, shift, peak, target_gap, others, rows, classes, row_stride, class_stride,
    ROWS: tl.constexpr, WIDTH: tl.constexpr,
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
    tl.store(peak + row, top, mask=row < rows)
    tl.store(target_gap + row, gap, mask=row < rows)
    tl.store(others + row, total, mask=row < rows)


@triton.jit
def _backward_kernel(
    grad, gradient, logits, target, used, shift, peak, target_gap, others, rows, classes, row_stride, class_stride,
    ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    dtype: tl.constexpr = peak.dtype.element_ty
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)[None, :]
    inside = (row < rows) & (column < classes)
    scores = _load(logits, shift, row, column, inside, row_stride, class_stride, dtype)
    rest = tl.load(others + row, mask=row < rows, other=1)
    factor = tl.load(grad + row, mask=row < rows, other=0)
    factor /= tl.exp(tl.load(target_gap + row, mask=row < rows, other=0)) + rest
    # a class c gets -factor * exp(z_c - peak), the target minus the sum of the others: nothing cancels
    values = -factor * tl.exp(scores - tl.load(peak + row, mask=row < rows, other=0))
    values = tl.where(column == tl.load(target + row, mask=row < rows, other=0), factor * rest, values)
    if used is not None:
        values = tl.where(tl.load(used + row, mask=row < rows, other=0), values, 0)  # also where the row holds NaN
    tl.store(gradient + row.to(tl.int64) * classes + column, values, mask=inside)


def _tile(classes: int) -> dict[str, int]:
    width = min(triton.next_power_of_2(classes), TILE)
    return {"ROWS": max(1, TILE // width), "WIDTH": width, "num_warps": WARPS}


class _LogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, used: Tensor | None, shift: Tensor | None) -> Tensor:
        rows, classes = logits.shape
        tile, target = _tile(classes), target.contiguous()
        dtype = torch.promote_types(logits.dtype, torch.float32)
        peak, target_gap, others = torch.empty((3, rows), dtype=dtype, device=logits.device)
        with torch.cuda.device_of(logits):
            _forward_kernel[triton.cdiv(rows, tile["ROWS"]),](
                logits, target, shift, peak, target_gap, others, rows, classes, *logits.stride(), **tile
            )
        ctx.save_for_backward(logits, target, used, shift, peak, target_gap, others)
        log_p = logsigmoid(target_gap - others.log())
        return log_p if used is None else log_p.where(used, 0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, target, used, shift, *numbers = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient itself will be differentiated
            log_p = plain.log_likelihood(logits, target, used, shift)
            return *torch.autograd.grad(log_p, logits, grad, create_graph=True), None, None, None
        rows, classes = logits.shape
        tile, gradient = _tile(classes), torch.empty_like(logits, memory_format=torch.contiguous_format)
        arguments = (grad.contiguous(), gradient, logits, target, used, shift, *numbers)
        with torch.cuda.device_of(logits):
            _backward_kernel[triton.cdiv(rows, tile["ROWS"]), triton.cdiv(classes, tile["WIDTH"])](
                *arguments, rows, classes, *logits.stride(), **tile
            )
        return gradient, None, None, None


def target_loss(
    phi: Phi, logits: Tensor, target: Tensor, used: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """See `plain.target_loss`."""
    return apply(phi, _LogLikelihood.apply(logits, target, used, shift))
