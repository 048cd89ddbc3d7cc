"""Two noisy rings: a small class inside a large one, with a known best possible score."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lightning_losses._validation import finite_non_negative, positive
from lightning_losses.app.data.base import Dataset, Task, as_target, check_task, make_parts
from lightning_losses.app.data.split import Split


def rings(
    task: Task | None,
    split: Split,
    *,
    positives: int = 200,
    negatives: int = 6000,
    positive_radius: float = 5.0,
    negative_radius: float = 8.0,
    noise: float = 1.0,
) -> Dataset:
    """Draw points at a uniform angle, at radius + N(0, noise).

    The best possible AUROC, that of the score minus radius, is Phi((negative_radius - positive_radius) /
    (noise * sqrt 2)): 0.983 for the defaults. That scorer is reported beside the model, on the same rows.

    Args:
        task: `binary` or None.
        split: Which points are for what; its seed is also that of the points.
        positives: Number of points of class 1.
        negatives: Number of points of class 0.
        positive_radius: Mean radius of class 1.
        negative_radius: Mean radius of class 0.
        noise: Standard deviation of the radius.

    Returns:
        A binary data set with two features.

    Raises:
        ValueError: A number is out of range.
    """
    positive("data.positives", positives)
    positive("data.negatives", negatives)
    finite_non_negative("data.noise", noise)
    generator = np.random.default_rng(split.seed)
    x = np.concatenate(
        [
            _ring(generator, negatives, negative_radius, noise),
            _ring(generator, positives, positive_radius, noise),
        ]
    )
    classes = np.repeat([0, 1], [negatives, positives])
    rows = split.rows(len(x), classes=classes)
    return Dataset(
        task=check_task(task, "binary"),
        parts=make_parts(x, as_target("binary", classes), rows),
        features=("x1", "x2"),
        targets=("outer ring", "inner ring"),
        baselines={"radius only": minus_radius},
    )


def minus_radius(x: Tensor) -> Tensor:
    """Score of the positive class that knows the radius alone: (N, 2) -> (N,)."""
    return -x.norm(dim=1)


def _ring(generator: np.random.Generator, count: int, radius: float, noise: float) -> npt.NDArray[np.float64]:
    distance = radius + noise * generator.standard_normal(count)
    angle = generator.uniform(0.0, 2 * np.pi, count)
    return np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)
