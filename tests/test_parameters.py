"""Roles and selection: the zoo of parameters on which name rules and shape rules go wrong."""

import copy

import pytest
import torch
from torch import nn

from lightning_losses.parameters import EXEMPT, ROLES, Selection, assign_roles, parameter_roles, select


class OwnRMSNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))


class ChannelNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, 4, 1, 1))
        self.g = nn.Parameter(torch.ones(1, 4, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, 4, 1, 1))


class NormalHead(nn.Module):
    """Has to do with the normal distribution, not with normalization."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 4))


class NormedLinear(nn.Module):
    """Normalizes its input, but its weight is a weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 4))


class LayerScale(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(*shape))


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.mask_token = nn.Parameter(torch.zeros(4))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 4))
        self.rel_pos_bias_table = nn.Parameter(torch.zeros(9, 2))
        self.relative_position_bias = nn.Parameter(torch.zeros(2, 3, 3))


class TimmTokens(Tokens):
    def no_weight_decay(self):
        return {"cls_token", "pos_*"}


class Clip(nn.Module):
    def __init__(self):
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(2.0))
        self.temperature = nn.Parameter(torch.ones(2, 1, 1))


class Unlucky(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias_head = nn.Linear(2, 3)
        self.subnet = nn.Linear(2, 3)
        self.norm_head = nn.Linear(2, 3)
        self.embedding = nn.Linear(2, 3)
        self.scale = nn.Linear(2, 3)


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.ones(2, 3, 4))
        self.gate_up_proj_bias = nn.Parameter(torch.ones(2, 3))


class Tied(nn.Module):
    def __init__(self, head_first):
        super().__init__()
        embedding, head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        head.weight = embedding.weight
        parts = [("head", head), ("embed", embedding)] if head_first else [("embed", embedding), ("head", head)]
        for name, part in parts:
            self.add_module(name, part)


def old_weight_norm():
    with pytest.warns(FutureWarning, match="weight_norm"):
        return nn.utils.weight_norm(nn.Linear(2, 3))


def half_frozen():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    net[0].requires_grad_(False)
    return net


WEIGHT_BIAS = {"weight": "weight", "bias": "bias"}
GAIN_BIAS = {"weight": "norm", "bias": "bias"}
RECURRENT = {"weight_ih_l0": "weight", "weight_hh_l0": "weight", "bias_ih_l0": "bias", "bias_hh_l0": "bias"}
ATTENTION = {"in_proj_weight": "weight", "in_proj_bias": "bias"}
OUT_PROJ = {"out_proj.weight": "weight", "out_proj.bias": "bias"}

# The first block is the zoo on which six libraries were measured; none had all of it right.
ZOO = {
    "linear": (lambda: nn.Linear(2, 3), WEIGHT_BIAS),
    "linear with one input": (lambda: nn.Linear(1, 3), WEIGHT_BIAS),
    "conv": (lambda: nn.Conv2d(2, 3, 3), WEIGHT_BIAS),
    "depthwise conv": (lambda: nn.Conv1d(4, 4, 1, groups=4), WEIGHT_BIAS),
    "batch norm 1d": (lambda: nn.BatchNorm1d(4), GAIN_BIAS),
    "batch norm 2d in a sequence": (lambda: nn.Sequential(nn.BatchNorm2d(4)), {"0.weight": "norm", "0.bias": "bias"}),
    "batch norm 3d": (lambda: nn.BatchNorm3d(4), GAIN_BIAS),
    "layer norm": (lambda: nn.LayerNorm(4), GAIN_BIAS),
    "layer norm of two dimensions": (lambda: nn.LayerNorm((4, 4)), GAIN_BIAS),
    "group norm": (lambda: nn.GroupNorm(2, 4), GAIN_BIAS),
    "instance norm": (lambda: nn.InstanceNorm2d(4, affine=True), GAIN_BIAS),
    "RMS norm": (lambda: nn.RMSNorm(4), {"weight": "norm"}),
    "own RMS norm": (OwnRMSNorm, {"weight": "norm"}),
    "channel norm": (ChannelNorm, {"gamma": "norm", "g": "norm", "bias": "bias"}),
    "attention": (lambda: nn.MultiheadAttention(4, 2), ATTENTION | OUT_PROJ),
    "LSTM": (lambda: nn.LSTM(2, 3), RECURRENT),
    "PReLU": (nn.PReLU, {"weight": "scale"}),
    "layer scale": (lambda: LayerScale(4), {"gamma": "scale"}),
    "layer scale of a convnet": (lambda: LayerScale(4, 1, 1), {"gamma": "scale"}),
    "0-d": (Clip, {"logit_scale": "scale", "temperature": "scale"}),
    "embedding tied to the head": (lambda: Tied(head_first=False), {"embed.weight": "embedding"}),
    "head tied to the embedding": (lambda: Tied(head_first=True), {"head.weight": "embedding"}),
    "tokens": (
        Tokens,
        dict.fromkeys(
            ("cls_token", "mask_token", "pos_embed", "rel_pos_bias_table", "relative_position_bias"), "embedding"
        ),
    ),
    "tokens with no_weight_decay": (
        TimmTokens,
        {
            "cls_token": "scale",
            "mask_token": "embedding",
            "pos_embed": "scale",
            "rel_pos_bias_table": "embedding",
            "relative_position_bias": "embedding",
        },
    ),
    "a backbone with no_weight_decay": (
        lambda: nn.Sequential(TimmTokens()),
        {
            "0.cls_token": "scale",
            "0.mask_token": "embedding",
            "0.pos_embed": "scale",
            "0.rel_pos_bias_table": "embedding",
            "0.relative_position_bias": "embedding",
        },
    ),
    "unlucky names": (
        Unlucky,
        {
            f"{name}.{key}": role
            for name in ("bias_head", "subnet", "norm_head", "embedding", "scale")
            for key, role in WEIGHT_BIAS.items()
        },
    ),
    "weight norm": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)),
        {
            "bias": "bias",
            "parametrizations.weight.original0": "scale",
            "parametrizations.weight.original1": "weight",
        },
    ),
    "weight norm, the old way": (old_weight_norm, {"bias": "bias", "weight_g": "scale", "weight_v": "weight"}),
    "frozen": (half_frozen, {f"{i}.{key}": role for i in (0, 1) for key, role in WEIGHT_BIAS.items()}),
    # Beyond the zoo.
    "GRU cell": (
        lambda: nn.GRUCell(2, 3),
        {"weight_ih": "weight", "weight_hh": "weight", "bias_ih": "bias", "bias_hh": "bias"},
    ),
    "LSTM both ways, projected": (
        lambda: nn.LSTM(2, 3, bidirectional=True, proj_size=2),
        {
            f"{key}{way}": role
            for way in ("", "_reverse")
            for key, role in {**RECURRENT, "weight_hr_l0": "weight"}.items()
        },
    ),
    "attention with a bias for keys and values": (
        lambda: nn.MultiheadAttention(4, 2, add_bias_kv=True),
        {**ATTENTION, "bias_k": "bias", "bias_v": "bias", **OUT_PROJ},
    ),
    "attention with sizes of its own": (
        lambda: nn.MultiheadAttention(4, 2, kdim=3, vdim=3, bias=False),
        dict.fromkeys(("q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"), "weight"),
    ),
    "bilinear": (lambda: nn.Bilinear(2, 3, 4), WEIGHT_BIAS),
    "synchronized batch norm": (lambda: nn.SyncBatchNorm(4), GAIN_BIAS),
    "embedding bag": (lambda: nn.EmbeddingBag(5, 4), {"weight": "embedding"}),
    "spectral norm": (
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(2, 3)),
        {"bias": "bias", "parametrizations.weight.original": "weight"},
    ),
    "normal head": (NormalHead, {"weight": "weight"}),
    "normed linear": (NormedLinear, {"weight": "weight"}),
    "experts": (Experts, {"gate_up_proj": "weight", "gate_up_proj_bias": "bias"}),
    "a module used twice": (lambda: nn.Sequential(*[nn.Linear(2, 2)] * 2), {"0.weight": "weight", "0.bias": "bias"}),
    "nothing": (nn.ReLU, {}),
}


@pytest.mark.parametrize("name", ZOO)
def test_roles(name):
    make, expected = ZOO[name]
    assert parameter_roles(make()) == expected


@pytest.mark.parametrize("name", ZOO)
def test_the_default_selection_is_what_is_not_exempt_and_trainable(name):
    make, roles = ZOO[name]
    module = make()
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    assert list(select(module)) == [name for name, role in roles.items() if role not in EXEMPT and name not in frozen]


class Wrapper(nn.Module):
    def __init__(self, attribute, module):
        super().__init__()
        self.add_module(attribute, module)


def compiled(module):
    return torch.compile(module, backend="eager")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        self.head = nn.Linear(3, 1)


@pytest.mark.parametrize(
    "wrap",
    [
        compiled,
        lambda net: Wrapper("module", net),
        lambda net: Wrapper("module", compiled(net)),
        lambda net: Wrapper("_orig_mod", Wrapper("module", net)),
        lambda net: Wrapper("_fsdp_wrapped_module", net),
        torch.optim.swa_utils.AveragedModel,
    ],
)
def test_names_do_not_change_under_wrappers(wrap):
    assert parameter_roles(wrap(Net())) == parameter_roles(Net())


def test_an_inner_wrapper_leaves_no_trace_in_names_either():
    net = Net()
    net.encoder = Wrapper("_checkpoint_wrapped_module", net.encoder)
    assert parameter_roles(net) == parameter_roles(Net())


def test_a_users_own_attribute_may_be_called_module():
    net = nn.ModuleDict({"module": nn.Linear(2, 3), "other": nn.Linear(2, 3)})
    assert list(select(net, "module.*")) == ["module.weight"]


def test_a_glob_may_be_written_for_the_wrapped_names_too():
    assert list(select(Wrapper("module", Net()), "module.head.*")) == ["head.weight"]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("weight", ["encoder.0.weight", "head.weight"]),
        ("bias", ["encoder.0.bias", "encoder.1.bias", "head.bias"]),
        ("embedding", []),
        ("encoder.*", ["encoder.0.weight"]),
        ("*.weight", ["encoder.0.weight", "head.weight"]),
        ("encoder.*bias", ["encoder.0.bias", "encoder.1.bias"]),
        ("encoder.1.*", ["encoder.1.weight", "encoder.1.bias"]),
        ("head.bias", ["head.bias"]),
        (["head.*", "norm"], ["encoder.1.weight", "head.weight"]),
        (("head.*", "head.*"), ["head.weight"]),
        (
            ROLES,
            ["encoder.0.weight", "encoder.0.bias", "encoder.1.weight", "encoder.1.bias", "head.weight", "head.bias"],
        ),
    ],
)
def test_where(where, expected):
    assert list(select(Net(), where)) == expected


def test_where_takes_submodules():
    net = Net()
    assert list(select(net, net.encoder)) == ["encoder.0.weight"]
    assert list(select(net, [net.encoder[1], "head.bias"])) == ["encoder.1.weight", "encoder.1.bias", "head.bias"]


def test_a_tied_parameter_is_found_under_each_of_its_names():
    tied = Tied(head_first=False)
    assert list(select(tied, "head.*")) == list(select(tied, tied.head)) == ["embed.weight"]


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ("encodr.*", ValueError, r"'encodr\.\*' matches no parameter, did you mean 'encoder\.\*'\?"),
        ("biass", ValueError, "'biass' matches no parameter, did you mean 'bias'?"),
        ("head.wieght", ValueError, "did you mean 'head.weight'?"),
        (nn.Linear(2, 3), ValueError, "the submodule Linear holds no parameter of this module"),
        ([3], TypeError, "roles, globs and submodules, got 3"),
        (3, TypeError, "roles, globs and submodules, got 3"),
    ],
)
def test_what_names_nothing_is_an_error(where, error, message):
    with pytest.raises(error, match=message):
        select(Net(), where)


def test_overrides_by_glob():
    roles = {"head.weight": "scale", "*.weight": "weight"}
    expected = {**parameter_roles(Net()), "head.weight": "scale", "encoder.1.weight": "weight"}
    net = Net()
    assert parameter_roles(net, roles) == expected
    assert list(select(net, roles=roles)) == ["encoder.0.weight", "encoder.1.weight"]
    assert parameter_roles(net) == parameter_roles(Net())


def test_assigned_roles_stay_with_the_module():
    net = Net()
    assign_roles(net, {"head.*": "scale"})
    assert list(select(net)) == list(Selection()(net)) == ["encoder.0.weight"]
    assert list(select(copy.deepcopy(net))) == ["encoder.0.weight"]


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"head.*": "weigth"}, "role of 'head.*' must be one of 'weight', .*, got 'weigth', did you mean 'weight'?"),
        ({"haed.*": "weight"}, r"'haed\.\*' matches no parameter, did you mean 'head\.\*'?"),
    ],
)
def test_wrong_overrides_are_errors(roles, message):
    with pytest.raises(ValueError, match=message):
        assign_roles(Net(), roles)


def test_a_lazy_parameter_has_no_role_yet():
    with pytest.raises(ValueError, match="'weight' has no shape yet"):
        parameter_roles(nn.LazyLinear(3))


@pytest.mark.parametrize(("mark", "message"), [("_fsdp_flattened", "FSDP1"), ("ds_shape", "ZeRO-3")])
def test_parameters_that_lost_their_shape_are_refused(mark, message):
    net = Net()
    setattr(net.head.weight, mark, True)  # as these frameworks mark them
    with pytest.raises(ValueError, match=f"'head.weight' .* {message}"):
        parameter_roles(net)


class TestSelection:
    def test_equals_select(self):
        net = Net()
        assert Selection("encoder.*")(net) == select(net, "encoder.*")

    @pytest.mark.parametrize(
        "change",
        [
            lambda net: net.requires_grad_(False),
            lambda net: net.add_module("head", nn.Linear(3, 2)),
            lambda net: net.add_module("more", nn.Linear(3, 2)),
            lambda net: net.register_parameter("more", nn.Parameter(torch.ones(2, 2))),
            lambda net: setattr(net.head, "weight", nn.Parameter(torch.ones(1, 3))),
            lambda net: nn.utils.parametrizations.weight_norm(net.head),
            lambda net: nn.utils.parametrizations.spectral_norm(net.head),
        ],
        ids=[
            "frozen",
            "head exchanged",
            "layer added",
            "parameter added",
            "weight exchanged",
            "weight norm",
            "spectral",
        ],
    )
    def test_follows_changes_of_the_module(self, change):
        net, selection = Net(), Selection()
        selection(net)
        change(net)
        found = selection(net)
        assert found.keys() == select(net).keys()
        assert all(found[name] is parameter for name, parameter in select(net).items())

    def test_a_copy_looks_at_the_copied_module(self):
        net = Net()
        net.selection = Selection()
        net.selection(net)
        twin = copy.deepcopy(net)
        assert all(parameter is twin.get_parameter(name) for name, parameter in twin.selection(twin).items())


def test_a_selection_follows_roles_that_are_assigned_later() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    selection = Selection()
    assert list(selection(net)) == ["0.weight", "1.weight"]
    assign_roles(net, {"1.*": "scale"})
    assert list(selection(net)) == ["0.weight"]
