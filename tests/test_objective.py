from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

import lightning_losses as ll

NET = nn.Linear(2, 3)
X, Y = torch.tensor([[1.0, -1.0], [0.5, 2.0]]), torch.tensor([0, 2])


def test_terms_add_up_and_differentiate_like_the_loop_of_the_tutorials() -> None:
    objective = ll.Objective("ce", {"l2": 0.1, "l1": 0.2}).bind(NET)
    terms = objective(NET(X), Y)
    w = NET.weight
    expected = nn.functional.cross_entropy(NET(X), Y) + 0.1 * 0.5 * w.square().sum() + 0.2 * w.abs().sum()
    torch.testing.assert_close(terms.total, expected)
    gradients = torch.autograd.grad(terms.total, list(NET.parameters()))
    for got, want in zip(gradients, torch.autograd.grad(expected, list(NET.parameters())), strict=True):
        torch.testing.assert_close(got, want)
    assert terms.weight.item() == 2


def test_penalties_need_a_module_to_look_at() -> None:
    with pytest.raises(RuntimeError, match="bind"):
        ll.Objective("ce", {"l2": 0.1})(NET(X), Y)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"los": "ce"}, "did you mean 'loss'"),
        ({"loss": "focul"}, "did you mean 'focal'"),
        ({"loss": {"name": "focal", "gama": 1}}, "did you mean 'gamma'"),
        ({"loss": {"gamma": 1}}, "must have a name"),
        ({"loss": 3}, "loss must be a name, a mapping, a module or a callable, got 3"),
        ({"regularizer": {"l3": 1e-4}}, "l3"),
        ({"regularizer": {"l2": -1e-4}}, "-0.0001"),
        ({"regularizer": {"l2": float("nan")}}, "nan"),
    ],
)
def test_mistakes_are_named_at_construction(spec: Mapping[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        ll.build(spec)


def test_hydras_config_builds_what_the_mapping_builds() -> None:
    spec = {
        "loss": {"name": "focal", "gamma": 3.0, "weight": [1.0, 2.0, 3.0]},
        "regularizer": {"l2": {"name": "l2", "factor": 0.1}},
    }
    ours, hydras = ll.build(spec).bind(NET), ll.build(OmegaConf.create(spec)).bind(NET)
    torch.testing.assert_close(ours(NET(X), Y).total, hydras(NET(X), Y).total, rtol=0, atol=0)


def test_a_callable_is_a_loss() -> None:
    objective = ll.Objective(lambda output, target: (output.sum(dim=1) - target).square().mean())
    terms = objective(NET(X), Y)
    torch.testing.assert_close(terms.total, (NET(X).sum(dim=1) - Y).square().mean())
    assert terms.weight.item() == 2


def test_torchs_criteria_are_losses() -> None:
    output, target = torch.rand(3), torch.rand(3)
    got = ll.Objective({"name": "torch.PoissonNLLLoss", "log_input": False})(output, target).loss
    torch.testing.assert_close(got, nn.PoissonNLLLoss(log_input=False)(output, target))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda objective: pickle.loads(pickle.dumps(objective))])
def test_an_objective_can_be_copied(clone: Any) -> None:
    objective = clone(ll.Objective("focal", {"l2": 0.1}).bind(NET))
    torch.testing.assert_close(
        objective(NET(X), Y).total, ll.Objective("focal", {"l2": 0.1}).bind(NET)(NET(X), Y).total
    )
