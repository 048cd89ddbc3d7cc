"""Classification losses as modules: each stores the arguments of the function of the same stem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import Unpack

from lightning_losses._target_checks import may_look
from lightning_losses.functional import _posterior
from lightning_losses.functional._class_factors import NO_FACTORS, ClassFactors, class_factors
from lightning_losses.functional._formula import Formula, check_support
from lightning_losses.functional._inputs import warn_if_probabilities
from lightning_losses.functional._options import Options, PerClass, Reduction, Task, settings_from
from lightning_losses.functional._pipeline import row_loss
from lightning_losses.functional._prior import log_prior, prior_from_counts
from lightning_losses.functional._rows import RowLoss
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
from lightning_losses.functional.logit_adjustment import LogitAdjusted
from lightning_losses.losses.base import Prediction, RowwiseLoss


class ClassificationLoss(RowwiseLoss):
    """A loss on class probabilities, given by logits.

    Args:
        formula: The loss as a function of the log-likelihood of the true class, or an extra one.
        options: See [`Options`][lightning_losses.functional.Options].
        alpha: See `focal_loss`.
        shift: What is added to each logit, on the scale of `task`.
        constant: What an extra loss knows of the classes.

    Raises:
        ValueError: An option is not allowed, or this loss does not take it; the message says why.
        TypeError: An option is unknown.
    """

    weight: Tensor | None
    pos_weight: Tensor | None
    class_alpha: Tensor | None
    class_shift: Tensor | None
    class_constant: Tensor | None
    default_task: ClassVar[Task] = "multiclass"

    def __init__(
        self,
        formula: Formula,
        options: Options,
        *,
        alpha: PerClass | float | None = None,
        shift: Tensor | None = None,
        constant: Tensor | None = None,
    ) -> None:
        super().__init__()
        given: dict[str, Any] = {"task": self.default_task, **options}
        check_support(type(self).__name__, formula, given)
        weight, pos_weight = given.pop("weight", None), given.pop("pos_weight", None)
        self.phi = formula
        self.settings = settings_from(type(self).__name__, given)
        factors = class_factors(self.settings.task, weight, pos_weight, alpha)
        self.register_buffer("weight", factors.weight, persistent=False)
        self.register_buffer("pos_weight", factors.pos_weight, persistent=False)
        self.register_buffer("class_alpha", factors.alpha, persistent=False)
        self.register_buffer("class_shift", shift, persistent=False)
        self.register_buffer("class_constant", constant, persistent=False)
        self.no_posterior = _posterior.why_none(formula, self.settings, factors)
        self._input_seen = False

    @property
    def task(self) -> Task:  # type: ignore[override]
        """The task that the loss was made for."""
        return self.settings.task

    @property
    def reduction(self) -> Reduction:
        """`"mean"`, `"sum"` or `"none"`."""
        return self.settings.reduction

    def rows(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> RowLoss:
        """Return the weighted loss of each row and what it adds to the denominator of the mean."""
        rows = row_loss(self.phi, self.settings, self._factors, input, target, sample_weight)
        if may_look(input) and not self._input_seen:
            self._input_seen = True
            warn_if_probabilities(self.settings, input)
        return rows

    def posterior(
        self,
        input: Tensor,
        prior: Tensor | Sequence[float] | None = None,
        train_prior: Tensor | Sequence[float] | None = None,
    ) -> Tensor:
        """Return the class probabilities that the trained outputs mean: weights, shifts and smoothing are undone.

        Args:
            input: What the model returns.
            prior: Base rates where the model is used, if they differ from those it was trained on: `(C,)`, binary
                `[p0, p1]`, multilabel `P(1)` of each label.
            train_prior: Base rates that it was trained on; known without it to losses that were given a prior.

        Returns:
            Probabilities of the input's shape; one logit: `P(1|x)`.

        Raises:
            TypeError: There are none for this loss; the message says why.
            ValueError: A prior is not one, or `train_prior` is missing.
        """
        if self.no_posterior:
            raise TypeError(f"{type(self).__name__} has no posterior: {self.no_posterior}")
        probabilities = _posterior.posterior(self.phi, self.settings, self._factors, input)
        if prior is None:
            return probabilities
        new, old = log_prior("prior", self.task, prior), self._train_log_prior(train_prior)
        return _posterior.move_prior(self.task, probabilities, new - old)

    def predict(self, input: Tensor) -> Prediction:
        """Return the class (the largest output) and, where there is a posterior, the probabilities."""
        if self.task == "multiclass":
            decision = input.argmax(dim=min(input.dim() - 1, 1))
        else:
            decision = (input > (0 if self.settings.from_logits else 0.5)).long()
        return Prediction(decision, None if self.no_posterior else self.posterior(input))

    def _train_log_prior(self, train_prior: Tensor | Sequence[float] | None) -> Tensor:
        if train_prior is None:
            raise ValueError("train_prior must be given with prior: the base rates that the model was trained on")
        return log_prior("train_prior", self.task, train_prior)

    @property
    def _factors(self) -> ClassFactors:
        factors = ClassFactors(self.weight, self.pos_weight, self.class_alpha, self.class_shift, self.class_constant)
        return NO_FACTORS if all(factor is None for factor in factors) else factors


class CrossEntropyLoss(ClassificationLoss):
    """Cross entropy; see [`cross_entropy_loss`][lightning_losses.functional.cross_entropy_loss].

    Example:
        >>> import torch
        >>> CrossEntropyLoss(weight=[1.0, 2.0])(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
        tensor(0.6931)
    """

    def __init__(self, **options: Unpack[Options]) -> None:
        super().__init__(CrossEntropy(), options)


class BinaryCrossEntropyLoss(ClassificationLoss):
    """Binary cross entropy; see [`binary_cross_entropy_loss`][lightning_losses.functional.binary_cross_entropy_loss].

    Example:
        >>> import torch
        >>> BinaryCrossEntropyLoss()(torch.zeros(2), torch.tensor([0, 1]))
        tensor(0.6931)
    """

    default_task = "binary"

    def __init__(self, **options: Unpack[Options]) -> None:
        super().__init__(CrossEntropy(), options)


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
        super().__init__(Focal(gamma), options, alpha=alpha)


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
        super().__init__(SymmetricCrossEntropy(alpha, beta, label_floor), options)


class ReverseCrossEntropyLoss(ClassificationLoss):
    """Reverse cross entropy; see `reverse_cross_entropy_loss` in `lightning_losses.functional`.

    Example:
        >>> import torch
        >>> ReverseCrossEntropyLoss()(torch.zeros(1, 2), torch.tensor([0]))
        tensor(4.6052)
    """

    def __init__(self, label_floor: float = 1e-4, **options: Unpack[Options]) -> None:
        super().__init__(ReverseCrossEntropy(label_floor), options)


class GeneralizedCrossEntropyLoss(ClassificationLoss):
    """Generalized cross entropy; see `generalized_cross_entropy_loss` in `lightning_losses.functional`.

    Example:
        >>> import torch
        >>> GeneralizedCrossEntropyLoss(q=1.0)(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.5000)
    """

    def __init__(self, q: float = 0.7, **options: Unpack[Options]) -> None:
        super().__init__(GeneralizedCrossEntropy(q), options)


class ProbMAELoss(ClassificationLoss):
    """Absolute error of the probabilities; see [`prob_mae_loss`][lightning_losses.functional.prob_mae_loss].

    Example:
        >>> import torch
        >>> ProbMAELoss()(torch.zeros(1, 2), torch.tensor([0]))
        tensor(1.)
    """

    def __init__(self, **options: Unpack[Options]) -> None:
        super().__init__(ProbMAE(), options)


class Poly1Loss(ClassificationLoss):
    """Poly-1 loss; see [`poly1_loss`][lightning_losses.functional.poly1_loss].

    Example:
        >>> import torch
        >>> Poly1Loss(epsilon=2.0)(torch.zeros(1, 2), torch.tensor([0]))
        tensor(1.6931)
    """

    def __init__(self, epsilon: float = 1.0, **options: Unpack[Options]) -> None:
        super().__init__(Poly1(epsilon), options)


class TaylorCrossEntropyLoss(ClassificationLoss):
    """Taylor cross entropy; see `taylor_cross_entropy_loss` in `lightning_losses.functional`.

    Example:
        >>> import torch
        >>> TaylorCrossEntropyLoss(order=2)(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.6250)
    """

    def __init__(self, order: int = 2, **options: Unpack[Options]) -> None:
        super().__init__(TaylorCrossEntropy(order), options)


class LogitAdjustedLoss(ClassificationLoss):
    """Logit-adjusted cross entropy; see [`logit_adjusted_loss`][lightning_losses.functional.logit_adjusted_loss].

    Example:
        >>> import torch
        >>> LogitAdjustedLoss(prior=[0.9, 0.1])(torch.zeros(1, 2), torch.tensor([1]))
        tensor(2.3026)
    """

    unsupported = LogitAdjusted.unsupported
    log_prior: Tensor

    def __init__(self, prior: Tensor | Sequence[float], tau: float = 1.0, **options: Unpack[Options]) -> None:
        log = log_prior("prior", options.get("task", "multiclass"), prior)
        super().__init__(LogitAdjusted(tau), options, shift=tau * log)
        self.register_buffer("log_prior", log, persistent=False)

    def _train_log_prior(self, train_prior: Tensor | Sequence[float] | None) -> Tensor:
        return self.log_prior if train_prior is None else super()._train_log_prior(train_prior)


class BalancedSoftmaxLoss(LogitAdjustedLoss):
    """Balanced softmax; see [`balanced_softmax_loss`][lightning_losses.functional.balanced_softmax_loss].

    Example:
        >>> import torch
        >>> BalancedSoftmaxLoss(class_counts=[90, 10])(torch.zeros(1, 2), torch.tensor([1]))
        tensor(2.3026)
    """

    def __init__(self, class_counts: Tensor | Sequence[Any], **options: Unpack[Options]) -> None:
        super().__init__(prior_from_counts(options.get("task", "multiclass"), class_counts), **options)
