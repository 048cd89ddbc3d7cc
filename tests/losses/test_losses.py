"""What every loss module does: what it refuses when it is made, and that it stores arguments and nothing else."""

from __future__ import annotations

import copy
import math
import pickle
import re
from typing import Any

import pytest
import torch
from torch import nn

import lightning_losses as ll
from tests.cases import EXTRA, NAMES, REGRESSION_VARIANTS, VARIANTS, WEIGHT, batch

ALL_VARIANTS = [*VARIANTS, *REGRESSION_VARIANTS]


SAMPLE_WEIGHT = torch.arange(8.0)


def function_of(loss: nn.Module) -> Any:
    """Return the function with the class's stem in snake case: `L1Loss` -> `l1_loss`, `MSELoss` -> `mse_loss`."""
    stem = type(loss).__name__.removesuffix("Loss")
    stem = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", stem).lower()
    return getattr(ll.functional, f"{stem}_loss")


@pytest.mark.parametrize(("name", "arguments"), ALL_VARIANTS, ids=str)
def test_module_is_function(name: str, arguments: dict[str, Any]) -> None:
    loss = ll.get_loss(name, **arguments)
    z, y = batch(loss.task)
    expected = function_of(loss)(z, y, sample_weight=SAMPLE_WEIGHT, **arguments)
    assert torch.equal(loss(z, y, SAMPLE_WEIGHT), expected)
    assert torch.equal(getattr(ll, type(loss).__name__)(**arguments)(z, y, SAMPLE_WEIGHT), expected)


@pytest.mark.parametrize("name", NAMES)
def test_options_reach_both(name: str) -> None:
    options: dict[str, Any] = {
        "weight": WEIGHT["multilabel"],
        "pos_weight": 3.0,
        "label_smoothing": 0.2,
        "normalizer": "samples",
        "ignore_index": 0,
        "task": "multilabel",
    }
    z, y = batch("multilabel")
    loss = ll.get_loss(name, **options)
    expected = loss(z, y, SAMPLE_WEIGHT)
    assert torch.equal(function_of(loss)(z, y, sample_weight=SAMPLE_WEIGHT, **options), expected)
    for option in options.keys() - {"task"}:
        fewer = {key: value for key, value in options.items() if key != option}
        assert not torch.isclose(ll.get_loss(name, **fewer)(z, y, SAMPLE_WEIGHT), expected, rtol=1e-3), option


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


@pytest.mark.parametrize("name", EXTRA)
def test_copies_have_the_same_arguments(name: str) -> None:
    loss = ll.get_loss(name, **EXTRA[name])
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

# name, arguments, error, words of the message
REFUSED: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("focal", {"gamma": -1.0}, ValueError, r"gamma .*-1\.0"),
    ("focal", {"gamma": math.nan}, ValueError, "gamma .*nan"),
    ("focal", {"gamma": "2"}, TypeError, "gamma .*'2'"),
    ("focal", {"alpha": 0.25}, TypeError, r"alpha .*0\.25"),
    ("focal", {"alpha": -0.25, "task": "binary"}, ValueError, r"alpha .*-0\.25"),
    ("focal", {"alpha": 1.25, "task": "binary"}, ValueError, r"alpha .*1\.25"),
    ("focal", {"alpha": [0.25, 0.75], "task": "binary"}, ValueError, "alpha .*2"),
    ("focal", {"alpha": [0.1, 0.2, 0.7], "weight": [1.0, 2.0]}, ValueError, "alpha|weight"),
    ("sce", {"alpha": -1.0}, ValueError, r"alpha .*-1\.0"),
    ("sce", {"beta": math.inf}, ValueError, "beta .*inf"),
    ("sce", {"label_floor": 0.0}, ValueError, r"label_floor .*0\.0"),
    ("rce", {"label_floor": 2.0}, ValueError, r"label_floor .*2\.0"),
    ("gce", {"q": 0.0}, ValueError, r"q .*0\.0"),
    ("gce", {"q": 1.5}, ValueError, r"q .*1\.5"),
    ("poly1", {"epsilon": -2.0}, ValueError, r"epsilon .*-2\.0"),
    ("taylor_ce", {"order": 0}, ValueError, "order .*0"),
    ("taylor_ce", {"order": 2.5}, ValueError, r"order .*2\.5"),
    ("ce", {"pos_weight": 2.0}, ValueError, "pos_weight .*multiclass"),
    ("bce", {"weight": [1.0, 2.0, 3.0]}, ValueError, "weight .*3"),
    ("bce", {"pos_weight": [1.0, 2.0]}, ValueError, "pos_weight .*2"),
    *(
        (name, *refusal)
        for name in NAMES
        for refusal in (
            ({"reduction": "men"}, ValueError, "reduction .*'mean'.*'men'"),
            ({"normalizer": "weight"}, ValueError, "normalizer .*'weight'"),
            ({"task": "multi"}, ValueError, "task .*'multi'"),
            ({"label_smoothing": 1.5}, ValueError, r"label_smoothing .*1\.5"),
            ({"label_smoothing": -0.1}, ValueError, r"label_smoothing .*-0\.1"),
            ({"weight": [1.0, -1.0]}, ValueError, "weight .*-1"),
            ({"weight": [1.0, math.nan]}, ValueError, "weight .*nan"),
            ({"weight": "balanced"}, TypeError, "weight .*'balanced'"),
            ({"weight": [[1.0, 2.0]]}, ValueError, "weight .*shape"),
            ({"ignore_index": 0.5}, TypeError, r"ignore_index .*0\.5"),
            ({"from_logits": 1}, TypeError, "from_logits .*1"),
            ({"label_smothing": 0.1}, TypeError, "label_smothing.*label_smoothing"),
        )
    ),
]


@pytest.mark.parametrize(("name", "arguments", "error", "message"), REFUSED, ids=str)
def test_refused_when_made(name: str, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ll.get_loss(name, **arguments)


@pytest.mark.parametrize(("argument", "name"), [("weight", "ce"), ("alpha", "focal"), ("class_counts", "ldam")])
@pytest.mark.parametrize("length", [1, 3, 5])
def test_wrong_length_is_refused(argument: str, name: str, length: int) -> None:
    # IL repeats the last weight for the classes that lack one
    z, y = batch("multiclass")
    with pytest.raises(ValueError, match=rf"{argument} .*4.*{length}"):
        ll.get_loss(name, **{argument: [0.5] * length})(z, y)


# --- by name ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ll.list_losses())
def test_same_loss_by_name_mapping_and_object(name: str) -> None:
    loss = ll.get_loss({"name": name, **EXTRA.get(name, {})})
    assert type(ll.get_loss(name, **EXTRA.get(name, {}))) is type(loss)
    assert ll.get_loss(loss) is loss


@pytest.mark.parametrize(("given", "nearest"), [("focl", "focal"), ("cross_entropy", None), ("CE", "ce"), ("", None)])
def test_unknown_name_offers_the_nearest(given: str, nearest: str | None) -> None:
    with pytest.raises(ValueError, match=f"loss .*{given!r}" + (f".*did you mean '{nearest}'" if nearest else "")):
        ll.get_loss(given)


def test_bad_specifications_are_refused() -> None:
    for given, error, message in [
        (3, TypeError, "loss .*3"),
        ({"gamma": 2.0}, (ValueError, TypeError), "name"),
        ({"name": "focal", "gama": 2.0}, TypeError, "gama.*gamma"),
        ({"name": "torch.PoisonNLLLoss"}, ValueError, "PoissonNLLLoss"),
        ({"name": "torch.MSELoss", "reducton": "sum"}, TypeError, "reducton.*reduction"),
    ]:
        with pytest.raises(error, match=message):
            ll.get_loss(given)


# Each with arguments of two tensors; the others of torch take three inputs, lengths or a weight matrix.
TORCH = {
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


@pytest.mark.parametrize(("name", "arguments"), TORCH.items())
def test_criteria_of_torch(name: str, arguments: dict[str, Any]) -> None:
    z, y = torch.rand(4, 3), torch.rand(4, 3).softmax(1)
    loss = ll.get_loss({"name": f"torch.{name}", **arguments})
    assert torch.equal(loss(z, y), getattr(nn, name)(**arguments)(z, y))
    with pytest.raises(TypeError, match="sample_weight"):
        loss(z, y, torch.ones(4))


def test_any_callable_is_a_loss() -> None:
    loss = ll.get_loss(lambda z, y: (z - y).abs().amax())
    assert loss(torch.tensor([1.0, 5.0]), torch.zeros(2)) == 5
