"""Batches of rows that lie in memory, taken by index."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Literal

import lightning as L
import torch
from torch import Tensor

from lightning_losses._validation import choice, positive
from lightning_losses.app.data.base import Dataset, Part, class_indices

STEPS = 200  # of an epoch, which batch_size=auto aims at


class RowOrder:
    """Row numbers in an order that depends on the seed and the epoch alone.

    Args:
        count: Number of rows.
        shuffle: A new order every epoch; then every rank gets equally many rows, and at most ranks - 1 are left out.
        seed: Of the order.
        rank: Of this process.
        ranks: Number of processes.
        weight: How often each row is drawn, with replacement, in a shuffled order; None takes each row once.
    """

    def __init__(
        self,
        count: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
        weight: Tensor | None = None,
    ) -> None:
        self.count, self.shuffle, self.seed, self.weight = count, shuffle, seed, weight
        self.rank, self.ranks = rank, ranks
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order; Lightning calls it, also when a run is resumed."""
        self.epoch = epoch

    @property
    def most(self) -> int:
        """How many rows a rank gets at most."""
        return self.count // self.ranks if self.shuffle else math.ceil(self.count / self.ranks)

    def rows(self) -> Tensor:
        """Return the row numbers of this rank."""
        if not self.shuffle:
            return torch.arange(self.rank, self.count, self.ranks)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        if self.weight is None:
            order = torch.randperm(self.count, generator=generator)
        else:
            order = torch.multinomial(self.weight, self.count, replacement=True, generator=generator)
        return order[: self.count // self.ranks * self.ranks][self.rank :: self.ranks]


class BatchSampler:
    """Row numbers of one batch after another, as many batches on each rank, since some layers wait for all of them."""

    def __init__(self, sampler: RowOrder, batch_size: int) -> None:
        self.sampler = sampler
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[Tensor]:
        batches = list(self.sampler.rows().split(self.batch_size))
        if len(batches) < len(self):
            batches[-1:] = batches[-1].tensor_split(2)
        return iter(batches)

    def __len__(self) -> int:
        return math.ceil(self.sampler.most / self.batch_size)


class BatchLoader:
    """Batches `(x[rows], y[rows])`: one indexing operation each, no worker, no collation.

    Its attributes are named as those of torch's DataLoader, so that Lightning finds `batch_sampler.sampler.set_epoch`.
    Lightning saves its state, and restores it where a run is resumed.
    """

    def __init__(self, part: Part, batch_sampler: BatchSampler) -> None:
        self.part = part
        self.batch_sampler = batch_sampler
        self._served = 0
        self._resumed: Mapping[str, int] = {}

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # lazy: a resumed run makes this iterator before it calls set_epoch
        self._served = self._served_before()
        self._resumed = {}
        for rows in islice(self.batch_sampler, self._served, None):
            self._served += 1
            yield self.part.x[rows], self.part.y[rows]

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def state_dict(self) -> dict[str, int]:
        """Return how far which epoch has come, and what must be the same to go on from there."""
        order = self.batch_sampler.sampler
        rows_of_a_batch = self.batch_sampler.batch_size * order.ranks
        return {"epoch": order.epoch, "served": self._served, "rows": order.count, "rows of a batch": rows_of_a_batch}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Go on after the batches that were served, if the next iteration is of the same epoch."""
        self._resumed = state_dict

    def _served_before(self) -> int:
        """Return how many batches of this epoch the run before has served."""
        own, saved = self.state_dict(), self._resumed
        if saved.get("epoch") != own["epoch"]:
            return 0
        for name in ("rows", "rows of a batch"):
            if own[name] != saved[name]:
                raise ValueError(
                    f"the checkpoint was written within an epoch, with {saved[name]} {name} (now {own[name]}, all "
                    "processes together): give the same data and data.batch_size, or resume from the end of an epoch"
                )
        return saved["served"]


class InMemoryData(L.LightningDataModule):
    """The parts of a data set as batches.

    Args:
        dataset: The data.
        batch_size: Rows of a training batch; `auto`: the power of two, from 32 to 2048, by which an epoch has about
            `STEPS` batches.
        eval_batch_size: Rows of a validation or test batch.
        seed: Of the order of the training rows.
        sampler: `balanced` draws the training rows with replacement, each class equally often; None takes each once.

    Raises:
        ValueError: A size is not above 0, or the sampler is unknown or the task has no classes to balance.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int | Literal["auto"] = 100,
        eval_batch_size: int = 1000,
        seed: int = 0,
        sampler: str | None = None,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.batch_size = _batch_size(batch_size, len(dataset.parts["train"].y))
        self.eval_batch_size = int(positive("data.eval_batch_size", eval_batch_size))
        self.seed = seed
        self._weight = None if sampler is None else _weight(dataset, sampler)

    def train_dataloader(self) -> BatchLoader:
        """Batches in a new order every epoch."""
        return self._loader("train", self.batch_size, shuffle=True, weight=self._weight)

    def val_dataloader(self) -> BatchLoader:
        """Batches in the rows' own order."""
        return self._loader("val", self.eval_batch_size, shuffle=False)

    def test_dataloader(self) -> BatchLoader:
        """Batches in the rows' own order."""
        return self._loader("test", self.eval_batch_size, shuffle=False)

    def _loader(self, name: str, batch_size: int, *, shuffle: bool, weight: Tensor | None = None) -> BatchLoader:
        part = self.dataset.parts[name]
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if len(part.y) < ranks:
            raise ValueError(f"the {name} part has {len(part.y)} rows, too few for {ranks} processes")
        order = RowOrder(len(part.y), shuffle=shuffle, seed=self.seed, rank=rank, ranks=ranks, weight=weight)
        return BatchLoader(part, BatchSampler(order, batch_size))


def _batch_size(given: int | Literal["auto"], rows: int) -> int:
    """Return the number, for `auto` that which makes an epoch neither a few steps nor thousands."""
    if given == "auto":
        return 2 ** min(max(round(math.log2(rows / STEPS)), 5), 11)
    return int(positive("data.batch_size", given))


def _weight(dataset: Dataset, sampler: str) -> Tensor:
    """Return how often each training row is drawn."""
    choice("data.sampler", sampler, ("balanced",))
    y = class_indices(dataset, "data.sampler=balanced")
    return (1 / torch.bincount(y, minlength=len(dataset.targets)))[y]
