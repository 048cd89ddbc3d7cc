"""The exponential on CPUs, by whichever of torch's operations is fastest for the precision."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FAR = 40.0  # e^-40 is lost beside 1 even in float64
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
