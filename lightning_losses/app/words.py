"""Predictions and targets in the words and units of the data, as columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_losses.app.data import Task
from lightning_losses.app.data.base import unscaled


def decision_columns(
    name: str, values: Tensor, task: Task, targets: Sequence[str], scale: tuple[Tensor, Tensor] | None
) -> dict[str, list[Any]]:
    """Return decisions or targets.

    Args:
        name: Of the column; with several labels or numbers to predict the columns are `<name>_<target>`.
        values: Class indices, 0 and 1 or standardised numbers, a row for each sample.
        task: What the target is.
        targets: The classes, the labels or the target columns.
        scale: Mean and standard deviation of a standardised regression target.

    Returns:
        The values by column.
    """
    if task in ("binary", "multiclass"):
        return {name: [targets[i] for i in values.flatten().tolist()]}
    rows = unscaled(values.reshape(len(values), -1), scale)
    names = [name] if len(targets) == 1 else [f"{name}_{target}" for target in targets]
    return {column: numbers.tolist() for column, numbers in zip(names, rows.unbind(1), strict=True)}


def probability_columns(probabilities: Tensor, task: Task, targets: Sequence[str]) -> dict[str, list[float]]:
    """Return the probability of each class (binary: of both) or label, as `probability_<target>`."""
    rows = probabilities.reshape(len(probabilities), -1)
    if task == "binary":
        rows = torch.cat([1 - rows, rows], dim=1)
    return {f"probability_{target}": p.tolist() for target, p in zip(targets, rows.unbind(1), strict=True)}
