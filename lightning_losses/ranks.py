"""The processes that train together, as far as means and windows need to know them."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

_T = TypeVar("_T")


class Ranks(Protocol):
    """What all processes have to agree on goes through here, in the same order on each of them."""

    @property
    def index(self) -> int:
        """This process, from 0."""

    @property
    def count(self) -> int:
        """How many there are."""

    def reduce(self, value: Tensor, operation: str) -> Tensor:
        """Return the `"sum"` or the `"max"` over all ranks."""

    def broadcast(self, value: _T, source: int) -> _T:
        """Return what the rank `source` passes."""


class TrainerRanks:
    """The processes of a trainer's strategy."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    @property
    def index(self) -> int:
        """This process, from 0."""
        return int(self.trainer.global_rank)

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.trainer.world_size)

    def reduce(self, value: Tensor, operation: str) -> Tensor:
        """Return the `"sum"` or the `"max"` over all ranks."""
        if self.count == 1:
            return value
        # some strategies reduce in place
        reduced: Tensor = self.trainer.strategy.reduce(value.clone(), reduce_op=operation)
        return reduced

    def broadcast(self, value: _T, source: int) -> _T:
        """Return what the rank `source` passes."""
        received: _T = self.trainer.strategy.broadcast(value, source)
        return received


def gather_objects(value: _T) -> list[_T]:
    """Return what each process passes, in the order of the ranks; without others the value alone."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return [value]
    gathered = [value] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, value)
    return gathered
