"""The exponential and its kin on CPUs, by whichever of torch's operations is fastest for the size and the precision."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

FAR = 40.0  # e^-40 is lost beside 1 even in float64
LEAST = 2**13  # elements from which three operations pay that each are faster than one
_LOG2_E = math.log2(math.e)


def exp_(x: Tensor, given: torch.dtype) -> Tensor:
    """Replace `x` by `exp(x)`.

    On some processors `exp2` takes a third of the time of `exp`. Rounding the product moves the result by up to `|x|`
    units in the last place, far less than the digits that scores in half precision lack.

    Args:
        x: Differences of scores.
        given: Type of the scores.
    """
    return x.mul_(_LOG2_E).exp2_() if given.itemsize == 2 else x.exp_()


def softplus(x: Tensor, out: Tensor) -> Tensor:
    """Write `log(1 + exp(x))` into `out`, exact to rounding."""
    if x.numel() < LEAST or not x.max().item() < FAR:
        return F.softplus(x, threshold=FAR, out=out)  # type: ignore[call-arg]
    return torch.exp(x, out=out).log1p_()
