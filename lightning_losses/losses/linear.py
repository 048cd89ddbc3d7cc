"""A linear layer and its loss in one, as a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lightning_losses.functional._formula import Extra
from lightning_losses.functional.linear import linear_loss, loss_and_weight, sum_and_weight_arguments
from lightning_losses.kernels.linear import sum_and_weight
from lightning_losses.losses.base import Loss, Prediction
from lightning_losses.losses.classification import ClassificationLoss
from lightning_losses.losses.registry import get_loss


class LinearLoss(Loss):
    """The last linear layer of a classifier and its loss: see `functional.linear_loss`.

    Args:
        loss: A multiclass loss on logits: its name, mapping or module.
        in_features: H, the width of what the module takes.
        num_classes: C.
        bias: Whether the layer has a bias.

    Attributes:
        weight: `(C, H)`; assign an embedding's to tie them.
        bias: `(C,)` or None.

    Raises:
        TypeError: The loss is not a function of one row's logits and target.

    Example:
        >>> import torch
        >>> loss = LinearLoss("focal", in_features=8, num_classes=4)
        >>> loss(torch.randn(3, 8), torch.tensor([0, 1, 3])).backward()
        >>> loss.weight.grad.shape
        torch.Size([4, 8])
    """

    task = "multiclass"

    def __init__(
        self, loss: str | Mapping[str, Any] | ClassificationLoss, in_features: int, num_classes: int, bias: bool = True
    ) -> None:
        super().__init__()
        inner = get_loss(loss)
        if not isinstance(inner, ClassificationLoss) or isinstance(inner.phi, Extra) or inner.task != self.task:
            raise TypeError(f"loss must be a multiclass loss that is a function of log p, got {loss!r}")
        if not inner.settings.from_logits:
            raise TypeError(f"loss must take logits, got {loss!r} with from_logits=False")
        self.loss = inner
        layer = nn.Linear(in_features, num_classes, bias=bias)
        self.weight, self.bias = layer.weight, layer.bias

    def logits(self, input: Tensor) -> Tensor:
        """Return the outputs of the linear layer, `(..., C)`."""
        return nn.functional.linear(input, self.weight, self.bias)

    def forward(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Return the loss of hidden values `(..., H)`."""
        return linear_loss(input, self.weight, self.bias, target, self.loss, sample_weight)

    def sum_and_weight(
        self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Loss.sum_and_weight`."""
        flat = sum_and_weight_arguments(input, self.weight, self.bias, target, sample_weight)
        return sum_and_weight(loss_and_weight(self.loss), *flat)

    def posterior(self, input: Tensor) -> Tensor:
        """Return the class probabilities for hidden values, `(..., C)`."""
        logits = self.logits(input)
        return self.loss.posterior(logits.reshape(-1, logits.shape[-1])).reshape(logits.shape)

    def predict(self, input: Tensor) -> Prediction:
        """Return the class (the largest output) and, where there is a posterior, the probabilities."""
        logits = self.logits(input)
        decision, probabilities = self.loss.predict(logits.reshape(-1, logits.shape[-1]))
        return Prediction(
            decision.reshape(logits.shape[:-1]), None if probabilities is None else probabilities.reshape(logits.shape)
        )
