"""Weighted means over an epoch, exact over the rows served on all ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_losses.functional._mean import ratio
from lightning_losses.ranks import Ranks

_BATCHES = 64  # added up at a time, because a step of a small network takes as long as a few operations


class EpochMeans:
    """Numerators and denominators of named values.

    The trainer's own epoch mean takes whole numbers as batch sizes and floors weights; this one does not.

    Example:
        >>> means = EpochMeans()
        >>> means.add({"loss": (torch.tensor(1.0), torch.tensor(0.5))})
        >>> means.add({"loss": (torch.tensor(2.0), torch.tensor(1.5))})
        >>> means.compute()
        {'loss': tensor(1.7500)}
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self._batches: list[list[Tensor]] = []  # not yet in the sums: their means, then their weights
        self._sums: Tensor | None = None

    def add(self, parts: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Add the means of a batch.

        Args:
            parts: Mean and what it was divided by, two scalars, by name; the same names at every call.
        """
        means, weights = zip(*parts.values(), strict=True)
        self.names = tuple(parts)
        self._batches.append([value.detach() for value in (*means, *weights)])
        if len(self._batches) == _BATCHES:
            self._add_up()

    def merge(self, others: Iterable[EpochMeans]) -> EpochMeans:
        """Add the batches of others, and return itself."""
        for other in others:
            other._add_up()
            if other._sums is not None:
                self.names = other.names
                self._accumulate(other._sums)
        return self

    def gather(self, ranks: Ranks, device: torch.device) -> EpochMeans:
        """Add up over the ranks, some of which may have seen no batch, and return itself.

        Args:
            ranks: The processes that train together.
            device: Where a rank without batches puts its zeros.
        """
        self._add_up()
        if ranks.count > 1:
            own = torch.tensor(ranks.index if self.names else -1, device=device)
            source = int(ranks.reduce(own, "max"))
            if source >= 0:
                self.names = ranks.broadcast(self.names, source)
                if self._sums is None:
                    self._sums = torch.zeros(2, len(self.names), dtype=_precision(device), device=device)
                self._sums = ranks.reduce(self._sums, "sum")
        return self

    def state(self) -> dict[str, Any]:
        """Return the sums as plain data."""
        self._add_up()
        return {"names": list(self.names), "sums": None if self._sums is None else self._sums.cpu()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], device: torch.device) -> EpochMeans:
        """Build them from what `state` has returned, on the device where further batches come from."""
        means, sums = cls(), state["sums"]
        means.names = tuple(state["names"])
        means._sums = None if sums is None else sums.to(device, _precision(device))
        return means

    def compute(self) -> dict[str, Tensor]:
        """Return the mean of each value over all batches, 0 over no weight."""
        self._add_up()
        if self._sums is None:
            return {}
        return dict(zip(self.names, ratio(*self._sums).float().unbind(), strict=True))

    def total(self, name: str) -> Tensor:
        """Return the sum over all batches of a value times its weight."""
        self._add_up()
        if self._sums is None:
            return torch.zeros(())
        return self._sums[0, self.names.index(name)].float()

    def _add_up(self) -> None:
        if not self._batches:
            return
        device = self._batches[0][-1].device
        numbers = [value.to(device, _precision(device)) for batch in self._batches for value in batch]
        mean, weight = torch.stack(numbers).reshape(len(self._batches), 2, -1).unbind(1)
        self._batches = []
        # what has no weight counts for nothing, whatever its value
        self._accumulate(torch.stack([(mean.where(weight != 0, 0) * weight).sum(0), weight.sum(0)]))

    def _accumulate(self, sums: Tensor) -> None:
        self._sums = sums if self._sums is None else self._sums + sums


def _precision(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # float32 counts to 2^24 rows only
