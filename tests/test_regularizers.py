"""Regularizers on modules: values, gradients without a graph, states, hooks, and how they are built."""

import copy
import pickle

import pytest
import torch
from torch import nn

from lightning_losses import regularizers as R
from lightning_losses.regularizers import build_regularizers, list_regularizers


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 3, 2)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 1)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).mean(2))


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


def train(net, x, y, optimizer, penalty=None, steps=5):
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x), y).backward()
        if penalty is not None:
            penalty.add_gradient_(net)
        optimizer.step()
    return [parameter.detach() for parameter in net.parameters()]


@pytest.mark.parametrize(
    ("cls", "arguments", "same"),
    [
        (torch.optim.SGD, {}, True),
        (torch.optim.SGD, {"momentum": 0.9}, True),
        (torch.optim.Adam, {}, True),  # torch's Adam adds the decay to the gradient, as the penalty does
        (torch.optim.AdamW, {}, False),  # here it is decoupled
    ],
)
def test_l2_and_weight_decay(cls, arguments, same):
    x, y = torch.randn(20, 4), torch.randn(20, 1)
    first = nn.Linear(4, 1, bias=False)
    second = copy.deepcopy(first)
    decayed = train(first, x, y, cls(first.parameters(), lr=0.1, weight_decay=0.3, **arguments))
    penalized = train(second, x, y, cls(second.parameters(), lr=0.1, weight_decay=0.0, **arguments), R.L2(0.3))
    assert all(torch.allclose(a, b, rtol=0, atol=1e-6) for a, b in zip(decayed, penalized, strict=True)) is same


def test_under_adam_l2_does_not_shrink_weights_alike():
    # Two weights of one size with gradients of sizes 1 and 100: SGD shrinks both by the same share, AdamW too.
    def shrinkage(make, penalty=None):
        moves = []
        for factor in (0.0, 0.1):
            net = nn.Linear(2, 1, bias=False)
            with torch.no_grad():
                net.weight.fill_(1.0)
            optimizer = make(net, factor)
            for step in range(10):
                net.weight.grad = torch.tensor([[1.0, 100.0]]) * (-1) ** step
                if penalty:
                    penalty(factor).add_gradient_(net)
                optimizer.step()
            moves.append(net.weight.detach().clone())
        return ((moves[0] - moves[1]) / moves[0]).flatten()

    sgd = shrinkage(lambda net, _: torch.optim.SGD(net.parameters(), lr=1e-3), R.L2)
    adam = shrinkage(lambda net, _: torch.optim.Adam(net.parameters(), lr=1e-3), R.L2)
    adamw = shrinkage(lambda net, f: torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=f))
    assert sgd[0].item() == pytest.approx(sgd[1].item(), rel=0.2)
    assert adamw[0].item() == pytest.approx(adamw[1].item(), rel=0.2)
    assert adam[0] > 20 * adam[1]


def test_proximal_l1_is_the_soft_threshold():
    net = nn.Linear(4, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.5, -0.5, 0.1, -3.0]]))
    bias = net.bias.detach().clone()
    term = R.ProximalL1(2.0)
    term.prox_(net, lambda parameter: {id(net.weight): 0.1}[id(parameter)])
    torch.testing.assert_close(net.weight.data, torch.tensor([[0.3, -0.3, 0.0, -2.8]]))
    assert torch.equal(net.bias, bias)
    assert term.sparsity(net) == 0.25


def test_proximal_l1_finds_the_exact_zeros_of_the_lasso():
    # With an orthonormal design the lasso is the soft threshold of least squares: 0.5*||y - w||^2 + f*|w|.
    target = torch.tensor([2.0, -0.3, 0.1, -1.0])
    net = nn.Linear(4, 1, bias=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    term = R.ProximalL1(0.5)
    for _ in range(300):
        optimizer.zero_grad()
        (0.5 * (net.weight - target).square().sum() + term(net)).backward()
        term.add_gradient_(net)
        optimizer.step()
        term.prox_(net, lambda _: 0.1)
    torch.testing.assert_close(net.weight.data, torch.tensor([[1.5, 0.0, 0.0, -0.5]]))
    assert term.sparsity(net) == 0.5


def test_l2_alone_leaves_no_zeros_and_nothing_selected_is_not_sparse():
    assert R.ProximalL1(0.1).sparsity(nn.Linear(3, 3)) == 0.0
    assert R.ProximalL1(0.1).sparsity(nn.ReLU()) == 0.0


def test_group_lasso_switches_off_whole_units():
    net = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0]]))
    R.GroupLasso(1.0).add_gradient_(net)
    root = 3**0.5
    torch.testing.assert_close(net.weight.grad, torch.tensor([[0.0, 0.0, 0.0], [0.6 * root, 0.0, 0.8 * root]]))


def test_orthogonal_steps_reach_orthonormal_rows():
    net = nn.Conv1d(2, 3, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        R.Orthogonal(1.0).add_gradient_(net)
        optimizer.step()
    rows = net.weight.detach().flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(3), atol=1e-4, rtol=0)


def test_spectral_follows_a_changing_weight():
    net = nn.Linear(30, 20)
    term = R.Spectral(1.0)
    for _ in range(30):
        with torch.no_grad():
            net.weight.mul_(1.01).add_(0.002 * torch.randn_like(net.weight))
        value = term.add_gradient_(net)
    assert value.item() == pytest.approx(torch.linalg.matrix_norm(net.weight, ord=2).item() ** 2 / 2, rel=0.02)


def test_spectral_draws_nothing_from_the_global_generator():
    net = nn.Linear(3, 2)
    before = torch.get_rng_state()
    R.Spectral(1.0)(net)
    assert torch.equal(torch.get_rng_state(), before)


class TestL2SP:
    def test_pulls_towards_the_start(self):
        net, term = nn.Linear(2, 1), R.L2SP(0.5)
        start = net.weight.detach().clone()
        term(net)
        with torch.no_grad():
            net.weight.add_(3.0)
        assert term.add_gradient_(net).item() == pytest.approx(0.5 * 0.5 * 2 * 9)
        torch.testing.assert_close(net.weight.grad, torch.full_like(start, 1.5))

    def test_resumes_from_the_old_start(self):
        net, term = nn.Linear(2, 1), R.L2SP(0.5)
        term(net)
        with torch.no_grad():
            net.weight.add_(3.0)
        resumed = R.L2SP(0.5)
        resumed.load_state_dict(term.state_dict())
        assert resumed(net).item() == pytest.approx(0.5 * 0.5 * 2 * 9)

    def test_a_layer_that_is_unfrozen_later_starts_from_what_it_was(self):
        net, term = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), R.L2SP(0.5)
        net[0].requires_grad_(False)
        term(net)
        assert list(term.state_dict()) == ["1.weight"]
        net[0].requires_grad_(True)
        assert term(net).item() == 0.0
        assert list(term.state_dict()) == ["1.weight", "0.weight"]


class TestActivity:
    @pytest.mark.parametrize(
        ("term", "formula"),
        [
            (R.ActivityL1(0.3, where="head"), lambda a: 0.3 * a.abs().sum(1)),
            (R.ActivityL2(0.3, where="head"), lambda a: 0.3 * 0.5 * a.square().sum(1)),
        ],
    )
    def test_values_for_each_sample(self, term, formula):
        net, x = Net(), torch.randn(5, 2, 4)
        term.attach(net)
        output = net(x)
        values = term.pop()
        torch.testing.assert_close(values, formula(output))
        assert values.shape == (5,)
        assert values.requires_grad
        assert term.pop() is None

    @pytest.mark.parametrize(
        ("where", "layers"),
        [
            (None, ["conv", "head"]),
            ("*", ["", "conv", "norm", "head"]),
            ("conv", ["conv"]),
            (["conv", "no*"], ["conv", "norm"]),
        ],
    )
    def test_where(self, where, layers):
        net, x = Net(), torch.randn(5, 2, 4)
        outputs = {}
        for path, layer in net.named_modules():
            layer.register_forward_hook(lambda _layer, _input, output, path=path: outputs.update({path: output}))
        term = R.ActivityL1(1.0, where=where)
        term.attach(net)
        net(x)
        torch.testing.assert_close(term.pop(), sum(outputs[layer].abs().flatten(1).sum(1) for layer in layers))

    def test_where_takes_submodules(self):
        net, x = Net(), torch.randn(5, 2, 4)
        term = R.ActivityL1(1.0, where=net.conv)
        term.attach(net)
        net(x)
        torch.testing.assert_close(term.pop(), net.conv(x).abs().flatten(1).sum(1))

    def test_the_first_of_several_outputs_counts(self):
        net, x = nn.LSTM(2, 3, batch_first=True), torch.randn(5, 4, 2)
        term = R.ActivityL1(1.0)
        term.attach(net)
        output, _ = net(x)
        torch.testing.assert_close(term.pop(), output.abs().sum((1, 2)))

    def test_forwards_add_up_until_they_are_taken(self):
        net, x = nn.Linear(2, 3), torch.randn(5, 2)
        term = R.ActivityL1(1.0)
        term.attach(net)
        once = net(x).abs().sum(1)
        net(x)
        torch.testing.assert_close(term.pop(), 2 * once)

    def test_the_factor_is_the_one_when_it_is_taken(self):
        net = nn.Linear(2, 3)
        term = R.ActivityL1(1.0)
        term.attach(net)
        output = net(torch.randn(5, 2))
        term.factor = 0.1
        torch.testing.assert_close(term.pop(), 0.1 * output.abs().sum(1))

    def test_nothing_is_seen_after_detach(self):
        net = nn.Linear(2, 3)
        term = R.ActivityL1(1.0)
        term.attach(net)
        term.attach(net)
        assert len(net._forward_hooks) == 1
        net(torch.randn(5, 2))
        term.detach()
        assert term.pop() is None
        assert not net._forward_hooks

    def test_half_outputs_are_added_in_float32(self):
        net = nn.Linear(4, 3000).to(torch.bfloat16)
        term = R.ActivityL2(1.0)
        term.attach(net)
        output = net(torch.randn(5, 4, dtype=torch.bfloat16))
        torch.testing.assert_close(term.pop(), 0.5 * output.float().square().sum(1))

    def test_layers_that_disagree_about_the_batch(self):
        class Windows(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.second = nn.Linear(2, 3), nn.Linear(3, 1)

            def forward(self, x):
                return self.second(self.first(x).reshape(-1, 3))

        net = Windows()
        term = R.ActivityL1(1.0)
        term.attach(net)
        with pytest.raises(ValueError, match="Linear returned 20 samples, others returned 5"):
            net(torch.randn(5, 4, 2))

    def test_an_unknown_layer(self):
        with pytest.raises(ValueError, match="'haed' is no layer, did you mean 'head'"):
            R.ActivityL1(1.0, where="haed").attach(Net())

    def test_a_watched_module_can_be_copied_after_a_forward(self):
        net = nn.Linear(2, 3)
        net.term = R.ActivityL1(1.0)
        net.term.attach(net)
        net(torch.randn(5, 2))
        twin = copy.deepcopy(net)
        assert twin.term.pop() is None
        twin(torch.ones(4, 2))
        assert twin.term.pop().shape == (4,)
        assert net.term.pop().shape == (5,)


class TestBuild:
    @pytest.mark.parametrize(
        ("spec", "expected"),
        [
            (None, {}),
            ({}, {}),
            ("l2", {"l2": {"name": "l2", "factor": 1e-4, "where": None}}),
            ({"l2": 0.5}, {"l2": {"name": "l2", "factor": 0.5, "where": None}}),
            ({"l2": 1}, {"l2": {"name": "l2", "factor": 1.0, "where": None}}),
            ({"l2": {"factor": 0.5}}, {"l2": {"name": "l2", "factor": 0.5, "where": None}}),
            ({"mine": "l1"}, {"mine": {"name": "l1", "factor": 1e-4, "where": None}}),
            ({"l1": None, "l2": 0.5}, {"l2": {"name": "l2", "factor": 0.5, "where": None}}),
            (
                ["l1", R.L2(0.5)],
                {
                    "l1": {"name": "l1", "factor": 1e-4, "where": None},
                    "l2": {"name": "l2", "factor": 0.5, "where": None},
                },
            ),
            (
                {
                    "encoder": {"name": "l2", "factor": 0.01, "where": "encoder.*"},
                    "biases": {"name": "l2", "factor": 0.001, "where": ["bias"]},
                },
                {
                    "encoder": {"name": "l2", "factor": 0.01, "where": "encoder.*"},
                    "biases": {"name": "l2", "factor": 0.001, "where": ["bias"]},
                },
            ),
            (
                {"elastic_net": {"l1": 0.1}},
                {"elastic_net": {"name": "elastic_net", "l1": 0.1, "l2": 1e-4, "factor": 1.0, "where": None}},
            ),
            (
                {"mine": cubes},
                {"mine": {"name": "custom", "function": "cubes", "factor": 1.0, "where": None}},
            ),
        ],
    )
    def test_forms(self, spec, expected):
        built = build_regularizers(spec)
        assert {term: regularizer.spec for term, regularizer in built.items()} == expected
        assert list(built) == list(expected)

    @pytest.mark.parametrize("name", sorted({*list_regularizers()} - {"custom"}))
    def test_what_spec_returns_builds_the_same(self, name):
        (term,) = build_regularizers(name).values()
        (again,) = build_regularizers({"again": term.spec}).values()
        assert type(again) is type(term)
        assert again.spec == term.spec
        assert repr(again) == repr(term)

    def test_a_submodule_appears_by_its_class(self):
        assert R.L2(0.1, where=[nn.Linear(2, 3), "bias"]).spec["where"] == ["Linear", "bias"]

    @pytest.mark.parametrize(
        ("spec", "error", "message"),
        [
            ("l3", ValueError, "regularizer must be one of .*, got 'l3', did you mean 'l"),
            ({"l3": 0.1}, ValueError, "regularizer must be one of .*, got 'l3'"),
            ({"l2": -0.1}, ValueError, "factor must be a finite number >= 0, got -0.1"),
            ({"l2": {"factr": 0.1}}, TypeError, "regularizer 'l2' has no argument 'factr', did you mean 'factor'"),
            ({"elastic_net": 0.1}, TypeError, "'elastic_net' needs a mapping of its arguments, got 0.1"),
            (["l2", R.L2(0.1)], ValueError, "two regularizers of one kind need names"),
            ({"encoder": {"factor": 0.1}}, ValueError, "regularizer must be one of .*, got 'encoder'"),
            ({"custom": {"function": 3}}, TypeError, "function must be a function of one parameter, got 3"),
            ({"spectral": {"iterations": 0}}, ValueError, "iterations must be an integer >= 1, got 0"),
        ],
    )
    def test_wrong_input(self, spec, error, message):
        with pytest.raises(error, match=message):
            build_regularizers(spec)

    def test_a_penalty_of_ones_own(self):
        class Cubes(R.ParameterRegularizer):
            name = "cubes"

            def penalty(self, name, weight):
                return cubes(weight)

        (term,) = build_regularizers(Cubes(2.0)).values()
        net = nn.Linear(1, 1)
        with torch.no_grad():
            net.weight.fill_(-2.0)
        assert term.add_gradient_(net).item() == pytest.approx(16.0)
        assert net.weight.grad.item() == pytest.approx(-24.0)
