"""The exponentials of the CPU kernels against float64."""

import pytest
import torch

from lightning_losses.kernels import exponential

WIDTH = 2 * exponential.LEAST


@pytest.mark.parametrize("size", [5, WIDTH], ids="size={}".format)
@pytest.mark.parametrize("ends", [(-90.0, 30.0), (-20.0, 90.0)], ids=str)
def test_softplus(size: int, ends: tuple[float, float]) -> None:
    x = torch.linspace(*ends, size)
    exact = torch.nn.functional.softplus(x.double(), threshold=700)
    torch.testing.assert_close(exponential.softplus(x, torch.empty(size)).double(), exact, rtol=3e-7, atol=1e-37)


@pytest.mark.parametrize("special", [-torch.inf, torch.inf, torch.nan], ids=str)
@pytest.mark.parametrize("size", [5, WIDTH], ids="size={}".format)
def test_softplus_of_no_number(size: int, special: float) -> None:
    x = torch.zeros(size)
    x[1] = special
    result = exponential.softplus(x, torch.empty(size))
    exact = torch.tensor([0.0 if special == -torch.inf else special])
    torch.testing.assert_close(result[1:2], exact, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(result[2], torch.tensor(2.0).log())


@pytest.mark.parametrize(
    ("given", "units"), [(torch.float32, 2.0), (torch.bfloat16, 82.0), (torch.float16, 82.0)], ids=str
)
def test_exp(given: torch.dtype, units: float) -> None:
    x = torch.linspace(-80, 40, 999)
    exact = x.double().exp()
    torch.testing.assert_close(exponential.exp_(x, given).double(), exact, rtol=units * 2**-24, atol=0)
