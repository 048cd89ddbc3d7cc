"""A linear layer and its loss in one, against the two one after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lightning_losses as ll
from lightning_losses.functional.linear import linear_loss
from lightning_losses.kernels import linear
from lightning_losses.losses.linear import LinearLoss

CORE = ["ce", "focal", "sce", "rce", "gce", "prob_mae", "poly1", "taylor_ce"]


@pytest.fixture(params=[1, 3], ids="block={}".format, autouse=True)
def _least_rows(request, monkeypatch):
    monkeypatch.setattr(linear, "LEAST_ROWS", request.param)


def problem(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    h, w, b = torch.randn(8, 4), torch.randn(5, 4), torch.randn(5)
    y = torch.tensor([0, 1, -100, 3, 4, -100, -100, 2])
    return h.to(dtype).requires_grad_(), w.to(dtype).requires_grad_(), b.to(dtype).requires_grad_(), y


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1, "weight": [1.0, 2.0, 0.5, 0.0, 3.0]}], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", CORE)
def test_same_as_linear_then_loss(name: str, reduction: Any, options: dict[str, Any]) -> None:
    h, w, b, y = problem()
    loss = ll.get_loss(name, reduction=reduction, **options)
    ours, expected = linear_loss(h, w, b, y, loss), loss(F.linear(h, w, b), y)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-14)
    seed = torch.rand_like(expected)
    slopes = (torch.autograd.grad(value, (h, w, b), seed) for value in (ours, expected))
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-14)


@pytest.mark.skipif(not hasattr(F, "linear_cross_entropy"), reason="later torch has it")
def test_cross_entropy_is_torchs() -> None:
    h, w, _, y = problem(torch.float32)
    torch.testing.assert_close(linear_loss(h, w, None, y, ll.CrossEntropyLoss()), F.linear_cross_entropy(h, w, y))


def test_what_would_get_no_gradient_is_refused() -> None:
    h, w, _, y = problem(torch.float32)
    sample_weight = torch.rand(len(y), requires_grad=True)
    with pytest.raises(ValueError, match="sample_weight must not require a gradient"):
        linear_loss(h, w, None, y, ll.FocalLoss(), sample_weight)
    linear_loss(h, w, None, y, ll.FocalLoss(reduction="none"), sample_weight).sum().backward()
    assert sample_weight.grad.any()


def test_sequences_probabilities_and_sample_weight() -> None:
    h, w, b, _ = problem()
    share, sample_weight = torch.rand(8, 5, dtype=torch.float64).softmax(1), torch.rand(8, dtype=torch.float64)
    loss = ll.FocalLoss()
    expected = loss(F.linear(h, w, b), share, sample_weight)
    ours = linear_loss(h.reshape(4, 2, 4), w, b, share.reshape(4, 2, 5), loss, sample_weight.reshape(4, 2))
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=0)


def test_rows_left_out_may_hold_nan() -> None:
    h, w, b, y = problem()
    expected = torch.autograd.grad(linear_loss(h, w, b, y, ll.FocalLoss()), (h, w, b))
    broken = h.detach().clone()
    broken[y < 0] = torch.nan
    loss = linear_loss(broken.requires_grad_(), w, b, y, ll.FocalLoss())
    torch.testing.assert_close(torch.autograd.grad(loss, (broken, w, b)), expected, rtol=1e-12, atol=0)


def test_all_rows_left_out() -> None:
    h, w, b, y = problem()
    loss = linear_loss(h, w, b, torch.full_like(y, -100), ll.FocalLoss())
    loss.backward()
    assert loss == 0
    assert not any(t.grad.any() for t in (h, w, b))


def test_tied_weight() -> None:
    embedding, y = nn.Embedding(5, 4), torch.tensor([0, 1, 2, 3])
    layer = LinearLoss("focal", in_features=4, num_classes=5, bias=False)
    layer.weight = embedding.weight
    layer(embedding(y), y.flip(0)).backward()
    ours, embedding.weight.grad = embedding.weight.grad, None
    ll.FocalLoss()(F.linear(embedding(y), embedding.weight), y.flip(0)).backward()
    torch.testing.assert_close(ours, embedding.weight.grad)


def test_bfloat16() -> None:
    h, w, b, y = problem(torch.bfloat16)
    loss = linear_loss(h, w, b, y, ll.FocalLoss())
    loss.backward()
    exact = [t.detach().double().requires_grad_() for t in (h, w, b)]
    ll.FocalLoss()(F.linear(*exact), y).backward()
    assert loss.dtype == torch.float32
    for ours, reference in zip((h, w, b), exact, strict=True):
        assert ours.grad.dtype == torch.bfloat16
        torch.testing.assert_close(ours.grad.double(), reference.grad, rtol=0, atol=0.03 * reference.grad.abs().max())


def test_module_is_a_loss() -> None:
    h, _, _, y = problem(torch.float32)
    layer = LinearLoss({"name": "focal", "gamma": 1.0}, in_features=4, num_classes=5)
    total, weight = layer.sum_and_weight(h, y)
    torch.testing.assert_close(layer(h, y), total / weight)
    torch.testing.assert_close(layer(h, y), ll.FocalLoss(gamma=1.0)(layer.logits(h), y))
    each = LinearLoss({"name": "focal", "gamma": 1.0, "reduction": "none"}, in_features=4, num_classes=5)
    assert each(h.reshape(2, 4, 4), y.reshape(2, 4)).shape == (2, 4)
    prediction = layer.predict(h.reshape(2, 4, 4))
    assert prediction.decision.shape == (2, 4)
    torch.testing.assert_close(prediction.probabilities.sum(-1), torch.ones(2, 4))
    one = layer.predict(h[0])
    torch.testing.assert_close(one.probabilities, layer.posterior(h)[0])
    assert one.decision.shape == ()
    with torch.no_grad():
        assert not layer(h, y).requires_grad


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (lambda h, w, b, y: (h[:, :3], w, b, y), ValueError, "hidden must end in"),
        (lambda h, w, b, y: (h, w, b, y[:3]), ValueError, "target must have shape"),
        (lambda h, w, b, y: (h, w, b, torch.full_like(y, 5)), ValueError, "target must hold"),
    ],
    ids=["hidden", "target", "label"],
)
def test_refused(arguments, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        linear_loss(*arguments(*problem()), ll.FocalLoss())


@pytest.mark.parametrize(
    "loss", ["mse", "ghm", {"name": "focal", "task": "binary"}, {"name": "ce", "from_logits": False}]
)
def test_module_refuses_other_losses(loss: Any) -> None:
    with pytest.raises(TypeError, match="loss must"):
        LinearLoss(loss, in_features=4, num_classes=5)


def test_differentiable_once() -> None:
    h, w, b, y = problem()
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(linear_loss(h, w, b, y, ll.FocalLoss()), h, create_graph=True)
