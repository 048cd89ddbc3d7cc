"""All penalties on parameters: values, gradients without a graph, awkward modules, copies."""

import copy
import pickle

import pytest
import torch
from torch import nn

from lightning_losses import regularizers as R
from lightning_losses.regularizers import list_regularizers


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 3, 2)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 1)


PARAMETER_TERMS = {
    "l1": lambda **kwargs: R.L1(0.3, **kwargs),
    "l2": lambda **kwargs: R.L2(0.3, **kwargs),
    "elastic_net": lambda **kwargs: R.ElasticNet(0.3, 0.7, factor=0.5, **kwargs),
    "group_lasso": lambda **kwargs: R.GroupLasso(0.3, **kwargs),
    "orthogonal": lambda **kwargs: R.Orthogonal(0.3, **kwargs),
    "spectral": lambda **kwargs: R.Spectral(0.3, iterations=50, **kwargs),
    "l2_sp": lambda **kwargs: R.L2SP(0.3, **kwargs),
    "custom": lambda **kwargs: R.Custom(cubes, 0.3, **kwargs),
}
EACH = pytest.mark.parametrize("name", PARAMETER_TERMS)


def cubes(weight):
    return weight.abs().pow(3).sum()


def moved(term, module):
    """A term and a module on which all terms are above zero, L2SP's too."""
    term(module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))
    return term, module


def test_every_term_is_tested():
    assert {*PARAMETER_TERMS, "proximal_l1", "activity_l1", "activity_l2"} == {*list_regularizers()}


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        # Weights 2 and -3, bias 5 (exempt).
        (R.L1(0.1), 0.1 * 5),
        (R.L2(0.1), 0.1 * 0.5 * (4 + 9)),
        (R.L2(0.1, where="bias"), 0.1 * 0.5 * 25),
        (R.L2(0.1, where=["weight", "bias"]), 0.1 * 0.5 * (4 + 9 + 25)),
        (R.ElasticNet(0.1, 0.2), 0.1 * 5 + 0.2 * 0.5 * 13),
        (R.ElasticNet(0.1, 0.2, factor=2.0), 2 * (0.1 * 5 + 0.2 * 0.5 * 13)),
        (R.ProximalL1(0.1), 0.1 * 5),
        (R.GroupLasso(0.1), 0.1 * (2 * 13) ** 0.5),
        (R.Orthogonal(0.1), 0.1 * (13 - 1) ** 2),
        (R.Spectral(0.1), 0.1 * 0.5 * 13),
        (R.L2SP(0.1), 0.0),
        (R.Custom(torch.sum, 0.1), -0.1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values(term, expected):
    net = nn.Linear(2, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[2.0, -3.0]]))
        net.bias.fill_(5.0)
    assert term(net).item() == pytest.approx(expected)
    assert term.add_gradient_(net).item() == pytest.approx(expected)


@EACH
def test_the_gradient_in_place_is_that_of_autograd(name):
    term, net = moved(PARAMETER_TERMS[name](), Net())
    oracle, twin = copy.deepcopy(term), copy.deepcopy(net)
    for parameter in [*net.parameters(), *twin.parameters()]:
        parameter.grad = torch.ones_like(parameter)
    net.head.weight.grad = twin.head.weight.grad = None
    value = oracle(twin)
    value.backward()
    assert term.add_gradient_(net).item() == pytest.approx(value.item(), rel=1e-5)
    for (path, parameter), other in zip(net.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, msg=path)


@EACH
def test_only_what_is_selected_gets_a_gradient(name):
    term, net = moved(PARAMETER_TERMS[name](where="head.*"), Net())
    net.conv.requires_grad_(False)
    assert term.add_gradient_(net) > 0
    assert [path for path, parameter in net.named_parameters() if parameter.grad is not None] == ["head.weight"]


@EACH
def test_the_value_has_no_graph_where_the_gradient_is_added(name):
    term, net = moved(PARAMETER_TERMS[name](), Net())
    assert not term.add_gradient_(net).requires_grad
    assert term(net).requires_grad


@EACH
@pytest.mark.parametrize("factor", [-1.0, float("nan"), float("inf")])
def test_wrong_factors_are_refused(name, factor):
    cls = type(PARAMETER_TERMS[name]())
    arguments = {"function": torch.sum} if cls is R.Custom else {}
    with pytest.raises(ValueError, match="factor must be a finite number >= 0, got "):
        cls(**arguments, factor=factor)


@pytest.mark.parametrize("argument", ["l1", "l2"])
def test_wrong_factors_of_the_elastic_net_are_refused(argument):
    with pytest.raises(ValueError, match=f"{argument} must be a finite number >= 0, got -1.0"):
        R.ElasticNet(**{argument: -1.0})


@EACH
def test_a_schedule_may_change_the_factor(name):
    term, net = moved(PARAMETER_TERMS[name](), Net())
    before = term(net)
    term.factor *= 10
    assert term(net).item() == pytest.approx(10 * before.item(), rel=1e-4)
    assert term.add_gradient_(net).item() == pytest.approx(10 * before.item(), rel=1e-4)


@EACH
@pytest.mark.parametrize(
    "module",
    [
        nn.ReLU(),
        nn.Linear(2, 3).requires_grad_(False),
        nn.ParameterDict({"weight": torch.zeros(3, 0)}),
        nn.ParameterDict({"weight": torch.zeros(1, 4)}),
        nn.ParameterDict({"weight": torch.zeros(4, 1)}),
    ],
    ids=["no parameters", "frozen", "no numbers", "one row", "one column"],
)
def test_awkward_modules(name, module):
    term = PARAMETER_TERMS[name]()
    assert term(module).isfinite()
    assert term.add_gradient_(module).isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


@EACH
def test_a_scalar_parameter(name):
    module = nn.Module()
    module.register_parameter("logit_scale", nn.Parameter(torch.tensor(0.0)))
    term = PARAMETER_TERMS[name](where="scale")
    assert term(module).isfinite()
    assert term.add_gradient_(module).isfinite()
    assert module.logit_scale.grad.isfinite()


@EACH
def test_copies_and_pickles(name):
    term, net = moved(PARAMETER_TERMS[name](), Net())
    value = term(net).item()
    assert copy.deepcopy(term)(net).item() == pytest.approx(value, rel=1e-5)
    assert pickle.loads(pickle.dumps(term))(net).item() == pytest.approx(value, rel=1e-5)


def test_a_sparse_gradient_is_refused():
    net = nn.Embedding(5, 2, sparse=True)
    net(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="the gradient of 'weight' is sparse"):
        R.L2(0.1).add_gradient_(net)
