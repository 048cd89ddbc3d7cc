"""What a classification loss is: a function of the log-likelihood of the true class, or an extra one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

from torch import Tensor

from lightning_losses.functional._class_factors import ClassFactors
from lightning_losses.functional._options import Settings
from lightning_losses.functional._rows import RowLoss
from lightning_losses.kernels import Phi, log_softmax


class Extra(ABC):
    """A classification loss that is not a function of the log-likelihood of the true class.

    Attributes:
        unsupported: Options, tasks and kinds of targets that it refuses, each with the reason.
        no_posterior: Why its trained outputs do not tell class probabilities, or None if they do.
        after_training: The function of the log-likelihood by whose rule they tell them.
    """

    unsupported: ClassVar[Mapping[str, str]]
    no_posterior: ClassVar[str | None]
    after_training: ClassVar[Phi]

    @abstractmethod
    def rows(self, settings: Settings, factors: ClassFactors, scores: Tensor, target: Tensor) -> RowLoss:
        """Return the loss of each row before sample weights; `scores` are at least float32."""

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """Return the log-probabilities that scores `(rows, C)` stand for."""
        return log_softmax(scores)


Formula: TypeAlias = Phi | Extra


def check_support(owner: str, formula: Formula, options: Mapping[str, Any]) -> None:
    """Raise a ValueError with the reason if `options` hold a task or an option that the loss refuses."""
    for name in (options.get("task", ""), *options):
        if name in formula.unsupported and options.get(name, True) != getattr(Settings, name, None):
            raise ValueError(f"{owner} does not take {name}: {formula.unsupported[name]}")
