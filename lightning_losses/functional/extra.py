"""Classification losses that are not a function of the log-likelihood of the true class alone.

They take the options of [`FunctionOptions`][lightning_losses.functional.FunctionOptions] but those that
`lightning_losses.losses.SUPPORT` gives a reason against.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor
from torch.nn.functional import softplus
from typing_extensions import Unpack

from lightning_losses._validation import finite_non_negative, in_interval, positive
from lightning_losses.functional._class_factors import NO_FACTORS, ClassFactors
from lightning_losses.functional._formula import Extra
from lightning_losses.functional._mean import ratio
from lightning_losses.functional._options import FunctionOptions, PerClass, Settings
from lightning_losses.functional._pipeline import compute, expected_rows, row_loss
from lightning_losses.functional._rows import RowLoss
from lightning_losses.functional.class_weights import checked_counts
from lightning_losses.functional.classification import CrossEntropy, Focal
from lightning_losses.kernels import Phi, log_softmax

CORE_ONLY = {"z_loss": "only the losses that are a function of the log-likelihood take it"}
ONE_SOFTMAX = {
    "binary": "it is defined for a softmax over classes; use two logits",
    "multilabel": "it is defined for a softmax over classes",
    "pos_weight": "it belongs to the binary and multilabel tasks",
}
LOGITS_ONLY = {"from_logits": "it is defined on logits"}


def _constant(argument: str, factors: ClassFactors, shape: tuple[int, ...]) -> Tensor:
    """Return what the loss knows of the classes, or raise a ValueError if it is for another number of them."""
    constant = cast(Tensor, factors.constant)  # who makes the loss gives one
    if constant.shape != shape:
        raise ValueError(
            f"{argument} must have shape {tuple(shape)} for input of {shape[0]} classes, got {tuple(constant.shape)}"
        )
    return constant


@dataclass(frozen=True)
class Normalized(Extra):
    """`phi(log p_t) / sum_c phi(log p_c)`."""

    phi: Phi

    unsupported: ClassVar = CORE_ONLY
    no_posterior: ClassVar = "it is normalized, so its minimum puts all probability on one class"

    def rows(self, settings: Settings, factors: ClassFactors, scores: Tensor, target: Tensor) -> RowLoss:
        """Return the rows of `phi`, each divided by what all classes together would have cost."""
        rows = row_loss(self.phi, settings, factors, scores, target)
        classes, uniform = _uniform_target(settings, scores, target)
        everything = classes * row_loss(self.phi, settings, NO_FACTORS, scores, uniform).loss
        return RowLoss(ratio(rows.loss, everything), rows.weight)


def _uniform_target(settings: Settings, scores: Tensor, target: Tensor) -> tuple[int, Tensor]:
    """Return the number of classes and a target that gives each the same share, ignored where `target` is."""
    ignored = target == settings.ignore_index
    classes = 2
    if settings.task == "multiclass":
        dim = min(scores.dim(), 2) - 1
        classes = scores.shape[dim]
        ignored = ignored.all(dim=dim, keepdim=True) if target.shape == scores.shape else ignored.unsqueeze(dim)
    return classes, torch.full_like(scores, 1 / classes).masked_fill(ignored, settings.ignore_index)


def normalized_cross_entropy_loss(input: Tensor, target: Tensor, **options: Unpack[FunctionOptions]) -> Tensor:
    r"""Normalized cross entropy: the share of the true class in what all classes would cost.

    $$\frac{-\log p_t}{-\sum_c \log p_c}$$

    For noisy labels, as the active part of an active-passive sum (see `CombinedLoss`): bounded and symmetric, it
    tolerates uniform noise, and alone it underfits.

    Args:
        input: Logits, see `FunctionOptions`.
        target: Class indices or probabilities, see `FunctionOptions`.
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each row.

    Raises:
        ValueError: A target is out of range, shapes do not fit, or an option is not allowed.
        TypeError: An option is unknown, or a type does not fit.

    Example:
        >>> import torch
        >>> normalized_cross_entropy_loss(torch.zeros(1, 4), torch.tensor([1]))
        tensor(0.2500)

    Source:
        Ma, Huang, Wang, Romano, Erfani, Bailey: Normalized Loss Functions for Deep Learning with Noisy Labels, 2020.
    """
    return compute(Normalized(CrossEntropy()), input, target, options)


def normalized_focal_loss(
    input: Tensor, target: Tensor, gamma: float = 0.5, **options: Unpack[FunctionOptions]
) -> Tensor:
    r"""Normalized focal loss: the share of the true class in what all classes would cost.

    $$\frac{-(1 - p_t)^\gamma \log p_t}{-\sum_c (1 - p_c)^\gamma \log p_c}$$

    As `normalized_cross_entropy_loss`; the paper uses `gamma` 0.5.

    Args:
        input: Logits, see `FunctionOptions`.
        target: Class indices or probabilities, see `FunctionOptions`.
        gamma: Focusing exponent, at least 0.
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each row.

    Raises:
        ValueError: `gamma` is negative, a target is out of range, shapes do not fit, or an option is not allowed.
        TypeError: An option is unknown, or a type does not fit.

    Example:
        >>> import torch
        >>> normalized_focal_loss(torch.zeros(1, 4), torch.tensor([1]))
        tensor(0.2500)

    Source:
        Ma, Huang, Wang, Romano, Erfani, Bailey: Normalized Loss Functions for Deep Learning with Noisy Labels, 2020.
    """
    return compute(Normalized(Focal(gamma)), input, target, options)


@dataclass(frozen=True)
class LDAM(Extra):
    """Cross entropy whose true logit is `margin` too low; `constant` holds the margin of each class."""

    scale: float = 30.0

    unsupported: ClassVar = {**CORE_ONLY, **ONE_SOFTMAX, **LOGITS_ONLY}
    no_posterior: ClassVar = "its margin depends on the label, so its logits answer no one question"

    def __post_init__(self) -> None:
        positive("scale", self.scale)

    def rows(self, settings: Settings, factors: ClassFactors, scores: Tensor, target: Tensor) -> RowLoss:
        """Return the rows."""

        def class_losses(logits: Tensor) -> Tensor:
            margin = _constant("class_counts", factors, logits.shape[1:])
            log_p = log_softmax(self.scale * logits)
            miss = (-log_p.expm1()).clamp_min(torch.finfo(log_p.dtype).tiny)
            return softplus(miss.log() - log_p + self.scale * margin)  # as softmax with z_t - margin_t

        return expected_rows(class_losses, settings, factors, scores, target)


def ldam_margins(class_counts: PerClass, max_margin: float) -> Tensor:
    """Return the margin of each class, proportional to `n_c ** -0.25`, the largest of them `max_margin`."""
    margins = checked_counts("class_counts", class_counts) ** -0.25
    return margins * finite_non_negative("max_margin", max_margin) / margins.max()


def ldam_loss(
    input: Tensor,
    target: Tensor,
    class_counts: Tensor | Sequence[float],
    max_margin: float = 0.5,
    scale: float = 30.0,
    **options: Unpack[FunctionOptions],
) -> Tensor:
    r"""Label-distribution-aware margin loss: rare classes must win by more.

    $$-\log \frac{e^{s (z_t - \Delta_t)}}{e^{s (z_t - \Delta_t)} + \sum_{c \ne t} e^{s z_c}}, \quad
    \Delta_c \propto n_c^{-1/4}, \quad \max_c \Delta_c = \text{max\_margin}$$

    For imbalance. The paper's logits are cosines (last layer and features normalized), which `scale` and `max_margin`
    are made for, and it adds `weight=effective_number(...)` for the last fifth of the epochs.

    Args:
        input: Cosines in [-1, 1], see `FunctionOptions` for the shapes.
        target: Class indices or probabilities, see `FunctionOptions`.
        class_counts: Training rows of each class, `(C,)`.
        max_margin: Margin of the rarest class, at least 0.
        scale: Factor `s` on the logits, above 0.
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each row.

    Raises:
        ValueError: An argument or a target is out of range, shapes do not fit, or an option is not allowed.
        TypeError: An option is unknown, or a type does not fit.

    Example:
        >>> import torch
        >>> ldam_loss(torch.tensor([[0.5, 0.0]]), torch.tensor([0]), class_counts=[16, 1], scale=1.0)
        tensor(0.5759)

    Source:
        Cao, Wei, Gaidon, Arechiga, Ma: Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, 2019.
    """
    return compute(LDAM(scale), input, target, options, constant=ldam_margins(class_counts, max_margin))


@dataclass(frozen=True)
class Asymmetric(Extra):
    """Focal loss on positives, and on negatives another one that forgets those with `p < margin`."""

    gamma_positive: float = 0.0
    gamma_negative: float = 4.0
    margin: float = 0.05

    unsupported: ClassVar = {
        **CORE_ONLY,
        "multiclass": "it weighs the positives and negatives of single labels",
    }
    no_posterior: ClassVar = "negatives below the margin cost nothing, so small probabilities are all alike"

    def __post_init__(self) -> None:
        finite_non_negative("gamma_positive", self.gamma_positive)
        finite_non_negative("gamma_negative", self.gamma_negative)
        if in_interval("margin", self.margin, 0, 1) == 1:
            raise ValueError(f"margin must be below 1, or no negative would count, got {self.margin!r}")

    def rows(self, settings: Settings, factors: ClassFactors, scores: Tensor, target: Tensor) -> RowLoss:
        """Return the positive rows and the negative rows, added."""
        one, zero = scores.new_ones(()), scores.new_zeros(())
        rows = row_loss(Focal(self.gamma_positive), settings, factors._replace(alpha=one), scores, target)
        negative = MarginFocal(self.gamma_negative, self.margin) if self.margin else Focal(self.gamma_negative)
        cost = row_loss(negative, settings, factors._replace(alpha=zero), scores, target).loss
        return RowLoss(rows.loss + cost, rows.weight)


@dataclass(frozen=True)
class MarginFocal(Phi):
    """`-(1 - q)^gamma * log q` with `q = min(p + margin, 1)`, for a margin above 0."""

    gamma: float
    margin: float

    def value(self, log_p: Tensor) -> Tensor:
        """Return the loss."""
        miss = self._miss(log_p)
        return -miss.pow(self.gamma) * torch.log1p(-miss)

    def log_slope(self, log_p: Tensor) -> Tensor:
        """Return `log(-phi'(l))` = `l + gamma log(1-q) + log(1/q - gamma log(q) / (1-q))`, no slope at `q = 1`."""
        tiny = torch.finfo(log_p.dtype).tiny
        miss = self._miss(log_p)
        some = miss.clamp_min(tiny)
        per_miss = -torch.log1p(-some) / some  # tends to 1 as q tends to 1
        log_slope = log_p + torch.xlogy(self.gamma, some) + (1 / (1 - miss) + self.gamma * per_miss).log()
        return log_slope.where(miss > 0, -math.inf)

    def _miss(self, log_p: Tensor) -> Tensor:
        return (-log_p.expm1() - self.margin).clamp_min(0)


def asymmetric_loss(
    input: Tensor,
    target: Tensor,
    gamma_positive: float = 0.0,
    gamma_negative: float = 4.0,
    margin: float = 0.05,
    **options: Unpack[FunctionOptions],
) -> Tensor:
    r"""Asymmetric loss: a focal loss that fades out on easy negatives faster than on positives.

    $$-y (1 - p)^{\gamma_+} \log p - (1 - y)\, p_m^{\gamma_-} \log(1 - p_m), \quad p_m = \max(p - m, 0)$$

    For many labels of which few apply. Negatives below the margin `m` cost nothing. The paper's choice is the default;
    the task is multilabel unless it is given.

    Args:
        input: Logits, any shape.
        target: Labels or probabilities in [0, 1], same shape.
        gamma_positive: Focusing exponent of the positives, at least 0.
        gamma_negative: Focusing exponent of the negatives, at least 0.
        margin: Probability that negatives have free, in [0, 1).
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each element.

    Raises:
        ValueError: An argument or a target is out of range, shapes do not fit, or an option is not allowed.
        TypeError: An option is unknown, or a type does not fit.

    Example:
        >>> import torch
        >>> asymmetric_loss(torch.zeros(1, 2), torch.tensor([[1, 0]]), reduction="none")
        tensor([[0.6931, 0.0245]])

    Source:
        Ridnik, Ben-Baruch, Zamir, Noy, Friedman, Protter, Zelnik-Manor: Asymmetric Loss for Multi-Label Classification,
        2021.
    """
    options.setdefault("task", "multilabel")
    return compute(Asymmetric(gamma_positive, gamma_negative, margin), input, target, options)


@dataclass(frozen=True)
class BiTempered(Extra):
    """Bregman divergence of tempered logarithms between the label and a tempered softmax."""

    t1: float = 0.8
    t2: float = 1.2

    unsupported: ClassVar = {**CORE_ONLY, **ONE_SOFTMAX, **LOGITS_ONLY}
    no_posterior: ClassVar = None
    after_training: ClassVar = CrossEntropy()  # a Bregman divergence has its minimum at the mean of the labels, too

    def __post_init__(self) -> None:
        in_interval("t1", self.t1, 0, 1)
        in_interval("t2", self.t2, 1, 10)

    def rows(self, settings: Settings, factors: ClassFactors, scores: Tensor, target: Tensor) -> RowLoss:
        """Return the rows."""
        return expected_rows(self._class_losses, settings, factors, scores, target)

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """Return those of the tempered softmax."""
        return log_tempered_softmax(scores, self.t2)

    def _class_losses(self, logits: Tensor) -> Tensor:
        log_p = self.log_probabilities(logits)
        surprise = -log_p if self.t1 == 1 else ((1 - self.t1) * log_p).expm1() / (self.t1 - 1)
        mass = ((2 - self.t1) * log_p).exp().sum(dim=1, keepdim=True)
        return surprise + (mass - 1) / (2 - self.t1)


NEWTON_STEPS = 30  # 5 for the last digits, and log C to come near
DIFFERENTIABLE_STEPS = 2  # from the solution, each doubles the order of the derivatives that are exact


def log_tempered_softmax(logits: Tensor, t: float) -> Tensor:
    """Return `log exp_t(z - lambda)` with the `lambda` at which the probabilities of a row sum to 1.

    Args:
        logits: `(N, C)`.
        t: Temperature, at least 1, which is the softmax; above, the tails are heavy.

    Returns:
        `(N, C)`.
    """
    if t == 1:
        return log_softmax(logits)
    gap = logits - logits.amax(dim=1, keepdim=True).detach()

    def log_exp_t(offset: Tensor) -> Tensor:
        return torch.log1p((t - 1) * (offset - gap)) / (1 - t)

    def newton(offset: Tensor) -> Tensor:  # the excess is convex and falls, so this never oversteps
        log_p = log_exp_t(offset)
        return offset + (log_p.exp().sum(1, keepdim=True) - 1) / (t * log_p).exp().sum(1, keepdim=True)

    offset = gap.new_zeros(len(gap), 1)
    with torch.no_grad():
        for _ in range(NEWTON_STEPS):
            offset = newton(offset)
    for _ in range(DIFFERENTIABLE_STEPS):
        offset = newton(offset)
    return log_exp_t(offset)


def bi_tempered_loss(
    input: Tensor, target: Tensor, t1: float = 0.8, t2: float = 1.2, **options: Unpack[FunctionOptions]
) -> Tensor:
    r"""Bi-tempered logistic loss: bounded in the logits' size by `t1`, heavy-tailed by `t2`.

    $$-\log_{t_1} p_t - \frac{1 - \sum_c p_c^{2 - t_1}}{2 - t_1}, \quad p = \exp_{t_2}(z - \lambda(z)), \quad
    \log_t x = \frac{x^{1 - t} - 1}{1 - t}$$

    For noisy labels: `t1` below 1 bounds what a far outlier costs, `t2` above 1 lets the probabilities fall slowly
    near the boundary. Both 1 is cross entropy; the paper tries `t1` in [0.2, 1) and `t2` in (1, 4].

    Args:
        input: Logits, see `FunctionOptions`.
        target: Class indices or probabilities, see `FunctionOptions`.
        t1: Temperature of the logarithm, in [0, 1].
        t2: Temperature of the softmax, at least 1.
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each row.

    Raises:
        ValueError: A temperature or a target is out of range, shapes do not fit, or an option is not allowed.
        TypeError: An option is unknown, or a type does not fit.

    Example:
        >>> import torch
        >>> bi_tempered_loss(torch.zeros(1, 2), torch.tensor([0]), t1=1.0, t2=1.0)
        tensor(0.6931)

    Source:
        Amid, Warmuth, Anil, Koren: Robust Bi-Tempered Logistic Loss Based on Bregman Divergences, 2019.
    """
    return compute(BiTempered(t1, t2), input, target, options)


@dataclass(frozen=True)
class ForwardCorrection(Extra):
    """Cross entropy of the noisy label's probability; `constant` holds `log T`."""

    unsupported: ClassVar = {
        **CORE_ONLY,
        **ONE_SOFTMAX,
        **LOGITS_ONLY,
        "weight": "a weight by noisy label has no counterpart by true class",
        "label_smoothing": "the transition matrix is the smoothing",
    }
    no_posterior: ClassVar = None
    after_training: ClassVar = CrossEntropy()

    def rows(self, settings: Settings, factors: ClassFactors, scores: Tensor, target: Tensor) -> RowLoss:
        """Return the rows."""

        def class_losses(logits: Tensor) -> Tensor:
            log_t = _constant("transition", factors, 2 * logits.shape[1:])
            return -torch.logsumexp(log_softmax(logits).unsqueeze(2) + log_t, dim=1)

        return expected_rows(class_losses, settings, factors, scores, target)


def log_transition(transition: Tensor | Sequence[Sequence[float]]) -> Tensor:
    """Return the logarithm of a transition matrix, or raise a ValueError if it is none."""
    matrix = torch.as_tensor(transition, dtype=torch.float64)
    if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"transition must have shape (C, C), got {tuple(matrix.shape)}")
    if not bool((matrix >= 0).all()) or not bool(((matrix.sum(1) - 1).abs() < 1e-4).all()):
        raise ValueError(f"transition must hold probabilities, each row summing to 1, got {transition!r}")
    if bool((matrix.sum(0) == 0).any()):
        raise ValueError(f"transition must give every label a probability, got a column of zeros in {transition!r}")
    return matrix.log()


def forward_correction_loss(
    input: Tensor,
    target: Tensor,
    transition: Tensor | Sequence[Sequence[float]],
    **options: Unpack[FunctionOptions],
) -> Tensor:
    r"""Forward correction: cross entropy of the noisy label, given how labels are mistaken.

    $$-\log \sum_c p_c T_{ct}, \quad T_{ct} = P(\text{label } t \mid \text{class } c)$$

    For label noise that is known or estimated; the softmax of the logits is the probability of the true class. Memory
    grows with `N * C^2`.

    Args:
        input: Logits, see `FunctionOptions`.
        target: Noisy class indices or probabilities, see `FunctionOptions`.
        transition: `T`, `(C, C)`: a row for each true class, a column for each label; rows sum to 1.
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each row.

    Raises:
        ValueError: `transition` or a target is out of range, shapes do not fit, or an option is not allowed.
        TypeError: An option is unknown, or a type does not fit.

    Example:
        >>> import torch
        >>> noise = [[0.8, 0.2], [0.2, 0.8]]
        >>> forward_correction_loss(torch.tensor([[50.0, -50.0]]), torch.tensor([1]), noise)
        tensor(1.6094)

    Source:
        Patrini, Rozza, Menon, Nock, Qu: Making Deep Neural Networks Robust to Label Noise, 2017.
    """
    return compute(ForwardCorrection(), input, target, options, constant=log_transition(transition))


@dataclass(frozen=True)
class NegativeLogLikelihood(Extra):
    """`-x_t` of log-probabilities `x`."""

    unsupported: ClassVar[Mapping[str, str]] = {
        **CORE_ONLY,
        **ONE_SOFTMAX,
        "from_logits": "it takes log-probabilities; for probabilities use ce",
    }
    no_posterior: ClassVar = None
    after_training: ClassVar = CrossEntropy()

    def rows(self, settings: Settings, factors: ClassFactors, scores: Tensor, target: Tensor) -> RowLoss:
        """Return the rows."""
        return expected_rows(torch.neg, settings, factors, scores, target)


def nll_loss(input: Tensor, target: Tensor, **options: Unpack[FunctionOptions]) -> Tensor:
    r"""Negative log-likelihood of log-probabilities, for a model that ends in `log_softmax`.

    $$-x_t$$

    `torch.nn.functional.nll_loss`, with probability targets, too. With logits use `cross_entropy_loss`.

    Args:
        input: Log-probabilities, `(C,)`, `(N, C)` or `(N, C, d1, ...)`.
        target: Class indices or probabilities, see `FunctionOptions`.
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each row.

    Raises:
        ValueError: A target is out of range, shapes do not fit, or an option is not allowed.
        TypeError: An option is unknown, or a type does not fit.

    Example:
        >>> import torch
        >>> nll_loss(torch.tensor([[0.25, 0.75]]).log(), torch.tensor([0]))
        tensor(1.3863)

    Source:
        Good: Rational Decisions, 1952.
    """
    return compute(NegativeLogLikelihood(), input, target, options)


@dataclass(frozen=True)
class GradientHarmonizing(Extra):
    """Cross entropy, each element divided by how many have a gradient as large; `constant`: their running number."""

    bins: int = 10

    unsupported: ClassVar = {
        **CORE_ONLY,
        "multiclass": "its gradient norm |p - y| is that of one logit",
    }
    no_posterior: ClassVar = "the factor of an element depends on the other elements of its batch"

    def __post_init__(self) -> None:
        if type(self.bins) is not int or self.bins < 1:
            raise ValueError(f"bins must be an integer >= 1, got {self.bins!r}")

    def rows(self, settings: Settings, factors: ClassFactors, scores: Tensor, target: Tensor) -> RowLoss:
        """Return the rows."""
        rows = row_loss(CrossEntropy(), settings, factors._replace(constant=None), scores, target)
        index, used = self._bin(settings, scores, target)
        batch = self._count(index, used)
        number = batch if factors.constant is None else factors.constant.where(factors.constant.any(), batch)
        per_bin = used.sum() / ((batch > 0).sum().clamp_min(1) * number.clamp_min(1).to(rows.loss))
        return RowLoss(rows.loss * per_bin[index], rows.weight)

    def count(self, settings: Settings, input: Tensor, target: Tensor) -> Tensor:
        """Return how many elements fall into each bin of gradient norm, `(bins,)`."""
        scores = input.to(torch.promote_types(input.dtype, torch.float32))
        return self._count(*self._bin(settings, scores, target))

    def _bin(self, settings: Settings, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        used = target != settings.ignore_index
        p = scores.detach().sigmoid() if settings.from_logits else scores.detach()
        norm = (p - target).abs().where(used, 0).nan_to_num()
        return (norm * self.bins).long().clamp_max(self.bins - 1), used

    def _count(self, index: Tensor, used: Tensor) -> Tensor:
        zero = torch.zeros(self.bins, device=index.device)
        return zero.index_add(0, index.flatten(), used.flatten().to(zero))


def ghm_loss(input: Tensor, target: Tensor, bins: int = 10, **options: Unpack[FunctionOptions]) -> Tensor:
    r"""Gradient harmonizing: elements whose gradient is as large as that of many others count less.

    $$\frac{N}{M\, n_{b(i)}} \text{CE}_i, \quad b(i) = \text{bin of } |p_i - y_i|$$

    with `n_b` the number of elements in bin `b` and `M` the number of bins that are not empty. For detection, where
    most negatives are easy and some labels are wrong. `GHMLoss` averages `n_b` over batches.

    Args:
        input: Logits, any shape.
        target: Labels or probabilities in [0, 1], same shape.
        bins: Number of bins of the gradient norm, at least 1.
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each element.

    Raises:
        ValueError: `bins` or a target is out of range, shapes do not fit, or an option is not allowed.
        TypeError: An option is unknown, or a type does not fit.

    Example:
        >>> import torch
        >>> ghm_loss(torch.zeros(4), torch.tensor([0, 1, 1, 0]))
        tensor(0.6931)

    Source:
        Li, Liu, Wang: Gradient Harmonized Single-Stage Detector, 2019.
    """
    options.setdefault("task", "binary")
    return compute(GradientHarmonizing(bins), input, target, options)
