"""Classification losses as modules: each stores the arguments of the function of the same stem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import Unpack

from lightning_losses.functional import _posterior
from lightning_losses.functional._phi import Phi
from lightning_losses.functional._pipeline import (
    ClassFactors,
    Options,
    PerClass,
    RowLoss,
    class_factors,
    reduce,
    row_loss,
    settings_from,
)
from lightning_losses.functional.classification import (
    CrossEntropy,
    Focal,
    GeneralizedCrossEntropy,
    Poly1,
    ProbMAE,
    ReverseCrossEntropy,
    SymmetricCrossEntropy,
    TaylorCrossEntropy,
)
from lightning_losses.losses.base import Loss, Prediction


class ClassificationLoss(Loss):
    """A loss that is a function of the log-likelihood of the true class.

    Args:
        phi: The function.
        alpha: See `focal_loss`.
        **options: See [`Options`][lightning_losses.functional.Options].

    Raises:
        ValueError: An option is not allowed.
        TypeError: An option is unknown.
    """

    weight: Tensor | None
    pos_weight: Tensor | None
    class_alpha: Tensor | None
    default_task: ClassVar[str] = "multiclass"

    def __init__(self, phi: Phi, *, alpha: PerClass | float | None = None, **options: Unpack[Options]) -> None:
        super().__init__()
        given: dict[str, Any] = {"task": self.default_task, **options}
        weight, pos_weight = given.pop("weight", None), given.pop("pos_weight", None)
        self.phi = phi
        self.settings = settings_from(type(self).__name__, given)
        factors = class_factors(self.settings.task, weight, pos_weight, alpha)
        self.register_buffer("weight", factors.weight, persistent=False)
        self.register_buffer("pos_weight", factors.pos_weight, persistent=False)
        self.register_buffer("class_alpha", factors.alpha, persistent=False)

    @property
    def task(self) -> str:  # type: ignore[override]
        """The task that the loss was made for."""
        return self.settings.task

    def forward(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Return the reduced loss: a scalar, or with `reduction="none"` one loss for each row."""
        return reduce(self._rows(input, target, sample_weight), self.settings.reduction)

    def sum_and_weight(
        self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the summed loss and what the mean divides it by."""
        rows = self._rows(input, target, sample_weight)
        return rows.loss.sum(), rows.weight.sum()

    def posterior(self, input: Tensor) -> Tensor:
        """Return the class probabilities that the trained `input` means, of its shape (one logit: `P(1|x)`)."""
        if not _posterior.has_posterior(self.phi):
            raise TypeError(
                f"{type(self).__name__} has no posterior: its minimum puts all probability on one class, "
                "so the outputs do not tell how likely the others are"
            )
        return _posterior.posterior(self.phi, self.settings, self._factors, input)

    def predict(self, input: Tensor) -> Prediction:
        """Return the class (the largest output) and, where there is a posterior, the probabilities."""
        if self.task == "multiclass":
            decision = input.argmax(dim=min(input.dim() - 1, 1))
        else:
            decision = (input > (0 if self.settings.from_logits else 0.5)).long()
        return Prediction(decision, self.posterior(input) if _posterior.has_posterior(self.phi) else None)

    @property
    def _factors(self) -> ClassFactors:
        return ClassFactors(self.weight, self.pos_weight, self.class_alpha)

    def _rows(self, input: Tensor, target: Tensor, sample_weight: Tensor | None) -> RowLoss:
        return row_loss(self.phi, self.settings, self._factors, input, target, sample_weight)


class CrossEntropyLoss(ClassificationLoss):
    """Cross entropy; see [`cross_entropy_loss`][lightning_losses.functional.cross_entropy_loss].

    Example:
        >>> import torch
        >>> CrossEntropyLoss(weight=[1.0, 2.0])(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
        tensor(0.6931)
    """

    def __init__(self, **options: Unpack[Options]) -> None:
        super().__init__(CrossEntropy(), **options)


class BinaryCrossEntropyLoss(ClassificationLoss):
    """Binary cross entropy; see [`binary_cross_entropy_loss`][lightning_losses.functional.binary_cross_entropy_loss].

    Example:
        >>> import torch
        >>> BinaryCrossEntropyLoss()(torch.zeros(2), torch.tensor([0, 1]))
        tensor(0.6931)
    """

    default_task = "binary"

    def __init__(self, **options: Unpack[Options]) -> None:
        super().__init__(CrossEntropy(), **options)


class FocalLoss(ClassificationLoss):
    """Focal loss; see [`focal_loss`][lightning_losses.functional.focal_loss].

    Example:
        >>> import torch
        >>> FocalLoss(gamma=2.0)(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.1733)
    """

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: Tensor | Sequence[float] | float | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(Focal(gamma), alpha=alpha, **options)


class SymmetricCrossEntropyLoss(ClassificationLoss):
    """Symmetric cross entropy; see `symmetric_cross_entropy_loss` in `lightning_losses.functional`.

    Example:
        >>> import torch
        >>> SymmetricCrossEntropyLoss(alpha=0.1, beta=1.0)(torch.zeros(1, 2), torch.tensor([0]))
        tensor(4.6745)
    """

    def __init__(
        self, alpha: float = 1.0, beta: float = 1.0, label_floor: float = 1e-4, **options: Unpack[Options]
    ) -> None:
        super().__init__(SymmetricCrossEntropy(alpha, beta, label_floor), **options)


class ReverseCrossEntropyLoss(ClassificationLoss):
    """Reverse cross entropy; see `reverse_cross_entropy_loss` in `lightning_losses.functional`.

    Example:
        >>> import torch
        >>> ReverseCrossEntropyLoss()(torch.zeros(1, 2), torch.tensor([0]))
        tensor(4.6052)
    """

    def __init__(self, label_floor: float = 1e-4, **options: Unpack[Options]) -> None:
        super().__init__(ReverseCrossEntropy(label_floor), **options)


class GeneralizedCrossEntropyLoss(ClassificationLoss):
    """Generalized cross entropy; see `generalized_cross_entropy_loss` in `lightning_losses.functional`.

    Example:
        >>> import torch
        >>> GeneralizedCrossEntropyLoss(q=1.0)(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.5000)
    """

    def __init__(self, q: float = 0.7, **options: Unpack[Options]) -> None:
        super().__init__(GeneralizedCrossEntropy(q), **options)


class ProbMAELoss(ClassificationLoss):
    """Absolute error of the probabilities; see [`prob_mae_loss`][lightning_losses.functional.prob_mae_loss].

    Example:
        >>> import torch
        >>> ProbMAELoss()(torch.zeros(1, 2), torch.tensor([0]))
        tensor(1.)
    """

    def __init__(self, **options: Unpack[Options]) -> None:
        super().__init__(ProbMAE(), **options)


class Poly1Loss(ClassificationLoss):
    """Poly-1 loss; see [`poly1_loss`][lightning_losses.functional.poly1_loss].

    Example:
        >>> import torch
        >>> Poly1Loss(epsilon=2.0)(torch.zeros(1, 2), torch.tensor([0]))
        tensor(1.6931)
    """

    def __init__(self, epsilon: float = 1.0, **options: Unpack[Options]) -> None:
        super().__init__(Poly1(epsilon), **options)


class TaylorCrossEntropyLoss(ClassificationLoss):
    """Taylor cross entropy; see `taylor_cross_entropy_loss` in `lightning_losses.functional`.

    Example:
        >>> import torch
        >>> TaylorCrossEntropyLoss(order=2)(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.6250)
    """

    def __init__(self, order: int = 2, **options: Unpack[Options]) -> None:
        super().__init__(TaylorCrossEntropy(order), **options)
