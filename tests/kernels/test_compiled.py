"""The operations that the compiler does not look into, against the eager ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import lightning_losses as ll
from lightning_losses.kernels import blocked, compiled

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, see tests/functional


@pytest.fixture(autouse=True)
def _sizes(monkeypatch):
    monkeypatch.setattr(compiled, "LEAST", 0)
    monkeypatch.setattr(blocked, "BLOCK", 16)
    torch._dynamo.reset()


def batch(rows: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    target = torch.randint(5, (rows,))
    target[1] = -100
    return (3 * torch.randn(rows, 5)).to(dtype).requires_grad_(), target


def check(loss, graph, z: Tensor, y: Tensor) -> None:
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2}[z.dtype]
    values = loss(z, y), graph(z, y)
    slopes = [torch.autograd.grad(value, z)[0] for value in values]
    torch.testing.assert_close(values[1], values[0], rtol=tolerance, atol=0)
    torch.testing.assert_close(slopes[1], slopes[0], rtol=tolerance, atol=tolerance / 100)
    assert not slopes[1][y < 0].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["focal", {"name": "logit_adjusted", "prior": [0.5, 0.1, 0.1, 0.1, 0.2]}], ids=str)
def test_one_graph_with_the_operations_in_it(name, dtype: torch.dtype) -> None:
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph.print_readable(print_output=False))
        return graph

    loss = ll.get_loss(name)
    check(loss, torch.compile(loss, fullgraph=True, backend="aot_eager"), *batch(9, dtype))
    z, y = batch(9, dtype)
    torch.compile(loss, fullgraph=True, backend=backend)(z, y)
    assert len(graphs) == 1
    assert "target_numbers" in graphs[0]


def test_rows_left_out_may_hold_nan() -> None:
    z, y = batch(9)
    with torch.no_grad():
        z[1] = torch.nan
    check(ll.FocalLoss(), torch.compile(ll.FocalLoss(), fullgraph=True, backend="aot_eager"), z, y)


def test_another_number_of_rows_is_the_same_graph() -> None:
    counter = torch._dynamo.testing.CompileCounter()
    loss = ll.FocalLoss()
    graph = torch.compile(loss, fullgraph=True, dynamic=True, backend=counter)
    for rows in (7, 9, 20):
        check(loss, graph, *batch(rows))
    assert counter.frame_count == 1


def test_small_matrices_get_the_formula(monkeypatch) -> None:
    monkeypatch.setattr(compiled, "LEAST", 100)
    monkeypatch.setattr(compiled, "_numbers", None)
    loss = ll.FocalLoss()
    check(loss, torch.compile(loss, fullgraph=True, backend="aot_eager"), *batch(9))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("classes", [5, blocked.WIDE])
def test_shapes_that_the_compiler_is_told(dtype: torch.dtype, shifted: bool, classes: int) -> None:
    z, y = torch.randn(9, classes, dtype=dtype), torch.randint(classes, (9,))
    shift = torch.randn(classes) if shifted else None
    torch.library.opcheck(compiled._numbers, (z, y, shift))
    reference, _, others, _ = compiled._numbers(z, y, shift)
    torch.library.opcheck(compiled._gradient, (z, y, shift, reference, -others, torch.ones(9, 1)))


@pytest.mark.long
def test_with_inductor() -> None:
    loss = ll.FocalLoss()
    check(loss, torch.compile(loss, fullgraph=True), *batch(9))
