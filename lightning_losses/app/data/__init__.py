"""Data sets by name, in memory: `rings`, `digits`, `csv`, `random_labels`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightning_losses._validation import choice
from lightning_losses.app.data.base import Dataset, Part, Task
from lightning_losses.app.data.digits import digits
from lightning_losses.app.data.module import InMemoryData
from lightning_losses.app.data.random_labels import random_labels
from lightning_losses.app.data.rings import rings
from lightning_losses.app.data.table_file import csv

__all__ = ["Dataset", "InMemoryData", "Part", "Task", "build_data"]

KINDS: dict[str, Callable[..., Dataset]] = {
    "csv": csv,
    "digits": digits,
    "random_labels": random_labels,
    "rings": rings,
}


def build_data(mapping: Mapping[str, Any], task: Task | None = None) -> InMemoryData:
    """Build the data of the config group `data`.

    Args:
        mapping: `name`, `batch_size`, `eval_batch_size` and the arguments of that kind of data.
        task: What the target is; None leaves it to the data.

    Returns:
        The data in batches; `.dataset` holds the parts, the task and the names.

    Raises:
        ValueError: An unknown name, or a value the data refuse.
        FileNotFoundError: A file is missing.
    """
    arguments = dict(mapping)
    load = KINDS[choice("data.name", arguments.pop("name"), KINDS)]
    batches = {key: arguments.pop(key) for key in ("batch_size", "eval_batch_size")}
    return InMemoryData(load(task, **arguments), seed=arguments["seed"], **batches)
