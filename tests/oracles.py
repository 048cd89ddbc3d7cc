"""The losses as their papers define them, in 120-digit arithmetic: what the tests compare the package with.

A loss here is a function of the probabilities `p` of one row and of a class `t`. `1 - p_t` is the sum of the other
probabilities, so nothing cancels and a logit of 1e4 is as easy as one of 1. Everything else (weights, smoothing, soft
targets, reductions) is written once, in `evaluate`, as torch's documentation describes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from mpmath import mp, mpf

mp.dps = 120

Probabilities = Sequence[mpf]
Loss = Callable[..., mpf]


# --- the losses -------------------------------------------------------------------------------------------------------


def miss(p: Probabilities, t: int) -> mpf:
    """Return `1 - p_t`."""
    return mp.fsum(p_c for c, p_c in enumerate(p) if c != t)


def log_p(p: Probabilities, t: int) -> mpf:
    """Return `log p_t`, to full relative precision also where `p_t` is nearly 1."""
    return mp.log1p(-miss(p, t)) if p[t] > 0.5 else mp.log(p[t])


def cross_entropy(p: Probabilities, t: int) -> mpf:
    return -log_p(p, t)


def focal(p: Probabilities, t: int, gamma: float = 2.0) -> mpf:
    """Lin et al., Focal Loss for Dense Object Detection, 2017, equation 4."""
    return -(miss(p, t) ** mpf(gamma)) * log_p(p, t)


def reverse_cross_entropy(p: Probabilities, t: int, label_floor: float = 1e-4) -> mpf:
    """Wang et al., Symmetric Cross Entropy for Robust Learning with Noisy Labels, 2019, equation 5 with log 0 := A."""
    label = [mpf(1) if c == t else mpf(label_floor) for c in range(len(p))]
    return -mp.fsum(p_c * mp.log(label_c) for p_c, label_c in zip(p, label, strict=True))


def symmetric_cross_entropy(
    p: Probabilities, t: int, alpha: float = 1.0, beta: float = 1.0, label_floor: float = 1e-4
) -> mpf:
    """Wang et al., 2019, equation 7."""
    return mpf(alpha) * cross_entropy(p, t) + mpf(beta) * reverse_cross_entropy(p, t, label_floor)


def generalized_cross_entropy(p: Probabilities, t: int, q: float = 0.7) -> mpf:
    """Zhang and Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks, 2018, equation 6."""
    return -mp.expm1(mpf(q) * log_p(p, t)) / mpf(q)


def probability_mae(p: Probabilities, t: int) -> mpf:
    """Ghosh et al., Robust Loss Functions under Label Noise for Deep Neural Networks, 2017: |p - one-hot| summed."""
    return mp.fsum(miss(p, t) if c == t else p_c for c, p_c in enumerate(p))


def poly1(p: Probabilities, t: int, epsilon: float = 1.0) -> mpf:
    """Leng et al., PolyLoss, 2022, equation 5."""
    return cross_entropy(p, t) + mpf(epsilon) * miss(p, t)


def taylor_cross_entropy(p: Probabilities, t: int, order: int = 2) -> mpf:
    """Feng et al., Can Cross Entropy Loss Be Robust to Label Noise?, 2020, equation 6."""
    return mp.fsum(miss(p, t) ** k / k for k in range(1, order + 1))


# --- what the options mean --------------------------------------------------------------------------------------------


def softmax(logits: Iterable[float]) -> list[mpf]:
    exponentials = [mp.exp(mpf(z)) for z in logits]
    total = mp.fsum(exponentials)
    return [e / total for e in exponentials]


class Row(NamedTuple):
    """One unreduced value: probabilities, target mixture, factor of each class, and its part of the denominator."""

    p: Probabilities
    q: Sequence[float]
    factor: Sequence[float]
    mass: float


def _multiclass_row(logits: Sequence[float], target: Any, weight: Any, alpha: Any, ignore_index: int) -> Row | None:
    classes = range(len(logits))
    by_index = isinstance(target, int)
    if target == ignore_index if by_index else all(entry == ignore_index for entry in target):
        return None
    weight = weight or [1.0] * len(logits)
    factor = [weight[c] * (alpha[c] if alpha else 1.0) for c in classes]
    q = [float(c == target) for c in classes] if by_index else target
    return Row(softmax(logits), q, factor, weight[target] if by_index else 1.0)


def _binary_row(
    logit: float, y: float, weight: Sequence[float], pos_weight: float, alpha: float | None, ignore_index: int
) -> Row | None:
    if y == ignore_index:
        return None
    weight_0, weight_1 = weight
    alpha_0, alpha_1 = (1.0, 1.0) if alpha is None else (1.0 - alpha, alpha)
    factor = [weight_0 * alpha_0, weight_1 * alpha_1 * pos_weight]
    return Row(softmax([0.0, logit]), [1.0 - y, y], factor, y * weight_1 + (1.0 - y) * weight_0)


def evaluate(
    loss: Loss,
    logits: list[Any],
    target: list[Any],
    *,
    task: str = "multiclass",
    weight: Sequence[float] | None = None,
    pos_weight: Sequence[float] | None = None,
    alpha: Any = None,
    sample_weight: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    normalizer: str = "weights",
) -> dict[str, Any]:
    """Return the loss of a batch by reduction: multiclass (N, C), binary (N,), multilabel (N, L), as nested lists.

    `sample_weight` has a number a row, so a multilabel row repeats its own for all its labels; the values of
    `"none"` are flat.
    """
    if task == "multiclass":
        rows = [_multiclass_row(z, t, weight, alpha, ignore_index) for z, t in zip(logits, target, strict=True)]
    elif task == "binary":
        pair, positive = weight or (1.0, 1.0), pos_weight[0] if pos_weight else 1.0
        rows = [_binary_row(z, y, pair, positive, alpha, ignore_index) for z, y in zip(logits, target, strict=True)]
    else:
        rows = [
            _binary_row(
                z, y, [weight[k] if weight else 1.0] * 2, pos_weight[k] if pos_weight else 1.0, alpha, ignore_index
            )
            for z_row, y_row in zip(logits, target, strict=True)
            for k, (z, y) in enumerate(zip(z_row, y_row, strict=True))
        ]
    repeats = len(rows) // len(logits)
    factors = [mpf(s) for s in sample_weight or [1.0] * len(logits) for _ in range(repeats)]
    values = [s * _row_value(loss, row, label_smoothing) for s, row in zip(factors, rows, strict=True)]
    total = mp.fsum(values)
    weights = [
        s * mpf(row.mass) if normalizer == "weights" else mpf(1) for s, row in zip(factors, rows, strict=True) if row
    ]
    return {"none": values, "sum": total, "mean": total / mp.fsum(weights) if mp.fsum(weights) else mpf(0)}


def _row_value(loss: Loss, row: Row | None, label_smoothing: float) -> mpf:
    if row is None:
        return mpf(0)
    classes = len(row.p)
    smooth = [(1 - mpf(label_smoothing)) * mpf(q) + mpf(label_smoothing) / classes for q in row.q]
    return mp.fsum(smooth[c] * mpf(row.factor[c]) * loss(row.p, c) for c in range(classes) if smooth[c])


def gradient(evaluate: Callable[..., dict[str, Any]], row: Any, label: Any) -> Any:
    """Return the gradient of `evaluate([row], [label])` by differences in extended precision, shaped like `row`."""
    if not isinstance(row, list):
        return float(mp.diff(lambda z: evaluate([z], [label])["sum"], mpf(row)))

    def along(c: int) -> Callable[[mpf], mpf]:
        return lambda z: evaluate([[*row[:c], z, *row[c + 1 :]]], [label])["sum"]

    return [float(mp.diff(along(c), mpf(row[c]))) for c in range(len(row))]


# --- regression: functions of the difference d = input - target -------------------------------------------------------


def log_cosh(d: float) -> float:
    """Return `log cosh d`, which is `|d| - log 2` far out and `d^2 / 2` near 0."""
    return float(mp.log(mp.cosh(mpf(d))))


def quantile(d: float, q: float = 0.5) -> float:
    """Koenker and Bassett, Regression Quantiles, 1978: under-prediction costs q, over-prediction 1 - q."""
    return q * -d if d < 0 else (1.0 - q) * d


def huber(d: float, delta: float = 1.0) -> float:
    """Huber, Robust Estimation of a Location Parameter, 1964."""
    return 0.5 * d * d if abs(d) <= delta else delta * (abs(d) - 0.5 * delta)


def smooth_l1(d: float, beta: float = 1.0) -> float:
    """Girshick, Fast R-CNN, 2015, equation 3, with torch's `beta`."""
    return huber(d, beta) / beta
