"""A classification loss as one scalar function of the log-likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor


class Phi(Protocol):
    """`phi(l)`, a decreasing function of the log-likelihood `l = log p <= 0` of the true class, with `phi(0) = 0`.

    Attributes:
        unsupported: Options that the loss refuses, each with the reason.
    """

    unsupported: ClassVar[Mapping[str, str]] = {}

    def value(self, log_p: Tensor) -> Tensor:
        """Return `phi(l)`."""

    def log_slope(self, log_p: Tensor) -> Tensor:
        """Return `log(-phi'(l))`, finite wherever the slope is not zero."""


class _Apply(torch.autograd.Function):
    """`phi(l)` with its analytic slope, which stays finite where autograd through `value` meets `0 * inf`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(log_p: Tensor, phi: Phi) -> Tensor:
        return phi.value(log_p)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Phi], output: Tensor) -> None:  # noqa: ARG004
        log_p, ctx.phi = inputs
        ctx.save_for_backward(log_p)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (log_p,) = ctx.saved_tensors
        return -grad * ctx.phi.log_slope(log_p).exp(), None


def apply(phi: Phi, log_p: Tensor) -> Tensor:
    """Return `phi(l)` for each element of `log_p`.

    Args:
        phi: The function.
        log_p: Log-likelihoods, any shape.

    Returns:
        Same shape and dtype as `log_p`.
    """
    result: Tensor = _Apply.apply(log_p, phi)
    return result


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
