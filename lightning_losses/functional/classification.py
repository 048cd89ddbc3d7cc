"""Classification losses: each is a function of the log-likelihood `l = log p` of the true class, and its slope.

The options that all of them share are documented at [`FunctionOptions`][lightning_losses.functional.FunctionOptions].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_losses._validation import finite_non_negative, in_interval, positive
from lightning_losses.functional._options import FunctionOptions
from lightning_losses.functional._pipeline import compute
from lightning_losses.kernels import Phi


@dataclass(frozen=True)
class CrossEntropy(Phi):
    """`-l`."""

    def value(self, log_p: Tensor) -> Tensor:
        return -log_p

    def log_slope(self, log_p: Tensor) -> Tensor:
        return torch.zeros_like(log_p)

    def value_and_descent(self, surprise: Tensor, miss: Tensor) -> tuple[Tensor, Tensor]:
        return surprise, torch.ones_like(surprise)

    def formula(self) -> tuple[str, float, float]:
        return "mixed", 1.0, 0.0


def cross_entropy_loss(input: Tensor, target: Tensor, **options: Unpack[FunctionOptions]) -> Tensor:
    r"""Cross entropy, the negative log-likelihood of the true class.

    $$\phi(p) = -\log p$$

    The baseline. With class indices it equals `torch.nn.functional.cross_entropy` in every option; all labels ignored
    give 0 instead of NaN.

    Args:
        input: Logits, `(C,)`, `(N, C)` or `(N, C, d1, ...)`.
        target: Class indices without the class dimension, or one-hot rows or probabilities of the input's shape.
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each row.

    Raises:
        ValueError: A target is out of range, shapes do not fit, or an option is not allowed.
        TypeError: An option is unknown, or a type does not fit.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[10.0, 0.0, -10.0], [8.0, 8.0, 8.0]])
        >>> cross_entropy_loss(logits, torch.tensor([0, 2]))
        tensor(0.5493)

    Source:
        Good: Rational Decisions, 1952.
    """
    return compute(CrossEntropy(), input, target, options)


def binary_cross_entropy_loss(input: Tensor, target: Tensor, **options: Unpack[FunctionOptions]) -> Tensor:
    r"""Cross entropy of a two-class or multilabel problem given by one logit for each decision.

    $$\phi(p) = -\log p, \quad p = \sigma(z) \text{ for label 1 and } \sigma(-z) \text{ for label 0}$$

    `cross_entropy_loss` whose default task is binary. Unlike torch's it keeps its relative accuracy on easy negatives.

    Args:
        input: Logits, any shape.
        target: Labels or probabilities in [0, 1], same shape.
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each element.

    Raises:
        ValueError: A target is out of range, shapes do not fit, or an option is not allowed.
        TypeError: An option is unknown, or a type does not fit.

    Example:
        >>> import torch
        >>> binary_cross_entropy_loss(torch.tensor([0.0, 0.0]), torch.tensor([1, 0]))
        tensor(0.6931)

    Source:
        Cox: The Regression Analysis of Binary Sequences, 1958.
    """
    options.setdefault("task", "binary")
    return compute(CrossEntropy(), input, target, options)


@dataclass(frozen=True)
class Focal(Phi):
    """`-(1 - p)^gamma * l`."""

    gamma: float = 2.0

    def __post_init__(self) -> None:
        finite_non_negative("gamma", self.gamma)

    def value(self, log_p: Tensor) -> Tensor:
        return -(-log_p.expm1()).pow(self.gamma) * log_p

    def log_slope(self, log_p: Tensor) -> Tensor:
        """Return `log(-phi'(l))` = `gamma log(1-p) + log(1 - gamma p l / (1-p))`."""
        tiny = torch.finfo(log_p.dtype).tiny
        miss = (-log_p.expm1()).clamp_min(tiny)  # at 0 the derivative of this slope would be 0 * inf
        surprise = (-log_p).clamp_min(tiny) / miss  # tends to 1 as p tends to 1
        return self.gamma * miss.log() + torch.log1p(self.gamma * log_p.exp() * surprise)

    def value_and_descent(self, surprise: Tensor, miss: Tensor) -> tuple[Tensor, Tensor]:
        if self.gamma < 1:  # a negative power of 0 would follow
            return super().value_and_descent(surprise, miss)
        steep = miss if self.gamma == 2 else miss.pow(self.gamma - 1)
        descent = torch.addcmul(surprise, surprise, miss, value=-1)  # p times it
        torch.add(miss, descent, alpha=self.gamma, out=descent).mul_(steep)
        return surprise.mul_(steep).mul_(miss), descent

    def formula(self) -> tuple[str, float, float]:
        return "focal", self.gamma, 0.0


def focal_loss(
    input: Tensor,
    target: Tensor,
    gamma: float = 2.0,
    alpha: Tensor | Sequence[float] | float | None = None,
    **options: Unpack[FunctionOptions],
) -> Tensor:
    r"""Focal loss: cross entropy that fades out on rows that are already right.

    $$\phi(p) = -\alpha_t (1 - p)^\gamma \log p$$

    For imbalance where most rows of the large class are easy. `gamma` 2 is the paper's choice; 0 is cross entropy;
    values in (0, 1) have finite gradients too. Its probabilities are less confident than the data: use `posterior`.

    Args:
        input: Logits, see `FunctionOptions`.
        target: Class indices or probabilities, see `FunctionOptions`.
        gamma: Focusing exponent, at least 0.
        alpha: The paper's class factor, which does not enter the denominator of the mean: in binary and multilabel
            tasks a number for class 1 (class 0 gets `1 - alpha`), with several classes one number for each.
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each row.

    Raises:
        ValueError: `gamma` is negative, a target is out of range, shapes do not fit, or an option is not allowed.
        TypeError: An option is unknown, or `alpha` is a bare number for several classes, where libraries disagree on
            its meaning.

    Example:
        >>> import torch
        >>> hard, labels = torch.tensor([0.5, 0.5]), torch.tensor([1, 0])
        >>> focal_loss(hard, labels, alpha=0.75, task="binary", from_logits=False)
        tensor(0.0866)

    Source:
        Lin, Goyal, Girshick, He, Dollar: Focal Loss for Dense Object Detection, 2017.
    """
    return compute(Focal(gamma), input, target, options, alpha=alpha)


@dataclass(frozen=True)
class SymmetricCrossEntropy(Phi):
    """`-alpha * l - beta * A * (1 - p)` with `A = log(label_floor)`."""

    alpha: float = 1.0
    beta: float = 1.0
    label_floor: float = 1e-4

    def __post_init__(self) -> None:
        finite_non_negative("alpha", self.alpha)
        finite_non_negative("beta", self.beta)
        in_interval("label_floor", self.label_floor, 1e-38, 1)
        if self.alpha == self.beta == 0:
            raise ValueError("alpha and beta must not both be 0: the loss would be constant")

    @property
    def reverse_factor(self) -> float:
        """Factor of `1 - p`."""
        return -self.beta * math.log(self.label_floor)

    def value(self, log_p: Tensor) -> Tensor:
        return -self.alpha * log_p - self.reverse_factor * log_p.expm1()

    def log_slope(self, log_p: Tensor) -> Tensor:
        """Return `log(-phi'(l))` = `log(alpha + beta |A| p)`."""
        constant = torch.full_like(log_p, self.alpha).log()
        return torch.logaddexp(constant, log_p + math.log(self.reverse_factor)) if self.reverse_factor else constant

    def value_and_descent(self, surprise: Tensor, miss: Tensor) -> tuple[Tensor, Tensor]:
        reverse_factor = self.reverse_factor
        # a number that is no tensor costs as much as a small batch's work, but not in `rsub`
        descent = torch.rsub(torch.neg(surprise).exp_(), self.alpha, alpha=-reverse_factor)
        forward = surprise if self.alpha == 1 else surprise.mul_(self.alpha)
        return forward.add_(miss, alpha=reverse_factor), descent

    def formula(self) -> tuple[str, float, float]:
        return "mixed", self.alpha, self.reverse_factor


def symmetric_cross_entropy_loss(
    input: Tensor,
    target: Tensor,
    alpha: float = 1.0,
    beta: float = 1.0,
    label_floor: float = 1e-4,
    **options: Unpack[FunctionOptions],
) -> Tensor:
    r"""Symmetric cross entropy: cross entropy plus its reverse, which tolerates wrong labels.

    $$\phi(p) = -\alpha \log p - \beta A (1 - p), \quad A = \log(\text{label\_floor})$$

    For noisy labels. Reverse cross entropy `-sum_c p_c log y_c` takes the logarithm of a label that is 0, floored at
    `label_floor`; this is its closed form. The paper's choices: `alpha=0.1, beta=1` with 10 classes, `alpha=6,
    beta=0.1` with 100. Unlike the class factor of the focal loss, `alpha` here weighs the cross entropy term.

    Args:
        input: Logits, see `FunctionOptions`.
        target: Class indices or probabilities, see `FunctionOptions`.
        alpha: Factor of cross entropy, at least 0.
        beta: Factor of reverse cross entropy, at least 0.
        label_floor: What stands for a label probability of 0, in (0, 1].
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each row.

    Raises:
        ValueError: A factor is negative or both are 0, a target is out of range, shapes do not fit, or an option is not
            allowed.
        TypeError: An option is unknown, or a type does not fit.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[0.5796, 0.4403, 0.9087], [-1.5673, -0.3150, 1.6660]])
        >>> symmetric_cross_entropy_loss(logits, torch.tensor([0, 2]))
        tensor(4.5586)

    Source:
        Wang, Ma, Chen, Luo, Yi, Bailey: Symmetric Cross Entropy for Robust Learning with Noisy Labels, 2019.
    """
    return compute(SymmetricCrossEntropy(alpha, beta, label_floor), input, target, options)


@dataclass(frozen=True)
class ReverseCrossEntropy(Phi):
    """`-A * (1 - p)` with `A = log(label_floor)`."""

    label_floor: float = 1e-4

    def __post_init__(self) -> None:
        in_interval("label_floor", self.label_floor, 1e-38, 1 - 1e-12)

    def value(self, log_p: Tensor) -> Tensor:
        return math.log(self.label_floor) * log_p.expm1()

    def log_slope(self, log_p: Tensor) -> Tensor:
        """Return `log(-phi'(l))` = `log|A| + l`."""
        return log_p + math.log(-math.log(self.label_floor))

    def value_and_descent(self, surprise: Tensor, miss: Tensor) -> tuple[Tensor, Tensor]:
        factor = -math.log(self.label_floor)
        return factor * miss, surprise.neg_().exp_().mul_(factor)

    def formula(self) -> tuple[str, float, float]:
        return "reverse", -math.log(self.label_floor), 0.0


def reverse_cross_entropy_loss(
    input: Tensor, target: Tensor, label_floor: float = 1e-4, **options: Unpack[FunctionOptions]
) -> Tensor:
    r"""Reverse cross entropy: the prediction takes the place of the label.

    $$\phi(p) = -A (1 - p), \quad A = \log(\text{label\_floor})$$

    Bounded and symmetric, so it tolerates uniform label noise, and for the same reason it learns slowly alone: it is
    the passive half of `symmetric_cross_entropy_loss` and of active-passive sums. Proportional to `prob_mae_loss`.

    Args:
        input: Logits, see `FunctionOptions`.
        target: Class indices or probabilities, see `FunctionOptions`.
        label_floor: What stands for a label probability of 0, in (0, 1).
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each row.

    Raises:
        ValueError: `label_floor` or a target is out of range, shapes do not fit, or an option is not allowed.
        TypeError: An option is unknown, or a type does not fit.

    Example:
        >>> import torch
        >>> reverse_cross_entropy_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
        tensor(4.6052)

    Source:
        Wang, Ma, Chen, Luo, Yi, Bailey: Symmetric Cross Entropy for Robust Learning with Noisy Labels, 2019.
    """
    return compute(ReverseCrossEntropy(label_floor), input, target, options)


@dataclass(frozen=True)
class GeneralizedCrossEntropy(Phi):
    """`(1 - p^q) / q`."""

    q: float = 0.7

    def __post_init__(self) -> None:
        positive("q", self.q)
        in_interval("q", self.q, 0, 1)

    def value(self, log_p: Tensor) -> Tensor:
        return (self.q * log_p).expm1() / -self.q

    def log_slope(self, log_p: Tensor) -> Tensor:
        """Return `log(-phi'(l))` = `q l`."""
        return self.q * log_p

    def value_and_descent(self, surprise: Tensor, miss: Tensor) -> tuple[Tensor, Tensor]:
        exponent = surprise.mul_(-self.q)
        return exponent.expm1().div_(-self.q), exponent.exp_()

    def formula(self) -> tuple[str, float, float]:
        return "generalized", self.q, 0.0


def generalized_cross_entropy_loss(
    input: Tensor, target: Tensor, q: float = 0.7, **options: Unpack[FunctionOptions]
) -> Tensor:
    r"""Generalized cross entropy, between cross entropy (`q -> 0`) and absolute error (`q = 1`).

    $$\phi(p) = \frac{1 - p^q}{q}$$

    For noisy labels: the larger `q`, the more tolerant and the slower. The paper uses 0.7.

    Args:
        input: Logits, see `FunctionOptions`.
        target: Class indices or probabilities, see `FunctionOptions`.
        q: Exponent in (0, 1].
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each row.

    Raises:
        ValueError: `q` or a target is out of range, shapes do not fit, or an option is not allowed.
        TypeError: An option is unknown, or a type does not fit.

    Example:
        >>> import torch
        >>> generalized_cross_entropy_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]), q=1.0)
        tensor(0.5000)

    Source:
        Zhang, Sabuncu: Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels, 2018.
    """
    return compute(GeneralizedCrossEntropy(q), input, target, options)


@dataclass(frozen=True)
class ProbMAE(Phi):
    """`2 * (1 - p)`."""

    def value(self, log_p: Tensor) -> Tensor:
        return -2 * log_p.expm1()

    def log_slope(self, log_p: Tensor) -> Tensor:
        """Return `log(-phi'(l))` = `log 2 + l`."""
        return log_p + math.log(2)

    def value_and_descent(self, surprise: Tensor, miss: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * miss, surprise.neg_().exp_().mul_(2)

    def formula(self) -> tuple[str, float, float]:
        return "reverse", 2.0, 0.0


def prob_mae_loss(input: Tensor, target: Tensor, **options: Unpack[FunctionOptions]) -> Tensor:
    r"""Absolute error between the predicted probabilities and the one-hot label.

    $$\phi(p) = 2 (1 - p) = \sum_c |p_c - y_c|$$

    Tolerates uniform label noise below 1 - 1/C, but learns slowly with many classes: prefer
    `generalized_cross_entropy_loss` or an active-passive sum there.

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
        >>> prob_mae_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
        tensor(1.)

    Source:
        Ghosh, Kumar, Sastry: Robust Loss Functions under Label Noise for Deep Neural Networks, 2017.
    """
    return compute(ProbMAE(), input, target, options)


def _expm1_minus_linear(x: Tensor) -> Tensor:
    """Return `exp(x) - 1 - x`, by its series where the difference would lose its digits."""
    series = torch.zeros_like(x)
    for k in range(11, 1, -1):
        series = (series + 1) * x / k
    return torch.where(x > -0.1, series * x, x.expm1() - x)


@dataclass(frozen=True)
class Poly1(Phi):
    """`-l + epsilon * (1 - p)`."""

    epsilon: float = 1.0

    def __post_init__(self) -> None:
        in_interval("epsilon", self.epsilon, -1, 1e6)

    def value(self, log_p: Tensor) -> Tensor:
        if self.epsilon >= 0:
            return -log_p - self.epsilon * log_p.expm1()
        return -(1 + self.epsilon) * log_p - self.epsilon * _expm1_minus_linear(log_p)  # the two would cancel

    def log_slope(self, log_p: Tensor) -> Tensor:
        """Return `log(-phi'(l))` = `log(1 + epsilon p)`."""
        slope = (1 + self.epsilon) + self.epsilon * log_p.expm1()
        return slope.clamp_min(torch.finfo(log_p.dtype).tiny).log()

    def value_and_descent(self, surprise: Tensor, miss: Tensor) -> tuple[Tensor, Tensor]:
        descent = torch.rsub(miss, 1 + self.epsilon, alpha=self.epsilon)
        if self.epsilon < 0:
            return self.value(-surprise), descent
        return surprise.add_(miss, alpha=self.epsilon), descent

    def formula(self) -> tuple[str, float, float]:
        return ("mixed", 1.0, self.epsilon) if self.epsilon >= 0 else ("poly1_below", self.epsilon, 0.0)


def poly1_loss(input: Tensor, target: Tensor, epsilon: float = 1.0, **options: Unpack[FunctionOptions]) -> Tensor:
    r"""Poly-1: cross entropy with the first coefficient of its polynomial expansion changed.

    $$\phi(p) = -\log p + \epsilon (1 - p)$$

    The paper finds `epsilon` 2 best for image classification and -1 for imbalanced detection; tune it in [-1, 8].

    Args:
        input: Logits, see `FunctionOptions`.
        target: Class indices or probabilities, see `FunctionOptions`.
        epsilon: Change of the coefficient, at least -1 (below, the loss would grow with p).
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each row.

    Raises:
        ValueError: `epsilon` or a target is out of range, shapes do not fit, or an option is not allowed.
        TypeError: An option is unknown, or a type does not fit.

    Example:
        >>> import torch
        >>> poly1_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]), epsilon=2.0)
        tensor(1.6931)

    Source:
        Leng, Tan, Liu, Cubuk, Shi, Cheng, Anguelov: PolyLoss, 2022.
    """
    return compute(Poly1(epsilon), input, target, options)


@dataclass(frozen=True)
class TaylorCrossEntropy(Phi):
    """`sum_{k=1}^{order} (1 - p)^k / k`."""

    order: int = 2

    def __post_init__(self) -> None:
        if type(self.order) is not int or self.order < 1:
            raise ValueError(f"order must be an integer >= 1, got {self.order!r}")

    def value(self, log_p: Tensor) -> Tensor:
        miss = -log_p.expm1()
        total = torch.zeros_like(miss)
        for k in range(self.order, 0, -1):
            total = (total + 1 / k) * miss
        return total

    def log_slope(self, log_p: Tensor) -> Tensor:
        """Return `log(-phi'(l))` = `l + log(sum_{k=0}^{order-1} (1 - p)^k)`."""
        miss = -log_p.expm1()
        total = torch.ones_like(miss)
        for _ in range(self.order - 1):
            total = total * miss + 1
        return log_p + total.log()

    def formula(self) -> tuple[str, float, float]:
        return "taylor", float(self.order), 0.0


def taylor_cross_entropy_loss(
    input: Tensor, target: Tensor, order: int = 2, **options: Unpack[FunctionOptions]
) -> Tensor:
    r"""Taylor cross entropy: the first terms of the expansion of cross entropy around `p = 1`.

    $$\phi(p) = \sum_{k=1}^{\text{order}} \frac{(1 - p)^k}{k}$$

    For noisy labels: bounded, from absolute error (`order` 1, up to a factor) towards cross entropy as `order` grows.
    The paper uses 2 to 6.

    Args:
        input: Logits, see `FunctionOptions`.
        target: Class indices or probabilities, see `FunctionOptions`.
        order: Number of terms, at least 1.
        **options: See `FunctionOptions`.

    Returns:
        A scalar, or one loss for each row.

    Raises:
        ValueError: `order` or a target is out of range, shapes do not fit, or an option is not allowed.
        TypeError: An option is unknown, or a type does not fit.

    Example:
        >>> import torch
        >>> taylor_cross_entropy_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
        tensor(0.6250)

    Source:
        Feng, Shu, Lin, Lv, Li, An: Can Cross Entropy Loss Be Robust to Label Noise?, 2020.
    """
    return compute(TaylorCrossEntropy(order), input, target, options)
