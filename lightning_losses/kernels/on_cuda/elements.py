"""The loss of single decisions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lightning_losses.kernels import by_rows, plain
from lightning_losses.kernels.on_cuda.phi import cost, formula, has_formula, log1p
from lightning_losses.kernels.on_cuda.tiles import load_entries, tile_for
from lightning_losses.kernels.phi import Phi


@triton.jit
def _element_tile(width, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    across = tl.cdiv(width, WIDTH)
    row = tl.program_id(0) // across * ROWS + tl.arange(0, ROWS)[:, None]
    return row.to(tl.int64), tl.program_id(0) % across * WIDTH + tl.arange(0, WIDTH)[None, :]


@triton.jit
def _element_cost(
    logits, share, positive, negative, row, column, inside, width,
    positive_strides, negative_strides,
    parameters, PHI: tl.constexpr, dtype: tl.constexpr,
):  # fmt: skip
    """Return the loss of each element and its derivative by the logit."""
    scores = load_entries(logits, (width, 1), row, column, inside, dtype)
    part = load_entries(share, (width, 1), row, column, inside, dtype)
    of_one = part * load_entries(positive, positive_strides, row, column, inside, dtype)
    of_zero = (1 - part) * load_entries(negative, negative_strides, row, column, inside, dtype)
    odds = tl.exp(-tl.abs(scores))
    likely, unlikely = 1 / (1 + odds), odds / (1 + odds)
    p, miss = tl.where(scores > 0, likely, unlikely), tl.where(scores > 0, unlikely, likely)
    surprise = log1p(odds)
    one, slope_of_one = cost(PHI, surprise + tl.maximum(-scores, 0), p, miss, parameters)
    zero, slope_of_zero = cost(PHI, surprise + tl.maximum(scores, 0), miss, p, parameters)
    return of_one * one + of_zero * zero, of_zero * slope_of_zero * p - of_one * slope_of_one * miss


@triton.jit
def _element_kernel(
    loss, logits, share, positive, negative, used, rows, width,
    positive_strides, negative_strides,
    parameters, PHI: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    row, column = _element_tile(width, ROWS, WIDTH)
    inside = (row < rows) & (column < width)
    value, _ = _element_cost(
        logits, share, positive, negative, row, column, inside, width,
        positive_strides, negative_strides,
        parameters, PHI, loss.dtype.element_ty,
    )  # fmt: skip
    if used is not None:
        value = tl.where(tl.load(used + row * width + column, mask=inside, other=0), value, 0)
    tl.store(loss + row * width + column, value, mask=inside)


@triton.jit
def _element_backward_kernel(
    grad, grad_strides, gradient, logits, share, positive, negative, used, rows, width,
    positive_strides, negative_strides,
    parameters, PHI: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    dtype: tl.constexpr = grad.dtype.element_ty
    row, column = _element_tile(width, ROWS, WIDTH)
    inside = (row < rows) & (column < width)
    _, slope = _element_cost(
        logits, share, positive, negative, row, column, inside, width,
        positive_strides, negative_strides,
        parameters, PHI, dtype,
    )  # fmt: skip
    slope *= load_entries(grad, grad_strides, row, column, inside, dtype)
    if used is not None:
        slope = tl.where(tl.load(used + row * width + column, mask=inside, other=0), slope, 0)
    tl.store(gradient + row * width + column, slope, mask=inside)


class _ElementLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, phi: Phi, logits: Tensor, share: Tensor, positive: Tensor, negative: Tensor, used: Tensor | None
    ) -> Tensor:
        dtype = torch.promote_types(logits.dtype, torch.float32)
        loss = torch.empty(logits.shape, dtype=dtype, device=logits.device)
        grid, given = _elements(phi, logits, share, positive, negative, used)
        with torch.cuda.device_of(logits):
            _element_kernel[grid](loss, **given)
        ctx.phi = phi
        ctx.save_for_backward(logits, share, positive, negative, used)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, *rest = ctx.saved_tensors
        if plain.needs_formula(grad):
            again = plain.differentiable_gradient(plain.element_loss, grad, ctx.phi, logits, *rest)
            return None, again, None, None, None, None
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        grad, (grid, given) = _as_matrix(grad, logits.shape), _elements(ctx.phi, logits, *rest)
        with torch.cuda.device_of(logits):
            _element_backward_kernel[grid](grad, grad.stride(), gradient, **given)
        return None, gradient, None, None, None, None


def _elements(
    phi: Phi, logits: Tensor, share: Tensor, positive: Tensor, negative: Tensor, used: Tensor | None
) -> tuple[tuple[int], dict[str, Any]]:
    """Return the grid of a kernel on elements and its arguments, as matrices."""
    numbers = {"logits": logits, "share": share, "used": used}
    given: dict[str, Any] = {
        name: None if values is None else _as_matrix(values, logits.shape).contiguous()
        for name, values in numbers.items()
    }
    rows, width = given["logits"].shape
    for name, factor in (("positive", positive), ("negative", negative)):
        given[name] = matrix = _as_matrix(factor, logits.shape)
        given[f"{name}_strides"] = matrix.stride()
    tile = tile_for(width, part=4)
    grid = (triton.cdiv(rows, tile["ROWS"]) * triton.cdiv(width, tile["WIDTH"]),)
    return grid, given | tile | formula(phi) | {"rows": rows, "width": width}


def _as_matrix(values: Tensor, shape: Sequence[int]) -> Tensor:
    """Return `values` broadcast to `shape`, of which all dimensions but the first are one; no copy for each row."""
    if len(shape) < 2:
        shape = 1, math.prod(shape)
    rows, width = shape[0], math.prod(shape[1:])
    given = values.shape[0] if values.dim() == len(shape) else 1
    return values.expand(given, *shape[1:]).reshape(given, width).expand(rows, width)


def element_loss(
    phi: Phi, logits: Tensor, share: Tensor, positive: Tensor, negative: Tensor, used: Tensor | None = None
) -> Tensor:
    """See `plain.element_loss`."""
    if not has_formula(phi):
        return by_rows.element_loss(phi, logits, share, positive, negative, used)
    result: Tensor = _ElementLoss.apply(phi, logits, share, positive, negative, used)
    return result
