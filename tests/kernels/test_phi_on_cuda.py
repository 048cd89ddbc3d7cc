"""The core losses in Triton's language are the same functions as in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import lightning_losses as ll
from lightning_losses.functional.classification import Focal
from lightning_losses.kernels import Phi
from tests.cases import needed
from tests.kernels.test_phi import LOG_P, PHIS

triton = pytest.importorskip("triton", reason="its interpreter stands in for a GPU")
tl = triton.language
on_cuda = pytest.importorskip("lightning_losses.kernels.on_cuda.phi")
cost, log1p = on_cuda.cost, on_cuda.log1p
# the interpreter's arithmetic where the other branch is taken
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@triton.jit
def _cost_kernel(surprise, p, miss, value, descent, parameters, PHI: tl.constexpr, WIDTH: tl.constexpr):
    at = tl.arange(0, WIDTH)
    result, slope = cost(PHI, tl.load(surprise + at), tl.load(p + at), tl.load(miss + at), parameters)
    tl.store(value + at, result)
    tl.store(descent + at, slope)


@triton.jit
def _log1p_kernel(x, out, WIDTH: tl.constexpr):
    at = tl.arange(0, WIDTH)
    tl.store(out + at, log1p(tl.load(x + at)))


def example(name: str) -> ll.Loss:
    """Return a loss with the arguments that it cannot do without."""
    return ll.get_loss(name, **needed(name))


def costs(phi: Phi, log_p: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return value and descent of a kernel, whose blocks have a power of 2 of elements."""
    log_p = torch.cat([log_p, log_p.new_zeros(64 - len(log_p))])
    numbers = [x.to(dtype) for x in (-log_p, log_p.exp(), -log_p.expm1())]
    value, descent = torch.empty(2, 64, dtype=dtype).unbind()
    _cost_kernel[1,](*numbers, value, descent, WIDTH=64, **on_cuda.formula(phi))
    return value, descent


@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"), [(torch.float64, 1e-12, 1e-30), (torch.float32, 5e-6, 1e-36)], ids=["64 bits", "32 bits"]
)
@pytest.mark.parametrize("phi", PHIS, ids=str)
def test_every_core_loss_has_its_formula(phi: Phi, dtype: torch.dtype, rtol: float, atol: float) -> None:
    assert on_cuda.has_formula(phi)
    value, descent = costs(phi, LOG_P, dtype)
    exact, slope = phi.value_and_descent(-LOG_P, -LOG_P.expm1())
    torch.testing.assert_close(value[: len(LOG_P)].double(), exact, rtol=rtol, atol=atol)
    torch.testing.assert_close(descent[: len(LOG_P)].double(), slope, rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("phi", PHIS, ids=str)
def test_at_the_ends(phi: Phi, dtype: torch.dtype) -> None:
    value, descent = costs(phi, torch.tensor([-1e4, 0.0], dtype=dtype), dtype)
    exact, slope = phi.value_and_descent(torch.tensor([1e4, 0.0], dtype=dtype), torch.tensor([1.0, 0.0], dtype=dtype))
    torch.testing.assert_close(value[:2], exact, rtol=2e-6, atol=0)
    torch.testing.assert_close(descent[:2], slope, rtol=2e-6, atol=1e-18)  # gamma < 1 has a smallest number of its own


def test_numbers_that_single_precision_has_not() -> None:
    expected = torch.tensor([1e-180, 3e-120], dtype=torch.float64)
    value, descent = costs(Focal(2.0), torch.tensor([-1e-60], dtype=torch.float64), torch.float64)
    torch.testing.assert_close(torch.stack([value[0], descent[0]]), expected, rtol=1e-9, atol=0)


def test_a_kernel_gets_pythons_own_numbers() -> None:
    parameters = on_cuda.formula(Focal(np.float32(2.1)))["parameters"]
    assert [type(number) for number in parameters] == [float] * 4


def test_a_subclass_that_computes_something_else_has_no_formula() -> None:
    class Same(Focal):
        """Has options of its own."""

    class Other(Focal):
        def value(self, log_p: Tensor) -> Tensor:
            return 2 * super().value(log_p)

    assert on_cuda.has_formula(Same(2.0))
    assert not on_cuda.has_formula(Other(2.0))


OF_LIKELIHOOD = [name for name in ll.list_losses() if Phi in type(getattr(example(name), "phi", None)).__mro__]


@pytest.mark.parametrize("name", OF_LIKELIHOOD)
def test_every_loss_that_is_a_function_of_the_likelihood_has_its_formula(name: str) -> None:
    assert on_cuda.has_formula(example(name).phi)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_log1p(dtype: torch.dtype) -> None:
    x = torch.cat([torch.zeros(1), torch.logspace(-37, 6, 63)]).to(dtype)
    out = torch.empty_like(x)
    _log1p_kernel[1,](x, out, WIDTH=64)
    torch.testing.assert_close(out, x.log1p(), rtol=4 * torch.finfo(dtype).eps, atol=0)
