"""The check of targets as one kernel."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from lightning_losses.kernels import plain
from lightning_losses.kernels.on_cuda.tiles import load_entries, tile_for

LOWEST = tl.constexpr(plain.LOWEST)  # a global of a kernel has to be one


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
    target, largest, ignored, worst, values, used, bad, rows, width, strides,
    ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    dtype: tl.constexpr = values.dtype.element_ty
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    kept = tl.zeros((ROWS, WIDTH), tl.int32)  # whether an entry is not ignored
    wrong = tl.zeros((ROWS, WIDTH), tl.int32)
    for start in range(0, width, WIDTH):
        column = start + tl.arange(0, WIDTH)[None, :]
        inside = (row < rows) & (column < width)
        entries = load_entries(target, strides, row, column, inside, dtype)
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
            entries = load_entries(target, strides, row, column, inside, dtype)
            every = tl.zeros(inside.shape, tl.int32)
            tl.atomic_max(worst + every, _as_worst(entries), mask=inside & _outside(entries, largest))


def checked_target(
    target: Tensor, largest: int, ignored: int, worst: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """See `plain.checked_target`."""
    rows, width = target.shape if target.dim() == 2 else (len(target), 1)
    tile, strides = tile_for(width), (*target.stride(), 1)[:2]
    values = target.new_empty(target.shape, dtype=plain.target_dtype(target))
    used, bad = (target.new_empty(rows, dtype=torch.bool) for _ in range(2))
    with torch.cuda.device_of(target):
        _target_kernel[triton.cdiv(rows, tile["ROWS"]),](
            target, largest, ignored, worst, values, used, bad, rows, width, strides, **tile
        )
    return values, used, bad
