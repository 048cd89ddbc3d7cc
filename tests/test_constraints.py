"""Constraints on modules: what they touch, what they leave alone, and how they are built."""

import copy
import pickle

import pytest
import torch
from torch import nn

from lightning_losses import constraints as C
from lightning_losses.constraints import build_constraints, list_constraints


def net():
    module = nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(3 * torch.randn_like(parameter))
    return module


def norms(weight, dims):
    return weight.detach().double().square().sum(dims).sqrt()


CONSTRAINTS = {
    "max_norm": C.MaxNorm(0.5),
    "min_max_norm": C.MinMaxNorm(0.2, 0.5),
    "unit_norm": C.UnitNorm(),
    "non_neg": C.NonNeg(),
}
EACH = pytest.mark.parametrize("name", CONSTRAINTS)


def test_every_constraint_is_tested():
    assert {*CONSTRAINTS} == {*list_constraints()}


@EACH
def test_only_weights_change_and_stay_the_same_tensors(name):
    module = net()
    before = {path: (id(p), p.detach().clone()) for path, p in module.named_parameters()}
    CONSTRAINTS[name](module)
    changed = [path for path, p in module.named_parameters() if not torch.equal(p, before[path][1])]
    assert changed == ["0.weight", "3.weight"]
    assert all(id(p) == before[path][0] and p.requires_grad for path, p in module.named_parameters())


@EACH
def test_a_second_time_changes_nothing(name):
    module = net()
    CONSTRAINTS[name](module)
    before = copy.deepcopy(module.state_dict())
    CONSTRAINTS[name](module)
    for path, value in module.state_dict().items():
        torch.testing.assert_close(value, before[path], rtol=1e-6, atol=0)


@EACH
def test_no_graph_and_no_change_of_gradients(name):
    module = net()
    module(torch.randn(4, 2, 3, 3)).sum().backward()
    gradients = [p.grad.clone() for p in module.parameters()]
    CONSTRAINTS[name](module)
    assert all(torch.equal(p.grad, old) for p, old in zip(module.parameters(), gradients, strict=True))
    assert all(p.grad_fn is None for p in module.parameters())


@pytest.mark.parametrize(
    ("constraint", "holds"),
    [
        (C.MaxNorm(0.5), lambda w: norms(w, (1, 2, 3)).max() <= 0.5 + 1e-6),
        (C.MaxNorm(0.5, dim=[1, 2, 3], where="0.*"), lambda w: norms(w, (1, 2, 3)).max() <= 0.5 + 1e-6),
        (C.MaxNorm(0.5, dim=(0, 2, 3), where="0.*"), lambda w: norms(w, (0, 2, 3)).max() <= 0.5 + 1e-6),
        (C.UnitNorm(), lambda w: torch.allclose(norms(w, (1, 2, 3)), torch.ones(3).double())),
        (C.MinMaxNorm(0.2, 0.5), lambda w: norms(w, (1, 2, 3)).max() <= 0.5 + 1e-6),
        (C.NonNeg(), lambda w: w.min() >= 0),
    ],
)
def test_convolution_kernels(constraint, holds):
    module = net()
    assert not holds(module[0].weight)
    constraint(module)
    assert holds(module[0].weight)


def test_a_dimension_that_a_weight_does_not_have():
    with pytest.raises(ValueError, match=r"whose shape is \(2, 12\), got \(2, 3\)"):
        C.MaxNorm(0.5, dim=(2, 3))(net())


def test_keras_axis_0_of_a_dense_kernel_is_the_default():
    # Keras: Dense(64, kernel_constraint=MaxNorm(max_value=2, axis=0)) stores (in, out), torch (out, in).
    layer = nn.Linear(64, 64)
    with torch.no_grad():
        layer.weight.mul_(50)
    keras = layer.weight.detach().T.clone()
    keras *= keras.norm(dim=0, keepdim=True).clamp(0, 2) / (1e-7 + keras.norm(dim=0, keepdim=True))
    C.MaxNorm(2.0)(layer)
    torch.testing.assert_close(layer.weight.data, keras.T)


def test_weights_inside_the_ball_do_not_shrink_in_10000_steps():
    layer = nn.Linear(1, 3)
    with torch.no_grad():
        layer.weight.fill_(1e-3)
    constraint = C.MaxNorm(2.0)
    for _ in range(10_000):
        constraint(layer)
    assert layer.weight.data.eq(torch.tensor(1e-3)).all()


@pytest.mark.parametrize(("where", "changed"), [("bias", ["0.bias", "1.bias", "3.bias"]), ("0.*", ["0.weight"])])
def test_where(where, changed):
    module = net()
    before = {path: p.detach().clone() for path, p in module.named_parameters()}
    C.MaxNorm(0.01, dim=0, where=where)(module)
    assert [path for path, p in module.named_parameters() if not torch.equal(p, before[path])] == changed


def test_frozen_layers_are_left_alone():
    module = net()
    module[0].requires_grad_(False)
    before = module[0].weight.clone()
    C.UnitNorm()(module)
    assert torch.equal(module[0].weight, before)


@EACH
def test_a_module_without_parameters(name):
    CONSTRAINTS[name](nn.ReLU())


@EACH
def test_copies_and_pickles(name):
    module = net()
    CONSTRAINTS[name](module)
    for twin in (copy.deepcopy(CONSTRAINTS[name]), pickle.loads(pickle.dumps(CONSTRAINTS[name]))):
        twin(module)
        assert twin.spec == CONSTRAINTS[name].spec


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, {}),
        ("unit_norm", {"unit_norm": {"name": "unit_norm", "dim": None, "where": None}}),
        ({"max_norm": 3}, {"max_norm": {"name": "max_norm", "max_value": 3.0, "dim": None, "where": None}}),
        ({"non_neg": {}}, {"non_neg": {"name": "non_neg", "where": None}}),
        ({"non_neg": None}, {}),
        (
            {"kernels": {"name": "max_norm", "dim": [1, 2], "where": "conv*"}},
            {"kernels": {"name": "max_norm", "max_value": 2.0, "dim": [1, 2], "where": "conv*"}},
        ),
        ([C.NonNeg(where="bias")], {"non_neg": {"name": "non_neg", "where": "bias"}}),
    ],
)
def test_build(spec, expected):
    assert {term: constraint.spec for term, constraint in build_constraints(spec).items()} == expected


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: C.MaxNorm(0.0), ValueError, "max_value must be a finite number > 0, got 0.0"),
        (lambda: C.MinMaxNorm(2.0, 1.0), ValueError, "max_value must be at least min_value = 2.0, got 1.0"),
        (lambda: C.MinMaxNorm(-1.0), ValueError, "min_value must be a finite number >= 0, got -1.0"),
        (lambda: C.MinMaxNorm(rate=1.5), ValueError, r"rate must be a number in \[0, 1\], got 1.5"),
        (lambda: C.MaxNorm(dim="a"), TypeError, "dim must be an integer, a sequence of integers or None, got 'a'"),
        (lambda: C.UnitNorm(dim=[1, 0.5]), TypeError, r"dim must be an integer.*, got \[1, 0.5\]"),
        (lambda: build_constraints("max_nrom"), ValueError, "constraint must be one of .*, did you mean 'max_norm'"),
        (lambda: build_constraints({"non_neg": 1}), TypeError, "'non_neg' needs a mapping of its arguments, got 1"),
        (lambda: build_constraints({"max_norm": {"axis": 0}}), TypeError, "'max_norm' has no argument 'axis'"),
    ],
)
def test_wrong_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
