"""The core losses as functions in Triton's language, for the kernels in which every class needs its own.

`Phi.formula` names one of them and its parameters. Each takes a surprise `-log p`, `p` and `1 - p`, all
exact to rounding and of one shape, and two parameters in their type; it returns `phi(l)` and `-phi'(l)`.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import triton
import triton.language as tl

from lightning_losses.kernels.phi import Phi


@triton.jit
def log1p(x):
    """Return `log(1 + x)` for `x >= 0`, exact to rounding: what `1 + x` lost is put back."""
    total = 1 + x
    return tl.where(total == 1, x, tl.log(total) * (x / (total - 1)))


@triton.jit
def _expm1(x):
    """Return `exp(x) - 1` for `x <= 0`, exact to rounding."""
    power = tl.exp(x)
    near = tl.where(power == 1, x, (power - 1) * (x / tl.log(power)))
    return tl.where(x < -1, power - 1, near)


@triton.jit
def mixed(surprise, p, miss, forward, reverse):
    """`-forward * l + reverse * (1 - p)`: cross entropy, symmetric cross entropy, Poly-1 with epsilon >= 0."""
    return forward * surprise + reverse * miss, forward + reverse * p


@triton.jit
def reverse(surprise, p, miss, factor, _):
    """`factor * (1 - p)`: reverse cross entropy, absolute error; it is finite also where `p` is 0."""
    return factor * miss, factor * p


@triton.jit
def focal(surprise, p, miss, gamma, _):
    """`-(1 - p)^gamma * l`."""
    # beside 0 the slope has a power of 0 and a quotient of zeros
    tiny = 2.3e-308 if miss.dtype == tl.float64 else 1.2e-38
    some = tl.maximum(miss, tiny)
    power = some * some if gamma == 2 else tl.exp(gamma * tl.log(some))
    return power * surprise, power * (1 + gamma * p * (tl.maximum(surprise, tiny) / some))


@triton.jit
def generalized(surprise, p, miss, q, _):
    """`(1 - p^q) / q`."""
    return _expm1(-q * surprise) / -q, tl.exp(-q * surprise)


@triton.jit
def poly1_below(surprise, p, miss, epsilon, _):
    """`-l + epsilon * (1 - p)` with epsilon < 0, where the two would cancel."""
    series = tl.zeros_like(surprise)
    for k in tl.static_range(11, 1, -1):
        series = (1 + series) * surprise / -k
    beyond = tl.where(surprise < 0.1, -series * surprise, surprise - miss)
    return (1 + epsilon) * surprise - epsilon * beyond, (1 + epsilon) - epsilon * miss


@triton.jit
def taylor(surprise, p, miss, order, _):
    """`sum_{k=1}^{order} (1 - p)^k / k`."""
    value = tl.zeros_like(miss)
    powers = tl.zeros_like(miss)
    for done in range(tl.cast(order, tl.int32)):
        value = (value + 1 / (order - done)) * miss
        powers = powers * miss + 1
    return value, p * powers


@triton.jit
def cost(PHI: tl.constexpr, surprise, p, miss, parameters):
    """Return `phi(l)` and `-phi'(l)`, with the digits back that the parameters lost on their way."""
    dtype: tl.constexpr = surprise.dtype
    first = tl.cast(parameters[0], dtype) + tl.cast(parameters[1], dtype)
    second = tl.cast(parameters[2], dtype) + tl.cast(parameters[3], dtype)
    return PHI(surprise, p, miss, first, second)


def has_formula(phi: Phi) -> bool:
    """Return whether a kernel can compute `phi`."""
    return type(phi).formula is not Phi.formula


def formula(phi: Phi) -> dict[str, Any]:
    """Return the arguments by which a kernel computes `phi`.

    A number reaches a kernel in single precision, so what that has cost a parameter goes with it.
    """
    name, *parameters = phi.formula()
    rounded = [ctypes.c_float(number).value for number in parameters]
    pairs = [(near, float(number - near)) for near, number in zip(rounded, parameters, strict=True)]
    return {"PHI": getattr(sys.modules[__name__], name), "parameters": (*pairs[0], *pairs[1])}
