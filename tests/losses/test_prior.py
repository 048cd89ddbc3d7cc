"""Shifts, transition matrices and temperatures are undone in the posterior, which can be moved to other base rates."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import lightning_losses as ll

TRUTH = torch.tensor(
    [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.4, 0.35, 0.25], [0.05, 0.05, 0.9], [0.2, 0.6, 0.2]], dtype=torch.float64
)
NOISE = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.0, 0.3, 0.7]], dtype=torch.float64)


def minimise(loss: Any, target: Tensor) -> Tensor:
    z = torch.zeros_like(target).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [z], max_iter=300, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(z, target)
        value.backward()
        return value

    optimizer.step(closure)
    return z.detach()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("logit_adjusted", {"prior": [0.7, 0.2, 0.1]}),
        ("logit_adjusted", {"prior": [0.7, 0.2, 0.1], "tau": 2.0, "weight": [0.5, 1.0, 3.0], "label_smoothing": 0.1}),
        ("balanced_softmax", {"class_counts": [70, 20, 10], "z_loss": 0.1}),
        ("ce", {"z_loss": 0.1, "weight": {"name": "inverse_frequency", "counts": [7, 2, 1]}}),
        ("focal", {"z_loss": 0.1}),
        ("bi_tempered", {}),
        ("bi_tempered", {"t1": 0.2, "t2": 2.0, "weight": [0.5, 1.0, 3.0], "label_smoothing": 0.1}),
        ("logit_adjusted", {"prior": [0.7, 0.2, 0.1], "task": "multilabel", "weight": [0.5, 1.0, 3.0]}),
        ("balanced_softmax", {"class_counts": [[3, 1], [9, 1], [1, 1]], "task": "multilabel", "label_smoothing": 0.1}),
    ],
    ids=str,
)
def test_posterior(name: str, arguments: dict[str, Any]) -> None:
    loss = ll.get_loss(name, reduction="sum", **arguments)
    torch.testing.assert_close(loss.posterior(minimise(loss, TRUTH)), TRUTH, rtol=0, atol=1e-6)


def test_posterior_of_one_logit() -> None:
    loss = ll.LogitAdjustedLoss([0.9, 0.1], tau=0.5, task="binary", weight=[1.0, 3.0], pos_weight=2.0, reduction="sum")
    truth = TRUTH[:, 0]
    torch.testing.assert_close(loss.posterior(minimise(loss, truth)), truth, rtol=0, atol=1e-6)


def test_forward_correction_finds_the_true_classes() -> None:
    loss = ll.ForwardCorrectionLoss(NOISE, reduction="sum")
    z = minimise(loss, TRUTH @ NOISE)
    torch.testing.assert_close(loss.posterior(z), TRUTH, rtol=0, atol=1e-5)


def test_decision_is_that_of_the_unshifted_logits() -> None:
    # Menon et al., 2021: the minimum of the balanced error decides by P(c|x) / prior
    prior = torch.tensor([0.55, 0.3, 0.15], dtype=torch.float64)
    loss = ll.LogitAdjustedLoss(prior, reduction="sum")
    decision = loss.predict(minimise(loss, TRUTH)).decision
    assert decision.tolist() == (TRUTH / prior).argmax(1).tolist()
    assert decision.tolist() != TRUTH.argmax(1).tolist()


@pytest.mark.parametrize("shape", [(5, 3), (1, 3, 5)], ids=str)
def test_other_base_rates(shape: tuple[int, ...]) -> None:
    old, new = [0.7, 0.2, 0.1], [0.2, 0.2, 0.6]
    z = TRUTH.log() if shape == (5, 3) else TRUTH.log().T.reshape(shape)
    moved = TRUTH * torch.tensor(new) / torch.tensor(old)
    moved = moved / moved.sum(1, keepdim=True)
    expected = moved if shape == (5, 3) else moved.T.reshape(shape)
    torch.testing.assert_close(ll.CrossEntropyLoss().posterior(z, prior=new, train_prior=old), expected)
    adjusted = ll.LogitAdjustedLoss(old)
    shift = torch.tensor(old, dtype=torch.float64).log().reshape(-1, *[1] * (len(shape) - 2))
    torch.testing.assert_close(adjusted.posterior(z - shift, prior=new), expected)  # it knows the prior of training


def test_other_base_rates_of_one_logit() -> None:
    loss, z = ll.BinaryCrossEntropyLoss(), torch.tensor([0.5, -2.0], dtype=torch.float64)
    two = torch.stack([torch.zeros_like(z), z], dim=1)
    expected = ll.CrossEntropyLoss().posterior(two, prior=[0.5, 0.5], train_prior=[0.9, 0.1])[:, 1]
    torch.testing.assert_close(loss.posterior(z, prior=[0.5, 0.5], train_prior=[0.9, 0.1]), expected)
    multilabel = ll.BinaryCrossEntropyLoss(task="multilabel")
    moved = multilabel.posterior(torch.stack([z, z], dim=1), prior=[0.5, 0.1], train_prior=[0.1, 0.1])
    torch.testing.assert_close(moved, torch.stack([expected, z.sigmoid()], dim=1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_other_base_rates_keep_the_dtype(dtype: torch.dtype) -> None:
    posterior = ll.LogitAdjustedLoss([0.6, 0.3, 0.1]).posterior(TRUTH.log().to(dtype), prior=[0.2, 0.3, 0.5])
    assert posterior.dtype == torch.promote_types(dtype, torch.float32)


def test_other_base_rates_of_one_row() -> None:
    given = {"prior": [0.2, 0.3, 0.5], "train_prior": [0.6, 0.3, 0.1]}
    expected = ll.CrossEntropyLoss().posterior(TRUTH.log(), **given)[0]
    torch.testing.assert_close(ll.CrossEntropyLoss().posterior(TRUTH[0].log(), **given), expected)


def test_base_rates_are_checked() -> None:
    loss = ll.CrossEntropyLoss()
    with pytest.raises(ValueError, match="train_prior"):
        loss.posterior(TRUTH, prior=[0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match=r"^prior .*3, got 2"):
        loss.posterior(TRUTH, prior=[0.2, 0.8], train_prior=[0.5, 0.5])
    with pytest.raises(ValueError, match=r"^the prior .*3, got 2"):
        ll.LogitAdjustedLoss([0.5, 0.5]).posterior(TRUTH)
    with pytest.raises(ValueError, match=r"^prior .*sum to 1"):
        loss.posterior(TRUTH, prior=[0.2, 0.3, 0.6], train_prior=[0.2, 0.3, 0.5])


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("prob_mae", {}, "bounded"),
        ("nce", {}, "normalized"),
        ("ldam", {"class_counts": [1, 2]}, "margin"),
        ("asymmetric", {}, "margin"),
        ("ghm", {}, "batch"),
        ("combined", {"terms": {"ce": 1.0}}, "sum|minimum"),
        ("mse", {}, "class probabilities"),
    ],
)
def test_refused_with_the_reason(name: str, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(TypeError, match=f"no posterior.*({reason})"):
        ll.get_loss(name, **arguments).posterior(torch.zeros(2, 2))
