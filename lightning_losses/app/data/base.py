"""What every kind of data hands over: three parts in memory, the task, names and what was done to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_losses.app.data.encoder import Encoder

Task = Literal["binary", "multiclass", "multilabel", "regression"]


class Part(NamedTuple):
    """Rows of one part.

    Attributes:
        x: Features (N, F) or images (N, C, H, W), float32.
        y: Targets, as `as_target` makes them.
        rows: Numbers of the rows in what the data came from, (N,), from 0.
        clean: The targets before wrong labels were planted; None where none were.
    """

    x: Tensor
    y: Tensor
    rows: Tensor
    clean: Tensor | None = None

    def checksum(self) -> int:
        """Return a number that tells these rows from others."""
        so_far = 0
        for values in (self.x, self.y, self.rows):
            so_far = crc32(values.contiguous().numpy().data, so_far)
        return so_far


@dataclass(frozen=True)
class Dataset:
    """A data set in memory, split into parts.

    Args:
        task: What the target is.
        parts: `train`, `val` and, where there is one, `test`.
        features: One name per number of a row of `x`.
        targets: The classes (binary: negative, positive; multiclass), the labels (multilabel) or the target columns.
        notes: What was done to the data, a line each.
        baselines: Score functions of `x` -> (N,) to report beside the model; binary only.
        target_scale: Mean and standard deviation that a regression target was standardised with, (outputs,) each.
        encoder: What has turned a table into features.

    Raises:
        ValueError: A part is empty or has no row of some class (multilabel: no positive row of some label), so that the
            ranking metrics of this class would be meaningless.
    """

    task: Task
    parts: Mapping[str, Part]
    features: Sequence[str]
    targets: Sequence[str]
    notes: Sequence[str] = ()
    baselines: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    target_scale: tuple[Tensor, Tensor] | None = None
    encoder: Encoder | None = None

    def __post_init__(self) -> None:
        for name, part in self.parts.items():
            if not len(part.y):
                raise ValueError(f"the {name} part is empty: give more rows or other fractions in data")
            if self.task != "regression":
                self._check_classes(name, part)

    def _check_classes(self, name: str, part: Part) -> None:
        missing = [target for target, count in zip(self.targets, self.counts(part), strict=True) if not count]
        if missing:
            what = "positive row of label" if self.task == "multilabel" else "row of class"
            raise ValueError(
                f"the {name} part ({len(part.y)} rows) holds no {what} {', '.join(map(repr, missing))}: "
                "give more rows, larger fractions, or another data.split or data.seed"
            )

    @property
    def inputs(self) -> int | list[int]:
        """Number of features, or the shape of an image: channels, height, width."""
        first, *others = self.parts["train"].x.shape[1:]
        return [first, *others] if others else first

    @property
    def outputs(self) -> int:
        """Number of outputs a model needs: 1 (binary), classes, labels or target columns."""
        return 1 if self.task == "binary" else len(self.targets)

    def in_own_units(self, y: Tensor) -> Tensor:
        """Undo the standardisation of a regression target, (N, outputs)."""
        return unscaled(y, self.target_scale)

    def counts(self, part: Part) -> list[int]:
        """Rows of each class, or positive rows of each label."""
        if self.task == "multilabel":
            return part.y.sum(0).tolist()
        return torch.bincount(part.y.flatten(), minlength=len(self.targets)).tolist()


def unscaled(values: Tensor, scale: tuple[Tensor, Tensor] | None) -> Tensor:
    """Undo a standardisation by mean and standard deviation, (N, outputs); None: there was none."""
    if scale is None:
        return values
    mean, deviation = scale
    return values * deviation + mean


def as_target(task: Task, values: npt.NDArray[Any]) -> Tensor:
    """Return labels in the shape of the task: multiclass (N,), else (N, outputs); floats for regression alone."""
    y = torch.tensor(values, dtype=torch.float32 if task == "regression" else torch.int64)
    return y if task == "multiclass" else y.reshape(len(values), -1)


def make_parts(
    x: npt.NDArray[Any] | Tensor,
    y: Tensor,
    rows: Mapping[str, npt.NDArray[np.intp]],
    numbers: npt.NDArray[np.intp] | None = None,
) -> dict[str, Part]:
    """Return the parts that hold the given rows of `x` and `y`, which have these `numbers` in their source."""
    features = torch.as_tensor(x, dtype=torch.float32)
    known = torch.arange(len(y)) if numbers is None else torch.tensor(numbers)
    return {name: Part(features[index], y[index], known[index]) for name, index in rows.items()}


def check_task(given: Task | None, found: Task) -> Task:
    """Return `found`, or raise where the user asked for another task."""
    if given not in (None, found):
        raise ValueError(f"task={given}: these data are {found}")
    return found


def class_indices(dataset: Dataset, argument: str) -> Tensor:
    """Return the classes of the training rows, (N,), or raise where the task has none, naming `argument`."""
    if dataset.task not in ("binary", "multiclass"):
        raise ValueError(f"{argument} needs one class for each row, these data are {dataset.task}")
    return dataset.parts["train"].y.flatten()
