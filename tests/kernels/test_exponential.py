"""The exponential of the CPU kernels against float64."""

import pytest
import torch

from lightning_losses.kernels import exponential


@pytest.mark.parametrize(
    ("given", "units"), [(torch.float32, 2.0), (torch.bfloat16, 82.0), (torch.float16, 82.0)], ids=str
)
def test_exp(given: torch.dtype, units: float) -> None:
    x = torch.linspace(-80, 40, 999)
    exact = x.double().exp()
    torch.testing.assert_close(exponential.exp_(x, given).double(), exact, rtol=units * 2**-24, atol=0)
