"""Extra classification losses as modules: each stores the arguments of the function of the same stem."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_losses._validation import in_interval
from lightning_losses.functional._options import Options
from lightning_losses.functional._rows import RowLoss
from lightning_losses.functional.classification import CrossEntropy, Focal
from lightning_losses.functional.extra import (
    LDAM,
    Asymmetric,
    BiTempered,
    ForwardCorrection,
    GradientHarmonizing,
    NegativeLogLikelihood,
    Normalized,
    ldam_margins,
    log_transition,
)
from lightning_losses.losses.classification import ClassificationLoss


class NormalizedCrossEntropyLoss(ClassificationLoss):
    """Normalized cross entropy; see `normalized_cross_entropy_loss` in `lightning_losses.functional`.

    Example:
        >>> NormalizedCrossEntropyLoss()(torch.zeros(1, 4), torch.tensor([1]))
        tensor(0.2500)
    """

    unsupported = Normalized.unsupported

    def __init__(self, **options: Unpack[Options]) -> None:
        super().__init__(Normalized(CrossEntropy()), options)


class NormalizedFocalLoss(ClassificationLoss):
    """Normalized focal loss; see [`normalized_focal_loss`][lightning_losses.functional.normalized_focal_loss].

    Example:
        >>> NormalizedFocalLoss(gamma=0.5)(torch.zeros(1, 4), torch.tensor([1]))
        tensor(0.2500)
    """

    unsupported = Normalized.unsupported

    def __init__(self, gamma: float = 0.5, **options: Unpack[Options]) -> None:
        super().__init__(Normalized(Focal(gamma)), options)


class LDAMLoss(ClassificationLoss):
    """Label-distribution-aware margin loss; see [`ldam_loss`][lightning_losses.functional.ldam_loss].

    Example:
        >>> LDAMLoss(class_counts=[16, 1], scale=1.0)(torch.tensor([[0.5, 0.0]]), torch.tensor([0]))
        tensor(0.5759)
    """

    unsupported = LDAM.unsupported

    def __init__(
        self,
        class_counts: Tensor | Sequence[float],
        max_margin: float = 0.5,
        scale: float = 30.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(LDAM(scale), options, constant=ldam_margins(class_counts, max_margin))


class AsymmetricLoss(ClassificationLoss):
    """Asymmetric loss; see [`asymmetric_loss`][lightning_losses.functional.asymmetric_loss].

    Example:
        >>> AsymmetricLoss()(torch.zeros(1, 2), torch.tensor([[1, 0]]))
        tensor(0.3588)
    """

    unsupported = Asymmetric.unsupported
    default_task = "multilabel"

    def __init__(
        self,
        gamma_positive: float = 0.0,
        gamma_negative: float = 4.0,
        margin: float = 0.05,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(Asymmetric(gamma_positive, gamma_negative, margin), options)


class BiTemperedLoss(ClassificationLoss):
    """Bi-tempered logistic loss; see [`bi_tempered_loss`][lightning_losses.functional.bi_tempered_loss].

    Example:
        >>> BiTemperedLoss(t1=1.0, t2=1.0)(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.6931)
    """

    unsupported = BiTempered.unsupported

    def __init__(self, t1: float = 0.8, t2: float = 1.2, **options: Unpack[Options]) -> None:
        super().__init__(BiTempered(t1, t2), options)


class ForwardCorrectionLoss(ClassificationLoss):
    """Forward correction; see [`forward_correction_loss`][lightning_losses.functional.forward_correction_loss].

    Example:
        >>> loss = ForwardCorrectionLoss(transition=[[0.8, 0.2], [0.2, 0.8]])
        >>> loss(torch.tensor([[50.0, -50.0]]), torch.tensor([1]))
        tensor(1.6094)
    """

    unsupported = ForwardCorrection.unsupported

    def __init__(self, transition: Tensor | Sequence[Sequence[float]], **options: Unpack[Options]) -> None:
        super().__init__(ForwardCorrection(), options, constant=log_transition(transition))


class NLLLoss(ClassificationLoss):
    """Negative log-likelihood; see [`nll_loss`][lightning_losses.functional.nll_loss].

    Example:
        >>> NLLLoss()(torch.tensor([[0.25, 0.75]]).log(), torch.tensor([0]))
        tensor(1.3863)
    """

    unsupported = NegativeLogLikelihood.unsupported

    def __init__(self, **options: Unpack[Options]) -> None:
        super().__init__(NegativeLogLikelihood(), options)


class GHMLoss(ClassificationLoss):
    """Gradient harmonizing; see [`ghm_loss`][lightning_losses.functional.ghm_loss].

    Args:
        bins: Number of bins of the gradient norm, at least 1.
        momentum: Share of the old in the running number of elements of each bin, in [0, 1); 0: this batch alone. Only
            batches in training mode count. The number is a buffer that is saved; several processes treat it as they
            treat those of batch norm.
        **options: See `Options`.

    Raises:
        ValueError: An argument is out of range, or an option is not allowed.
        TypeError: An option is unknown.

    Example:
        >>> GHMLoss()(torch.zeros(4), torch.tensor([0, 1, 1, 0]))
        tensor(0.6931)
    """

    phi: GradientHarmonizing
    inexact = "it weights a row by how many of its batch are as hard"
    unsupported = GradientHarmonizing.unsupported
    default_task = "binary"

    def __init__(self, bins: int = 10, momentum: float = 0.0, **options: Unpack[Options]) -> None:
        super().__init__(GradientHarmonizing(bins), options)
        if in_interval("momentum", momentum, 0, 1) == 1:
            raise ValueError(f"momentum must be below 1, or no batch would count, got {momentum!r}")
        self.momentum = float(momentum)
        if momentum:  # saved, unlike constants: it is what training has found
            self.register_buffer("class_constant", torch.zeros(bins))

    def rows(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> RowLoss:
        """Count the batch if it is one of the training, then return its rows."""
        old = self.class_constant
        if old is not None and self.training:
            batch = self.phi.count(self.settings, input, target)
            self.class_constant = torch.lerp(batch, old.to(batch), self.momentum).where(old.any(), batch)
        return super().rows(input, target, sample_weight)
