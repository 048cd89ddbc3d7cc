"""What every loss module does: what it refuses when it is made, and that it stores arguments and nothing else."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import lightning_losses as ll
from tests.cases import (
    CLASSIFICATION,
    EXTRA,
    MULTICLASS,
    NAMES,
    REGRESSION_VARIANTS,
    VARIANTS,
    WEIGHT,
    batch,
    function_of,
    needed,
)
from tests.losses.test_other import OF_SEVERAL

ALL_VARIANTS = [*VARIANTS, *REGRESSION_VARIANTS]
# Those that are more than a function: they hold parameters, or other losses.
MODULES = {"adaptive_log_softmax", "combined"}
FUNCTIONS = [name for name in ll.list_losses() if name not in MODULES]

SAMPLE_WEIGHT = torch.arange(8.0)


@pytest.mark.parametrize(
    ("name", "arguments"), [*ALL_VARIANTS, *((name, needed(name)) for name in FUNCTIONS if name in EXTRA)], ids=str
)
def test_module_is_function(name: str, arguments: dict[str, Any]) -> None:
    loss = ll.get_loss(name, **arguments)
    z, y = batch(loss.task, soft=name == "kl_div")
    for given in (arguments, {**arguments, "reduction": "none"}, {**arguments, "reduction": "sum"}):
        expected = function_of(loss)(z, y, sample_weight=SAMPLE_WEIGHT, **given)
        assert torch.equal(ll.get_loss(name, **given)(z, y, SAMPLE_WEIGHT), expected)
        assert torch.equal(getattr(ll, type(loss).__name__)(**given)(z, y, SAMPLE_WEIGHT), expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_defaults_of_module_and_function_are_equal(name: str) -> None:
    loss = ll.get_loss(name, **needed(name))
    of_module, of_function = (
        {p.name: p.default for p in inspect.signature(made).parameters.values() if p.kind is not p.VAR_KEYWORD}
        for made in (type(loss), function_of(loss))
    )
    shared = of_module.keys() & of_function.keys()
    assert {key: of_module[key] for key in shared} == {key: of_function[key] for key in shared}
    assert of_module.keys() - shared <= {"reduction", "momentum"}  # `**options` of a function; of modules alone


OPTIONS: dict[str, Any] = {
    "weight": WEIGHT,
    "pos_weight": 3.0,
    "label_smoothing": 0.2,
    "normalizer": "samples",
    "ignore_index": 0,
    "z_loss": 0.1,
}


@pytest.mark.parametrize(("name", "task"), CLASSIFICATION)
def test_options_reach_both(name: str, task: str) -> None:
    options = {key: value for key, value in OPTIONS.items() if ll.SUPPORT[name][key] is True}
    options.pop("pos_weight" if task == "multiclass" else "z_loss", None)
    if "weight" in options:
        options["weight"] = WEIGHT[task]
    arguments = {**needed(name, task), "task": task}
    z, y = batch(task)
    y[3] = 0
    loss = ll.get_loss(name, **arguments, **options)
    expected = loss(z, y, SAMPLE_WEIGHT)
    assert torch.equal(function_of(loss)(z, y, sample_weight=SAMPLE_WEIGHT, **arguments, **options), expected)
    for option in options:
        fewer = {key: value for key, value in options.items() if key != option}
        value = ll.get_loss(name, **arguments, **fewer)(z, y, SAMPLE_WEIGHT)
        assert not torch.isclose(value, expected, rtol=1e-3), option


# --- constants --------------------------------------------------------------------------------------------------------


def with_constants() -> nn.Module:
    return ll.FocalLoss(
        gamma=1.5, alpha=[0.1, 0.2, 0.3, 0.4], weight=torch.tensor(WEIGHT["multiclass"], dtype=torch.float64)
    )


def test_constants_are_not_saved_and_move_with_the_module() -> None:
    loss = with_constants()
    assert loss.state_dict() == {}
    assert list(loss.parameters()) == []
    assert len(list(loss.buffers())) == 2
    assert all(buffer.dtype == torch.float32 for buffer in loss.to(torch.float32).buffers())
    assert all(buffer.device.type == "meta" for buffer in loss.to("meta").buffers())


def test_class_weights_may_be_learned_or_parametrized() -> None:
    class Double(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    z, y = batch("multiclass")
    plain, learned, parametrized = (ll.CrossEntropyLoss(weight=WEIGHT["multiclass"], reduction="sum") for _ in range(3))
    learned.weight = nn.Parameter(plain.weight)
    assert torch.equal(learned(z, y), plain(z, y))
    learned(z, y).backward()
    assert learned.weight.grad.count_nonzero() == len(plain.weight)
    parametrize.register_parametrization(parametrized, "weight", Double())
    torch.testing.assert_close(parametrized(z, y), 2 * plain(z, y))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_constants_do_not_change_the_dtype_of_the_loss(dtype: torch.dtype) -> None:
    z, y = batch("multiclass")
    assert with_constants()(z.to(dtype), y).dtype == torch.promote_types(dtype, torch.float32)


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize(("name", "arguments"), ALL_VARIANTS, ids=str)
def test_copies_are_equal(name: str, arguments: dict[str, Any], duplicate: Any) -> None:
    loss = ll.get_loss(name, **arguments)
    assert torch.equal(duplicate(loss)(*batch(loss.task)), loss(*batch(loss.task)))


def test_copies_keep_their_constants() -> None:
    z, y = batch("multiclass")
    assert torch.equal(copy.deepcopy(with_constants())(z, y), with_constants()(z, y))
    assert torch.equal(pickle.loads(pickle.dumps(with_constants()))(z, y), with_constants()(z, y))


@pytest.mark.parametrize("name", sorted(EXTRA))
def test_copies_have_the_same_arguments(name: str) -> None:
    loss = ll.get_loss(name, **needed(name))
    for copied in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert repr(copied) == repr(loss)
        assert copied.arguments == loss.arguments


@pytest.mark.parametrize(("name", "arguments"), ALL_VARIANTS, ids=str)
def test_repr_shows_the_arguments(name: str, arguments: dict[str, Any]) -> None:
    # TB's BinaryFocalLoss raises here, which breaks model summaries
    text = repr(ll.get_loss(name, **arguments))
    for argument, value in arguments.items():
        assert f"{argument}={value}" in text


# --- refused when made ------------------------------------------------------------------------------------------------

# name and argument: the outermost values that are taken, and values that are not
LIMITS: dict[tuple[str, str], tuple[list[float], list[float]]] = {
    ("asymmetric", "gamma_negative"): ([0.0], [-1e-9, math.inf]),
    ("asymmetric", "gamma_positive"): ([0.0], [-1e-9, math.inf]),
    ("asymmetric", "margin"): ([0.0, 0.99], [-0.1, 1.0, 1.5]),
    ("bi_tempered", "t1"): ([0.0, 1.0], [-0.1, 1.5]),
    ("bi_tempered", "t2"): ([1.0, 10.0], [0.9, 10.5]),
    ("focal", "gamma"): ([0.0], [-1e-9, math.nan, math.inf]),
    ("gce", "q"): ([1e-9, 1.0], [0.0, -1.0, 1.5]),
    ("ghm", "bins"): ([1], [0, 2.5]),
    ("ghm", "momentum"): ([0.0, 0.99], [-0.1, 1.0, 1.5]),
    ("hinge", "margin"): ([1e-9], [0.0, -1.0]),
    ("huber", "delta"): ([1e-9], [0.0, -1.0, math.nan, math.inf]),
    ("ldam", "max_margin"): ([0.0], [-0.1]),
    ("ldam", "scale"): ([1e-9], [0.0, -1.0]),
    ("logit_adjusted", "tau"): ([0.0], [-1e-9, math.inf]),
    ("mape", "epsilon"): ([1e-9], [0.0, -1.0]),
    ("nfl", "gamma"): ([0.0], [-1e-9]),
    ("poly1", "epsilon"): ([-1.0, 1e6], [-1.1, 1e6 + 0.5]),
    ("quantile", "q"): ([1e-9, 0.99], [0.0, 1.0, -1.0, 1.5, math.nan]),
    ("rce", "label_floor"): ([1e-38, 1 - 1e-12], [0.0, 1.0]),
    ("sce", "alpha"): ([0.0], [-1e-9, math.inf]),
    ("sce", "beta"): ([0.0], [-1e-9, math.inf]),
    ("sce", "label_floor"): ([1e-38, 1.0], [0.0, 1.5]),
    ("smooth_l1", "beta"): ([1e-9], [0.0, -1.0, math.nan, math.inf]),
    ("taylor_ce", "order"): ([1], [0, 2.5]),
    **{(name, "label_smoothing"): ([0.0, 1.0], [-1e-9, 1.5]) for name in NAMES},
    **{(name, "z_loss"): ([0.0], [-1e-9, math.inf]) for name in MULTICLASS},
}


@pytest.mark.parametrize(("name", "argument"), LIMITS)
def test_limits(name: str, argument: str) -> None:
    taken, refused = LIMITS[name, argument]
    own = needed(name)
    loss = ll.get_loss(name, **own)
    for value in taken:
        assert ll.get_loss(name, **own, **{argument: value}).arguments[argument] == value
    for value in refused:
        message = rf"^{argument} must .*got {re.escape(repr(value))}"
        with pytest.raises(ValueError, match=message):
            ll.get_loss(name, **own, **{argument: value})
        if argument != "momentum":  # a batch alone has none
            with pytest.raises(ValueError, match=message):
                function_of(loss)(*batch(loss.task, soft=name == "kl_div"), **own, **{argument: value})


# name, arguments, error, words of the message
REFUSED: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("focal", {"gamma": "2"}, TypeError, "gamma .*'2'"),
    ("focal", {"alpha": 0.25}, TypeError, r"alpha .*0\.25"),
    ("focal", {"alpha": [None, 1.0]}, TypeError, r"alpha .*got \[None, 1\.0\]$"),
    ("focal", {"alpha": torch.tensor(0.25)}, TypeError, r"alpha .*0\.25"),
    ("focal", {"alpha": np.float32(0.25)}, TypeError, r"alpha .*0\.25"),
    ("focal", {"alpha": -0.25, "task": "binary"}, ValueError, r"alpha .*-0\.25"),
    ("focal", {"alpha": 1.25, "task": "binary"}, ValueError, r"alpha .*1\.25"),
    ("focal", {"alpha": [0.25, 0.75], "task": "binary"}, ValueError, "alpha .*2"),
    ("focal", {"alpha": [0.1, 0.2, 0.7], "weight": [1.0, 2.0]}, ValueError, "alpha|weight"),
    ("ce", {"pos_weight": 2.0}, ValueError, "pos_weight .*multiclass"),
    ("bce", {"weight": [1.0, 2.0, 3.0]}, ValueError, "weight .*3"),
    ("bce", {"pos_weight": [1.0, 2.0]}, ValueError, "pos_weight .*2"),
    ("mse", {"reducton": "sum"}, TypeError, "loss.* has no argument 'reducton'"),
    ("bce", {"pos_weight": -1.0}, ValueError, r"pos_weight .*-1\.0"),
    *((name, {"reduction": "men"}, ValueError, "reduction .*'men'") for name in ("cosine_similarity", "kl_div", "mse")),
    ("logit_adjusted", {}, TypeError, "prior"),
    ("logit_adjusted", {"prior": [0.5, 0.6]}, ValueError, r"prior .*sum to 1.*0\.6"),
    ("logit_adjusted", {"prior": [0.0, 0.5, 0.5]}, ValueError, r"prior .*\(0, 1\).*0\.0"),
    ("logit_adjusted", {"prior": [[0.5, 0.5]]}, ValueError, r"prior .*\(0, 1\)"),
    ("logit_adjusted", {"prior": [1.0], "task": "multilabel"}, ValueError, r"prior .*\(0, 1\).*1\.0"),
    ("logit_adjusted", {"prior": [0.5, 0.5], "from_logits": False}, ValueError, "from_logits.*added to logits"),
    ("logit_adjusted", {"prior": [0.2, 0.3, 0.5], "task": "binary"}, ValueError, "prior .*p0, p1"),
    ("balanced_softmax", {"class_counts": [3, 0]}, ValueError, r"class_counts .*0"),
    ("balanced_softmax", {"class_counts": [[3, 1]]}, ValueError, r"class_counts .*shape \(C,\)"),
    ("balanced_softmax", {"class_counts": [3, 1, 2], "task": "binary"}, ValueError, r"class_counts .*\[n0, n1\]"),
    ("balanced_softmax", {"class_counts": [3, 1], "task": "multilabel"}, ValueError, r"class_counts .*\(L, 2\)"),
    ("ldam", {"class_counts": [3, 0]}, ValueError, "class_counts .*0"),
    ("ce", {"weight": {"name": "effective", "counts": [1, 2]}}, ValueError, "weight .*effective_number"),
    *(
        ("ce", {"weight": {"name": "effective_number", "counts": [1, 2], "beta": beta}}, ValueError, "beta must .*got")
        for beta in (-0.1, 1.0, 1.5)
    ),
    ("ce", {"weight": {"name": "effective_number", "counts": [1, 0]}}, ValueError, "counts .*0"),
    ("ce", {"weight": {"name": "inverse_frequency", "counts": [1, 0]}}, ValueError, "counts .*0"),
    ("ce", {"weight": {"name": "inverse_frequency", "beta": 0.9}}, TypeError, "weight 'inverse_frequency' .*beta"),
    ("ce", {"weight": {"counts": [1, 2]}}, (TypeError, ValueError), "weight .*name"),
    ("bce", {"z_loss": 1.0}, ValueError, "z_loss .*multiclass"),
    ("ldam", {"class_counts": [1, 2], "task": "binary"}, ValueError, "binary.*softmax"),
    ("asymmetric", {"task": "multiclass"}, ValueError, "multiclass.*labels"),
    ("forward_correction", {"transition": [[0.5, 0.5]]}, ValueError, r"transition .*\(C, C\)"),
    ("forward_correction", {"transition": [[0.5, 0.6], [0.0, 1.0]]}, ValueError, "transition .*summing to 1"),
    ("forward_correction", {"transition": [[1.0, 0.0], [1.0, 0.0]]}, ValueError, "transition .*column"),
    ("forward_correction", {**needed("forward_correction"), "weight": [1.0] * 4}, ValueError, "weight.*true class"),
    ("ghm", {"task": "multiclass"}, ValueError, "multiclass"),
    ("nce", {"z_loss": 1.0}, ValueError, "z_loss"),
    *(
        (name, *refusal)
        for name in NAMES
        for refusal in (
            ({"reduction": "men"}, ValueError, "reduction .*'mean'.*'men'"),
            ({"normalizer": "weight"}, ValueError, "normalizer .*'weight'"),
            ({"task": "multi"}, ValueError, "task .*'multi'"),
            ({"weight": [1.0, -1.0]}, ValueError, "weight .*-1"),
            ({"weight": [1.0, math.nan]}, ValueError, "weight .*nan"),
            ({"weight": "balanced"}, TypeError, "weight .*'balanced'"),
            ({"weight": [[1.0, 2.0]]}, ValueError, "weight .*shape"),
            ({"ignore_index": 0.5}, TypeError, r"ignore_index .*0\.5"),
            ({"from_logits": 1}, TypeError, "from_logits .*1"),
            ({"shift": torch.zeros(2)}, TypeError, "loss.* has no argument 'shift'"),
            ({"label_smothing": 0.1}, TypeError, "loss.* has no argument 'label_smothing'.*'label_smoothing'"),
        )
    ),
]


@pytest.mark.parametrize(("name", "arguments", "error", "message"), REFUSED, ids=str)
def test_refused_when_made_and_by_the_function(
    name: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=rf"\b{message}"):
        ll.get_loss(name, **arguments)
    with pytest.raises(error):
        type(ll.get_loss(name, **needed(name)))(**arguments)
    function = function_of(ll.get_loss(name, **needed(name)))
    with pytest.raises(error, match=rf"\b{message}"):
        function(*batch(arguments.get("task", "multiclass")), **arguments)


@pytest.mark.parametrize(
    ("task", "argument", "name", "lengths"),
    [
        ("multiclass", "weight", "ce", (1, 3, 5)),
        ("multiclass", "alpha", "focal", (1, 3, 5)),
        ("multiclass", "class_counts", "ldam", (1, 3, 5)),
        # a single number is for all labels
        ("multilabel", "weight", "ce", (3, 5)),
        ("multilabel", "pos_weight", "ce", (3, 5)),
        ("multilabel", "alpha", "focal", (3, 5)),
        ("multilabel", "prior", "logit_adjusted", (3, 5)),
    ],
)
def test_wrong_length_is_refused(task: str, argument: str, name: str, lengths: tuple[int, ...]) -> None:
    # IL repeats the last weight for the classes that lack one
    z, y = batch(task)
    for length in lengths:
        loss = ll.get_loss(name, task=task, **{argument: [0.5] * length})
        with pytest.raises(ValueError, match=rf"\b{argument} .*4.*{length}"):
            loss(z, y)
        if task == "multilabel":
            with pytest.raises(ValueError, match=rf"\b{argument} .*1.*{length}"):
                loss(z[0, 0], y[0, 0])


# --- by name ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ll.list_losses())
def test_same_loss_by_name_mapping_and_object(name: str) -> None:
    loss = ll.get_loss({"name": name, **needed(name)})
    assert type(ll.get_loss(name, **needed(name))) is type(loss)
    assert ll.get_loss(loss) is loss


@pytest.mark.parametrize(("given", "nearest"), [("focl", "focal"), ("cross_entropy", None), ("CE", "ce"), ("", None)])
def test_unknown_name_offers_the_nearest(given: str, nearest: str | None) -> None:
    with pytest.raises(ValueError, match=f"loss .*{given!r}" + (f".*did you mean '{nearest}'" if nearest else "")):
        ll.get_loss(given)


def test_bad_specifications_are_refused() -> None:
    for given, error, message in [
        (3, TypeError, "loss .*3"),
        (ll.FocalLoss, TypeError, "loss .*FocalLoss"),
        ({"gamma": 2.0}, (ValueError, TypeError), "name"),
        ({"name": "focal", "gama": 2.0}, TypeError, "gama.*gamma"),
        ({"name": "torch.PoisonNLLLoss"}, ValueError, "PoissonNLLLoss"),
        ({"name": "torch.MSELoss", "reducton": "sum"}, TypeError, "reducton.*reduction"),
    ]:
        with pytest.raises(error, match=message):
            ll.get_loss(given)


# Each with arguments of two tensors; those of several inputs are in test_other.
TORCH = {
    "BCELoss": {},
    "L1Loss": {},
    "MSELoss": {"reduction": "sum"},
    "SmoothL1Loss": {"beta": 0.5},
    "HuberLoss": {"delta": 0.5},
    "PoissonNLLLoss": {"log_input": False},
    "KLDivLoss": {"reduction": "batchmean"},
    "BCEWithLogitsLoss": {},
    "SoftMarginLoss": {},
    "HingeEmbeddingLoss": {"margin": 0.5},
    "MultiLabelSoftMarginLoss": {},
    "CrossEntropyLoss": {"label_smoothing": 0.1},
}
OF_LABELS = {
    "MultiLabelMarginLoss": torch.tensor([[0, 2, -1], [1, -1, -1], [2, 1, 0], [-1, -1, -1]]),
    "MultiMarginLoss": torch.tensor([0, 2, 1, 1]),
    "NLLLoss": torch.tensor([0, 2, 1, 1]),
}


@pytest.mark.parametrize(("name", "arguments"), TORCH.items())
def test_criteria_of_torch(name: str, arguments: dict[str, Any]) -> None:
    z, y = torch.rand(4, 3), torch.rand(4, 3).softmax(1)
    loss = ll.get_loss({"name": f"torch.{name}", **arguments})
    assert torch.equal(loss(z, y), getattr(nn, name)(**arguments)(z, y))
    with pytest.raises(TypeError, match="sample_weight"):
        loss(z, y, torch.ones(4))


@pytest.mark.parametrize("name", OF_LABELS)
def test_criteria_of_torch_on_labels(name: str) -> None:
    z = torch.rand(4, 3)
    assert torch.equal(ll.get_loss(f"torch.{name}")(z, OF_LABELS[name]), getattr(nn, name)()(z, OF_LABELS[name]))


@pytest.mark.skipif(not hasattr(nn, "LinearCrossEntropyLoss"), reason="later torch has it")
def test_a_criterion_of_torch_that_owns_a_layer() -> None:
    loss = ll.get_loss({"name": "torch.LinearCrossEntropyLoss", "in_features": 3, "num_classes": 5})
    features, labels = torch.rand(4, 3), torch.tensor([0, 4, 2, 1])
    (weight,) = loss.parameters()
    torch.testing.assert_close(loss(features, labels), nn.functional.cross_entropy(features @ weight.T, labels))


def test_every_criterion_of_torch_is_tried() -> None:
    names = {name for name in nn.modules.loss.__all__ if name != "NLLLoss2d"}  # deprecated, and not in torch.nn
    assert names - {*TORCH, *OF_LABELS, *OF_SEVERAL, "LinearCrossEntropyLoss"} == set()


def test_any_callable_is_a_loss() -> None:
    loss = ll.get_loss(lambda z, y: (z - y).abs().amax())
    assert loss(torch.tensor([1.0, 5.0]), torch.zeros(2)) == 5
