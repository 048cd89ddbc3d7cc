"""Two noisy rings: a small class inside a large one, with a known best possible score."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lightning_losses._validation import finite_non_negative, positive
from lightning_losses.app.data.base import Dataset, Task, as_target, check_task, make_parts
from lightning_losses.app.data.split import split_rows


def rings(
    task: Task | None = None,
    *,
    positives: int = 200,
    negatives: int = 6000,
    positive_radius: float = 5.0,
    negative_radius: float = 8.0,
    noise: float = 1.0,
    split: str = "stratified",
    val_fraction: float = 0.3,
    test_fraction: float = 0.0,
    seed: int = 0,
) -> Dataset:
    """Draw points at a uniform angle, at radius + N(0, noise).

    The best possible AUROC, that of the score minus radius, is Phi((negative_radius - positive_radius) /
    (noise * sqrt 2)): 0.983 for the defaults. That scorer is reported beside the model, on the same rows.

    Args:
        task: `binary` or None.
        positives: Number of points of class 1.
        negatives: Number of points of class 0.
        positive_radius: Mean radius of class 1.
        negative_radius: Mean radius of class 0.
        noise: Standard deviation of the radius.
        split: `stratified` or `random`.
        val_fraction: Share of the points for validation.
        test_fraction: Share of the points for the test part; 0 leaves it out.
        seed: Of the points and of the split.

    Returns:
        A binary data set with two features.

    Raises:
        ValueError: A number is out of range.
    """
    positive("data.positives", positives)
    positive("data.negatives", negatives)
    finite_non_negative("data.noise", noise)
    generator = np.random.default_rng(seed)
    x = np.concatenate(
        [
            _ring(generator, negatives, negative_radius, noise),
            _ring(generator, positives, positive_radius, noise),
        ]
    )
    classes = np.repeat([0, 1], [negatives, positives])
    rows = split_rows(
        len(x), how=split, val_fraction=val_fraction, test_fraction=test_fraction, seed=seed, classes=classes
    )
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
