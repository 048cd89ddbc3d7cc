"""The logarithm of given probabilities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _FlooredLog(torch.autograd.Function):
    """`max(log p, -100)` with slope `1 / max(p, 1e-12)`, the convention of `torch.nn.BCELoss`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(p: Tensor) -> Tensor:
        return p.log().clamp_min(-100)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (p,) = ctx.saved_tensors
        return grad / p.clamp_min(1e-12)


def floored_log(p: Tensor) -> Tensor:
    """Return `max(log p, -100)`, whose gradient at `p = 0` is large but finite."""
    result: Tensor = _FlooredLog.apply(p)
    return result
