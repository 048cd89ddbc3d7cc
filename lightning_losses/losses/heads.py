"""Losses of a network with several heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_losses._validation import nearest
from lightning_losses.functional._mean import ratio
from lightning_losses.losses.base import Loss, Prediction
from lightning_losses.losses.classification import ClassificationLoss
from lightning_losses.losses.foreign import ForeignLoss


class Head(NamedTuple):
    """What one head's loss looks at.

    Attributes:
        loss: The loss.
        factor: What it is multiplied by in the sum.
        input: What the head returns.
        target: What it should return.
        sample_weight: Weight of each row.
    """

    loss: Loss | ForeignLoss
    factor: float
    input: Any
    target: Any
    sample_weight: Tensor | None


class HeadsLoss(Loss):
    r"""Sum of a loss for each head of a network, each with outputs, targets and a denominator of its own.

    $$\sum_h f_h L_h(\text{input}_h, \text{target}_h)$$

    `get_loss` builds it from a mapping that has no `name`: `{"cls": "focal", "aux": {"name": "mse", "factor": 0.5}}`.

    Args:
        losses: The loss of each head by its name.
        factors: What they are multiplied by, 1 where a head has none.

    Example:
        >>> from lightning_losses.losses import get_loss
        >>> loss = get_loss({"cls": "focal", "aux": {"name": "mse", "factor": 0.5}})
        >>> outputs = {"cls": torch.zeros(2, 3), "aux": torch.zeros(2)}
        >>> loss(outputs, {"cls": torch.tensor([0, 2]), "aux": torch.tensor([1.0, 3.0])})
        tensor(2.9883)
    """

    task = "heads"

    def __init__(self, losses: Mapping[str, Loss | ForeignLoss], factors: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.losses = nn.ModuleDict(losses)
        self.factors = {name: (factors or {}).get(name, 1.0) for name in losses}

    def heads(self, input: Any, target: Any, sample_weight: Any = None) -> Iterator[tuple[str, Head]]:
        """Yield what each head's loss looks at.

        Args:
            input: What each head returns, by its name.
            target: What it should return.
            sample_weight: Weight of each row, one tensor for all heads or one for each by its name.

        Raises:
            TypeError: `input` or `target` is not a mapping.
            ValueError: A head is missing.
        """
        for name, loss in self.losses.items():
            own_weight = sample_weight.get(name) if isinstance(sample_weight, Mapping) else sample_weight
            of_head = _of_head("input", input, name), _of_head("target", target, name)
            yield name, Head(loss, self.factors[name], *of_head, own_weight)  # type: ignore[arg-type]

    def forward(self, input: Any, target: Any, sample_weight: Any = None) -> Tensor:
        """Return the sum of the heads' means, a scalar."""
        means = [head.factor * head.loss(*head[2:]) for _, head in self.heads(input, target, sample_weight)]
        return torch.stack(means).sum()

    def sum_and_weight(self, input: Any, target: Any, sample_weight: Any = None) -> tuple[Tensor, Tensor]:
        """Return the sum and the denominator that all heads share.

        Raises:
            ValueError: They share none: there is no common one.
        """
        sums, weights = [], []
        for name, head in self.heads(input, target, sample_weight):
            if not isinstance(head.loss, Loss):
                raise ValueError(f"head {name!r} has no denominator: {head.loss} returns its mean only")
            total, weight = head.loss.sum_and_weight(*head[2:])
            sums.append(head.factor * ratio(total, weight))
            weights.append(weight)
        return torch.stack(sums).sum() * weights[0], weights[0]

    def predict(self, input: Any) -> dict[str, Prediction]:  # type: ignore[override]
        """Return the prediction of each head by its name."""
        predictors: dict[str, Any] = dict(self.losses.items())
        return {name: loss.predict(_of_head("input", input, name)) for name, loss in predictors.items()}

    def posterior(self, input: Any) -> Tensor:
        """Raise a TypeError: each head has its own."""
        raise TypeError("each head has its own posterior: loss.losses[head].posterior(input[head])")

    @property
    def inexact(self) -> str | None:  # type: ignore[override]
        """Why the mean over a window depends on how it is cut, or None."""
        for name, loss in self.losses.items():
            if not isinstance(loss, Loss):
                return f"head {name!r} has no numerator and denominator"
            if loss.inexact:
                return f"head {name!r}: {loss.inexact}"
        return None

    @property
    def own_denominators(self) -> list[str]:
        """The heads whose class weights count in the denominator, which no other head can share then."""
        return [name for name, loss in self.losses.items() if _is_divided_by_class_weights(loss)]


def _is_divided_by_class_weights(loss: nn.Module) -> bool:
    parts = [part for part in loss.modules() if isinstance(part, ClassificationLoss)]
    return any(
        part.weight is not None and part.settings.normalizer == "weights" and part.task != "multilabel"
        for part in parts
    )


def _of_head(argument: str, values: Any, head: str) -> Any:
    if not isinstance(values, Mapping):
        raise TypeError(f"{argument} must be a mapping with one entry for each head, got a {type(values).__name__}")
    if head not in values:
        raise ValueError(f"{argument} has no head {head!r}, only {', '.join(map(repr, values))}{nearest(head, values)}")
    return values[head]
