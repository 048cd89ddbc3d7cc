"""A classification loss as one scalar function of the log-likelihood, applied with its analytic slope."""

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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let go of what a base has made of another `value` or `log_slope`."""
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        if "value" in own or "log_slope" in own:
            for name in {"value_and_descent", "formula"} - own.keys():
                setattr(cls, name, getattr(Phi, name))

    def value(self, log_p: Tensor) -> Tensor:
        """Return `phi(l)`."""

    def log_slope(self, log_p: Tensor) -> Tensor:
        """Return `log(-phi'(l))`, finite wherever the slope is not zero."""

    def value_and_descent(self, surprise: Tensor, miss: Tensor) -> tuple[Tensor, Tensor]:
        """Return `phi(l)` and `-phi'(l)`; a loss may define it where the two share work.

        Args:
            surprise: `-l`, whose memory may be used for the result.
            miss: `1 - p`, exact to rounding also where `p` is close to 1; to be left as it is.

        Returns:
            Two tensors of that shape.
        """
        log_p = -surprise
        return self.value(log_p), descent(self, log_p)

    def formula(self) -> tuple[str, float, float]:
        """Return the name of a function of `on_cuda.phi` and its parameters; only a loss that has one defines it."""
        raise TypeError(f"{type(self).__name__} has no function for GPUs")


def descent(phi: Phi, log_p: Tensor) -> Tensor:
    """Return `-phi'(l)`."""
    return phi.log_slope(log_p).exp()


class _Apply(torch.autograd.Function):
    """`phi(l)` with its analytic slope, which stays finite where autograd through `value` meets `0 * inf`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(phi: Phi, log_p: Tensor) -> Tensor:
        return phi.value(log_p)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Phi, Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.phi, log_p = inputs
        ctx.save_for_backward(log_p)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        (log_p,) = ctx.saved_tensors
        return None, -grad * descent(ctx.phi, log_p)


def apply(phi: Phi, log_p: Tensor) -> Tensor:
    """Return `phi(l)` for each element of `log_p`.

    Args:
        phi: The function.
        log_p: Log-likelihoods, any shape.

    Returns:
        Same shape and dtype as `log_p`.
    """
    result: Tensor = _Apply.apply(phi, log_p)
    return result
