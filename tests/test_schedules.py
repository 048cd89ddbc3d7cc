"""Values over time, and what becomes of them in an objective."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import lightning_losses as ll
from lightning_losses.schedules import Curve, Target


def test_hold_keeps_the_earlier_value() -> None:
    curve = Curve([2, 5], ["ce", {"name": "sce"}])
    assert [curve(time) for time in (0, 2, 4, 5, 99)] == ["ce", "ce", "ce", {"name": "sce"}, {"name": "sce"}]
    assert [curve.index(time) for time in (0, 2, 4, 5, 99)] == [0, 0, 0, 1, 1]


def test_linear_is_what_numpy_interpolates() -> None:
    at, values, times = [1, 4, 10], [2.0, -1.0, 0.5], np.linspace(0, 12, 49)
    assert [Curve(at, values, "linear")(time) for time in times] == pytest.approx(np.interp(times, at, values))


def test_cosine_is_what_torch_anneals() -> None:
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([parameter], lr=3.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10, eta_min=1.0)
    curve = Curve([0, 10], [3.0, 1.0], "cosine")
    for epoch in range(11):
        assert curve(epoch) == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert curve(99) == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [1.0]), "at and values must be as long, and not empty, got 2 and 1"),
        (([], []), "not empty, got 0 and 0"),
        (([0, 0], [1.0, 2.0]), r"at must rise from each point to the next, got \[0, 0\]"),
        (([0, 1], [1.0, 2.0], "linaer"), "shape must be one of .*, got 'linaer', did you mean 'linear'"),
        (([0, 1], [None, 2.0], "linear"), r"shape='linear' is for numbers, shape='hold' for any values, got \[None"),
    ],
)
def test_a_curve_that_cannot_be_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Curve(*arguments)


# loss and regularizer, path, value -> the same built anew
PLACES: dict[str, tuple[dict[str, Any], str, Any, dict[str, Any]]] = {
    "an argument": ({"loss": "focal"}, "loss.gamma", 0.5, {"loss": {"name": "focal", "gamma": 0.5}}),
    "one among others": (
        {"loss": {"name": "sce", "alpha": 0.1, "label_smoothing": 0.1}},
        "loss.beta",
        3.0,
        {"loss": {"name": "sce", "alpha": 0.1, "beta": 3.0, "label_smoothing": 0.1}},
    ),
    "a weight that appears": (
        {"loss": "ldam", "counts": [5, 3]},
        "loss.weight",
        [1.0, 2.0],
        {"loss": {"name": "ldam", "class_counts": [5, 3], "weight": [1.0, 2.0]}},
    ),
    "a term of a sum": (
        {"loss": {"name": "combined", "terms": {"nce": 1.0, "rce": 0.1}}},
        "loss.terms.rce",
        2.0,
        {"loss": {"name": "combined", "terms": {"nce": 1.0, "rce": 2.0}}},
    ),
    "an argument of a term": (
        {"loss": {"name": "combined", "terms": {"nce": 1.0, "focal": {"factor": 2.0}}}},
        "loss.terms.focal.factor",
        5.0,
        {"loss": {"name": "combined", "terms": {"nce": 1.0, "focal": 5.0}}},
    ),
    "a loss by name": ({"loss": "ce"}, "loss", "gce", {"loss": "gce"}),
    "a loss by mapping": (
        {"loss": "ce"},
        "loss",
        {"name": "poly1", "epsilon": 2},
        {"loss": {"name": "poly1", "epsilon": 2}},
    ),
    "a regularizer's factor": (
        {"regularizer": {"l2": 0.1}},
        "regularizer.l2.factor",
        0.3,
        {"regularizer": {"l2": 0.3}},
    ),
    "another number of it": (
        {"regularizer": {"mine": {"name": "elastic_net", "l1": 1.0, "l2": 2.0}}},
        "regularizer.mine.l1",
        0.5,
        {"regularizer": {"mine": {"name": "elastic_net", "l1": 0.5, "l2": 2.0}}},
    ),
}


@pytest.mark.parametrize("name", PLACES)
def test_the_objective_is_as_if_built_with_the_value(name: str) -> None:
    before, path, value, after = PLACES[name]
    if counts := before.get("counts"):
        before = {"loss": {"name": before["loss"], "class_counts": counts}}
    net = torch.nn.Linear(3, 2)
    logits, target = torch.randn(8, 2, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    changed, built = ll.build(before).bind(net), ll.build(after).bind(net)
    assert changed(logits, target).total != built(logits, target).total
    Target(path).check(changed, value)
    Target(path).put(changed, value)
    torch.testing.assert_close(changed(logits, target).total, built(logits, target).total)


def test_a_whole_loss_keeps_the_task() -> None:
    objective = ll.build({"loss": {"name": "focal", "task": "binary"}})
    Target("loss").put(objective, "ce")
    assert objective.loss.task == "binary"


ADAPTIVE = {"name": "adaptive_log_softmax", "in_features": 4, "n_classes": 8, "cutoffs": [4]}


@pytest.mark.parametrize(
    ("path", "value", "error", "message"),
    [
        ("loss.gamma", -1.0, ValueError, "gamma must be a finite number >= 0, got -1.0"),
        ("loss.gama", 1.0, TypeError, "no argument 'gama', did you mean 'gamma'"),
        ("loss.terms.ce", 1.0, ValueError, r"the loss has no terms.ce \(known under terms: none\)"),
        ("loss", "foca", ValueError, "did you mean 'focal'"),
        ("loss", "mse", TypeError, "loss 'mse' does not take task='multiclass': its task is regression"),
        ("loss", {"name": "focal", "task": "binary"}, ValueError, "the task must stay 'multiclass', got 'binary'"),
        ("loss", ADAPTIVE, ValueError, "AdaptiveLogSoftmaxLoss learns or counts, and would forget it"),
        ("regularizer.l1.factor", 1.0, ValueError, "the regularizer must be one of 'l2', got 'l1'"),
        ("regularizer.l2.factor", float("nan"), ValueError, "factor must be a finite number >= 0, got nan"),
        ("regularizer.l2.where", 1.0, ValueError, "the argument must be one of 'factor', got 'where'"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(path: str, value: Any, error: type[Exception], message: str) -> None:
    objective = ll.build({"loss": "focal", "regularizer": {"l2": 0.1}})
    with pytest.raises(error, match=message):
        Target(path).check(objective, value)


@pytest.mark.parametrize("path", ["gamma", "optimizer.lr", "regularizer.l2", ""])
def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"target must be 'loss', 'loss\.ARGUMENT' or 'regularizer\.NAME\.ARGUMENT'"):
        Target(path)


def test_the_arguments_of_a_callable_are_not_known() -> None:
    objective = ll.build({"loss": torch.nn.functional.cross_entropy})
    with pytest.raises(TypeError, match="ForeignLoss has no arguments that are known by name"):
        Target("loss.gamma").check(objective, 1.0)


@pytest.mark.filterwarnings("ignore:.* should not be instantiated:DeprecationWarning")  # torch's, while it compiles
def test_compiled_code_is_not_compiled_for_every_value() -> None:
    from torch._dynamo.testing import CompileCounter

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.objective = ll.build({"loss": "focal"})

        def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return self.objective.loss(logits, target)

    counter, net = CompileCounter(), Net()
    torch._dynamo.reset()
    compiled = torch.compile(net, backend=counter)
    logits, target = torch.randn(8, 3), torch.arange(8) % 3
    for gamma in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0):
        Target("loss.gamma").put(net.objective, gamma)
        torch.testing.assert_close(compiled(logits, target), ll.functional.focal_loss(logits, target, gamma=gamma))
    assert counter.frame_count <= 2  # once for a number, once for any number
