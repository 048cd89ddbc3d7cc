"""Losses that are neither a function of class probabilities nor of a difference, sums of losses, and torch's own."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lightning_losses as ll

Z = torch.tensor([[0.3, -1.2, 2.0], [1.0, 1.0, 1.0], [-3.0, 0.5, 0.1], [2.0, -2.0, 0.0]], dtype=torch.float64)
Y = torch.tensor([0, 2, 1, 1])
SAMPLE_WEIGHT = torch.tensor([1.0, 0.5, 2.0, 3.0], dtype=torch.float64)


# --- log-probabilities ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)], ids=["plain", "weight"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_nll_is_torchs(weight: Any, reduction: str) -> None:
    # on any numbers, as in reference case 2
    value = ll.functional.nll_loss(Z, Y, weight=weight, reduction=reduction)
    torch.testing.assert_close(value, F.nll_loss(Z, Y, weight=weight, reduction=reduction))


def test_nll_of_probability_0() -> None:
    value = ll.NLLLoss()(torch.tensor([[0.0, -math.inf]]), torch.tensor([0]))
    assert value == 0


def test_nll_predicts_probabilities() -> None:
    loss = ll.NLLLoss()
    torch.testing.assert_close(loss.predict(Z.log_softmax(1)).probabilities, Z.softmax(1))


@pytest.mark.parametrize("reduction", ["batchmean", "mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2)], ids=str)
def test_kl_div(reduction: str, shape: tuple[int, ...]) -> None:
    z = Z.reshape(shape).log_softmax(1)
    q = torch.rand(shape, dtype=torch.float64).softmax(1)
    elements = q * (q.log() - z)
    expected = {"batchmean": elements.sum() / len(z), "mean": elements.mean(), "sum": elements.sum(), "none": elements}
    expected = expected[reduction]
    torch.testing.assert_close(ll.functional.kl_div_loss(z, q, reduction=reduction), expected)
    loss = ll.KLDivLoss(reduction=reduction)
    torch.testing.assert_close(loss(z, q), expected)
    total, weight = loss.sum_and_weight(z, q)
    assert loss.reduction == ("mean" if reduction == "batchmean" else reduction)
    if loss.reduction == "mean":
        torch.testing.assert_close(total / weight, expected)


def test_kl_div_of_one_row_is_that_of_a_batch_of_one() -> None:
    z, q = Z.log_softmax(1), Z.roll(1, 0).softmax(1)
    assert torch.equal(ll.KLDivLoss()(z[0], q[0]), ll.KLDivLoss()(z[:1], q[:1]))
    assert ll.KLDivLoss()(z[:0], q[:0]) == 0


def test_kl_div_with_sample_weight() -> None:
    z, q = Z.log_softmax(1), Z.roll(1, 0).softmax(1)
    rows = F.kl_div(z, q, reduction="none").sum(1)
    expected = (SAMPLE_WEIGHT * rows).sum() / SAMPLE_WEIGHT.sum()
    torch.testing.assert_close(ll.KLDivLoss()(z, q, SAMPLE_WEIGHT), expected)
    assert ll.KLDivLoss().predict(z).decision.tolist() == [2, 0, 1, 0]


# --- two tensors of one shape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("negative", [0, -1])
def test_hinge(negative: int) -> None:
    scores = torch.tensor([0.25, 2.0, -0.5, -3.0])
    target = torch.tensor([1, 1, negative, negative])
    # max(0, 1 - y x): 1 - .25, 0, 1 - .5, 0
    assert ll.HingeLoss(reduction="none")(scores, target).tolist() == [0.75, 0.0, 0.5, 0.0]
    assert ll.HingeLoss(margin=2.0)(scores, target).item() == (1.75 + 1.5) / 4
    assert ll.HingeLoss().predict(scores).decision.tolist() == [1, 1, 0, 0]
    with pytest.raises(ValueError, match=r"target .*-1 and 1.* 2"):
        ll.HingeLoss()(scores, torch.tensor([1, 2, 0, 0]))


def test_cosine_similarity() -> None:
    x, y = Z, Z.roll(1, 0)
    expected = 1 - (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))
    torch.testing.assert_close(ll.CosineSimilarityLoss(reduction="none")(x, y), expected)
    weighted = (SAMPLE_WEIGHT * expected).sum() / SAMPLE_WEIGHT.sum()
    torch.testing.assert_close(ll.CosineSimilarityLoss()(x, y, SAMPLE_WEIGHT), weighted)
    torch.testing.assert_close(ll.CosineSimilarityLoss(dim=0, reduction="none")(x.T, y.T), expected)
    with pytest.raises(ValueError, match=r"target .*shape"):
        ll.CosineSimilarityLoss()(x, y[0])


# --- adaptive softmax -------------------------------------------------------------------------------------------------


def test_adaptive_log_softmax_is_torchs_and_leaves_out_ignored_rows() -> None:
    loss = ll.AdaptiveLogSoftmaxLoss(in_features=4, n_classes=6, cutoffs=[2, 4], div_value=2.0)
    x, y = torch.randn(5, 4), torch.tensor([0, 3, 5, 2, 0])
    expected = loss.softmax(x, y).output
    torch.testing.assert_close(loss(x, y), -expected.mean())
    x[1], y[1] = torch.nan, -100
    x.requires_grad_()
    value = loss(x, y)
    torch.testing.assert_close(value, -expected[[0, 2, 3, 4]].mean())
    value.backward()
    assert (x.grad[1] == 0).all()
    assert all(parameter.grad.isfinite().all() for parameter in loss.parameters())
    assert loss(x[:0], y[:0]) == 0
    with pytest.raises(ValueError, match=r"target .*\[0, 5\].* 6"):
        loss(x, torch.full((5,), 6))


def test_adaptive_log_softmax_has_a_head_bias_or_none() -> None:
    given: Any = "maybe"
    with pytest.raises(ValueError, match="head_bias must be one of True, False, got 'maybe'"):
        ll.AdaptiveLogSoftmaxLoss(in_features=4, n_classes=6, cutoffs=[2], head_bias=given)


def test_adaptive_log_softmax_owns_what_it_trains_and_predicts() -> None:
    loss = ll.AdaptiveLogSoftmaxLoss(in_features=4, n_classes=6, cutoffs=[2])
    assert set(loss.state_dict()) == {f"softmax.{name}" for name in loss.softmax.state_dict()}
    features = torch.randn(3, 4)
    decision, probabilities = loss.predict(features)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(3))
    assert torch.equal(decision, loss.softmax.predict(features))


# --- sums -------------------------------------------------------------------------------------------------------------


def test_sum_of_losses() -> None:
    options: dict[str, Any] = {"weight": [0.5, 2.0, 1.0], "label_smoothing": 0.1, "ignore_index": 1}
    loss = ll.CombinedLoss({"nce": 2.0, "rce": 0.1, "nfl": {"factor": 0.5, "gamma": 2.0}}, **options)
    parts = {
        "nce": 2.0 * ll.NormalizedCrossEntropyLoss(**options)(Z, Y, SAMPLE_WEIGHT),
        "rce": 0.1 * ll.ReverseCrossEntropyLoss(**options)(Z, Y, SAMPLE_WEIGHT),
        "nfl": 0.5 * ll.NormalizedFocalLoss(gamma=2.0, **options)(Z, Y, SAMPLE_WEIGHT),
    }
    torch.testing.assert_close(loss(Z, Y, SAMPLE_WEIGHT), sum(parts.values()))
    torch.testing.assert_close(loss.terms(Z, Y, SAMPLE_WEIGHT), parts)
    total, weight = loss.sum_and_weight(Z, Y, SAMPLE_WEIGHT)
    torch.testing.assert_close(total / weight, loss(Z, Y, SAMPLE_WEIGHT))


def test_sum_of_regression_losses() -> None:
    loss = ll.CombinedLoss({"near": {"name": "mse"}, "far": {"name": "l1", "factor": 3.0}}, reduction="sum")
    assert loss(torch.tensor([2.0]), torch.tensor([0.0])).item() == 4 + 3 * 2
    assert loss.task == "regression"


@pytest.mark.parametrize("name", ["nce_rce", "nce_mae", "nfl_rce"])
def test_presets(name: str) -> None:
    loss = ll.get_loss(ll.compose(f"loss={name}", "task=multiclass").loss)
    assert isinstance(loss, ll.CombinedLoss)
    assert loss(Z, Y).isfinite()
    assert loss.predict(Z).decision.tolist() == [2, 0, 1, 0]
    assert loss.predict(Z).probabilities is None


@pytest.mark.parametrize(
    ("terms", "options", "error", "message"),
    [
        ({}, {}, ValueError, "terms"),
        ({"nce": 0.0}, {}, ValueError, "nce"),
        ({"nec": 1.0}, {}, ValueError, "nec.*did you mean 'nce'"),
        ({"nce": 1.0, "mse": 1.0}, {"weight": [1.0, 2.0]}, TypeError, "mse.*weight"),
        ({"mine": {"name": "torch.MSELoss"}}, {}, TypeError, "mine"),
        ({"ce": 1.0, "bce": 1.0}, {}, ValueError, "one task.*'bce': 'binary'"),
        *(
            ({"rce": 1.0, "ce": {option: value}}, {}, ValueError, f"{option} must .*whole sum.*'ce'")
            for option, value in {
                "task": "binary",
                "weight": [1.0, 2.0],
                "normalizer": "samples",
                "ignore_index": 0,
                "reduction": "sum",
            }.items()
        ),
    ],
)
def test_bad_sums_are_refused(
    terms: dict[str, Any], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ll.CombinedLoss(terms, **options)


# --- torch's criteria -------------------------------------------------------------------------------------------------

LENGTHS = torch.tensor([4, 4]), torch.tensor([2, 1])
# Those of one input and one target are in test_losses.
OF_SEVERAL: dict[str, tuple[Any, Any, tuple[Any, ...]]] = {
    "CosineEmbeddingLoss": ((Z, Z.flip(0)), torch.ones(4), (Z, Z.flip(0), torch.ones(4))),
    "MarginRankingLoss": ((Z[0], Z[1]), torch.ones(3), (Z[0], Z[1], torch.ones(3))),
    "TripletMarginLoss": ((Z, Z.flip(0)), Z + 1, (Z, Z.flip(0), Z + 1)),
    "TripletMarginWithDistanceLoss": ((Z, Z.flip(0)), Z + 1, (Z, Z.flip(0), Z + 1)),
    "GaussianNLLLoss": ((Z, Z.exp()), Z + 1, (Z, Z + 1, Z.exp())),
    "CTCLoss": (
        torch.zeros(4, 2, 3).log_softmax(2),
        (torch.tensor([[1, 2], [1, 0]]), *LENGTHS),
        (torch.zeros(4, 2, 3).log_softmax(2), torch.tensor([[1, 2], [1, 0]]), *LENGTHS),
    ),
}


@pytest.mark.parametrize("name", OF_SEVERAL)
def test_criteria_of_several_inputs(name: str) -> None:
    given, target, arguments = OF_SEVERAL[name]
    assert torch.equal(ll.get_loss(f"torch.{name}")(given, target), getattr(nn, name)()(*arguments))


@pytest.mark.parametrize(
    ("name", "z", "decision"),
    [
        ("CrossEntropyLoss", [[0.0, 2.0, 1.0]], [1]),
        ("NLLLoss", [[0.0, -2.0, -1.0]], [0]),
        ("MultiMarginLoss", [[0.0, 2.0, 1.0]], [1]),
        ("BCEWithLogitsLoss", [0.3, -0.3], [1, 0]),
        ("BCELoss", [0.3, 0.7], [0, 1]),
        ("SoftMarginLoss", [0.3, -0.3], [1, 0]),
        ("MultiLabelSoftMarginLoss", [[0.3, -0.3]], [[1, 0]]),
        ("PoissonNLLLoss", [0.3, -0.3], [0.3, -0.3]),
    ],
)
def test_decisions_of_torchs_criteria(name: str, z: list[Any], decision: list[Any]) -> None:
    prediction = ll.get_loss(f"torch.{name}").predict(torch.tensor(z))
    torch.testing.assert_close(prediction.decision, torch.tensor(decision))


@pytest.mark.parametrize("weight", [[1, 2, 3], (0.5, 2.0, 1.0), torch.tensor([0.5, 2.0, 1.0])], ids=str)
def test_weights_of_torchs_criteria_are_plain_numbers(weight: Any) -> None:
    loss = ll.get_loss({"name": "torch.CrossEntropyLoss", "weight": weight})
    expected = F.cross_entropy(Z.float(), Y, weight=torch.as_tensor(weight, dtype=torch.float32))
    assert torch.equal(loss(Z.float(), Y), expected)


@pytest.mark.parametrize("pos_weight", [2, [2.0]])
def test_pos_weight_of_torchs_criteria_is_a_plain_number(pos_weight: Any) -> None:
    loss = ll.get_loss({"name": "torch.BCEWithLogitsLoss", "pos_weight": pos_weight})
    expected = F.binary_cross_entropy_with_logits(Z.float(), Z.sigmoid().float(), pos_weight=torch.tensor(2.0))
    assert torch.equal(loss(Z.float(), Z.sigmoid().float()), expected)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("kld", "kl_div"),
        ("kl_divergence", "kl_div"),
        ("logcosh", "log_cosh"),
        ("mean_absolute_percentage_error", "mape"),
        ("sparse_categorical_crossentropy", "ce"),
        ("binary_crossentropy", "bce"),
    ],
)
def test_names_of_keras(alias: str, name: str) -> None:
    assert type(ll.get_loss(alias)) is type(ll.get_loss(name))


def test_poisson_of_keras() -> None:
    # keras 3.15: mean(y_pred - y_true * log(y_pred + 1e-7))
    rate, count = torch.tensor([2.0, 0.5]), torch.tensor([3.0, 0.0])
    torch.testing.assert_close(ll.get_loss("poisson")(rate, count), (rate - count * rate.log()).mean())


# --- probabilities in the place of logits -----------------------------------------------------------------------------


ULP = torch.finfo(torch.float64).eps


@pytest.mark.parametrize(
    ("p", "y"),
    [
        (Z.softmax(1), Y),
        (Z[0].softmax(0), Y[0]),
        (Z.T.softmax(0).reshape(1, 3, 2, 2), Y.reshape(1, 2, 2)),
        (Z.softmax(1).bfloat16(), Y),
        (F.one_hot(Y, 3).float(), Y),
        # the largest sum that is 1 but for rounding
        (torch.tensor([[0.5, 0.5 + 4 * ULP]], dtype=torch.float64), Y[:1]),
    ],
    ids=["rows", "one row", "image", "half", "certain", "rounding"],
)
def test_probabilities_in_the_place_of_logits_warn_once(p: torch.Tensor, y: torch.Tensor) -> None:
    loss = ll.FocalLoss()
    with pytest.warns(UserWarning, match="from_logits=False") as warnings:
        loss(p, y)
    ours = [warning for warning in warnings if warning.category is UserWarning]
    assert [warning.filename for warning in ours] == [__file__]  # where the line is that is to be changed
    loss(p, y)  # a second warning would be an error here


@pytest.mark.parametrize(
    ("loss", "z"),
    [
        (ll.CrossEntropyLoss(), Z),
        (ll.CrossEntropyLoss(), Z.sigmoid()),
        (ll.CrossEntropyLoss(), torch.tensor([[0.5, 0.5 + 5 * ULP, 0.0]], dtype=torch.float64).expand(4, 3)),
        (ll.CrossEntropyLoss(), torch.tensor([[1.5, -0.5, 0.0]]).expand(4, 3)),
        (ll.CrossEntropyLoss(from_logits=False), Z.softmax(1)),
        (ll.CrossEntropyLoss(task="multilabel"), Z.softmax(1)),
    ],
    ids=["logits", "no sum of 1", "nearly a sum of 1", "negative", "told", "multilabel"],
)
def test_nothing_else_warns(loss: nn.Module, z: torch.Tensor) -> None:
    loss(z, Y if loss.task == "multiclass" else F.one_hot(Y, 3))
