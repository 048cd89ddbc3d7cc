"""Images as data: grey or colour values, standardised by those of the training part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_losses.app.data.base import Dataset, as_target, make_parts
from lightning_losses.app.data.split import Rows, Split
from lightning_losses.app.data.target import Target


def image_dataset(split: Split, images: npt.NDArray[Any], target: Target) -> Dataset:
    """Return images (N, C, H, W) with their targets, divided and standardised."""
    of_classes = target.task in ("binary", "multiclass")
    rows = split.rows(len(images), classes=target.values if of_classes else None, names=target.names)
    x, note = standardise(images, rows["train"])
    return Dataset(
        task=target.task,
        parts=make_parts(x, as_target(target.task, target.values), rows),
        features=pixel_names(images.shape[1:]),
        targets=target.names,
        notes=[*target.notes, note],
    )


def standardise(images: npt.NDArray[Any], train: Rows) -> tuple[Tensor, str]:
    """Subtract the mean of each channel and divide by its standard deviation, both of the training part.

    Args:
        images: (N, C, H, W); bytes are first divided by 255.
        train: Row numbers of the training part.

    Returns:
        The same in float32, and what was done.
    """
    x = torch.tensor(images, dtype=torch.float32)
    if images.dtype == np.uint8:
        x.div_(255)
    deviation, mean = torch.std_mean(x[train], dim=(0, 2, 3), correction=0)
    x.sub_(mean[:, None, None]).div_(deviation.where(deviation > 0, 1)[:, None, None])
    shown = ", ".join(f"{m:.4f} and {d:.4f}" for m, d in zip(mean.tolist(), deviation.tolist(), strict=True))
    return x, f"images standardised by the training part's mean and deviation: {shown}"


def pixel_names(shape: Sequence[int]) -> list[str]:
    """Return a name for each number of an image (C, H, W)."""
    return ["_".join(["pixel", *map(str, index[1:] if shape[0] == 1 else index)]) for index in np.ndindex(*shape)]
