"""Losses that are not ours: torch's criteria and the user's own callables."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lightning_losses._validation import choice, unknown_arguments
from lightning_losses.losses.base import Prediction


def torch_criteria() -> dict[str, type[nn.Module]]:
    """Return every criterion of `torch.nn` by its class name."""
    base = nn.modules.loss._Loss
    named = {name: getattr(nn, name) for name in dir(nn) if name.endswith("Loss")}
    return {name: cls for name, cls in named.items() if isinstance(cls, type) and issubclass(cls, base)}


class ForeignLoss(nn.Module):
    """Any callable of `(input, target)` that returns a scalar, in the place of a loss.

    It has no numerator and denominator of its own, so means over micro-batches are ordinary ones.

    Args:
        function: The callable; a module's parameters and buffers are this module's.
        task: Decides what `predict` returns: with `"multiclass"` the largest output, with `"binary"` and
            `"multilabel"` the sign, otherwise the outputs.

    Example:
        >>> import torch
        >>> ForeignLoss(lambda input, target: (input - target).abs().max())(torch.zeros(2), torch.tensor([1.0, 3.0]))
        tensor(3.)
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], task: str = "regression") -> None:
        super().__init__()
        self.function = function
        self.task = choice("task", task, ("regression", "multiclass", "binary", "multilabel"))

    def forward(self, input: Any, target: Any, sample_weight: Tensor | None = None) -> Tensor:
        """Return the scalar loss.

        Args:
            input: What the model returns; a tuple is passed on as several arguments (`CosineEmbeddingLoss`).
            target: What it should return; a tuple is passed on as several arguments (`CTCLoss` with the lengths).
            sample_weight: Must be None.

        Raises:
            TypeError: A sample weight is given.
        """
        if sample_weight is not None:
            raise TypeError(f"{self.function!r} takes no sample_weight")
        return self.function(*_as_tuple(input), *_as_tuple(target))

    def predict(self, input: Tensor) -> Prediction:
        """Return decisions without probabilities."""
        if self.task == "multiclass":
            return Prediction(input.argmax(dim=min(input.dim() - 1, 1)), None)
        if self.task == "regression":
            return Prediction(input, None)
        return Prediction((input > (0.5 if isinstance(self.function, nn.BCELoss) else 0)).long(), None)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


# Those that decide between classes; the others are regression.
TORCH_TASKS = {
    "BCELoss": "binary",
    "BCEWithLogitsLoss": "binary",
    "CrossEntropyLoss": "multiclass",
    "KLDivLoss": "multiclass",
    "MultiLabelMarginLoss": "multilabel",
    "MultiLabelSoftMarginLoss": "multilabel",
    "MultiMarginLoss": "multiclass",
    "NLLLoss": "multiclass",
    "SoftMarginLoss": "binary",
}


class _GaussianNLL(nn.GaussianNLLLoss):
    def forward(self, input: Tensor, var: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(input, target, var)


def torch_loss(name: str, arguments: dict[str, Any]) -> ForeignLoss:
    """Build the criterion `torch.nn.<name>`.

    Args:
        name: Its class name, such as `"PoissonNLLLoss"`. `GaussianNLLLoss` takes the tuple (mean, variance) as input.
        arguments: Its constructor's arguments, and `task` of `ForeignLoss`.

    Raises:
        ValueError: torch has no criterion of this name.
        TypeError: It takes no such argument.
    """
    criteria = torch_criteria()
    criterion = criteria[choice("loss", name, criteria)]
    task = arguments.pop("task", TORCH_TASKS.get(name, "regression"))
    unknown_arguments(f"torch.nn.{name}", arguments, tuple(inspect.signature(criterion).parameters))
    given = {key: arguments[key] for key in ("weight", "pos_weight") if arguments.get(key) is not None}
    constants = {key: torch.as_tensor(value, dtype=torch.get_default_dtype()) for key, value in given.items()}
    model_gives_variance = criterion is nn.GaussianNLLLoss
    return ForeignLoss((_GaussianNLL if model_gives_variance else criterion)(**{**arguments, **constants}), task=task)
