"""Every listed classification loss against its oracle, in every task, with every kind of target and every option."""

from __future__ import annotations

import inspect
import itertools
import re
from functools import partial
from typing import Any

import pytest
import torch
from mpmath import mp
from torch import Tensor
from torch.nn import functional as F

import lightning_losses as ll
from tests import oracles
from tests.cases import CASES, EXTRA, NAMES, REGRESSION, VARIANTS, VARIANTS_BY_TASK, WEIGHT, tasks

TARGETS = {
    "multiclass": ("index", "one_hot", "soft"),
    "binary": ("hard", "integer", "soft"),
    "multilabel": ("hard", "integer", "soft"),
}
# Besides the loss's own arguments. The data below have six rows and four classes or labels.
ALPHA = {"multiclass": [0.1, 0.2, 0.3, 0.4], "binary": 0.25, "multilabel": 0.25}
POS_WEIGHT = {"binary": [2.5], "multilabel": [1.0, 2.5, 4.0, 0.5]}
SAMPLE_WEIGHT = [0.0, 1.0, 2.0, 0.5, 1.0, 3.0]
IGNORED = [1, 4]


def options(task: str) -> list[dict[str, Any]]:
    weight = {"weight": WEIGHT[task]}
    everything = {**weight, "label_smoothing": 0.1, "sample_weight": SAMPLE_WEIGHT, "ignored": IGNORED}
    positive = {"pos_weight": POS_WEIGHT[task]} if task in POS_WEIGHT else {}
    return [
        {},
        weight,
        {"label_smoothing": 0.2},
        {"sample_weight": SAMPLE_WEIGHT},
        {"ignored": IGNORED},
        # torch keeps the smoothing part of a row whose own class weighs nothing
        {"weight": [0.0, *WEIGHT[task][1:]], "label_smoothing": 0.1, "sample_weight": SAMPLE_WEIGHT},
        *([positive] if positive else []),
        {**everything, **positive},
        {**everything, **positive, "normalizer": "samples"},
    ]


def logits(task: str) -> Tensor:
    """Four ordinary rows, then one decided by a gap of 200 and one by a gap of 2e4."""
    z = 3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z[4] = torch.tensor([100.0, -100.0, -100.0, 7.0])
    z[5] = torch.tensor([-1e4, 1e4, 1e4, -1e4])
    return z[:, 0] if task == "binary" else z


def targets(task: str, kind: str, ignored: list[int] | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if task == "multiclass":
        index = torch.tensor([0, 3, 2, 1, 1, 0])
        soft = torch.rand(6, 4, generator=generator, dtype=torch.float64)
        y = {"index": index, "one_hot": F.one_hot(index, 4), "soft": soft / soft.sum(1, keepdim=True)}[kind]
    else:
        soft = torch.rand((6,) if task == "binary" else (6, 4), generator=generator, dtype=torch.float64)
        y = {"hard": soft.round(), "integer": soft.round().long(), "soft": soft}[kind]
    if ignored:
        y = y.clone()
        y[ignored] = -100
    return y


def test_every_listed_loss_has_an_oracle() -> None:
    assert set(ll.list_losses()) == {*CASES, *REGRESSION, *EXTRA}


@pytest.mark.parametrize(
    ("name", "arguments", "task", "kind"),
    [
        pytest.param(name, arguments, task, kind, id="-".join([name, *map(str, arguments.values()), task, kind]))
        for name, arguments, task in VARIANTS_BY_TASK
        for kind in TARGETS[task]
    ],
)
def test_value(name: str, arguments: dict[str, Any], task: str, kind: str) -> None:
    extra = [{"alpha": ALPHA[task]}, {"alpha": ALPHA[task], "weight": WEIGHT[task]}] if name == "focal" else []
    for given in [*options(task), *extra]:
        choice = {"task": task, **given}
        z, y = logits(task), targets(task, kind, choice.pop("ignored", None))
        expected = oracles.evaluate(partial(CASES[name].oracle, **arguments), z.tolist(), y.tolist(), **choice)
        sample_weight = choice.pop("sample_weight", None)
        if sample_weight is not None:
            sample_weight = torch.tensor(sample_weight, dtype=torch.float64)
        for reduction, value in expected.items():
            number = torch.tensor([*map(float, value)] if reduction == "none" else float(value), dtype=torch.float64)
            actual = ll.get_loss(name, reduction=reduction, **arguments, **choice)(z, y, sample_weight)
            message = partial("{}, {}: {}".format, given, reduction)
            torch.testing.assert_close(actual, number.reshape(actual.shape), rtol=1e-12, atol=0, msg=message)


@pytest.mark.parametrize(("name", "arguments"), VARIANTS, ids=str)
def test_gradient(name: str, arguments: dict[str, Any]) -> None:
    task = tasks(name)[0]
    z, y = logits(task).requires_grad_(), targets(task, TARGETS[task][0])
    upstream = torch.arange(1.0, 7.0, dtype=torch.float64)  # other than 1, and another for each row
    ll.get_loss(name, task=task, reduction="none", **arguments)(z, y).backward(upstream)
    evaluate = partial(oracles.evaluate, partial(CASES[name].oracle, **arguments), task=task)
    gradients = [oracles.gradient(evaluate, row, label) for row, label in zip(z.tolist(), y.tolist(), strict=True)]
    expected = upstream.reshape(-1, *[1] * (z.dim() - 1)) * torch.tensor(gradients, dtype=torch.float64)
    torch.testing.assert_close(z.grad, expected, rtol=1e-11, atol=1e-40)


# --- equal to torch ---------------------------------------------------------------------------------------------------

SHAPES = {"unbatched": (4,), "rows": (6, 4), "sequence": (3, 4, 5), "image": (2, 4, 3, 2)}
CE_OPTIONS = [
    {**weight, **smoothing}
    for weight in ({}, {"weight": torch.tensor([0.5, 0.0, 2.0, 3.0], dtype=torch.float64)})
    for smoothing in ({}, {"label_smoothing": 0.1})
]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("given", CE_OPTIONS, ids=lambda given: "-".join(given) or "plain")
@pytest.mark.parametrize("kind", ["index", "ignored", "soft"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(
    "loss", [ll.functional.cross_entropy_loss, lambda *a, **k: ll.functional.focal_loss(*a, gamma=0, **k)]
)
def test_is_torch_cross_entropy(
    loss: Any, shape: tuple[int, ...], given: dict[str, Any], kind: str, reduction: str
) -> None:
    generator = torch.Generator().manual_seed(2)
    z = 3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    class_dim = min(len(shape), 2) - 1
    y = torch.rand(shape, generator=generator, dtype=torch.float64).softmax(class_dim)
    if kind != "soft":
        y = y.argmax(class_dim)
    if kind == "ignored" and len(shape) > 1:
        y[0] = -100
    ours, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
    value = loss(ours, y, reduction=reduction, **given)
    torch_value = F.cross_entropy(theirs, y, reduction=reduction, **given)
    torch.testing.assert_close(value, torch_value, rtol=1e-12, atol=1e-12)
    value.square().sum().backward()
    torch_value.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(6,), (6, 4), (2, 4, 3)], ids=str)
@pytest.mark.parametrize("pos_weight", [None, 2.5])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_is_torch_binary_cross_entropy(shape: tuple[int, ...], pos_weight: float | None, reduction: str) -> None:
    generator = torch.Generator().manual_seed(3)
    z = 3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    y = torch.rand(shape, generator=generator, dtype=torch.float64)
    task = "binary" if len(shape) == 1 else "multilabel"
    actual = ll.functional.binary_cross_entropy_loss(z, y, task=task, pos_weight=pos_weight, reduction=reduction)
    factor = None if pos_weight is None else torch.tensor(pos_weight, dtype=torch.float64)
    expected = F.binary_cross_entropy_with_logits(z, y, pos_weight=factor, reduction=reduction)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)


# --- probabilities instead of logits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "arguments"), VARIANTS, ids=str)
def test_probabilities_are_logits_after_softmax_or_sigmoid(name: str, arguments: dict[str, Any]) -> None:
    for task in tasks(name):
        z = torch.randn(6, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        z = z[:, 0] if task == "binary" else z
        p = z.softmax(1) if task == "multiclass" else z.sigmoid()
        choice = {"task": task, "weight": WEIGHT[task], "label_smoothing": 0.1, **arguments}
        for kind, ignored in itertools.product(TARGETS[task], (None, IGNORED)):
            y = targets(task, kind, ignored)
            value = ll.get_loss(name, from_logits=False, **choice)(p, y)
            torch.testing.assert_close(value, ll.get_loss(name, **choice)(z, y), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_half_probabilities(name: str) -> None:
    for task in tasks(name):
        p = torch.tensor([[0.9, 0.0996], [0.004, 0.996]], dtype=torch.bfloat16)
        p, y = (p[:, 0], torch.tensor([1, 0])) if task == "binary" else (p, torch.tensor([[1, 0], [0, 1]]))
        for soft in (y, 0.8 * y + 0.1):
            loss = ll.get_loss(name, task=task, from_logits=False)
            torch.testing.assert_close(loss(p, soft).double(), loss(p.double(), soft), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("name", "arguments"), VARIANTS, ids=str)
def test_gradient_of_probabilities(name: str, arguments: dict[str, Any]) -> None:
    for task in tasks(name):
        p = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]], dtype=torch.float64)
        p, y = (p[:, 0], torch.tensor([1, 0])) if task == "binary" else (p, torch.tensor([[1, 0, 0], [0, 0, 1]]))
        loss = ll.get_loss(name, task=task, from_logits=False, **arguments)
        assert torch.autograd.gradcheck(loss, (p.requires_grad_(), y))


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_of_0_and_1(name: str) -> None:
    # the logarithm is floored at -100 as in torch.nn.BCELoss, so the value is that of log p = -100 and 0
    for task in tasks(name):
        p = torch.tensor([[0.0, 1.0], [1.0, 0.0]], requires_grad=True)
        y = torch.tensor([0, 0]) if task == "multiclass" else torch.tensor([[1, 0], [1, 0]])
        x, y = (p[:, 0], y[:, 0]) if task == "binary" else (p, y)
        value = ll.get_loss(name, task=task, from_logits=False, reduction="none")(x, y)
        value.sum().backward()
        wrong, right = value.reshape(2, -1).detach()
        floor = CASES[name].oracle([mp.exp(-100), 1 - mp.exp(-100)], 0)
        torch.testing.assert_close(wrong, torch.full_like(wrong, float(floor)), rtol=1e-6, atol=0)
        assert (right == 0).all()
        assert p.grad.isfinite().all()


@pytest.mark.parametrize("bad", [-0.1, 1.5, 3.0])
@pytest.mark.parametrize("name", NAMES)
def test_logits_in_the_place_of_probabilities_are_refused(name: str, bad: float) -> None:
    for task in tasks(name):
        p = torch.full((3, 2), 0.5)
        p[1] = bad
        p, y = (p[:, 0], torch.zeros(3)) if task == "binary" else (p, torch.zeros(3, 2))
        loss = ll.get_loss(name, task=task, from_logits=False)
        with pytest.raises(ValueError, match=rf"input .*\[0, 1\].*{bad}"):
            loss(p, y)
        y[1] = -100  # a row that counts for nothing may hold anything
        assert loss(p, y).isfinite()


# --- the losses know nothing of the options ---------------------------------------------------------------------------


@pytest.mark.parametrize("phi", [type(ll.get_loss(name).phi) for name in NAMES], ids=NAMES)
def test_phi_is_a_function_of_one_number(phi: type) -> None:
    words = set(re.findall(r"\w+", inspect.getsource(phi)))
    assert not words & {"weight", "pos_weight", "sample_weight", "ignore_index", "reduction", "task", "label_smoothing"}
