"""Whether probabilities are what they say: of the rows with a probability near p, a share of p should be hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_losses.app.compare.sweep import Job

BINS = 15
RARE = 0.05  # a class with a smaller share is shown on logarithmic axes
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """Probabilities in bins.

    Attributes:
        said: Mean probability of each bin that is not empty.
        seen: Share of hits in it.
        count: Rows in it.
    """

    said: Array
    seen: Array
    count: npt.NDArray[np.intp]

    @classmethod
    def of(cls, probability: Array, hit: Array, edges: Array) -> Reliability:
        """Put probabilities and whether they hit into bins with these edges."""
        index = np.digitize(probability, edges[1:-1], right=True)
        count = np.bincount(index, minlength=len(edges) - 1)
        full = count > 0
        said, seen = (np.bincount(index, values, len(count))[full] / count[full] for values in (probability, hit))
        return cls(said, seen, count[full])

    @property
    def error(self) -> float:
        """The expected calibration error, the mean distance of what is said from what is seen."""
        return float((self.count * np.abs(self.said - self.seen)).sum() / self.count.sum())


@dataclass(frozen=True)
class Calibration:
    """What the same model says by two ways to probabilities.

    Attributes:
        rare: Whether hits are so rare that axes should be logarithmic.
        curves: For drawing, by name.
        errors: Expected calibration errors in 15 bins of equal width, by name.
    """

    rare: bool
    curves: dict[str, Reliability]
    errors: dict[str, float]


def calibration(jobs: Sequence[Job], part: str) -> Calibration | None:
    """Return how calibrated softmax (binary: sigmoid) and posterior are on all rows that some jobs are judged by.

    Args:
        jobs: Of one loss.
        part: That judges.

    Returns:
        None where there are no classes, or the network's output is no logit of each.
    """
    pairs: dict[str, list[tuple[Array, Array]]] = {}
    for job in jobs:
        task, outputs = job.result["task"], job.outputs.get(part)
        if outputs is None or task == "regression":
            return None
        width = 1 if task == "binary" else len(job.result["targets"])
        if outputs.output.shape[1:] == (width,) and job.result["config"]["loss"].get("from_logits", True):
            plain = outputs.output.softmax(1) if task == "multiclass" else outputs.output.sigmoid()
            name = "softmax" if task == "multiclass" else "sigmoid"
            pairs.setdefault(name, []).append(_pairs(plain, outputs.target))
        if outputs.probabilities is not None:
            pairs.setdefault("posterior", []).append(_pairs(outputs.probabilities, outputs.target))
    if not pairs:
        return None
    joined = {name: tuple(map(np.concatenate, zip(*parts, strict=True))) for name, parts in pairs.items()}
    rare = any(hit.mean() < RARE for _, hit in joined.values())
    equal = np.linspace(0, 1, BINS + 1)
    edges = np.concatenate([[0.0], np.geomspace(1e-4, 1, BINS)]) if rare else equal
    return Calibration(
        rare,
        {name: Reliability.of(p, hit, edges) for name, (p, hit) in joined.items()},
        {name: Reliability.of(p, hit, equal).error for name, (p, hit) in joined.items()},
    )


def _pairs(probabilities: Tensor, target: Tensor) -> tuple[Array, Array]:
    """Return probabilities and hits: of the likeliest class, or, binary and multilabel, of each positive."""
    if target.ndim == 1:
        likeliest, index = probabilities.max(1)
        return likeliest.double().numpy(), (index == target).double().numpy()
    flat = torch.broadcast_to(probabilities, target.shape)
    return flat.flatten().double().numpy(), target.flatten().double().numpy()
