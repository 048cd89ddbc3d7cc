"""Arrays from a NumPy file: a table of numbers, or images."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lightning_losses._validation import choice
from lightning_losses.app.data.base import Dataset, Task
from lightning_losses.app.data.images import image_dataset
from lightning_losses.app.data.split import Split
from lightning_losses.app.data.table_file import table_dataset
from lightning_losses.app.data.target import read_target

ZIP = b"PK"  # how an .npz file begins; NumPy's advice on others is about pickle


def npz(
    task: Task | None,
    split: Split,
    *,
    path: str,
    inputs: str = "x",
    target: str = "y",
    positive: str | float | bool | None = None,
    max_classes: int = 20,
) -> Dataset:
    """Read two arrays of a file that `numpy.savez` has written; nothing in it is executed.

    Args:
        task: See `table_dataset`.
        split: Which rows are for what.
        path: The file.
        inputs: Name of the array of features (N, F), which are treated like columns of a table, or of images (N, H, W)
            or (N, C, H, W), which are standardised by channel.
        target: Name of the array of targets (N,) or (N, outputs).
        positive: The class that counts as 1 in a binary task; None takes the last one in sorted order.
        max_classes: Up to so many different whole numbers count as classes.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, an array is missing, holds objects, or its shape does not fit.
    """
    x, y = _read(path, inputs, target)
    if x.ndim not in (2, 3, 4) or y.ndim not in (1, 2) or len(x) != len(y):
        raise ValueError(
            f"data.path: {inputs} must be (N, F), (N, H, W) or (N, C, H, W) and {target} (N,) or (N, outputs), "
            f"got {x.shape} and {y.shape}"
        )
    labels = pd.DataFrame({target: y} if y.ndim == 1 else {f"{target}_{i}": y[:, i] for i in range(y.shape[1])})
    if x.ndim == 2:
        features = pd.DataFrame(x, columns=[f"{inputs}_{i}" for i in range(x.shape[1])])
        table = pd.concat([features, labels], axis=1)
        names = list(labels.columns)
        return table_dataset(task, split, table, target=names, positive=positive, max_classes=max_classes)
    images = x[:, None] if x.ndim == 3 else x
    return image_dataset(split, images, read_target(labels, task, positive=positive, max_classes=max_classes))


def _read(path: str, *names: str) -> list[npt.NDArray[Any]]:
    try:
        with Path(path).open("rb") as file:  # NumPy would leave a damaged one open
            known: list[str] = []
            if file.read(len(ZIP)) == ZIP:
                file.seek(0)
                arrays = np.load(file, allow_pickle=False)
                known = arrays.files
                found = {name: arrays[name] for name in names if name in known}
    except FileNotFoundError as error:
        raise FileNotFoundError(f"data.path: there is no file {str(Path(path).absolute())!r}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise ValueError(f"data.path: {path!r} is no whole file of arrays: {error}") from error
    if not known:
        raise ValueError(
            f"data.path: {path!r} is no .npz file, or an empty one: write it by numpy.savez(path, x=..., y=...)"
        )
    for argument, name in zip(("data.inputs", "data.target"), names, strict=True):
        choice(argument, name, known)
    return [found[name] for name in names]
