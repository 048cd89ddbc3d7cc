"""Decisions from a model's outputs: a threshold or costs, and a temperature, chosen on rows that it was not trained on.

An objective with a `Decider` predicts by it; `callbacks.Decide` fits one on the validation rows of each epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from lightning_losses._validation import choice, in_interval
from lightning_losses.losses import CombinedLoss, ForeignLoss, Loss, Prediction

RULES = ("f1", "cost", "recall_at_precision")
TASKS = ("binary", "multiclass", "multilabel")
LARGEST_TEMPERATURE = 20.0


@dataclass(frozen=True)
class Decider:
    """How outputs become decisions and probabilities, in place of the loss's own `predict`.

    Attributes:
        temperature: What the log-probabilities are divided by; None leaves them as they are.
        threshold: From which probability on a row counts as 1: one number, or one for each label; None takes what the
            loss decides.
        cost: What each decision (column) costs where a class (row) is true; several classes only.
    """

    temperature: float | None = None
    threshold: tuple[float, ...] | None = None
    cost: tuple[tuple[float, ...], ...] | None = None

    def __call__(self, loss: Loss | ForeignLoss, input: Tensor) -> Prediction:
        """Return decisions and probabilities.

        Args:
            loss: What the model was trained with.
            input: What the model returns.

        Returns:
            The prediction, in the shapes of `loss.predict`. Where the loss has no posterior and there is no
            temperature, the probabilities are None and thresholds compare the sigmoid of the outputs.
        """
        own = loss.predict(input)
        scores = _scores(loss, input, own) / (self.temperature or 1.0)
        calibrated = scores.softmax(dim=_class_dim(scores)) if loss.task == "multiclass" else scores.sigmoid()
        decision = own.decision
        if self.threshold is not None:
            decision = (calibrated >= _per_label(self.threshold, calibrated)).long()
        if self.cost is not None:
            decision = _cheapest(calibrated, calibrated.new_tensor(self.cost))
        return Prediction(decision, own.probabilities if self.temperature is None else calibrated)

    def state(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Decider:
        """Build it from what `state` returned."""
        threshold, cost = state["threshold"], state["cost"]
        return cls(
            state["temperature"],
            None if threshold is None else tuple(threshold),
            None if cost is None else tuple(map(tuple, cost)),
        )


@dataclass(frozen=True)
class DecisionRule:
    r"""What is chosen on validation rows.

    Args:
        rule: `"f1"`: the threshold of the best F1. `"recall_at_precision"`: that of the highest recall among those that
            reach `precision`. `"cost"`: the threshold of the lowest cost, or with several classes the decision of the
            lowest expected cost, $\arg\min_k \sum_c P(c|x)\, \text{cost}_{ck}$, which needs no fit. None: what the loss
            decides. Thresholds are for binary and, for each label, multilabel tasks.
        cost: What each decision (column) costs where a class (row) is true: `[[0, 1], [5, 0]]` says that to miss a
            positive costs five times a false alarm.
        precision: For `recall_at_precision`, in (0, 1].
        temperature: Whether probabilities are calibrated too.

    Raises:
        ValueError: The rule is unknown, or what it needs is missing or out of range.

    Example:
        >>> from lightning_losses import BinaryCrossEntropyLoss
        >>> rule = DecisionRule("cost", cost=[[0, 1], [5, 0]])
        >>> logits, target = torch.tensor([-2.0, -1.0, -0.5, 2.0]), torch.tensor([0, 0, 1, 1])
        >>> decider = rule.fit(BinaryCrossEntropyLoss(), logits, target)
        >>> decider(BinaryCrossEntropyLoss(), logits).decision
        tensor([0, 0, 1, 1])

    Source:
        Elkan: The Foundations of Cost-Sensitive Learning, 2001.
    """

    rule: str | None = None
    cost: Sequence[Sequence[float]] | None = None
    precision: float | None = None
    temperature: bool = False

    def __post_init__(self) -> None:
        if self.rule is not None:
            choice("rule, where it is not null,", self.rule, RULES)
        choice("temperature", self.temperature, (True, False))
        for name, rule in {"cost": "cost", "precision": "recall_at_precision"}.items():
            given = getattr(self, name) is not None
            if given != (self.rule == rule):
                needs = f"needs {name}" if self.rule == rule else f"takes no {name}, only rule={rule!r} does"
                raise ValueError(f"rule={self.rule!r} {needs}")
        if self.precision is not None:
            in_interval("precision", self.precision, 0.0, 1.0)
        if self.cost is not None:
            _cost_matrix(self.cost)

    def check(self, task: str, classes: int | None = None) -> None:
        """Raise a ValueError if the rule is not for a task, or its costs are for another number of classes."""
        if task not in TASKS:
            raise ValueError(f"rule and temperature are for classes, the loss is for a {task} target")
        if self.rule in ("f1", "recall_at_precision") and task == "multiclass":
            raise ValueError(f"rule={self.rule!r} chooses a threshold, for several classes there is rule='cost' alone")
        if self.cost is not None:
            needed = 2 if task != "multiclass" else classes
            if needed is not None and len(self.cost) != needed:
                raise ValueError(f"cost must have {needed} rows, one for each class, got {len(self.cost)}")

    def fit(self, loss: Loss | ForeignLoss, input: Tensor, target: Tensor) -> Decider:
        """Choose on rows that the model was not trained on.

        Args:
            loss: What the model was trained with.
            input: What the model returns for them.
            target: Their classes, or 0 and 1; rows below 0 are left out (`ignore_index`).

        Returns:
            What to decide by.

        Raises:
            ValueError: The rule is not for the loss's task, or the targets are no classes.
        """
        self.check(loss.task, input.shape[_class_dim(input)] if loss.task == "multiclass" else None)
        scores, labels = _rows(loss, input, target)
        temperature = fit_temperature(scores, labels) if self.temperature else None
        if self.rule is None:
            return Decider(temperature)
        if loss.task == "multiclass":
            return Decider(temperature, cost=_cost_matrix(self.cost or ()))
        probability = (scores / (temperature or 1.0)).sigmoid()
        return Decider(temperature, tuple(map(self._threshold, probability.unbind(1), labels.unbind(1))))

    def _threshold(self, probability: Tensor, label: Tensor) -> float:
        known = label >= 0
        curve = ThresholdCurve(probability[known], label[known])
        if self.rule == "f1":
            return curve.best(curve.f1)
        if self.rule == "cost":
            return curve.best(-curve.cost(_cost_matrix(self.cost or ())))
        return curve.best(curve.recall_at(self.precision or 0.0))


class ThresholdCurve:
    """Counts for every threshold that tells two rows apart, from none to all rows counted as 1.

    Args:
        probability: Of class 1, or any score that rises with it, `(N,)`.
        target: 0 or 1, `(N,)`.

    Attributes:
        thresholds: Midways between neighbouring scores, falling, `(K,)`.
        hits: Rows of class 1 that reach each threshold.
        alarms: All rows that reach it.
        positives: Rows of class 1.

    Example:
        >>> curve = ThresholdCurve(torch.tensor([0.1, 0.4, 0.6, 0.9]), torch.tensor([0, 1, 0, 1]))
        >>> round(curve.best(curve.f1), 4)
        0.25
    """

    def __init__(self, probability: Tensor, target: Tensor) -> None:
        order = probability.double().sort(descending=True)
        scores, counts = order.values.unique_consecutive(return_counts=True)
        ends = counts.cumsum(0)
        found = target.double()[order.indices].cumsum(0)
        none = scores.new_zeros(1)
        self.alarms = torch.cat([none, ends.double()])
        self.hits = torch.cat([none, found[ends - 1]])
        self.positives = target.double().sum()
        above_all = scores.new_full((1,), 1 + 2**-22)  # also where the highest score is 1, in float32 too
        edges = torch.cat([above_all, scores, none])
        self.thresholds = (edges[:-1] + edges[1:]) / 2
        self.rows = len(probability)

    @property
    def precision(self) -> Tensor:
        """Share of class 1 among the rows that reach each threshold; 0 where none does."""
        return self.hits / self.alarms.clamp_min(1)

    @property
    def recall(self) -> Tensor:
        """Share of the rows of class 1 that reach each threshold."""
        return self.hits / self.positives.clamp_min(1)

    @property
    def f1(self) -> Tensor:
        """Harmonic mean of precision and recall."""
        return 2 * self.hits / (self.alarms + self.positives).clamp_min(1)

    def cost(self, cost: Sequence[Sequence[float]]) -> Tensor:
        """Return the total cost at each threshold, given `cost[true][decided]`."""
        (right_0, false_alarm), (miss, right_1) = cost
        false_alarms, misses = self.alarms - self.hits, self.positives - self.hits
        negatives = self.rows - self.positives
        return false_alarm * false_alarms + right_0 * (negatives - false_alarms) + miss * misses + right_1 * self.hits

    def recall_at(self, precision: float) -> Tensor:
        """Return the recall where the precision is reached, and below 0 by what it lacks elsewhere."""
        lacking = self.precision - precision
        return self.recall.where(lacking >= 0, lacking)

    def best(self, value: Tensor) -> float:
        """Return the threshold of the largest value, the higher one of equals."""
        return float(self.thresholds[value.argmax()])


def fit_temperature(scores: Tensor, target: Tensor) -> float:
    r"""Fit the temperature that makes probabilities most likely, one number for all classes.

    $$\min_T -\sum_i \log \text{softmax}(s_i / T)_{y_i}$$

    It changes neither the order of the classes nor that of the rows of a binary task.

    Args:
        scores: Logits or log-probabilities `(N, C)` with class indices `(N,)`, or log-odds `(N, L)` with 0 and 1 of the
            same shape.
        target: The classes; those below 0 are left out.

    Returns:
        The temperature, between 1/20 and 20: beyond that the rows say nothing (a model that is right on all of them has
        no best temperature).

    Raises:
        ValueError: No row has a class.

    Example:
        >>> scores = torch.tensor([[4.0, 0.0]] * 4)  # sure of class 0 by 98 %, right in 3 of 4 rows
        >>> temperature = fit_temperature(scores, torch.tensor([0, 0, 0, 1]))
        >>> f"{(scores[0] / temperature).softmax(0)[0]:.4f}"
        '0.7500'

    Source:
        Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, 2017.
    """
    known = target >= 0
    if not known.any():
        raise ValueError("no row has a class to fit a temperature to")
    several = target.dim() < scores.dim()
    likelihood = cross_entropy if several else binary_cross_entropy_with_logits
    with torch.inference_mode(False), torch.enable_grad():
        # copies, because autograd keeps no tensors that a validation step has made
        fixed, labels = scores.detach()[known].double().clone(), target[known].to(copy=True, dtype=torch.long)
        labels = labels if several else labels.double()
        log_temperature = fixed.new_zeros((), requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [log_temperature], max_iter=100, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            value = likelihood(fixed * torch.exp(-log_temperature), labels)
            value.backward()
            return value

        optimizer.step(closure)
    return min(max(float(log_temperature.detach().exp()), 1 / LARGEST_TEMPERATURE), LARGEST_TEMPERATURE)


def takes_probabilities(loss: nn.Module) -> bool:
    """Tell whether a loss takes probabilities instead of logits."""
    if isinstance(loss, CombinedLoss):
        return takes_probabilities(next(iter(loss.losses.values())))
    settings = getattr(loss, "settings", None)
    return isinstance(getattr(loss, "function", None), nn.BCELoss) or not getattr(settings, "from_logits", True)


def _scores(loss: Loss | ForeignLoss, input: Tensor, own: Prediction) -> Tensor:
    """Return log-odds, or what a softmax turns into probabilities: those of the posterior where the loss has one."""
    if own.probabilities is not None:
        probability = own.probabilities
    elif takes_probabilities(loss):
        probability = input.float()
    else:
        return input.float()
    clipped = probability.clamp(1e-30, 1 - 2**-24)
    return clipped.log() if loss.task == "multiclass" else clipped.logit()


def _rows(loss: Loss | ForeignLoss, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores `(N, C)` and classes `(N,)`, or scores and labels `(N, L)`; those to ignore are -1."""
    scores = _scores(loss, input, loss.predict(input))
    ignored = target == getattr(getattr(loss, "settings", None), "ignore_index", -100)
    labels = target.long().masked_fill(ignored, -1)
    several = loss.task == "multiclass"
    expected = scores.shape[:1] + scores.shape[2:] if several else scores.shape
    if target.shape != expected or not bool((target == labels)[~ignored].all()):
        what = "class indices" if several else "0 and 1"
        raise ValueError(f"targets must be {what} of shape {tuple(expected)}, got {target.dtype} {tuple(target.shape)}")
    if several:
        return scores.movedim(1, -1).flatten(end_dim=-2), labels.flatten()
    if loss.task == "binary":
        return scores.reshape(-1, 1), labels.reshape(-1, 1)
    return scores.movedim(1, -1).flatten(end_dim=-2), labels.movedim(1, -1).flatten(end_dim=-2)


def _class_dim(scores: Tensor) -> int:
    return min(scores.dim() - 1, 1)


def _per_label(threshold: Sequence[float], probability: Tensor) -> Tensor:
    """Return thresholds that broadcast to probabilities of which dimension 1 is the labels'."""
    values = probability.new_tensor(threshold)
    return values if len(threshold) == 1 else values.reshape(-1, *[1] * (probability.dim() - 2))


def _cheapest(probability: Tensor, cost: Tensor) -> Tensor:
    dim = _class_dim(probability)
    return (probability.movedim(dim, -1) @ cost).argmin(dim=-1)


def _cost_matrix(cost: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """Return the costs as plain numbers, or raise where they are no square matrix of them."""
    try:
        rows = tuple(tuple(map(float, row)) for row in cost)
    except (TypeError, ValueError):
        rows = ((),)
    if any(len(row) != len(rows) for row in rows) or not all(math.isfinite(value) for row in rows for value in row):
        raise ValueError(f"cost must be a square matrix of finite numbers, cost[true][decided], got {cost!r}")
    return rows
