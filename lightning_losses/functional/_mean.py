"""The one quotient of all means."""

from __future__ import annotations

from torch import Tensor


def ratio(total: Tensor | float, weight: Tensor) -> Tensor:
    """Return `total / weight`, where 0 over no weight is 0, with the graph of `total`."""
    return total / weight.where(weight != 0, 1)
