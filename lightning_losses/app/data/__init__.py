"""Data sets by name, in memory, and what can be done to any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightning_losses._validation import as_block, check_types, choice
from lightning_losses.app.data.arrays import npz
from lightning_losses.app.data.base import Dataset, Part, Task
from lightning_losses.app.data.digits import digits
from lightning_losses.app.data.fashion_mnist import fashion_mnist
from lightning_losses.app.data.image_folder import image_folder
from lightning_losses.app.data.imbalance import make_imbalanced
from lightning_losses.app.data.label_noise import plant_label_noise
from lightning_losses.app.data.module import InMemoryData
from lightning_losses.app.data.random_labels import random_labels
from lightning_losses.app.data.rings import rings
from lightning_losses.app.data.split import Split
from lightning_losses.app.data.table_file import Columns, csv, parquet

__all__ = ["DRAWN", "Dataset", "InMemoryData", "Part", "Task", "build_data"]

KINDS: dict[str, Callable[..., Dataset]] = {
    "csv": csv,
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "image_folder": image_folder,
    "npz": npz,
    "parquet": parquet,
    "random_labels": random_labels,
    "rings": rings,
}
DRAWN = ("random_labels", "rings")  # kinds that draw other rows with each seed, where others divide the same ones

SPLIT = {"split": "how"} | {name: name for name in ("val_fraction", "test_fraction", "seed", "folds", "fold")}


def build_data(mapping: Mapping[str, Any], task: Task | None = None) -> InMemoryData:
    """Build the data of the config group `data`.

    Args:
        mapping: `name`, the arguments of that kind of data, and what all kinds share: how rows are divided, what is
            done to the training part and how batches are made of it.
        task: What the target is; None leaves it to the data.

    Returns:
        The data in batches; `.dataset` holds the parts, the task and the names.

    Raises:
        ValueError: An unknown name, or a value the data refuse.
        TypeError: A value is of another type.
        FileNotFoundError: A file is missing.
    """
    arguments = dict(mapping)
    load = KINDS[choice("data.name", arguments.pop("name"), KINDS)]
    division = {field: arguments.pop(key) for key, field in SPLIT.items() if key in arguments}
    batches: dict[str, Any] = {
        key: arguments.pop(key) for key in ("batch_size", "eval_batch_size", "sampler") if key in arguments
    }
    imbalance, noise = (as_block(f"data.{key}", arguments.pop(key, None)) for key in ("imbalance", "label_noise"))
    check_types("data", division, Split)
    check_types("data", batches, InMemoryData.__init__)
    check_types("data", arguments, Columns, load)
    check_types("data.imbalance", imbalance, make_imbalanced)
    check_types("data.label_noise", noise, plant_label_noise)
    split = Split(**division)
    dataset = make_imbalanced(load(task, split, **arguments), split.seed, **imbalance)
    dataset = plant_label_noise(dataset, split.seed, **noise)
    return InMemoryData(dataset, seed=split.seed, **batches)
