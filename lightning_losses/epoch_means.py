"""Weighted means over an epoch, exact over the rows served on all ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class EpochMeans:
    """Numerators and the common denominator of named values.

    The trainer's own epoch mean takes whole numbers as batch sizes and floors weights; this one does not.

    Example:
        >>> means = EpochMeans()
        >>> means.add({"loss": torch.tensor(1.0)}, torch.tensor(0.5))
        >>> means.add({"loss": torch.tensor(2.0)}, torch.tensor(1.5))
        >>> means.compute(lambda total: total)
        {'loss': tensor(1.7500)}
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.total: Tensor | None = None

    def add(self, values: Mapping[str, Tensor], weight: Tensor) -> None:
        """Add the means of a batch.

        Args:
            values: Scalars by name, the same names at every call.
            weight: What each of them was divided by, a scalar.
        """
        on_device = [value.to(weight) for value in values.values()]
        numbers = torch.stack([*on_device, torch.ones_like(weight)]).detach() * weight.detach()
        # float32 would stop counting at 2^24 rows; Apple's devices have no float64
        total = numbers if numbers.device.type == "mps" else numbers.double()
        self.names = tuple(values)
        self.total = total if self.total is None else self.total + total

    def compute(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Return the mean of each value over all batches, and start again.

        Args:
            reduce: Sums a tensor over the ranks.
        """
        if self.total is None:
            return {}
        *sums, weight = reduce(self.total).unbind()
        self.total = None
        return {
            name: (value / weight.where(weight != 0, 1)).float() for name, value in zip(self.names, sums, strict=True)
        }
