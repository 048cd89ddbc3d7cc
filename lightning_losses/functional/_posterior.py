"""The class probabilities that trained logits mean, given the loss they were trained with.

At the minimum of the expected loss `P(c|x)` is proportional to `p_c / (w_c * -phi'(log p_c))`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from lightning_losses.functional._class_factors import ClassFactors, along_classes
from lightning_losses.functional._formula import Extra, Formula
from lightning_losses.functional._options import Settings, Task
from lightning_losses.functional._phi import floored_log
from lightning_losses.kernels import Phi, log_softmax


def grows_without_bound(phi: Phi) -> bool:
    """Return whether `-phi'(log p) / p` grows without bound as `p -> 0`, so that every belief has finite logits."""
    log_p = torch.tensor([-1e4, -2e4], dtype=torch.float64)
    nearer, farther = (phi.log_slope(log_p) - log_p).tolist()
    return bool(farther > nearer + 1e-6)


def why_none(formula: Formula, settings: Settings, factors: ClassFactors) -> str | None:
    """Return why the trained outputs do not tell class probabilities, or None if they do."""
    if settings.label_smoothing == 1:
        return "label_smoothing=1 leaves nothing of the labels"
    if unseen := _without_weight(settings.task, factors):
        return f"{unseen} leaves a class without weight, so the outputs do not tell how likely it is"
    if isinstance(formula, Extra):
        return formula.no_posterior
    if grows_without_bound(formula):
        return None
    return (
        "its minimum puts all probability on one class, so the outputs do not tell how likely the others are "
        "(-phi'(log p) / p is bounded)"
    )


def _without_weight(task: Task, factors: ClassFactors) -> str | None:
    """Return the name of a factor that is 0 for a class; the weight of a label is that of both its classes."""
    of_classes = {
        "weight": None if task == "multilabel" else factors.weight,
        "pos_weight": factors.pos_weight,
        "alpha": factors.alpha,
        "alpha=1": None if task == "multiclass" or factors.alpha is None else 1 - factors.alpha,
    }
    zeros = [name for name, factor in of_classes.items() if factor is not None and bool((factor == 0).any())]
    return zeros[0] if zeros else None


def posterior(formula: Formula, settings: Settings, factors: ClassFactors, input: Tensor) -> Tensor:
    """Return `P(c|x)`: multiclass of the input's shape, binary and multilabel `P(1|x)`.

    Args:
        formula: The loss that the model was trained with; `why_none` of all three is None.
        settings: Its options.
        factors: Its numbers by class.
        input: What the model returns.

    Returns:
        Probabilities of the input's shape, in float32 for half inputs.
    """
    phi = formula.after_training if isinstance(formula, Extra) else formula
    scores = input.to(torch.promote_types(input.dtype, torch.float32))
    factors = ClassFactors(*(None if f is None else f.to(scores) for f in factors))
    if factors.shift is not None:
        scores = scores + along_classes("the prior", factors.shift, scores)
    if settings.task == "multiclass":
        dim = min(scores.dim() - 1, 1)
        rows = scores.movedim(dim, -1)
        log_p = _log_probabilities(formula, settings, rows.reshape(-1, rows.shape[-1]))
        return _multiclass(phi, settings, factors, log_p).reshape(rows.shape).movedim(-1, dim)
    return _elementwise(phi, settings, factors, scores)


def move_prior(task: Task, probabilities: Tensor, log_ratio: Tensor) -> Tensor:
    """Return the probabilities after the classes' base rates changed.

    Args:
        task: The task.
        probabilities: `P(c|x)`, or `P(1|x)`.
        log_ratio: New less old prior on the scale of the logits, see `log_prior`.

    Returns:
        Same shape.
    """
    gain = along_classes("prior", log_ratio.to(probabilities), probabilities)
    if task == "multiclass":
        return (probabilities.log() + gain).softmax(dim=min(probabilities.dim() - 1, 1))
    return (probabilities.logit() + gain).sigmoid()


def _log_probabilities(formula: Formula, settings: Settings, scores: Tensor) -> Tensor:
    if not settings.from_logits:
        return floored_log(scores)
    return formula.log_probabilities(scores) if isinstance(formula, Extra) else log_softmax(scores)


def _multiclass(phi: Phi, settings: Settings, factors: ClassFactors, log_p: Tensor) -> Tensor:
    belief = log_p - phi.log_slope(log_p)
    for factor in (factors.weight, factors.alpha):
        if factor is not None:
            belief = belief - factor.log()
    return _unsmooth(belief.softmax(dim=1), settings.label_smoothing)


def _elementwise(phi: Phi, settings: Settings, factors: ClassFactors, scores: Tensor) -> Tensor:
    if settings.from_logits:
        log_p = torch.stack([logsigmoid(-scores), logsigmoid(scores)])
    else:
        log_p = torch.stack([floored_log(1 - scores), floored_log(scores)])
    negative, positive = log_p - phi.log_slope(log_p)
    log_odds = positive - negative - _log_factor_odds(settings, factors, scores)
    share = log_odds.sigmoid()
    return _unsmooth(torch.stack([1 - share, share], dim=-1), settings.label_smoothing)[..., 1]


def _log_factor_odds(settings: Settings, factors: ClassFactors, scores: Tensor) -> Tensor:
    """Return the log of (factor of class 1 / factor of class 0)."""
    odds = scores.new_zeros(())
    per_label = [1] * max(scores.dim() - 2, 0)
    if settings.task == "binary" and factors.weight is not None:
        odds = odds + factors.weight[1].log() - factors.weight[0].log()
    if factors.pos_weight is not None:
        odds = odds + factors.pos_weight.log().reshape(-1, *per_label)
    if factors.alpha is not None:
        odds = odds + factors.alpha.logit().reshape(-1, *per_label)
    return odds


def _unsmooth(smoothed: Tensor, label_smoothing: float) -> Tensor:
    if not label_smoothing:
        return smoothed
    share = (smoothed - label_smoothing / smoothed.shape[-1]).clamp_min(0)
    return share / share.sum(dim=-1, keepdim=True)
