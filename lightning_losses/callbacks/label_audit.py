"""Which training labels are probably wrong, from the outputs that the training computes anyway."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_losses._files import replace
from lightning_losses.margins import MeanMargins, margins
from lightning_losses.mixins import HasObjective
from lightning_losses.ranks import gather_objects

COLUMNS = ("row", "margin", "label", "rival")


class LabelAudit(Callback):
    """Ranks the training rows by how little the model holds with their labels, on the mean over the epochs.

    A row whose label is wrong is pulled to another class by the rows that are like it: its margin, the output of its
    label less the largest other one, is small or negative in the epochs before the model has memorised it. No forward
    pass is added: the outputs are those that `compute_objective` sees, in the mixin's training step or in one of the
    user's own. The numbers of a batch's rows are those that the loader's `batch_sampler` draws, so datasets and batches
    stay as they are.

    It counts whole epochs: what a run that stops within one has seen of it is left out.

    Args:
        path: Where the rows are written when the fit ends, those with the smallest margin first; None: nowhere.
        classes: Names of the classes, for the file; None writes their indices.
        rows: Number of each row of the training data, for the file; None counts from 0.

    Attributes:
        means: The margins so far.

    Raises:
        TypeError: When a fit begins: the module has no `LossMixin`, or batches are not drawn by row numbers.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> audit = LabelAudit("suspects.csv")
        >>> trainer = Trainer(callbacks=[audit], logger=False, enable_checkpointing=False)

    Source:
        Pleiss, Zhang, Elenberg, Weinberger: Identifying Mislabeled Data using the Area Under the Margin Ranking, 2020.
    """

    def __init__(
        self,
        path: str | Path | None = "suspects.csv",
        classes: Sequence[str] | None = None,
        rows: Sequence[int] | None = None,
    ) -> None:
        self.path, self.classes, self.rows = path, classes, rows
        self.means = MeanMargins()
        self._epoch = MeanMargins()
        self._drawn: DrawnRows | None = None
        self._now: Tensor | None = None  # rows of the batch that is trained on
        self._from_its_start = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """See the outputs and the training loader's row numbers."""
        if stage != "fit":
            return
        if not isinstance(pl_module, HasObjective):
            raise TypeError(f"LabelAudit needs a module with LossMixin, {type(pl_module).__name__} is none")
        self._module = pl_module
        pl_module._ll_observers.append(self._see)
        # the last hand that a loader passes through before it is iterated; workers start right after
        self._pass_on = trainer.strategy.process_dataloader

        def watch(dataloader: object) -> object:
            return self._watch(trainer, self._pass_on(dataloader))

        trainer.strategy.process_dataloader = watch  # type: ignore[method-assign]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """See them no longer."""
        if stage == "fit":
            self._module._ll_observers.remove(self._see)
            trainer.strategy.process_dataloader = self._pass_on  # type: ignore[method-assign]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an epoch."""
        self._epoch = MeanMargins()
        self._from_its_start = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Take the numbers of the batch's rows."""
        self._from_its_start = self._from_its_start or batch_idx == 0
        if self._from_its_start and self._drawn is not None:
            self._now = self._drawn.next()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch, of all processes."""
        for part in gather_objects(self._epoch.state() if self._from_its_start else MeanMargins().state()):
            self.means.merge(MeanMargins.from_state(part))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the rows."""
        if self.path is not None and trainer.is_global_zero:
            self.write(self.path)

    def write(self, path: str | Path) -> None:
        """Write all rows that were seen, those with the smallest margin first.

        Args:
            path: A CSV file, with the columns `row`, `margin`, `label` and `rival`, the class that had the largest
                other output when the row was last seen.
        """
        means = self.means
        order = means.mean.argsort()[: int((means.count > 0).sum())]  # NaN comes last
        columns = (order, means.mean[order], means.label[order], means.rival[order])
        names = dict(enumerate(self.classes or []))
        lines: list[tuple[Any, ...]] = [COLUMNS]
        for row, margin, label, rival in zip(*(column.tolist() for column in columns), strict=True):
            number = row if self.rows is None else self.rows[row]
            lines.append((number, f"{margin:.6g}", names.get(label, label), names.get(rival, rival)))

        def save(part: Path) -> None:
            with part.open("w", newline="") as file:
                csv.writer(file).writerows(lines)

        replace(Path(path), save)

    def state_dict(self) -> dict[str, Any]:
        """Return the margins so far."""
        return self.means.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with those of the run that is resumed."""
        self.means = MeanMargins.from_state(state_dict)

    def _watch(self, trainer: Trainer, loader: Any) -> Any:
        if not trainer.training:
            return loader
        sampler = getattr(loader, "batch_sampler", None)
        if sampler is None:
            raise TypeError(
                f"LabelAudit needs a loader with a batch_sampler, which draws rows by number, got {loader!r}"
            )
        self._drawn = DrawnRows(sampler)
        watched = copy(loader)
        # torch's loader refuses another batch sampler, lest its arguments contradict each other; this one is the same
        object.__setattr__(watched, "batch_sampler", self._drawn)
        return watched

    def _see(self, outputs: Tensor, target: Tensor) -> None:
        rows, self._now = self._now, None
        if rows is None:
            return
        if len(rows) != len(outputs):
            raise ValueError(
                f"LabelAudit: the loss sees {len(outputs)} rows of a batch of {len(rows)}: it must see all"
            )
        self._epoch.add(rows, margins(self._module.objective.loss, outputs, target))


class DrawnRows:
    """A batch sampler that remembers what it has drawn until the batch is asked for.

    Args:
        sampler: The batch sampler.
    """

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler
        self._drawn: deque[Tensor] = deque()

    def __iter__(self) -> Iterator[Any]:
        drawn: deque[Tensor] = deque()
        self._drawn = drawn
        for rows in self._sampler:
            drawn.append(torch.as_tensor(rows))
            yield rows

    def __len__(self) -> int:
        return len(self._sampler)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)

    def next(self) -> Tensor:
        """Return the rows of the next batch in the order of drawing, which is that of training."""
        return self._drawn.popleft()
