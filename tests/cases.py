"""The table that all tests of the losses run over: what is listed is tested, with these arguments, in these tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import lightning_losses as ll
from tests import oracles


class Case(NamedTuple):
    """A classification loss.

    Attributes:
        oracle: What to compare with.
        worst: Slope and offset of the line that the loss tends to as `-log p` grows, at its default arguments.
        variants: The hyper-parameters that it is tried with.
        tasks: What it is for.
    """

    oracle: oracles.Loss
    worst: tuple[float, float]
    variants: tuple[dict[str, Any], ...] = ({},)
    tasks: tuple[str, ...] = ("multiclass", "binary", "multilabel")


CASES: dict[str, Case] = {
    "ce": Case(oracles.cross_entropy, (1, 0)),
    "bce": Case(oracles.cross_entropy, (1, 0), tasks=("binary", "multilabel")),
    "focal": Case(oracles.focal, (1, 0), ({}, {"gamma": 0.0}, {"gamma": 0.5}, {"gamma": 1.0}, {"gamma": 3.5})),
    "sce": Case(
        oracles.symmetric_cross_entropy,
        (1, 9.210340372),
        ({}, {"alpha": 0.1, "beta": 1.0}, {"alpha": 6.0, "beta": 0.1, "label_floor": 1e-6}),
    ),
    "rce": Case(oracles.reverse_cross_entropy, (0, 9.210340372), ({}, {"label_floor": 1e-2})),
    "gce": Case(oracles.generalized_cross_entropy, (0, 1 / 0.7), ({}, {"q": 0.2}, {"q": 1.0})),
    "prob_mae": Case(oracles.probability_mae, (0, 2)),
    "poly1": Case(oracles.poly1, (1, 1), ({}, {"epsilon": -1.0}, {"epsilon": 2.0})),
    "taylor_ce": Case(oracles.taylor_cross_entropy, (0, 1.5), ({}, {"order": 1}, {"order": 6})),
}


class RegressionCase(NamedTuple):
    """A loss of the difference `d = input - target`: its oracle and the hyper-parameters it is tried with."""

    oracle: Callable[..., float]
    variants: tuple[dict[str, Any], ...] = ({},)


REGRESSION: dict[str, RegressionCase] = {
    "mse": RegressionCase(lambda d: d * d),
    "l1": RegressionCase(abs),
    "smooth_l1": RegressionCase(oracles.smooth_l1, ({}, {"beta": 0.3})),
    "huber": RegressionCase(oracles.huber, ({}, {"delta": 0.3})),
    "log_cosh": RegressionCase(oracles.log_cosh),
    "quantile": RegressionCase(oracles.quantile, ({}, {"q": 0.9})),
}

# Losses of another form, which have tests of their own, with the arguments that they need for three classes.
EXTRA: dict[str, dict[str, Any]] = {
    "adaptive_log_softmax": {"in_features": 4, "n_classes": 3, "cutoffs": [1]},
    "asymmetric": {},
    "balanced_softmax": {"class_counts": [60, 30, 10]},
    "bi_tempered": {},
    "combined": {"terms": {"nce": 1.0, "rce": 0.1}},
    "cosine_similarity": {},
    "forward_correction": {"transition": [[0.8, 0.1, 0.1], [0.0, 1.0, 0.0], [0.3, 0.1, 0.6]]},
    "ghm": {},
    "hinge": {},
    "kl_div": {},
    "ldam": {"class_counts": [60, 30, 10]},
    "logit_adjusted": {"prior": [0.6, 0.3, 0.1]},
    "mape": {},
    "nce": {},
    "nfl": {},
    "nll": {},
}

NAMES = [name for name in ll.list_losses() if name in CASES]
BY_TASK = [(name, task) for name in NAMES for task in CASES[name].tasks]
VARIANTS = [(name, arguments) for name in NAMES for arguments in CASES[name].variants]
VARIANTS_BY_TASK = [(*variant, task) for variant in VARIANTS for task in CASES[variant[0]].tasks]
MULTICLASS = [name for name, task in BY_TASK if task == "multiclass"]

REGRESSION_NAMES = [name for name in ll.list_losses() if name in REGRESSION]
REGRESSION_VARIANTS = [(name, arguments) for name in REGRESSION_NAMES for arguments in REGRESSION[name].variants]

# For the four classes or labels of `batch`.
WEIGHT = {"multiclass": [0.5, 1.0, 2.0, 3.0], "binary": [0.5, 3.0], "multilabel": [0.5, 1.0, 2.0, 3.0]}


def batch(task: str, *, soft: bool = False, rows: int = 8, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Return logits and targets: class indices, labels 0 and 1, or probabilities if `soft`."""
    generator = torch.Generator().manual_seed(4)
    z = (3 * torch.randn(rows, 4, generator=generator, dtype=torch.float64)).to(dtype)
    y = torch.rand(rows, 4, generator=generator, dtype=torch.float64).to(dtype)
    if task == "multiclass":
        return z, y.softmax(1) if soft else y.argmax(1)
    y = y if soft else y.round()
    return (z[:, 0], y[:, 0]) if task == "binary" else (z, y)
