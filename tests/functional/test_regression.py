"""Every listed regression loss against its oracle, and the cases at which other libraries break."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import lightning_losses as ll
from tests.cases import REGRESSION, REGRESSION_NAMES, REGRESSION_VARIANTS

DIFFERENCES = [0.0, 1e-4, -1e-3, 0.2, -0.3, 0.7, 1.0, -1.5, 30.0, -1e4, 1e4]
WEIGHTS = [1.0, 2.0, 0.0, 0.5, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0, 0.1]


@pytest.mark.parametrize(("name", "arguments"), REGRESSION_VARIANTS, ids=str)
def test_value(name: str, arguments: dict[str, Any]) -> None:
    target = torch.full((11,), 0.5, dtype=torch.float64)
    z = torch.tensor(DIFFERENCES, dtype=torch.float64) + target
    each = torch.tensor([REGRESSION[name].oracle(d, **arguments) for d in (z - target).tolist()], dtype=torch.float64)
    weight = torch.tensor(WEIGHTS, dtype=torch.float64)
    expected = {"none": weight * each, "sum": (weight * each).sum(), "mean": (weight * each).sum() / weight.sum()}
    for reduction, value in expected.items():
        loss = ll.get_loss(name, reduction=reduction, **arguments)
        torch.testing.assert_close(loss(z, target, weight), value, rtol=1e-12, atol=0)
    torch.testing.assert_close(ll.get_loss(name, **arguments)(z, target), each.mean(), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("name", "arguments"), REGRESSION_VARIANTS, ids=str)
def test_derivatives(name: str, arguments: dict[str, Any]) -> None:
    z = torch.tensor([-2.0, -0.7, -0.2, 0.1, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    target = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    loss = ll.get_loss(name, **arguments)
    assert torch.autograd.gradcheck(loss, (z, target))
    assert torch.autograd.gradgradcheck(loss, (z, target))


# pytorch-toolbelt's and keras' log-cosh are 0 at 1e-4; the square of 1e20 is inf in float32, in torch as well
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("size", [1e-4, 1e-3, 300.0, 1e4, 1e20])
@pytest.mark.parametrize("name", REGRESSION_NAMES)
def test_extremes(name: str, size: float, sign: float) -> None:
    z = torch.tensor([sign * size], requires_grad=True)
    value = ll.get_loss(name)(z, torch.zeros(1))
    value.backward()
    expected = torch.tensor(REGRESSION[name].oracle(sign * size)).item()
    assert value.item() == pytest.approx(expected, rel=1e-6)
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", REGRESSION_NAMES)
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    # torch's MSE of a difference of 300 is inf in float16
    z = torch.tensor([300.0, -300.0, 0.01, 1.0], dtype=dtype)
    half, exact = z.clone().requires_grad_(), z.double().requires_grad_()
    loss = ll.get_loss(name, reduction="none")
    value, exact_value = loss(half, torch.zeros_like(half)), loss(exact, torch.zeros_like(exact))
    value.sum().backward()
    exact_value.sum().backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), exact_value, rtol=1e-5, atol=0)
    torch.testing.assert_close(half.grad.double(), exact.grad, rtol=1e-2, atol=0)


@pytest.mark.parametrize("name", REGRESSION_NAMES)
def test_empty_batch_costs_nothing(name: str) -> None:
    z = torch.zeros(0, 3, requires_grad=True)
    value = ll.get_loss(name)(z, torch.zeros(0, 3))
    value.backward()
    assert value == 0
    assert z.grad.shape == (0, 3)


@pytest.mark.parametrize(
    ("input_shape", "target_shape"), [((8, 1), (8,)), ((8,), (8, 1)), ((8, 3), (3,)), ((8,), ())], ids=str
)
@pytest.mark.parametrize("name", REGRESSION_NAMES)
def test_shapes_do_not_broadcast(name: str, input_shape: tuple[int, ...], target_shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"target .*shape"):
        ll.get_loss(name)(torch.zeros(input_shape), torch.zeros(target_shape))
