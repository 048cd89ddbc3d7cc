"""The table that all tests of the losses run over: what is listed is tested, in each of its tasks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import lightning_losses as ll
from lightning_losses.functional._options import TASKS
from tests import oracles


class Case(NamedTuple):
    """A classification loss.

    Attributes:
        oracle: What to compare with.
        worst: Slope and offset of the line that the loss tends to as `-log p` grows, at its default arguments.
        variants: The hyper-parameters that it is tried with.
    """

    oracle: oracles.Loss
    worst: tuple[float, float]
    variants: tuple[dict[str, Any], ...] = ({},)


CASES: dict[str, Case] = {
    "ce": Case(oracles.cross_entropy, (1, 0)),
    "bce": Case(oracles.cross_entropy, (1, 0)),
    "focal": Case(oracles.focal, (1, 0), ({}, {"gamma": 0.0}, {"gamma": 0.5}, {"gamma": 1.0}, {"gamma": 3.5})),
    "sce": Case(
        oracles.symmetric_cross_entropy,
        (1, 9.210340372),
        (
            {},
            {"alpha": 0.1, "beta": 1.0},
            {"alpha": 6.0, "beta": 0.1, "label_floor": 1e-6},
            {"alpha": 2.0, "beta": 0.0},
        ),
    ),
    "rce": Case(oracles.reverse_cross_entropy, (0, 9.210340372), ({}, {"label_floor": 1e-2})),
    "gce": Case(oracles.generalized_cross_entropy, (0, 1 / 0.7), ({}, {"q": 0.2}, {"q": 1.0})),
    "prob_mae": Case(oracles.probability_mae, (0, 2)),
    "poly1": Case(oracles.poly1, (1, 1), ({}, {"epsilon": -1.0}, {"epsilon": -0.5}, {"epsilon": 2.0})),
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

# Losses of another form, whose values have tests of their own.
EXTRA = {
    "adaptive_log_softmax",
    "asymmetric",
    "balanced_softmax",
    "bi_tempered",
    "combined",
    "cosine_similarity",
    "forward_correction",
    "ghm",
    "hinge",
    "kl_div",
    "ldam",
    "logit_adjusted",
    "mape",
    "nce",
    "nfl",
    "nll",
}


def needed(name: str, task: str = "multiclass", classes: int = 4) -> dict[str, Any]:
    """Return the arguments that a loss cannot do without, for so many classes or labels."""
    counts = [60, 30, 10, 5, 2][: 2 if task == "binary" else classes]
    prior = (torch.tensor(counts) / sum(counts)).tolist()
    transition = 0.7 * torch.eye(classes) + 0.3 * torch.ones(classes, classes) / classes
    return {
        "adaptive_log_softmax": {"in_features": classes, "n_classes": classes, "cutoffs": [1], "div_value": 1.0},
        "balanced_softmax": {"class_counts": [[7, n] for n in counts] if task == "multilabel" else counts},
        "combined": {"terms": {"ce": 1.0, "rce": 0.1}},
        "forward_correction": {"transition": transition.tolist()},
        "ldam": {"class_counts": counts},
        "logit_adjusted": {"prior": prior},
    }.get(name, {})


def tasks(name: str) -> list[str]:
    """Return the tasks that a loss is for, the one it takes if none is given first."""
    default = ll.get_loss(name, **needed(name)).task
    return [default, *(task for task in TASKS if ll.SUPPORT[name][task] is True and task != default)]


def make(name: str, task: str, classes: int = 4, **arguments: Any) -> ll.Loss:
    """Return the loss for a task, with the arguments that it cannot do without."""
    given = {} if task == "regression" else {"task": task}  # get_loss takes the only task that a loss has
    return ll.get_loss(name, **{**needed(name, task, classes), **given, **arguments})


def is_phi(name: str) -> bool:
    """Return whether a loss is a function of the log-likelihood of the true class and nothing else."""
    return not needed(name) and hasattr(getattr(ll.get_loss(name), "phi", None), "log_slope")


# Every listed loss of the family, those without an oracle included.
NAMES = [name for name in ll.list_losses() if is_phi(name)]
BY_TASK = [(name, task) for name in NAMES for task in tasks(name)]
VARIANTS = [(name, arguments) for name in NAMES for arguments in (CASES[name].variants if name in CASES else ({},))]
VARIANTS_BY_TASK = [(*variant, task) for variant in VARIANTS for task in tasks(variant[0])]
MULTICLASS = [name for name in NAMES if tasks(name)[0] == "multiclass"]
CLASSIFICATION = [
    (name, task)
    for name in ll.list_losses()
    if isinstance(ll.get_loss(name, **needed(name)), ll.losses.ClassificationLoss)
    for task in tasks(name)
]

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


def function_of(loss: nn.Module) -> Any:
    """Return the function with the class's stem in snake case: `L1Loss` -> `l1_loss`, `MSELoss` -> `mse_loss`."""
    stem = type(loss).__name__.removesuffix("Loss")
    stem = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", stem).lower()
    return getattr(ll.functional, f"{stem}_loss")
