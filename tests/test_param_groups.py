"""Optimizer groups: exact cover, stable names and order, rules, layer-wise learning rates, and the table of them."""

import warnings

import pytest
import torch
from torch import nn

from lightning_losses.param_groups import check_cover, describe_parameters, param_groups, warn_of_double_decay


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.encoder = nn.LSTM(4, 3)
        self.norm = nn.LayerNorm(3)
        self.head = nn.Linear(3, 2)


def outline(module, groups):
    """Name -> names of the parameters, decay and learning rate."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return {
        group["name"]: ([names[id(p)] for p in group["params"]], group["weight_decay"], group.get("lr"))
        for group in groups
    }


WEIGHTS = ["encoder.weight_ih_l0", "encoder.weight_hh_l0"]
BIASES = ["encoder.bias_ih_l0", "encoder.bias_hh_l0"]


def test_decay_and_no_decay():
    net = Net()
    assert outline(net, param_groups(net, weight_decay=0.1)) == {
        "decay": (["embed.weight", *WEIGHTS, "head.weight"], 0.1, None),
        "no_decay": ([*BIASES, "norm.weight", "norm.bias", "head.bias"], 0.0, None),
    }


@pytest.mark.parametrize(
    ("exempt", "not_decayed"),
    [
        ((), []),
        ("bias", [*BIASES, "norm.bias", "head.bias"]),
        (["bias", "norm", "embedding"], ["embed.weight", *BIASES, "norm.weight", "norm.bias", "head.bias"]),
    ],
)
def test_exempt(exempt, not_decayed):
    net = Net()
    assert outline(net, param_groups(net, exempt=exempt))["no_decay"][0] == not_decayed


@pytest.mark.parametrize(
    ("module", "decayed", "not_decayed"), [(nn.Linear(2, 3, bias=False), 1, 0), (nn.LayerNorm(3), 0, 2)]
)
def test_both_groups_are_always_there(module, decayed, not_decayed):
    groups = param_groups(module)
    assert [(group["name"], len(group["params"])) for group in groups] == [
        ("decay", decayed),
        ("no_decay", not_decayed),
    ]


def test_frozen_parameters_are_left_out_and_tied_ones_are_in_once():
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 5))
    net[1].requires_grad_(False)
    net[2].weight = net[0].weight
    groups = param_groups(net)
    assert outline(net, groups) == {"decay": (["0.weight"], 0.01, None), "no_decay": (["2.bias"], 0.0, None)}
    torch.optim.SGD(groups, lr=0.1)  # which itself refuses a parameter that is there twice


def test_rules():
    net = Net()
    rules = {
        "head.weight": {"lr": 0.5},
        "head.*": {"lr": 0.2, "weight_decay": 0.3},
        "encoder.*": {"weight_decay": 0.4},
        "embedding": {"weight_decay": 0.0},
    }
    assert outline(net, param_groups(net, 0.1, rules=rules)) == {
        "decay": ([], 0.1, None),
        "no_decay": (["norm.weight", "norm.bias"], 0.0, None),
        "head.weight/decay": (["head.weight"], 0.1, 0.5),
        # The bias is all that is left for this rule: so it is meant.
        "head.*/decay": (["head.bias"], 0.3, 0.2),
        "encoder.*/decay": (WEIGHTS, 0.4, None),
        "encoder.*/no_decay": (BIASES, 0.0, None),
        "embedding/decay": (["embed.weight"], 0.0, None),
    }


def test_a_rule_for_biases_decays_them():
    net = Net()
    groups = outline(net, param_groups(net, rules={"bias": {"weight_decay": 1e-5}}))
    assert groups["bias/decay"] == ([*BIASES, "norm.bias", "head.bias"], 1e-5, None)


def test_the_rates_of_rules_reach_the_optimizer():
    net = Net()
    optimizer = torch.optim.SGD(param_groups(net, rules={"head.*": {"lr": 0.5}}), lr=0.1)
    assert {group["name"]: group["lr"] for group in optimizer.param_groups} == {
        "decay": 0.1,
        "no_decay": 0.1,
        "head.*/decay": 0.5,
        "head.*/no_decay": 0.5,
    }


def test_a_rule_for_what_is_frozen_waits():
    net = Net()
    net.encoder.requires_grad_(False)
    assert list(outline(net, param_groups(net, rules={"encoder.*": {"lr": 0.5}}))) == ["decay", "no_decay"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rules": {"haed.*": {"lr": 1.0}}}, ValueError, r"'haed\.\*' matches no parameter, did you mean 'head\.\*'"),
        ({"rules": {"head.*": {"lr": 1.0}, "head.bias": {"lr": 2.0}}}, ValueError, "'head.bias' matches only what"),
        ({"rules": {"scale": {"lr": 1.0}}}, ValueError, "'scale' matches only a role that no parameter has"),
        ({"rules": {"head.*": {"learning_rate": 1.0}}}, TypeError, "'head.*' has no argument 'learning_rate'"),
        ({"rules": {"head.*": {"lr": -1.0}}}, ValueError, "lr of the rule 'head.*' must be .* >= 0, got -1.0"),
        ({"rules": {"head.*": 0.1}}, TypeError, "the rule 'head.*' must be a mapping of lr, weight_decay or both, got"),
        ({"rules": ["head.*"]}, TypeError, r"rules must be a mapping of roles or globs, got \['head.*'\]"),
        ({"weight_decay": float("nan")}, ValueError, "weight_decay must be .* >= 0, got nan"),
        ({"exempt": ["biases"]}, ValueError, "exempt must be one of .*, got 'biases', did you mean 'bias'"),
        ({"layer_decay": 0.5}, ValueError, "layer_decay needs lr"),
        ({"layer_decay": 1.5, "lr": 0.1}, ValueError, r"layer_decay must be a number in \[0, 1\], got 1.5"),
        ({"roles": {"*": "wait"}}, ValueError, "role of '\\*' must be one of .*, got 'wait'"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        param_groups(Net(), **arguments)


@pytest.mark.parametrize("module", [nn.ReLU(), nn.Linear(2, 3).requires_grad_(False)])
def test_nothing_to_train(module):
    with pytest.raises(ValueError, match=f"{type(module).__name__} has no trainable parameters"):
        param_groups(module)


class Transformer(nn.Module):
    """The shape of a vision transformer: tokens of its own, a stem, a stack of blocks, a norm, a head."""

    def __init__(self):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 4))
        self.stem = nn.Conv2d(3, 4, 2)
        self.blocks = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 2, enable_nested_tensor=False)
        self.head = nn.Linear(4, 2)


def block():
    return nn.ModuleDict({"conv": nn.Conv2d(4, 4, 3), "norm": nn.BatchNorm2d(4)})


def residual_network():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Sequential(block(), block()), nn.Sequential(block(), block()), nn.Linear(4, 2)
    )


def wrapped_mlp():
    return nn.ModuleDict(
        {"net": nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))}
    )


@pytest.mark.parametrize(
    ("make", "layers"),
    [
        (lambda: nn.Linear(2, 3), {"weight": 0}),
        (wrapped_mlp, {"net.0.weight": 0, "net.2.weight": 1, "net.4.bias": 2}),
        (
            Transformer,
            {
                "pos_embed": 0,
                "stem.weight": 0,
                "blocks.layers.0.linear1.weight": 1,
                "blocks.layers.1.norm1.weight": 2,
                "head.weight": 3,
            },
        ),
        (residual_network, {"0.weight": 0, "1.0.conv.weight": 1, "1.1.conv.bias": 2, "2.1.norm.bias": 4, "3.bias": 5}),
    ],
)
def test_layer_wise_learning_rates(make, layers):
    net = make()
    groups = param_groups(net, lr=1.0, layer_decay=0.5)
    last = max(layers.values())
    rates = {name: lr for names, _, lr in outline(net, groups).values() for name in names}
    assert {name: rates[name] for name in layers} == {name: 0.5 ** (last - layer) for name, layer in layers.items()}
    numbers = [int(group["name"].split("/")[0].removeprefix("layer_")) for group in groups]
    assert numbers == sorted(numbers)
    assert max(numbers) == last


def test_a_rule_wins_over_layer_decay():
    net = wrapped_mlp()
    groups = outline(net, param_groups(net, lr=1.0, layer_decay=0.5, rules={"net.0.*": {"lr": 0.7}}))
    assert groups["net.0.*/decay"] == (["net.0.weight"], 0.01, 0.7)
    assert "layer_0/decay" not in groups


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (lambda net: [{"params": [net.weight]}], "in no optimizer group: bias"),
        (lambda net: [{"params": [net.weight, net.bias]}, {"params": [net.bias]}], "in several optimizer groups: bias"),
        (lambda net: [{"params": [*net.parameters(), nn.Parameter(torch.ones(1))]}], "not of Linear: 1 tensors"),
    ],
)
def test_cover(groups, message):
    net = nn.Linear(2, 3)
    with pytest.raises(ValueError, match=message):
        check_cover(net, groups(net))


def test_a_penalty_beside_weight_decay_warns_once():
    net = Net()
    groups = param_groups(net, 0.1)
    with pytest.warns(UserWarning, match="weight_decay and a penalty .*: 'l2' \\(1 tensors\\)") as seen:
        warn_of_double_decay(groups, {"l2": [net.head.weight, net.head.bias], "biases": [net.head.bias]})
    assert len(seen) == 1


@pytest.mark.parametrize(("weight_decay", "penalized"), [(0.1, "bias"), (0.0, "weight")])
def test_no_warning_where_they_do_not_meet(weight_decay, penalized):
    net = Net()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_double_decay(param_groups(net, weight_decay), {"l2": [getattr(net.head, penalized)]})


class TestTable:
    def test_counts_every_parameter_once(self):
        net = Net()
        net.norm.requires_grad_(False)
        table = describe_parameters(net)
        # 5 * 4 of the embedding; 4 gates * 3 * (4 + 3) of the LSTM, 2 * 4 * 3 of its biases; 3 * 2 + 2 of the head.
        assert [(row.role, row.group, row.tensors, row.numbers) for row in table.rows] == [
            ("weight", "decay", 3, 84 + 6),
            ("bias", "no_decay", 3, 24 + 2),
            ("bias", "frozen", 1, 3),
            ("norm", "frozen", 1, 3),
            ("embedding", "decay", 1, 20),
        ]
        assert sum(row.numbers for row in table.rows) == sum(parameter.numel() for parameter in net.parameters())

    def test_shows_rates_and_decay_of_an_optimizer(self):
        net = nn.Linear(2, 3)
        optimizer = torch.optim.SGD(param_groups(net, 0.1, rules={"bias": {"lr": 0.5}}), lr=0.25)
        assert str(describe_parameters(net, optimizer.param_groups)).splitlines() == [
            "role    group          tensors  numbers    lr  weight decay",
            "-----------------------------------------------------------",
            "weight  decay                1        6  0.25           0.1",
            "bias    bias/no_decay        1        3   0.5             0",
            "-----------------------------------------------------------",
            "total                        2        9",
        ]

    def test_of_a_module_without_parameters(self):
        assert describe_parameters(nn.ReLU()).rows == []
        assert "total" in str(describe_parameters(nn.ReLU()))
