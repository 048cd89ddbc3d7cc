"""What every loss offers: the reduced value, its numerator and denominator, and predictions from trained outputs."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn
from typing_extensions import Self

from lightning_losses.functional._mean import ratio
from lightning_losses.functional._options import Reduction
from lightning_losses.functional._rows import RowLoss, reduce


class Prediction(NamedTuple):
    """What a trained model says about each row.

    Attributes:
        decision: Class indices, 0 or 1 for each label, or the predicted values of a regression: what the loss, with its
            weights and shifts, was trained to decide.
        probabilities: The `posterior` of the loss, or None where the loss has none.
    """

    decision: Tensor
    probabilities: Tensor | None


class Loss(nn.Module, ABC):
    """A loss with an exact numerator and denominator.

    Attributes:
        task: `"multiclass"`, `"binary"`, `"multilabel"` or `"regression"`.
        unsupported: Options and tasks that it refuses, each with the reason.
        inexact: Why its mean over several batches is not the sum of their sums over the sum of their weights, or None.
    """

    task: str = "regression"
    unsupported: ClassVar[Mapping[str, str]] = {}
    inexact: str | None = None
    arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Remember the arguments, from which a checkpoint's plain mapping is written."""
        loss = super().__new__(cls)
        if args or kwargs:
            bound = inspect.signature(cls).bind(*args, **kwargs).arguments
            kwargs = {**{k: v for k, v in bound.items() if k != "options"}, **bound.get("options", {})}
        object.__setattr__(loss, "arguments", kwargs)
        return loss

    def extra_repr(self) -> str:
        """Show the arguments that were given."""
        return ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())

    def forward(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Return the mean, a scalar; 0 over no weight at all."""
        return ratio(*self.sum_and_weight(input, target, sample_weight))

    @abstractmethod
    def sum_and_weight(
        self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the summed loss and what the mean divides it by.

        The mean over micro-batches or ranks is the sum of the sums over the sum of the weights, however the rows are
        cut.

        Args:
            input: What the model returns.
            target: What it should return.
            sample_weight: Weight of each row, `(N,)` or the target's shape.

        Returns:
            Two scalars; the second has no graph.
        """

    def posterior(self, input: Tensor) -> Tensor:
        """Return the class probabilities that the trained outputs mean.

        Args:
            input: What the model returns.

        Returns:
            Probabilities of the input's shape.

        Raises:
            TypeError: There are none for this loss.
        """
        raise TypeError(f"{type(self).__name__} has no posterior: it is not a loss on class probabilities")

    def predict(self, input: Tensor) -> Prediction:
        """Return decisions and, where the loss allows it, probabilities.

        Args:
            input: What the model returns.

        Returns:
            The prediction.
        """
        return Prediction(input, None)


class RowwiseLoss(Loss):
    """A loss that is known for each row."""

    @property
    @abstractmethod
    def reduction(self) -> Reduction:
        """`"mean"`, `"sum"` or `"none"`."""

    @abstractmethod
    def rows(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> RowLoss:
        """Return the weighted loss of each row and what it adds to the denominator of the mean.

        Args:
            input: What the model returns.
            target: What it should return.
            sample_weight: Weight of each row, `(N,)` or the target's shape.

        Returns:
            Two tensors of one shape; the second has no graph.
        """

    def forward(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Return the reduced loss: a scalar, or with `reduction="none"` one loss for each row."""
        return reduce(self.rows(input, target, sample_weight), self.reduction)

    def sum_and_weight(
        self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the summed loss and what the mean divides it by."""
        return self.rows(input, target, sample_weight).totals()
