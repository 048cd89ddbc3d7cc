"""Numbers that published tutorials print, as they print them (four digits), or in float64 where more are given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import lightning_losses as ll
from lightning_losses import functional as LF

EASY_AND_TIED = torch.tensor([[10.0, 0.0, -10.0], [8.0, 8.0, 8.0]])
P = torch.tensor([[0.5796, 0.4403, 0.9087], [-1.5673, -0.3150, 1.6660]])
FIRST, SECOND = torch.tensor([0, 2]), torch.tensor([2, 0])
ONE_HOT = F.one_hot(SECOND, 3)
HARD, EASY, HARD_LABELS = torch.tensor([[0.5], [0.5]]), torch.tensor([[0.9], [0.1]]), torch.tensor([[1], [0]])
NLL = ll.get_loss({"name": "torch.NLLLoss"})
KERAS_TRUE, KERAS_PREDICTED = torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.tensor([[0.6, 0.4], [0.4, 0.6]])


def multilabel(p: Tensor, y: Tensor, **options: Any) -> Tensor:
    return LF.binary_cross_entropy_loss(p, y, task="multilabel", **options)


def focal(p: Tensor, **options: Any) -> Tensor:
    return LF.focal_loss(p, HARD_LABELS, gamma=2.0, alpha=0.75, task="multilabel", from_logits=False, **options)


# id: case number and what it is; value: the number, its tolerance (half a unit of its last digit), and what gives it
CASES: dict[str, tuple[float, float, Callable[[], Tensor]]] = {
    # PyTorch tutorial on cross entropy, NLL and BCE
    "1 cross entropy": (0.5493, 5e-5, lambda: LF.cross_entropy_loss(EASY_AND_TIED, FIRST)),
    "1 log-softmax, then NLL": (0.5493, 5e-5, lambda: NLL(EASY_AND_TIED.log_softmax(1), FIRST)),
    "2 NLL of P as it is": (-1.1228, 5e-5, lambda: NLL(P, FIRST)),
    "3 cross entropy": (0.6725, 5e-5, lambda: LF.cross_entropy_loss(P, FIRST)),
    "3 softmax, then cross entropy of probabilities": (
        0.6725,
        5e-5,
        lambda: LF.cross_entropy_loss(P.softmax(1), FIRST, from_logits=False),
    ),
    "3 softmax, log, NLL": (0.6725, 5e-5, lambda: NLL(P.softmax(1).log(), FIRST)),
    "4 cross entropy, classes swapped": (2.1246, 5e-5, lambda: LF.cross_entropy_loss(P, SECOND)),
    "4 softmax, log, NLL": (2.1246, 5e-5, lambda: NLL(P.softmax(1).log(), SECOND)),
    "5 BCE of softmax": (1.1572, 5e-5, lambda: multilabel(P.softmax(1), ONE_HOT, from_logits=False)),
    "6 BCE with logits": (1.0740, 5e-5, lambda: multilabel(P, ONE_HOT)),
    "6 sigmoid, then BCE": (1.0740, 5e-5, lambda: multilabel(P.sigmoid(), ONE_HOT, from_logits=False)),
    # PyTorch tutorial on focal loss; eight digits recomputed in float64
    "8 focal, hard rows": (0.08664340, 5e-9, lambda: focal(HARD)),
    "9 focal, easy rows": (0.00052680, 5e-9, lambda: focal(EASY.double())),
    "10 BCE, hard rows": (0.6931, 5e-5, lambda: multilabel(HARD, HARD_LABELS, from_logits=False)),
    "10 BCE, easy rows": (0.1054, 5e-5, lambda: multilabel(EASY, HARD_LABELS, from_logits=False)),
    "10 share that focal keeps of the hard loss": (0.125, 1e-7, lambda: focal(HARD) / math.log(2)),
    "10 share that focal keeps of the easy loss": (0.005, 1e-7, lambda: focal(EASY) / -math.log(0.9)),
    # closed form in float64
    "11 symmetric cross entropy": (4.558583, 5e-7, lambda: LF.symmetric_cross_entropy_loss(P.double(), FIRST)),
    # Keras tutorial: MSE of ones against zeros
    "14 mean": (1.0, 0.0, lambda: LF.mse_loss(torch.ones(2, 2), torch.zeros(2, 2))),
    "14 torch's sum; Keras' (means over the last axis first) is 2": (
        4.0,
        0.0,
        lambda: LF.mse_loss(torch.ones(2, 2), torch.zeros(2, 2), reduction="sum"),
    ),
    "14 NumPy textbook: half the sum": (
        2.0,
        0.0,
        lambda: 0.5 * LF.mse_loss(torch.ones(2, 2), torch.zeros(2, 2), reduction="sum"),
    ),
    # NumPy textbook: -log(0 + 1e-7) = 16.118; torch floors the logarithm itself
    "15 cross entropy at p = 0": (
        100.0,
        0.0,
        lambda: LF.cross_entropy_loss(torch.tensor([[0.0, 1.0]]), torch.tensor([0]), from_logits=False),
    ),
    "15 BCE at p = 0": (
        100.0,
        0.0,
        lambda: LF.binary_cross_entropy_loss(torch.zeros(1), torch.ones(1), from_logits=False),
    ),
    # Keras tutorial on BCE
    "16 default": (0.8149, 5e-5, lambda: multilabel(KERAS_PREDICTED, KERAS_TRUE, from_logits=False)),
    "16 sum of the rows' means": (
        1.6298,
        5e-5,
        lambda: multilabel(KERAS_PREDICTED, KERAS_TRUE, from_logits=False, reduction="none").mean(1).sum(),
    ),
    "16 first row": (
        0.9163,
        5e-5,
        lambda: multilabel(KERAS_PREDICTED, KERAS_TRUE, from_logits=False, reduction="none").mean(1)[0],
    ),
    "16 second row": (
        0.7136,
        5e-5,
        lambda: multilabel(KERAS_PREDICTED, KERAS_TRUE, from_logits=False, reduction="none").mean(1)[1],
    ),
    "16 sample_weight [1, 0] as in Keras": (
        0.458,
        5e-4,
        lambda: multilabel(
            KERAS_PREDICTED, KERAS_TRUE, from_logits=False, sample_weight=torch.tensor([1.0, 0.0]), normalizer="samples"
        ),
    ),
    "16 sample_weight [1, 0], divided by the weights": (
        0.9163,
        5e-5,
        lambda: multilabel(KERAS_PREDICTED, KERAS_TRUE, from_logits=False, sample_weight=torch.tensor([1.0, 0.0])),
    ),
    # Keras tutorial on focal loss: .2599 / .0866 are the accident of (N, 1) times (N,), these are meant
    "17 positive": (0.1300, 5e-5, lambda: focal(HARD, reduction="none")[0]),
    "17 negative": (0.0433, 5e-5, lambda: focal(HARD, reduction="none")[1]),
}


@pytest.mark.parametrize(("value", "tolerance", "compute"), CASES.values(), ids=CASES)
def test_number(value: float, tolerance: float, compute: Callable[[], Tensor]) -> None:
    assert compute().item() == pytest.approx(value, abs=tolerance, rel=0)


# --- identities and conversions ---------------------------------------------------------------------------------------

Z = torch.tensor([[0.3, -1.2, 2.0], [1.5, 0.2, -0.4], [-0.7, 0.1, 0.6], [2.2, -0.3, 0.9]], dtype=torch.float64)
Y = torch.tensor([2, 0, 1, 0])


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)


def test_case_7_two_classes_are_one_binary_decision_and_three_are_not() -> None:
    two, labels = Z[:, :2], Y.clamp_max(1)
    cross_entropy = LF.cross_entropy_loss(two, labels)
    assert_equal(multilabel(two.softmax(1), F.one_hot(labels, 2), from_logits=False), cross_entropy)
    assert_equal(NLL(two.log_softmax(1), labels), cross_entropy)
    three = multilabel(Z.softmax(1), F.one_hot(Y, 3), from_logits=False)
    assert not torch.isclose(three, LF.cross_entropy_loss(Z, Y), rtol=0.1)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.1, 2.0)])
def test_case_12_binary_symmetric_cross_entropy(alpha: float, beta: float) -> None:
    p, y = Z[:, 0].sigmoid(), torch.tensor([1, 0, 0, 1])
    label = y.double().clamp_min(1e-4), (1 - y).double().clamp_min(1e-4)
    ce = -y * p.log() - (1 - y) * (1 - p).log()
    rce = -p * label[0].log() - (1 - p) * label[1].log()
    actual = LF.symmetric_cross_entropy_loss(Z[:, 0], y, alpha, beta, task="binary", reduction="none")
    assert_equal(actual, alpha * ce + beta * rce)


def test_case_13_kl_is_cross_entropy_minus_the_entropy_of_the_targets() -> None:
    z = Z.clone().requires_grad_()
    q = 0.9 * F.one_hot(Y, 3).double() + 0.1 / 3
    kl = ll.get_loss({"name": "torch.KLDivLoss", "reduction": "batchmean"})
    divergence, cross_entropy = kl(z.log_softmax(1), q), LF.cross_entropy_loss(z, Y, label_smoothing=0.1)
    assert_equal(divergence, cross_entropy + (q * q.log()).sum(1).mean())
    gradients = [torch.autograd.grad(loss, z, retain_graph=True)[0] for loss in (divergence, cross_entropy)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)
    assert LF.cross_entropy_loss(q.log(), q).item() == pytest.approx(-(q * q.log()).sum(1).mean().item(), rel=1e-12)


def test_case_14_none_keeps_the_elements_where_keras_means_over_the_last_axis() -> None:
    each = LF.mse_loss(torch.ones(2, 2), torch.zeros(2, 2), reduction="none")
    assert torch.equal(each, torch.ones(2, 2))
    assert torch.equal(each.mean(-1), torch.ones(2))


def test_case_15_indices_are_one_hot_rows_and_one_sample_is_a_batch_of_one() -> None:
    p, t = Z.softmax(1), F.one_hot(Y, 3)
    textbook = -(t * p.log()).sum() / 4
    for target in (Y, t, t.double()):
        assert_equal(LF.cross_entropy_loss(p, target, from_logits=False), textbook)
    for target in (Y[0], t[0], t[0].double()):
        assert_equal(LF.cross_entropy_loss(p[0], target, from_logits=False), -p[0, 2].log())


def test_case_17_a_column_does_not_meet_a_row() -> None:
    with pytest.raises(ValueError, match=r"target .*\(2, 1\).*\(2,\)"):
        LF.focal_loss(HARD, HARD_LABELS[:, 0], task="binary", from_logits=False)


def test_case_18_weights_count_in_the_mean_of_indices_and_not_of_one_hot_rows() -> None:
    weight = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    total = (weight[Y] * F.cross_entropy(Z, Y, reduction="none")).sum()
    assert_equal(LF.cross_entropy_loss(Z, Y, weight=weight), total / weight[Y].sum())
    assert_equal(LF.cross_entropy_loss(Z, F.one_hot(Y, 3), weight=weight), total / 4)
