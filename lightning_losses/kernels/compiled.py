"""The target loss of a large matrix under `torch.compile` on CPUs: operations that the compiler does not look into.

A compiled formula reads and writes the matrix more often than the blocks of rows do. What differs between losses stays
outside, where it is compiled with everything else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_losses.kernels import blocked, plain
from lightning_losses.kernels.phi import Phi, apply

row_expectation, element_loss, checked_target = plain.row_expectation, plain.element_loss, plain.checked_target

LEAST = 2**19  # elements; below, the compiled formula is faster: see benchmarks/compiled.py


@torch.library.custom_op("lightning_losses::target_numbers", mutates_args=())
def _numbers(logits: Tensor, target: Tensor, shift: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return blocked.target_numbers(logits, target, shift)


@_numbers.register_fake
def _(logits: Tensor, target: Tensor, shift: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # noqa: ARG001
    number = logits.new_empty((logits.shape[0], 1), dtype=torch.promote_types(logits.dtype, torch.float32))
    return number, torch.empty_like(number), torch.empty_like(number), torch.empty_like(number)


@torch.library.custom_op("lightning_losses::target_gradient", mutates_args=())
def _gradient(
    logits: Tensor, target: Tensor, shift: Tensor | None, reference: Tensor, at_target: Tensor, factor: Tensor
) -> Tensor:
    return blocked.target_gradient(logits, target, shift, reference, at_target, factor)


@_gradient.register_fake
def _(
    logits: Tensor,
    target: Tensor,  # noqa: ARG001
    shift: Tensor | None,  # noqa: ARG001
    reference: Tensor,  # noqa: ARG001
    at_target: Tensor,  # noqa: ARG001
    factor: Tensor,  # noqa: ARG001
) -> Tensor:
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


class _LogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, used: Tensor | None, shift: Tensor | None) -> Tensor:
        reference, surprise, others, total = _numbers(logits, target, shift)
        ctx.save_for_backward(logits, target, used, shift, reference, others, total)
        log_p = -surprise.squeeze(1)
        return log_p if used is None else log_p.where(used, 0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        logits, target, used, shift, reference, others, total = ctx.saved_tensors
        gradient = _gradient(logits, target, shift, reference, -others, -grad.unsqueeze(1) / total)
        return gradient if used is None else gradient.where(used.unsqueeze(1), 0), None, None, None


def target_loss(
    phi: Phi, logits: Tensor, target: Tensor, used: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """See `plain.target_loss`."""
    if logits.numel() < LEAST:
        return plain.target_loss(phi, logits, target, used, shift)
    return apply(phi, _LogLikelihood.apply(logits, target, used, shift))
