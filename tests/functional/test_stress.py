"""The cases at which other libraries break, each with our answer; `7c` and `7e` are tables of the survey of them.

Numbers of other libraries were measured on CPU with torch 2.13.0: torchvision 0.28.0, kornia 0.9.0, monai 1.6.1, timm
1.0.31, segmentation-models-pytorch 0.6.0 (smp), pytorch-optimizer 4.1.0 (PO), pytorch-toolbelt 0.8.0 (TB),
pytorch-lightning-spells 0.3.0 (spells), imbalanced-losses 0.6.0 (IL), keras 3.15.1, focal-loss-torch 0.1.2,
balanced-loss 0.1.1, optax 0.2.8.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import lightning_losses as ll
from tests.cases import (
    BY_TASK,
    CASES,
    CLASSIFICATION,
    MULTICLASS,
    NAMES,
    VARIANTS_BY_TASK,
    WEIGHT,
    batch,
    make,
    tasks,
)

HALF = [torch.bfloat16, torch.float16]
DTYPES = [torch.float64, torch.float32, *HALF]
# Below these a relative error means nothing: numbers are subnormal or none.
SMALLEST = {torch.float32: 1e-37, torch.bfloat16: 1e-37, torch.float16: 6e-8}


def evaluate(loss: Any, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss and the gradient of its sum."""
    z = z.detach().clone().requires_grad_()
    value = loss(z, y)
    value.sum().backward()
    return value.detach(), z.grad


# --- certain rows ----------------------------------------------------------------------------------------------------


# keras' focal is clipped to 16 and focal-loss-torch's to 37, both with a dead gradient; balanced-loss' is NaN
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [96.0, 1e4])
@pytest.mark.parametrize(("name", "task"), [(name, task) for name, task in BY_TASK if name in CASES])
def test_certainly_wrong(name: str, task: str, size: float, dtype: torch.dtype) -> None:
    if task == "multiclass":
        z, y = torch.tensor([[size, -size, 0.0, 0.0, 0.0]], dtype=dtype), torch.tensor([1])
        gap, direction = 2 * z[0, 0].item(), torch.tensor([[1.0, -1.0, 0.0, 0.0, 0.0]])
    else:
        z, y = torch.full((1,), -size, dtype=dtype), torch.ones(1)
        gap, direction = -z.item(), torch.tensor([-1.0])
    slope, offset = CASES[name].worst
    value, gradient = evaluate(ll.get_loss(name, task=task), z, y)
    assert value.item() == pytest.approx(slope * gap + offset, rel=1e-6)
    torch.testing.assert_close(gradient.float(), slope * direction, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("name", "task"), BY_TASK)
def test_certainly_right(name: str, task: str, dtype: torch.dtype) -> None:
    z = torch.tensor([[1e4, -1e4, 0.0, 0.0, 0.0]], dtype=dtype)
    z, y = (z, torch.tensor([0])) if task == "multiclass" else (z[0, :2], torch.tensor([1, 0]))
    value, gradient = evaluate(ll.get_loss(name, task=task), z, y)
    assert value == 0
    assert (gradient == 0).all()


# --- gamma < 1 at p_t = 1: where the gradient of others turns NaN -----------------------------------------------------

# The smallest logit that breaks them, in float32 / bfloat16 / float16, gamma = 0.5.
FIRST_NAN = {
    "7c torchvision, IL sigmoid, spells, focal-loss-torch, PO BCEFocal": (16.75, 6.25, 8.5),
    "7c smp, PO": (17.5, 6.25, 8.5),
    "7c IL softmax, smp softmax, timm ASL single-label": (16.75, 7.0, 9.25),
    "7c TB CrossEntropyFocal": (16.75, 7.75, 9.75),
    "7c TB binary, timm Poly and ASL, monai softmax, keras": (16.75, 16.75, 16.75),
    "7c exp(-logit) is subnormal in float32": (95.0, 95.0, 95.0),
    "7c exp(-logit) is 0 in float32": (110.0, 110.0, 110.0),
    "7c exp(-logit) is 0 in float64": (800.0, 800.0, 800.0),
    "7c kornia, exacta, monai sigmoid, optax: never, nor here up to what is promised": (1e4, 1e4, 1e4),
}


@pytest.mark.parametrize("logits", FIRST_NAN.values(), ids=FIRST_NAN)
@pytest.mark.parametrize("gamma", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_small_gamma_is_finite(logits: tuple[float, ...], gamma: float, task: str) -> None:
    for logit, dtype in zip(logits, [torch.float32, *HALF], strict=True):
        z = torch.tensor([[logit, 0.0, 0.0], [0.0, logit / 2, -logit / 2]], dtype=dtype)
        y = torch.tensor([[1, 0, 0], [0, 1, 0]])
        z, y = {"multiclass": (z, y.argmax(1)), "binary": (z[:, 0], y[:, 0]), "multilabel": (z, y)}[task]
        loss = ll.FocalLoss(gamma=gamma, task=task, reduction="none")
        value, gradient = evaluate(loss, z, y)
        exact_value, exact_gradient = evaluate(loss, z.double(), y)
        torch.testing.assert_close(value.double(), exact_value, rtol=1e-5, atol=SMALLEST[torch.float32])
        torch.testing.assert_close(gradient.double(), exact_gradient, rtol=1e-2, atol=SMALLEST[dtype])


# Where the gradient of others on a wrong sample falls below 5 % or turns NaN.
FIRST_DEAD = {
    "7c timm ASL multilabel": 18.5,
    "7c keras BinaryFocal": 16.25,
    "7c keras CategoricalFocal": 14.75,
    "7c PO BCEFocal": 14.0,
    "7c focal-loss-torch": 38.5,
    "7c balanced-loss": 88.75,
    "7c balanced-loss, focal-loss-torch in float16": 11.25,
    "7d keras, timm ASL, PO BCEFocal, focal-loss-torch in float16": 30.0,
}


@pytest.mark.parametrize("logit", FIRST_DEAD.values(), ids=FIRST_DEAD)
@pytest.mark.parametrize("name", ["ce", "focal", "sce", "poly1"])
def test_wrong_samples_keep_their_gradient(logit: float, name: str) -> None:
    for dtype in DTYPES:
        _, binary = evaluate(ll.get_loss(name, task="binary"), torch.tensor([-logit], dtype=dtype), torch.tensor([1]))
        _, multiclass = evaluate(ll.get_loss(name), torch.tensor([[-logit, 0.0]], dtype=dtype), torch.tensor([0]))
        assert binary.item() == pytest.approx(-1, abs=0.01)
        assert multiclass[0].tolist() == pytest.approx([-1, 1], abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=str)
@pytest.mark.parametrize("logit", [4.75, 16.0, 75.75, 1e4])
@pytest.mark.parametrize(
    "spec", [{"name": "gce", "q": 0.5}, {"name": "bi_tempered"}], ids=["7c keras GCE", "7c bi-tempered"]
)
def test_losses_that_give_up_wrong_samples_do_so_as_in_float64(
    spec: dict[str, Any], logit: float, dtype: torch.dtype
) -> None:
    # keras' GCE and the other bi-tempered are NaN from 75.75 in float16
    z, y = torch.tensor([[-logit, 0.0, 1.0], [logit, 0.0, 1.0]], dtype=dtype), torch.tensor([0, 0])
    value, gradient = evaluate(ll.get_loss(spec), z, y)
    exact_value, exact_gradient = evaluate(ll.get_loss(spec), z.double(), y)
    torch.testing.assert_close(value.double(), exact_value, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=1e-2, atol=1e-6)


# --- ignored rows, empty batches, NaN ---------------------------------------------------------------------------------


@pytest.mark.parametrize("normalizer", ["weights", "samples"])
@pytest.mark.parametrize(("name", "task"), BY_TASK)
def test_nothing_to_learn_from_costs_nothing(name: str, task: str, normalizer: str) -> None:
    # torch's cross entropy is NaN in both cases
    z, y = batch(task)
    for rows in ((z, torch.full_like(y, -100)), (z[:0], y[:0])):
        value, gradient = evaluate(ll.get_loss(name, task=task, normalizer=normalizer), *rows)
        assert value == 0
        assert (gradient == 0).all()


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("name", "task"), BY_TASK)
def test_ignored_rows_do_not_exist(name: str, task: str, label_smoothing: float, soft: bool) -> None:
    # kornia and TB divide by all rows, monai's mean jumps by a factor C, torch's gradient is NaN in an ignored NaN row
    z, y = batch(task)
    if soft:
        y = F.one_hot(y, 4).double() if task == "multiclass" else 0.9 * y
    ignored, kept = torch.tensor([1, 2, 5, 7]), torch.tensor([0, 3, 4, 6])
    loss = ll.get_loss(name, task=task, label_smoothing=label_smoothing)
    expected = evaluate(loss, z[kept], y[kept])
    y[ignored] = -100
    for junk in (0.0, math.nan, math.inf, -math.inf):
        z[ignored] = junk
        value, gradient = evaluate(loss, z, y)
        torch.testing.assert_close((value, gradient[kept]), expected, rtol=1e-14, atol=0)
        assert (gradient[ignored] == 0).all()


@pytest.mark.parametrize(("name", "task"), BY_TASK)
def test_unused_ignore_index_changes_nothing(name: str, task: str) -> None:
    # monai multiplies the mean by C as soon as ignore_index is set
    z, y = batch(task)
    assert ll.get_loss(name, task=task, ignore_index=-7)(z, y) == ll.get_loss(name, task=task)(z, y)


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize(("name", "task"), CLASSIFICATION)
def test_any_number_can_be_the_ignore_index(name: str, task: str, soft: bool) -> None:
    z, y = batch(task)
    if soft:
        y = F.one_hot(y, 4) if task == "multiclass" else y / 2
    for ignore_index in sorted({-7, 255, *(int(label) for label in y.unique() if label == label.round())}):
        ignored = y == ignore_index
        if task == "multiclass" and soft:
            ignored = ignored.all(dim=1, keepdim=True)
        expected = evaluate(make(name, task), z, y.masked_fill(ignored, -100))
        actual = evaluate(make(name, task, ignore_index=ignore_index), z, y)
        torch.testing.assert_close(actual, expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize(("name", "task"), BY_TASK)
def test_nan_in_a_row_that_counts_is_seen(name: str, task: str) -> None:
    z, y = batch(task)
    z[3] = math.nan
    value, gradient = evaluate(ll.get_loss(name, task=task, reduction="none"), z, y)
    other = torch.arange(8) != 3
    assert value[3].isnan().all()
    assert gradient[3].isnan().all()
    assert value[other].isfinite().all()
    assert gradient[other].isfinite().all()
    assert ll.get_loss(name, task=task)(z, y).isnan()


# --- targets: smp trains on label C, optax wraps -1, nobody refuses y = 2 in a binary task ----------------------------


@pytest.mark.parametrize("name", MULTICLASS)
@pytest.mark.parametrize("bad", [4, -1, -99, 2**40])
def test_class_out_of_range_is_refused(name: str, bad: int) -> None:
    z, y = batch("multiclass")
    y[2] = bad
    with pytest.raises(ValueError, match=rf"target .*\[0, 3\].* {bad}"):
        ll.get_loss(name)(z, y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64], ids=str)
@pytest.mark.parametrize("bad", [2, -1])
@pytest.mark.parametrize(("name", "task"), BY_TASK)
def test_probability_out_of_range_is_refused(name: str, task: str, bad: int, dtype: torch.dtype) -> None:
    z, y = batch(task)
    y = (F.one_hot(y, 4) if task == "multiclass" else y).to(dtype)
    y[2] = bad
    with pytest.raises(ValueError, match=rf"target .*\[0, 1\].* {bad}"):
        ll.get_loss(name, task=task)(z, y)


@pytest.mark.parametrize(("name", "task"), BY_TASK)
def test_nan_target_is_refused(name: str, task: str) -> None:
    z, y = batch(task)
    y = F.one_hot(y, 4).double() if task == "multiclass" else y
    y[2] = math.nan
    with pytest.raises(ValueError, match=r"target .* nan"):
        ll.get_loss(name, task=task)(z, y)


# hinge takes labels too, which it checks on its own
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize(("name", "task"), [*CLASSIFICATION, ("hinge", "binary")])
def test_bad_targets_are_nan_where_looking_would_stall(name: str, task: str, soft: bool) -> None:
    # on accelerators, while compiling and, as here, inside torch.func
    z, y = batch(task)
    y = F.one_hot(y, 4).double() if soft and task == "multiclass" else y
    y[2] = 7
    loss = make(name, task, reduction="none")
    value, _ = torch.func.vjp(lambda x: loss(x, y), z)
    other = torch.arange(8) != 2
    assert value[2].isnan().all()
    if name != "ghm":  # where rows depend on each other
        torch.testing.assert_close(value[other], loss(z[other], y[other]), rtol=1e-13, atol=0)


@pytest.mark.parametrize(("name", "task"), BY_TASK)
def test_integer_targets(name: str, task: str) -> None:
    # torchvision, IL, PO and balanced-loss refuse them in a binary task
    z, y = batch(task)
    loss = ll.get_loss(name, task=task)
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        assert loss(z, y.to(dtype)) == loss(z, y)


@pytest.mark.parametrize(("name", "task"), [(name, task) for name, task in BY_TASK if task != "multiclass"])
def test_labels_of_any_dtype(name: str, task: str) -> None:
    z, y = batch(task)
    weight = {"weight": [3e4] * (2 if task == "binary" else y.shape[1])}  # whose sum is too large for float16
    loss = ll.get_loss(name, task=task, **(weight if ll.SUPPORT[name]["weight"] is True else {}))
    for dtype in (torch.bool, torch.float16, torch.bfloat16, torch.float32):
        value = loss(z, y.to(dtype))
        assert value.dtype == z.dtype
        assert value == loss(z, y)


# --- shapes: timm, optax and TB broadcast (N, 1) against (N,) to (N, N) -----------------------------------------------

SHAPE_ERRORS = {
    "one class": ("multiclass", (8, 1), (8, 5)),
    "(N, 1) indices": ("multiclass", (8, 5), (8, 1)),
    "other batch": ("multiclass", (8, 5), (7,)),
    "spatial target, flat input": ("multiclass", (8, 5), (8, 5, 2)),
    "flat target, spatial input": ("multiclass", (8, 5, 2), (8,)),
    "channels last": ("multiclass", (8, 2, 5), (8, 2)),
    "no class dimension": ("multiclass", (), ()),
    "no class": ("multiclass", (8, 0), (8, 0)),
    "binary (N, 1) input": ("binary", (8, 1), (8,)),
    "binary (N, 1) target": ("binary", (8,), (8, 1)),
    "binary scalar target": ("binary", (8,), ()),
    "multilabel columns": ("multilabel", (8, 5), (8, 1)),
    "multilabel one row": ("multilabel", (8, 5), (5,)),
}


@pytest.mark.parametrize("case", SHAPE_ERRORS)
@pytest.mark.parametrize("name", NAMES)
def test_shapes_do_not_broadcast(name: str, case: str) -> None:
    task, input_shape, target_shape = SHAPE_ERRORS[case]
    loss = ll.get_loss(name, task=task)
    with pytest.raises(ValueError, match=r"shape|dimension"):
        loss(torch.zeros(input_shape), torch.zeros(target_shape, dtype=torch.long))


@pytest.mark.parametrize(
    ("input_dtype", "target_dtype"),
    [
        (torch.long, torch.long),
        (torch.complex64, torch.long),
        (torch.float32, torch.float32),
        (torch.float32, torch.bool),
        (torch.float32, torch.complex64),
    ],
    ids=str,
)
def test_dtype_mistakes_are_refused(input_dtype: torch.dtype, target_dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=r"input|target"):
        ll.functional.cross_entropy_loss(torch.zeros(8, 5, dtype=input_dtype), torch.zeros(8, dtype=target_dtype))


@pytest.mark.parametrize("name", [*NAMES, "mse", "hinge"])
def test_what_is_no_tensor_is_named(name: str) -> None:
    loss = ll.get_loss(name)
    z, y = batch(loss.task)
    with pytest.raises(TypeError, match=r"^input must be a tensor, got ndarray"):
        loss(z.numpy(), y)
    with pytest.raises(TypeError, match=r"^target must be a tensor, got list"):
        loss(z, y.tolist())
    with pytest.raises(TypeError, match=r"^sample_weight must be a tensor, got list"):
        loss(z, y, [1.0] * 8)
    with pytest.raises(TypeError, match=r"^sample_weight must hold real numbers, got torch\.complex64"):
        loss(z, y, torch.ones(8, dtype=torch.complex64))


@pytest.mark.parametrize(("name", "task"), CLASSIFICATION)
def test_complex_targets_are_refused(name: str, task: str) -> None:
    z, _ = batch(task)
    with pytest.raises(TypeError, match=r"target .*complex64"):
        make(name, task)(z, torch.zeros_like(z, dtype=torch.complex64))


@pytest.mark.parametrize("task", ["multiclass", "binary"])
def test_sample_weight_of_one_row(task: str) -> None:
    z, y = (row[0] for row in batch(task))
    total, weight = ll.FocalLoss(task=task).sum_and_weight(z, y, torch.tensor(3.0))
    assert weight == 3
    torch.testing.assert_close(total, 3 * ll.FocalLoss(task=task)(z, y))


@pytest.mark.parametrize("name", NAMES)
def test_sample_weight_is_checked(name: str) -> None:
    task = tasks(name)[0]
    z, y = batch(task)
    loss = ll.get_loss(name, task=task)
    for bad in (torch.ones(7), torch.ones(1), torch.ones(()), torch.ones(8, 1)):
        with pytest.raises(ValueError, match=r"sample_weight .*shape"):
            loss(z, y, bad)
    for number in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=rf"sample_weight .*{number}"):
            loss(z, y, torch.tensor([number, 1, 1, 1, 1, 1, 1, 1]))


# --- low precision: relative error of loss and gradient for half inputs, against float64 on the same inputs -----------


# bfloat16, easy rows: torch's BCE is 37 % / 11 % off, its CE 2.7 % / 4.1 %, torchvision 6.6 % / 46 %, smp 150 % / 170 %
@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("rows", ["random", "easy"])
@pytest.mark.parametrize(("name", "arguments", "task"), VARIANTS_BY_TASK, ids=str)
def test_half_precision(name: str, arguments: dict[str, Any], task: str, rows: str, dtype: torch.dtype) -> None:
    z, y = batch(task, rows=64, dtype=dtype)
    if rows == "easy":
        gaps = torch.linspace(4, 12, 64, dtype=torch.float64)
        if task == "multiclass":
            z = (F.one_hot(y, 4) * gaps[:, None]).to(dtype)
        else:
            z = ((2 * y - 1) * (gaps if task == "binary" else gaps[:, None])).to(dtype)
    loss = ll.get_loss(name, task=task, reduction="none", **arguments)
    value, gradient = evaluate(loss, z, y)
    exact_value, exact_gradient = evaluate(loss, z.double(), y.double() if task != "multiclass" else y)
    assert value.dtype == torch.float32
    assert gradient.dtype == dtype
    torch.testing.assert_close(value.double(), exact_value, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=5e-3, atol=SMALLEST[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ll.list_losses())
def test_dtype_of_the_loss_is_that_of_the_input_but_half(name: str, dtype: torch.dtype) -> None:
    # monai, timm, TB and keras cast float64 to float32; liger, torch and others return half
    for task in tasks(name):
        z, y = batch(task, soft=name == "kl_div", dtype=dtype)
        loss, expected = make(name, task).to(dtype), torch.promote_types(dtype, torch.float32)
        labels = (name, task) in CLASSIFICATION and not y.is_floating_point()
        for target in (y, F.one_hot(y, 4) if labels else y.double() if y.is_floating_point() else y.int()):
            for sample_weight in (None, torch.ones(8, dtype=torch.float64), torch.ones(8, dtype=torch.int64)):
                values = loss(z, target, sample_weight), *loss.sum_and_weight(z, target, sample_weight)
                assert {value.dtype for value in values} == {expected}
            if ll.SUPPORT[name]["from_logits"] is True:
                of_probabilities = make(name, task, from_logits=False)
                p = z.softmax(1) if task == "multiclass" else z.sigmoid()
                assert {value.dtype for value in of_probabilities.sum_and_weight(p, target)} == {expected}


@pytest.mark.parametrize(("name", "task"), CLASSIFICATION)
def test_constants_follow_the_input_to_its_device(name: str, task: str) -> None:
    z, y = (tensor.to("meta") for tensor in batch(task))
    weight = {"weight": WEIGHT[task]} if ll.SUPPORT[name]["weight"] is True else {}
    value = make(name, task, reduction="none", **weight)(z, y, torch.ones(8, device="meta"))
    assert (value.device.type, value.shape) == ("meta", y.shape)


@pytest.mark.parametrize(("name", "task"), BY_TASK)
def test_autocast_changes_nothing(name: str, task: str) -> None:
    z, y = batch(task, dtype=torch.bfloat16)
    loss = ll.get_loss(name, task=task)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = evaluate(loss, z, y)
    expected_value, expected_gradient = evaluate(loss, z, y)
    torch.testing.assert_close((value, gradient), (expected_value, expected_gradient), rtol=0, atol=0)


# --- conventions that differ between libraries ------------------------------------------------------------------------

Z = torch.tensor([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0], [0.0, 0.0, 3.0], [2.0, 1.0, 0.0]], dtype=torch.float64)
Y = torch.tensor([0, 1, 1, 2])
W = [1.0, 2.0, 5.0]
ROWS = F.cross_entropy(Z, Y, reduction="none")
PIXELS = (Z.T.reshape(1, 3, 2, 2), torch.tensor([[[0, 1], [-100, 2]]]))

CONVENTIONS = {
    # torch, focal-loss-torch; IL, monai, keras and kornia (times C) divide by N
    "7e class weights: the mean divides by their sum": (
        lambda: ll.functional.focal_loss(Z, Y, gamma=0, weight=W),
        (torch.tensor(W)[Y] * ROWS).sum() / torch.tensor(W)[Y].sum(),
    ),
    "7e ... unless normalizer='samples'": (
        lambda: ll.functional.focal_loss(Z, Y, gamma=0, weight=W, normalizer="samples"),
        (torch.tensor(W)[Y] * ROWS).sum() / 4,
    ),
    "7e alpha multiplies and does not divide": (
        lambda: ll.functional.focal_loss(Z, Y, gamma=0, alpha=W),
        (torch.tensor(W)[Y] * ROWS).sum() / 4,
    ),
    # kornia and TB divide by all pixels
    "7e ignored pixels do not count in the mean": (
        lambda: ll.functional.focal_loss(*PIXELS, gamma=0),
        ROWS[[0, 1, 3]].mean(),
    ),
    # PO multiplies both classes by it
    "7e binary alpha: class 1 has alpha, class 0 has 1 - alpha": (
        lambda: ll.functional.focal_loss(
            torch.zeros(2), torch.tensor([1, 0]), gamma=0, alpha=0.25, task="binary", reduction="none"
        ),
        math.log(2) * torch.tensor([0.25, 0.75]),
    ),
    # torchvision and eight others put the mixture's p_t into the modulator, which is 0.25 here
    "7e soft targets: the mixture of the two losses": (
        lambda: ll.functional.focal_loss(torch.tensor([math.log(3)]), torch.tensor([0.75]), task="binary"),
        torch.tensor(-0.75 * 0.25**2 * math.log(0.75) - 0.25 * 0.75**2 * math.log(0.25)),
    ),
    # smp's "multiclass" is one-vs-rest
    "7e multiclass is a softmax": (
        lambda: ll.functional.focal_loss(torch.zeros(1, 4), torch.tensor([0])),
        torch.tensor(0.75**2 * math.log(4)),
    ),
    # kornia, monai and smp average over the classes as well
    "7e the scale does not depend on the number of classes": (
        lambda: ll.functional.focal_loss(torch.tensor([[0.0, 0.0, -1e4, -1e4]]), torch.tensor([0])),
        torch.tensor(0.25 * math.log(2)),
    ),
}


@pytest.mark.parametrize(("actual", "expected"), CONVENTIONS.values(), ids=CONVENTIONS)
def test_convention(actual: Any, expected: Tensor) -> None:
    torch.testing.assert_close(actual(), expected, rtol=1e-6, atol=0, check_dtype=False)


def test_bare_alpha_is_refused_with_many_classes() -> None:
    # .75/.25/.25 in kornia, monai and exacta, .25/.25/.25 in keras
    with pytest.raises(TypeError, match=r"alpha .*0\.25"):
        ll.FocalLoss(alpha=0.25)
