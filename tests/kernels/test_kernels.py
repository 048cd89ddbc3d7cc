"""The operation in blocks against the plain one in float64, for every layout that takes another way through it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_losses import kernels
from lightning_losses.functional.classification import CrossEntropy, Focal, SymmetricCrossEntropy
from lightning_losses.kernels import blocked, plain

PHIS = [CrossEntropy(), Focal(0.5), Focal(2.0), SymmetricCrossEntropy()]
ROWS = 21
# Relative errors of the loss and of the gradient, which is rounded to the dtype of the logits.
PRECISION = {
    torch.float64: (1e-12, 1e-11),
    torch.float32: (2e-6, 1e-5),
    torch.bfloat16: (2e-6, 5e-3),
    torch.float16: (2e-6, 2e-3),
}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut 21 rows of 4 classes into three blocks, the last of them shorter, and wide rows into one block each."""
    monkeypatch.setattr(blocked, "BLOCK", 32)


def matrix(classes: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return random rows, and rows that are right or wrong by 10, 90 and 1e4."""
    generator = torch.Generator().manual_seed(0)
    z = 3 * torch.randn(ROWS, classes, generator=generator, dtype=torch.float64)
    z[:6, 0] += torch.tensor([10.0, -10.0, 90.0, -90.0, 1e4, -1e4])
    return z.to(dtype)


def compare(operation: str, phi: Any, z: Tensor, *arguments: Tensor | None) -> None:
    """Compare value and gradient with those of the plain operation on the same numbers in float64."""
    exact = z.detach().double().requires_grad_()
    wide = [None if a is None else a.double() if a.is_floating_point() else a for a in arguments]
    expected = getattr(plain, operation)(phi, exact, *wide)
    z = z.detach().requires_grad_()
    value = getattr(blocked, operation)(phi, z, *arguments)
    upstream = torch.linspace(0.5, 2.0, ROWS)
    value.backward(upstream.to(value))
    expected.backward(upstream.double())
    relative, relative_gradient = PRECISION[z.dtype]
    torch.testing.assert_close(value.double(), expected, rtol=relative, atol=1e-37)
    absolute = 6e-8 if z.dtype == torch.float16 else 1e-37  # near the smallest number
    if operation == "row_expectation" or arguments[-1] is not None:  # a difference, or of shifted numbers
        absolute += relative * exact.grad.abs().max().item()
    torch.testing.assert_close(z.grad.double(), exact.grad, rtol=relative_gradient, atol=absolute)


@pytest.mark.parametrize("dtype", PRECISION, ids=str)
@pytest.mark.parametrize("classes", [1, 4, blocked.NARROW, blocked.NARROW + 1, 300])
@pytest.mark.parametrize("phi", PHIS, ids=str)
def test_blocked_is_plain(phi: Any, classes: int, dtype: torch.dtype) -> None:
    z, generator = matrix(classes, dtype), torch.Generator().manual_seed(1)
    wide = torch.promote_types(dtype, torch.float32)
    target = torch.randint(classes, (ROWS,), generator=generator)
    target[:6] = 0
    coefficient = torch.rand(ROWS, classes, generator=generator, dtype=torch.float64).softmax(1).to(wide)
    shift = torch.randn(classes, generator=generator, dtype=torch.float64).to(wide)
    used = torch.rand(ROWS, generator=generator) > 0.3
    for row_used in (None, used):
        for row_shift in (None, shift):
            compare("target_loss", phi, z, target, row_used, row_shift)
            compare("row_expectation", phi, z, coefficient, row_used, row_shift)
            compare("row_expectation", phi, z, coefficient[0], row_used, row_shift)


@pytest.mark.parametrize("classes", [4, 100])
def test_unused_rows_hold_anything(classes: int) -> None:
    z = matrix(classes)
    used = torch.arange(ROWS) % 3 > 0
    z[~used] = torch.tensor([torch.nan, torch.inf, -torch.inf])[torch.arange(7) % 3, None].double()
    target, coefficient = torch.zeros(ROWS, dtype=torch.long), torch.full((classes,), 1 / classes, dtype=torch.float64)
    for operation, argument in (("target_loss", target), ("row_expectation", coefficient)):
        x = z.clone().requires_grad_()
        value = getattr(blocked, operation)(Focal(2.0), x, argument, used)
        value.sum().backward()
        assert (value[~used] == 0).all()
        assert (x.grad[~used] == 0).all()
        kept = z[used].requires_grad_()
        expected = getattr(plain, operation)(
            Focal(2.0), kept, argument[used] if operation == "target_loss" else argument
        )
        expected.sum().backward()
        torch.testing.assert_close(value[used], expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(x.grad[used], kept.grad, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("classes", [4, 100])
@pytest.mark.parametrize("layout", ["transposed", "every other column", "every other row", "expanded"])
def test_strides(layout: str, classes: int) -> None:
    z = matrix(classes)
    z = {
        "transposed": z.t().contiguous().t(),
        "every other column": z.repeat_interleave(2, dim=1)[:, ::2],
        "every other row": z.repeat_interleave(2, dim=0)[::2],
        "expanded": z[:1].expand(ROWS, classes),
    }[layout]
    before = z.clone()
    target = torch.arange(ROWS) % classes
    value = blocked.target_loss(CrossEntropy(), z, target)
    torch.testing.assert_close(value, plain.target_loss(CrossEntropy(), z, target), rtol=1e-12, atol=0)
    compare("target_loss", Focal(2.0), z, target, None)
    compare("row_expectation", Focal(2.0), z, torch.full((classes,), 0.5, dtype=torch.float64))
    assert torch.equal(z, before)


@pytest.mark.parametrize("classes", [4, 100])
def test_second_derivative_is_that_of_plain(classes: int) -> None:
    z = matrix(classes)[6:]
    rows = len(z)
    target, coefficient = torch.zeros(rows, dtype=torch.long), torch.full((classes,), 0.5, dtype=torch.float64)
    for operation, argument in (("target_loss", target), ("row_expectation", coefficient)):
        seconds = []
        for module in (blocked, plain):
            x = z.clone().requires_grad_()
            value = getattr(module, operation)(Focal(2.0), x, argument).sum()
            (first,) = torch.autograd.grad(value, x, create_graph=True)
            seconds.append(torch.autograd.grad(first.square().sum(), x)[0])
        torch.testing.assert_close(*seconds, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("classes", [4, 100])
def test_backward_twice_and_in_parts(classes: int) -> None:
    z = matrix(classes).requires_grad_()
    value = blocked.target_loss(Focal(2.0), z, torch.zeros(ROWS, dtype=torch.long))
    (first,) = torch.autograd.grad(value.sum(), z, retain_graph=True)
    (again,) = torch.autograd.grad(value.sum(), z, retain_graph=True)
    (part,) = torch.autograd.grad(value[3], z)
    assert torch.equal(first, again)
    torch.testing.assert_close(part[3], first[3])
    assert (part[[0, 1, 2, 4, 5]] == 0).all()


def test_no_rows() -> None:
    z = torch.zeros(0, 4, requires_grad=True)
    none = torch.zeros(0, dtype=torch.long)
    for value in (
        kernels.target_loss(Focal(2.0), z, none),
        kernels.row_expectation(Focal(2.0), z, torch.ones(4)),
    ):
        assert value.shape == (0,)
        value.sum().backward()
        assert z.grad.shape == (0, 4)


def test_where_each_is_used() -> None:
    z, target = matrix(4), torch.zeros(ROWS, dtype=torch.long)
    weight = torch.ones(4, dtype=torch.float64, requires_grad=True)

    def name(value: Tensor) -> str:
        return value.grad_fn.name()

    assert "TargetLoss" in name(kernels.target_loss(Focal(2.0), z.requires_grad_(), target))
    assert "RowExpectation" in name(kernels.row_expectation(Focal(2.0), z, weight.detach()))
    # what the blocks have no gradient for
    value = kernels.row_expectation(Focal(2.0), z, weight)
    value.sum().backward()
    expected = plain.row_expectation(Focal(2.0), z.detach(), weight.detach())
    torch.testing.assert_close((weight.grad * weight.detach()).sum(), expected.sum())
