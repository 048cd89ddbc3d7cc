"""Thresholds against a search over all of them, the temperature against another minimiser."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax
from sklearn.metrics import f1_score, precision_recall_curve, precision_score, recall_score

import lightning_losses as ll
from lightning_losses.decide import Decider, DecisionRule, ThresholdCurve, fit_temperature

BCE = ll.BinaryCrossEntropyLoss()
CE = ll.CrossEntropyLoss()
COST = [[0.0, 1.0], [7.0, 0.5]]


def binary_rows(count: int = 400, ties: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Overconfident log-odds of a rare class and labels."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(count, generator=generator) * 3 - 2
    if ties:
        logits = (logits * 2).round() / 2
    return logits, torch.bernoulli((logits / 3).sigmoid(), generator=generator).long()


def decisions_at_every_threshold(logits: torch.Tensor) -> list[np.ndarray]:
    return [(logits >= at).numpy().astype(int) for at in [*logits.unique(), torch.inf]]


def cost_of(target: np.ndarray, decision: np.ndarray) -> float:
    return float(np.array(COST)[target, decision].sum())


@pytest.mark.parametrize("ties", [False, True])
def test_f1_is_the_best_of_all_thresholds(ties: bool) -> None:
    logits, target = binary_rows(ties=ties)
    decision = DecisionRule("f1").fit(BCE, logits, target)(BCE, logits).decision
    best = max(f1_score(target, other) for other in decisions_at_every_threshold(logits))
    assert f1_score(target, decision) == pytest.approx(best)


@pytest.mark.parametrize("ties", [False, True])
def test_the_cost_is_the_lowest_of_all_thresholds(ties: bool) -> None:
    logits, target = binary_rows(ties=ties)
    decision = DecisionRule("cost", cost=COST).fit(BCE, logits, target)(BCE, logits).decision
    lowest = min(cost_of(target.numpy(), other) for other in decisions_at_every_threshold(logits))
    assert cost_of(target.numpy(), decision.numpy()) == lowest


def test_recall_is_the_highest_among_those_that_reach_the_precision() -> None:
    logits, target = binary_rows()
    decision = DecisionRule("recall_at_precision", precision=0.7).fit(BCE, logits, target)(BCE, logits).decision
    precision, recall, _ = precision_recall_curve(target, logits)
    assert precision_score(target, decision) >= 0.7
    assert recall_score(target, decision) == pytest.approx(recall[precision >= 0.7].max())


def test_a_precision_that_no_threshold_reaches_takes_the_highest_there_is() -> None:
    target, score = torch.tensor([0, 1, 0, 1]), torch.tensor([0.9, 0.8, 0.7, 0.1])
    curve = ThresholdCurve(score, target)
    assert curve.best(curve.recall_at(0.9)) == pytest.approx((0.8 + 0.7) / 2)  # precision 1/2, recall 1/2


@pytest.mark.parametrize(
    ("score", "costly", "expected"),
    [
        ([0.9, 0.2], [[0, 9], [1, 0]], [0, 0]),
        ([1.0, 1.0], [[0, 9], [1, 0]], [0, 0]),
        ([0, 0], [[0, 1], [9, 0]], [1, 1]),
    ],
    ids=["no alarm", "no alarm though sure", "all"],
)
def test_the_ends_of_the_thresholds(score: list[float], costly: list[list[float]], expected: list[int]) -> None:
    loss = ll.BinaryCrossEntropyLoss(from_logits=False)
    outputs, target = torch.tensor(score), torch.tensor([0, 1])
    assert DecisionRule("cost", cost=costly).fit(loss, outputs, target)(loss, outputs).decision.tolist() == expected


def test_each_label_has_its_own_threshold() -> None:
    loss = ll.BinaryCrossEntropyLoss(task="multilabel")
    columns = [binary_rows(), (binary_rows()[0] + 5, binary_rows()[1])]
    logits, target = (torch.stack(pair, dim=1) for pair in zip(*columns, strict=True))
    decider = DecisionRule("f1").fit(loss, logits, target)
    single = [DecisionRule("f1").fit(BCE, *column).threshold for column in columns]
    assert decider.threshold == (single[0][0], single[1][0])
    torch.testing.assert_close(*decider(loss, logits).decision.unbind(1))


def test_the_cheapest_of_several_classes() -> None:
    cost = [[0, 1, 1], [1, 0, 1], [20, 20, 0]]  # to miss class 2 is dear
    outputs = torch.tensor([[2.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    decider = DecisionRule("cost", cost=cost).fit(CE, outputs, torch.tensor([0, 1]))
    by_hand = [
        min(range(3), key=lambda k, p=p: sum(p[c] * cost[c][k] for c in range(3))) for p in outputs.softmax(1).tolist()
    ]
    assert decider(CE, outputs).decision.tolist() == by_hand == [2, 0]


def test_without_a_rule_the_decision_is_the_losss_own() -> None:
    loss = ll.CrossEntropyLoss(weight=[1.0, 9.0])
    outputs = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    prediction = Decider(temperature=2.0)(loss, outputs)
    assert prediction.decision.tolist() == loss.predict(outputs).decision.tolist() == [1, 0]
    expected = (loss.posterior(outputs).log() / 2).softmax(1)
    torch.testing.assert_close(prediction.probabilities, expected)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_the_temperature_is_the_most_likely(task: str) -> None:
    generator = torch.Generator().manual_seed(1)
    if task == "binary":
        scores, target = (column[:, None] for column in binary_rows())

        def negative_log_likelihood(t: float) -> float:
            p = expit(scores.double().numpy() / t)
            return -np.log(np.where(target.numpy(), p, 1 - p)).mean()
    else:
        scores = torch.randn(300, 4, generator=generator) * 5
        target = torch.multinomial((scores / 4).softmax(1), 1, generator=generator).flatten()

        def negative_log_likelihood(t: float) -> float:
            return -log_softmax(scores.double().numpy() / t, axis=1)[np.arange(300), target.numpy()].mean()

    expected = minimize_scalar(negative_log_likelihood, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9}).x
    assert fit_temperature(scores, target) == pytest.approx(expected, rel=1e-5)


def test_the_temperature_stays_in_its_bounds_where_no_row_is_wrong() -> None:
    assert fit_temperature(torch.tensor([[1.0, 0.0]]), torch.tensor([0])) == 1 / 20
    assert fit_temperature(torch.tensor([[2.0, 0.0]]), torch.tensor([1])) == 20


def test_a_loss_without_posterior_has_calibrated_probabilities_by_the_temperature() -> None:
    loss = ll.ProbMAELoss(task="binary")
    logits, target = binary_rows()
    assert DecisionRule("f1").fit(loss, logits, target)(loss, logits).probabilities is None
    decider = DecisionRule(temperature=True).fit(loss, logits, target)
    probability = decider(loss, logits).probabilities
    # at the minimum over T the mean of logit * (p - y) is 0
    assert (logits * (probability - target)).mean() == pytest.approx(0, abs=1e-4)


def test_rows_to_ignore_count_nowhere() -> None:
    logits, target = binary_rows()
    more = torch.cat([logits, torch.tensor([50.0] * 9)]), torch.cat([target, torch.full((9,), -100)])
    rule = DecisionRule("f1", temperature=True)
    assert rule.fit(BCE, *more) == rule.fit(BCE, logits, target)


@pytest.mark.parametrize("shape", [(400, 1), (20, 20)])
def test_the_shape_of_binary_outputs_does_not_matter(shape: tuple[int, ...]) -> None:
    logits, target = binary_rows()
    rule = DecisionRule("f1", temperature=True)
    decider = rule.fit(BCE, logits.reshape(shape), target.reshape(shape))
    assert decider == rule.fit(BCE, logits, target)
    assert decider(BCE, logits.reshape(shape)).decision.shape == shape


def test_pixels_are_rows() -> None:
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(2, 3, 4, 5, generator=generator)
    target = torch.randint(3, (2, 4, 5), generator=generator)
    rule = DecisionRule("cost", cost=[[0, 1, 2], [1, 0, 1], [2, 1, 0]], temperature=True)
    flat = scores.movedim(1, -1).reshape(-1, 3)
    decider = rule.fit(CE, scores, target)
    assert decider.temperature == pytest.approx(rule.fit(CE, flat, target.flatten()).temperature)
    torch.testing.assert_close(decider(CE, scores).decision.flatten(), decider(CE, flat).decision)


def test_the_state_is_plain_and_comes_back() -> None:
    decider = Decider(1.5, (0.25,), ((0.0, 1.0), (2.0, 0.0)))
    assert Decider.from_state(decider.state()) == decider
    assert Decider.from_state({"temperature": None, "threshold": [0.5], "cost": None}) == Decider(threshold=(0.5,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": "yes_please"}, r"temperature must be one of True, False, got 'yes_please'"),
        ({"rule": "f2"}, r"rule, where it is not null, must be one of 'f1', .*, got 'f2', did you mean 'f1'"),
        ({"rule": "cost"}, "rule='cost' needs cost"),
        ({"rule": "recall_at_precision"}, "rule='recall_at_precision' needs precision"),
        ({"rule": "f1", "precision": 0.9}, "rule='f1' takes no precision, only rule='recall_at_precision' does"),
        ({"rule": "recall_at_precision", "precision": 1.5}, r"precision must be a number in \[0, 1\], got 1.5"),
        ({"rule": "cost", "cost": [[0, 1], [1]]}, "cost must be a square matrix"),
        ({"rule": "cost", "cost": 3}, "cost must be a square matrix"),
        ({"rule": "cost", "cost": [["a", "b"], ["c", "d"]]}, "cost must be a square matrix"),
        ({"rule": "cost", "cost": [[0, float("nan")], [1, 0]]}, "cost must be a square matrix of finite numbers"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecisionRule(**arguments)


@pytest.mark.parametrize(
    ("loss", "rule", "message"),
    [
        (ll.MSELoss(), DecisionRule(temperature=True), "the loss is for a regression target"),
        (CE, DecisionRule("f1"), "for several classes there is rule='cost' alone"),
        (CE, DecisionRule("cost", cost=[[0, 1], [1, 0]]), "cost must have 3 rows, one for each class, got 2"),
    ],
)
def test_a_rule_for_another_task_is_refused(loss: ll.Loss, rule: DecisionRule, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rule.fit(loss, torch.zeros(4, 3), torch.zeros(4, dtype=torch.long))


def test_targets_that_are_no_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"targets must be 0 and 1 of shape \(3,\), got torch.float32 \(3,\)"):
        DecisionRule("f1").fit(BCE, torch.zeros(3), torch.tensor([0.5, 1.0, 0.0]))
    with pytest.raises(ValueError, match=r"targets must be class indices of shape \(4,\), got torch.float32 \(4, 3\)"):
        DecisionRule(temperature=True).fit(CE, torch.zeros(4, 3), torch.zeros(4, 3))
