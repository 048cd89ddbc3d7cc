"""The kernels at the widths of language models, where a row takes many tiles."""

from __future__ import annotations

import pytest
import torch

from lightning_losses.functional.classification import Focal
from lightning_losses.kernels import plain

on_cuda = pytest.importorskip("lightning_losses.kernels.on_cuda", reason="needs triton, whose interpreter stands in")
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's arithmetic outside the matrix

CLASSES = [32_000, *(pytest.param(classes, marks=pytest.mark.long) for classes in (128_000, 256_000))]


@pytest.mark.parametrize("classes", CLASSES)
# the interpreter cuts the digits off that bfloat16 has no room for
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2.0**-7)], ids=str)
def test_target_loss(classes: int, dtype: torch.dtype, tolerance: float) -> None:
    z = (3 * torch.randn(5, classes, dtype=torch.float64)).to(dtype)
    target = torch.tensor([0, classes - 1, classes // 2, 4096, 4095])  # at the edges of tiles
    z[1, -1] += 40  # an easy row
    z[2, 17] += 40  # a hard one
    used = torch.tensor([True, True, True, False, True])
    z[3] = torch.nan
    shift = torch.randn(classes)
    z, reference = z.requires_grad_(), z.double().requires_grad_()
    value = on_cuda.target_loss(Focal(2.0), z, target, used, shift)
    exact = plain.target_loss(Focal(2.0), reference, target, used, shift.double())
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=0)
    (slope,), (exact_slope,) = (torch.autograd.grad(loss.sum(), x) for loss, x in ((value, z), (exact, reference)))
    torch.testing.assert_close(slope.double(), exact_slope, rtol=tolerance, atol=torch.finfo(dtype).tiny)


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("by_row", [True, False], ids=["by row", "by class"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2.0**-7)], ids=str)
def test_row_expectation(classes: int, dtype: torch.dtype, tolerance: float, by_row: bool) -> None:
    z = (3 * torch.randn(3, classes, dtype=torch.float64)).to(dtype)
    z[1, -1] += 40  # one class far above the others, in the last tile
    z[2] = torch.nan
    used, shift = torch.tensor([True, True, False]), torch.randn(classes)
    coefficient = torch.rand(3, classes) if by_row else torch.rand(classes)
    z, reference = z.requires_grad_(), z.double().requires_grad_()
    value = on_cuda.row_expectation(Focal(2.0), z, coefficient, used, shift)
    exact = plain.row_expectation(Focal(2.0), reference, coefficient.double(), used, shift.double())
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=0)
    (slope,), (exact_slope,) = (torch.autograd.grad(loss.sum(), x) for loss, x in ((value, z), (exact, reference)))
    # the classes' shares cancel, so a class is judged against the largest of its row
    scale = exact_slope.abs().amax(dim=1, keepdim=True).clamp_min(1)
    torch.testing.assert_close(slope.double() / scale, exact_slope / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("classes", CLASSES)
def test_element_loss(classes: int) -> None:
    z = 3 * torch.randn(3, classes)
    used = torch.ones(3, classes, dtype=torch.bool)
    z[1, 4096], used[1, 4096] = torch.nan, False
    share, factors = torch.rand(3, classes).round(), torch.rand(2, classes)
    z, reference = z.requires_grad_(), z.double().requires_grad_()
    value = on_cuda.element_loss(Focal(2.0), z, share, *factors, used)
    exact = plain.element_loss(Focal(2.0), reference, share, *factors.double(), used)
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=0)
    (slope,), (exact_slope,) = (torch.autograd.grad(loss.sum(), x) for loss, x in ((value, z), (exact, reference)))
    torch.testing.assert_close(slope.double(), exact_slope, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_checked_target(classes: int, dtype: torch.dtype) -> None:
    target = torch.rand(4, classes).to(dtype)
    target[1] = -100
    target[2, -1], target[3, 4096] = 2, torch.nan
    worst = torch.tensor(-torch.inf)
    values, used, bad = on_cuda.checked_target(target, 1, -100, worst)
    assert used.tolist() == [True, False, False, False]
    assert bad.tolist() == [False, False, True, True]
    assert torch.equal(values[0], target[0].float())
    assert not values[1:].any()
    assert worst.isnan()
