"""Derivatives, layouts and transforms of every listed classification loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

import lightning_losses as ll
from tests.cases import (
    BY_TASK,
    CLASSIFICATION,
    MULTICLASS,
    NAMES,
    VARIANTS,
    VARIANTS_BY_TASK,
    WEIGHT,
    batch,
    make,
    tasks,
)

# Whether the targets are probabilities: binary and multilabel ones always are here, labels of 0 and 1 are among them.
SOFT = {"multiclass": (False, True), "binary": (True,), "multilabel": (True,)}


@pytest.mark.parametrize(
    ("name", "arguments", "task", "soft"),
    [(*case, soft) for case in VARIANTS_BY_TASK for soft in SOFT[case[-1]]],
    ids=str,
)
def test_derivatives(name: str, arguments: dict[str, Any], task: str, soft: bool) -> None:
    z, y = batch(task, soft=soft, rows=3)
    loss = ll.get_loss(name, task=task, weight=WEIGHT[task], label_smoothing=0.1, reduction="none", **arguments)
    assert torch.autograd.gradcheck(loss, (z.requires_grad_(), y))
    assert torch.autograd.gradgradcheck(loss, (z, y))


# the second derivative of (1-p)^0.5 is itself unbounded
@pytest.mark.parametrize(("name", "arguments"), [case for case in VARIANTS if case[1].get("gamma") != 0.5], ids=str)
def test_second_derivative_is_finite_at_saturation(name: str, arguments: dict[str, Any]) -> None:
    task = tasks(name)[0]
    z = torch.tensor([[1e4, 0.0], [-1e4, 0.0], [100.0, 0.0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 0, 0]) if task == "multiclass" else torch.ones(3)
    value = ll.get_loss(name, task=task, reduction="sum", **arguments)(z if task == "multiclass" else z[:, 0], y)
    (first,) = torch.autograd.grad(value, z, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum() + first.sum(), z)
    assert second.isfinite().all()


@pytest.mark.parametrize("shift", [1000.0, -1000.0, 1e4, -1e4])
@pytest.mark.parametrize("name", MULTICLASS)
def test_shift_invariance(name: str, shift: float) -> None:
    # multiples of 1/64 stay exact when 1e4 is added in float32, so nothing may change; half of the rows are easy
    generator = torch.Generator().manual_seed(6)
    z = (4 * 64 * torch.randn(16, 5, generator=generator)).round() / 64
    y = torch.randint(5, (16,), generator=generator)
    z[::2] += 12 * F.one_hot(y[::2], 5)
    ours, moved = z.clone().requires_grad_(), (z + shift).requires_grad_()
    loss = ll.get_loss(name, reduction="none")
    value, moved_value = loss(ours, y), loss(moved, y)
    value.sum().backward()
    moved_value.sum().backward()
    torch.testing.assert_close(moved_value, value, rtol=1e-6, atol=0)
    torch.testing.assert_close(moved.grad, ours.grad, rtol=1e-6, atol=0)


# --- layouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name", MULTICLASS)
def test_spatial_is_rows(name: str, soft: bool) -> None:
    z, y = batch("multiclass", soft=soft, rows=30)
    loss = ll.get_loss(name, reduction="none", weight=WEIGHT["multiclass"], label_smoothing=0.1)
    expected = loss(z, y).reshape(2, 3, 5)
    image = z.reshape(2, 3, 5, 4).movedim(-1, 1)  # not contiguous
    labels = y.reshape(2, 3, 5, 4).movedim(-1, 1) if soft else y.reshape(2, 3, 5)
    torch.testing.assert_close(loss(image, labels), expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(loss(image.contiguous(), labels.contiguous()), expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(loss(z[0], y[0]), expected[0, 0, 0], rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", MULTICLASS)
def test_class_that_is_masked_out(name: str) -> None:
    z, y = batch("multiclass")
    masked = torch.cat([z, torch.full((8, 1), -torch.inf, dtype=torch.float64)], dim=1).requires_grad_()
    z.requires_grad_()
    value, expected = ll.get_loss(name)(masked, y), ll.get_loss(name)(z, y)
    value.backward()
    expected.backward()
    torch.testing.assert_close(value, expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(masked.grad, F.pad(z.grad, (0, 1)), rtol=1e-14, atol=0)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
@pytest.mark.parametrize("name", NAMES)
def test_elements_of_any_shape(name: str, task: str) -> None:
    z, y = batch("multilabel", soft=True, rows=6)
    pos_weight = 2.5 if task == "binary" else [2.5, 1.0, 0.5, 4.0]
    loss = ll.get_loss(
        name, task=task, weight=WEIGHT[task], pos_weight=pos_weight, label_smoothing=0.1, reduction="none"
    )
    expected = loss(z, y)
    image, labels = (x.reshape(2, 3, 4).movedim(-1, 1) for x in (z, y))  # the labels are dimension 1
    torch.testing.assert_close(loss(image, labels), expected.reshape(2, 3, 4).movedim(-1, 1), rtol=1e-14, atol=0)
    torch.testing.assert_close(loss(z[0], y[0]), expected[0], rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_sample_weight_by_row_or_by_element(name: str) -> None:
    z, y = batch("multilabel", soft=True)
    by_row = torch.rand(8, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    loss = ll.get_loss(name, task="multilabel", weight=WEIGHT["multilabel"])
    torch.testing.assert_close(loss(z, y, by_row), loss(z, y, by_row[:, None].expand(8, 4)))
    each = ll.get_loss(name, task="multilabel", reduction="none")(z, y)
    only_one = torch.zeros(8, 4).index_put((torch.tensor(5), torch.tensor(2)), torch.tensor(7.0))
    torch.testing.assert_close(loss(z, y, only_one), each[5, 2], rtol=1e-12, atol=0)


@pytest.mark.parametrize(("name", "task"), BY_TASK)
def test_noncontiguous_input(name: str, task: str) -> None:
    z, y = batch(task)
    loss = ll.get_loss(name, task=task)
    strided, labels = torch.stack([z, -z], dim=-1)[..., 0], torch.stack([y, y], dim=-1)[..., 0]
    assert not strided.is_contiguous()
    torch.testing.assert_close(loss(strided, labels), loss(z, y), rtol=1e-14, atol=0)


@pytest.mark.parametrize(("name", "task"), BY_TASK)
def test_input_is_left_as_it_is(name: str, task: str) -> None:
    # liger writes the gradient into the logits
    z, y = batch(task)
    before = z.clone(), y.clone()
    ll.get_loss(name, task=task)(z.requires_grad_(), y).backward()
    assert torch.equal(z, before[0])
    assert torch.equal(y, before[1])


# --- transforms -------------------------------------------------------------------------------------------------------


# torch's own: dynamo makes an instance of every autograd.Function that it traces, inductor uses torch.jit
compiles = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def check_compiled(name: str, task: str, backend: str) -> None:
    loss = ll.get_loss(name, task=task, weight=WEIGHT[task], label_smoothing=0.1)
    torch._dynamo.reset()  # or the recompilations of all losses add up
    compiled = torch.compile(loss, fullgraph=True, backend=backend)
    for soft in SOFT[task]:
        z, y = batch(task, soft=soft)
        eager, graph = z.clone().requires_grad_(), z.clone().requires_grad_()
        value, compiled_value = loss(eager, y), compiled(graph, y)
        value.backward()
        compiled_value.backward()
        torch.testing.assert_close(compiled_value, value, rtol=1e-12, atol=0)
        torch.testing.assert_close(graph.grad, eager.grad, rtol=1e-12, atol=1e-15)


@compiles
@pytest.mark.parametrize(("name", "task"), BY_TASK)
def test_compiles_to_one_graph(name: str, task: str) -> None:
    check_compiled(name, task, "aot_eager")


@compiles
@pytest.mark.parametrize(("name", "task"), [case for case in CLASSIFICATION if case not in BY_TASK])
def test_others_compile_to_one_graph(name: str, task: str) -> None:
    z, y = batch(task)
    loss = make(name, task)
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(z, y), loss(z, y), rtol=1e-12, atol=0)


@pytest.mark.long
@compiles
@pytest.mark.parametrize(("name", "task"), BY_TASK)
def test_compiles_to_one_graph_with_inductor(name: str, task: str) -> None:
    check_compiled(name, task, "inductor")


@pytest.mark.parametrize(("name", "task", "soft"), [(*case, soft) for case in BY_TASK for soft in SOFT[case[1]]])
def test_functional_transforms(name: str, task: str, soft: bool) -> None:
    z, y = batch(task, soft=soft)
    loss = ll.get_loss(name, task=task, reduction="sum")
    x = z.clone().requires_grad_()
    loss(x, y).backward()
    torch.testing.assert_close(torch.func.grad(loss)(z, y), x.grad, rtol=1e-13, atol=0)
    per_row = torch.func.vmap(torch.func.grad(loss))(z, y)
    torch.testing.assert_close(per_row, x.grad, rtol=1e-13, atol=0)
