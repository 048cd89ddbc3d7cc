"""Matrices by tiles: how large these are, and what is read of them."""

from __future__ import annotations

import triton
import triton.language as tl

TILE = 4096  # elements that a program works on at a time
WARPS = 8


def tile_for(width: int, part: int = 1) -> dict[str, int]:
    """Return the tile of a matrix of that width, and how a kernel on it is launched.

    Args:
        width: Number of columns.
        part: By what the tile is smaller, for a kernel that needs many registers for each element.
    """
    size = TILE // part
    across = min(triton.next_power_of_2(max(width, 1)), size)
    # a product that is subtracted from itself leaves nothing only if both are rounded
    return {"ROWS": max(1, size // across), "WIDTH": across, "num_warps": WARPS, "enable_fp_fusion": False}


@triton.jit
def load_scores(logits, strides, shift, row, column, inside, dtype: tl.constexpr):
    """Return shifted logits; outside the matrix -inf, which adds nothing to a sum of exponentials."""
    at = row.to(tl.int64) * strides[0] + column.to(tl.int64) * strides[1]
    scores = tl.load(logits + at, mask=inside, other=float("-inf")).to(dtype)
    if shift is not None:
        scores += tl.load(shift + tl.broadcast_to(column, inside.shape), mask=inside, other=0).to(dtype)
    return scores


@triton.jit
def load_entries(values, strides, row, column, inside, dtype: tl.constexpr):
    """Return numbers, outside the matrix 0."""
    at = row.to(tl.int64) * strides[0] + column.to(tl.int64) * strides[1]
    return tl.load(values + at, mask=inside, other=0).to(dtype)
