"""Logits that minimise the expected loss over known class probabilities give these probabilities back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import lightning_losses as ll
from tests.cases import MULTICLASS, NAMES, VARIANTS, WEIGHT, batch, tasks

WITHOUT = {"prob_mae", "rce", "taylor_ce"}  # -phi'(log p) / p is bounded
# Class probabilities that are to be recovered, for six inputs.
TRUTH = torch.tensor(
    [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.4, 0.35, 0.25], [0.05, 0.05, 0.9], [0.2, 0.6, 0.2], [1 / 3, 1 / 3, 1 / 3]],
    dtype=torch.float64,
)
PROPER: list[tuple[str, dict[str, Any]]] = [
    *(case for case in VARIANTS if case[0] in set(MULTICLASS) - WITHOUT and case != ("gce", {"q": 1.0})),
    ("ce", {"weight": [0.5, 1.0, 3.0]}),
    ("ce", {"label_smoothing": 0.1}),
    ("focal", {"weight": [0.5, 1.0, 3.0], "alpha": [0.5, 0.3, 0.2], "label_smoothing": 0.1}),
    ("sce", {"weight": [0.5, 1.0, 3.0]}),
]


def minimise(loss: Any, start: Tensor, target: Tensor) -> Tensor:
    z = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [z], max_iter=500, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(z, target)
        value.backward()
        return value

    optimizer.step(closure)
    assert z.grad.abs().max() < 1e-7
    return z.detach()


@pytest.mark.parametrize(("name", "arguments"), PROPER, ids=str)
def test_multiclass(name: str, arguments: dict[str, Any]) -> None:
    loss = ll.get_loss(name, reduction="sum", **arguments)
    z = minimise(loss, torch.zeros(6, 3, dtype=torch.float64), TRUTH)
    torch.testing.assert_close(loss.posterior(z), TRUTH, rtol=0, atol=1e-6)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT])
def test_binary_and_multilabel(name: str, task: str) -> None:
    arguments: dict[str, Any] = {"label_smoothing": 0.1, "pos_weight": 2.5}
    arguments["weight"] = [0.5, 3.0] if task == "binary" else [0.5, 1.0, 3.0]
    if name == "focal":
        arguments["alpha"] = 0.25
    truth = TRUTH[:, 0] if task == "binary" else TRUTH
    loss = ll.get_loss(name, task=task, reduction="sum", **arguments)
    z = minimise(loss, torch.zeros_like(truth), truth)
    torch.testing.assert_close(loss.posterior(z), truth, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT])
def test_posterior_of_probabilities_is_that_of_their_logits(name: str) -> None:
    for task in tasks(name):
        z, _ = batch(task)
        p = z.softmax(1) if task == "multiclass" else z.sigmoid()
        options = {"task": task, "weight": WEIGHT[task], "label_smoothing": 0.1}
        of_logits, of_probabilities = ll.get_loss(name, **options), ll.get_loss(name, from_logits=False, **options)
        torch.testing.assert_close(of_probabilities.posterior(p), of_logits.posterior(z), rtol=1e-8, atol=0)


@pytest.mark.parametrize("shape", [(2, 4, 3), (2, 4, 3, 1), (1, 4, 2, 3)], ids=str)
def test_labels_are_dimension_1(shape: tuple[int, ...]) -> None:
    z = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    by_label = {"alpha": [0.25, 0.5, 0.75, 0.9], "pos_weight": [1.0, 2.5, 4.0, 0.5], "weight": [0.5, 1.0, 2.0, 3.0]}
    loss = ll.FocalLoss(task="multilabel", label_smoothing=0.1, **by_label)
    each = torch.stack(
        [
            ll.FocalLoss(
                task="binary",
                label_smoothing=0.1,
                alpha=by_label["alpha"][label],
                pos_weight=by_label["pos_weight"][label],
            ).posterior(z[:, label])
            for label in range(4)
        ],
        dim=1,
    )
    torch.testing.assert_close(loss.posterior(z), each, rtol=1e-12, atol=0)
    torch.testing.assert_close(loss.posterior(z[0]), each[0], rtol=1e-12, atol=0)
    image, expected = (x.reshape(shape[0], *shape[2:], 4).movedim(-1, 1) for x in (z, each))
    torch.testing.assert_close(loss.posterior(image), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        *((name, {}) for name in NAMES if name in WITHOUT),
        *(("rce", {"label_floor": 10.0**-power}) for power in range(1, 20)),
        ("gce", {"q": 1.0}),
        ("sce", {"alpha": 0.0}),
        ("ce", {"label_smoothing": 1.0}),
        ("ce", {"weight": [1.0, 0.0, 1.0]}),
        ("focal", {"alpha": [1.0, 0.0, 1.0]}),
    ],
)
def test_refused_where_there_is_none(name: str, arguments: dict[str, Any]) -> None:
    loss = ll.get_loss(name, **arguments)
    with pytest.raises(TypeError, match="posterior"):
        loss.posterior(torch.zeros(2, 3))
    prediction = loss.predict(torch.tensor([[0.0, 1.0, 0.0]]))
    assert prediction.decision.tolist() == [1]
    assert prediction.probabilities is None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"task": "binary", "weight": [0.0, 1.0]}, "weight leaves a class without weight"),
        ({"task": "binary", "pos_weight": 0.0}, "pos_weight leaves"),
        ({"task": "multilabel", "alpha": 0.0}, "alpha leaves"),
        ({"task": "binary", "alpha": 1.0}, "alpha=1 leaves"),
    ],
    ids=str,
)
def test_refused_where_a_class_has_no_weight(arguments: dict[str, Any], reason: str) -> None:
    loss = ll.FocalLoss(**arguments)
    with pytest.raises(TypeError, match=f"FocalLoss has no posterior: {reason}"):
        loss.posterior(torch.zeros(3))
    assert loss.predict(torch.zeros(3)).probabilities is None


def test_an_alpha_of_1_leaves_no_class_without_weight_where_each_has_its_own() -> None:
    z = torch.tensor([[0.3, -1.2, 2.0]], dtype=torch.float64)
    halved = ll.FocalLoss(alpha=[1.0, 0.5, 0.5]).posterior(z)
    torch.testing.assert_close(halved, ll.FocalLoss(alpha=[0.5, 0.25, 0.25]).posterior(z), rtol=1e-12, atol=0)


def test_a_label_without_weight_is_no_class_without_weight() -> None:
    loss = ll.CrossEntropyLoss(task="multilabel", weight=[0.0, 1.0])
    torch.testing.assert_close(loss.posterior(torch.zeros(3, 2)), torch.full((3, 2), 0.5))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("name", "arguments"), PROPER, ids=str)
def test_finite_and_normal_up_to_1e4(name: str, arguments: dict[str, Any], dtype: torch.dtype) -> None:
    z = torch.tensor([[1e4, -1e4, 0.0], [0.0, 0.0, 0.0], [1e4, 1e4, -1e4], [90.0, 0.0, -20.0]], dtype=dtype)
    posterior = ll.get_loss(name, **arguments).posterior(z)
    assert posterior.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(posterior.sum(1), torch.ones(4, dtype=posterior.dtype), rtol=1e-6, atol=0)
    assert (posterior >= 0).all()


def test_cross_entropy_is_softmax_and_sigmoid() -> None:
    z = torch.randn(2, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(ll.CrossEntropyLoss().posterior(z), z.softmax(1))
    torch.testing.assert_close(ll.CrossEntropyLoss().posterior(z[0, :, 0]), z[0, :, 0].softmax(0))
    torch.testing.assert_close(ll.BinaryCrossEntropyLoss().posterior(z), z.sigmoid())


def test_focal_correction() -> None:
    # Charoenphakdee et al., On Focal Loss for Class-Posterior Probability Estimation, 2021, theorem 11
    z, gamma = torch.randn(5, 4, dtype=torch.float64), 3.0
    v = z.softmax(1)
    h = v / ((1 - v) ** gamma - gamma * (1 - v) ** (gamma - 1) * v * v.log())
    torch.testing.assert_close(ll.FocalLoss(gamma=gamma).posterior(z), h / h.sum(1, keepdim=True))


def test_generalized_cross_entropy_is_a_temperature() -> None:
    z = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(ll.GeneralizedCrossEntropyLoss(q=0.7).posterior(z), (0.3 * z).softmax(1))


@pytest.mark.parametrize(
    ("task", "z", "decision"),
    [
        ("multiclass", [[0.1, 2.0, -1.0], [3.0, 0.0, 0.0]], [1, 0]),
        ("multiclass", [0.1, 2.0, -1.0], 1),
        ("binary", [0.3, -0.3, 0.0], [1, 0, 0]),
        ("multilabel", [[0.3, -0.3]], [[1, 0]]),
    ],
)
def test_decision_is_what_the_logits_say(task: str, z: list[Any], decision: Any) -> None:
    # whatever the posterior is: weights were there to move the decision
    weight = [1.0, 50.0] if task != "multiclass" else [1.0, 50.0, 1.0]
    loss = ll.CrossEntropyLoss(task=task, weight=weight)
    prediction = loss.predict(torch.tensor(z))
    assert prediction.decision.tolist() == decision
    assert torch.equal(prediction.probabilities, loss.posterior(torch.tensor(z)))


def test_regression_predicts_its_input() -> None:
    z = torch.tensor([1.5, -2.0])
    assert torch.equal(ll.MSELoss().predict(z).decision, z)
    assert ll.MSELoss().predict(z).probabilities is None
    with pytest.raises(TypeError, match="posterior"):
        ll.MSELoss().posterior(z)
