"""Value and slope together are the two apart, for every loss that is a function of the log-likelihood."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_losses import kernels
from lightning_losses.functional import classification
from lightning_losses.functional.classification import (
    CrossEntropy,
    Focal,
    GeneralizedCrossEntropy,
    Poly1,
    ProbMAE,
    ReverseCrossEntropy,
    SymmetricCrossEntropy,
    TaylorCrossEntropy,
)
from lightning_losses.kernels import Phi

PHIS = [
    CrossEntropy(),
    *(Focal(gamma) for gamma in (0.0, 0.5, 1.0, 2.0, 3.5)),
    *(SymmetricCrossEntropy(alpha, beta) for alpha, beta in ((1.0, 1.0), (0.0, 1.0), (1.0, 0.0))),
    *(ReverseCrossEntropy(), GeneralizedCrossEntropy(0.7), GeneralizedCrossEntropy(1.0), ProbMAE()),
    *(Poly1(epsilon) for epsilon in (2.0, 0.0, -0.5, -1.0)),
    TaylorCrossEntropy(3),
]
# from rows that are certainly right to rows that are certainly wrong
LOG_P = -torch.logspace(-12, 2, 57, dtype=torch.float64)


@pytest.mark.parametrize("phi", PHIS, ids=str)
def test_value_and_descent_in_one(phi: Phi) -> None:
    miss = -LOG_P.expm1()
    value, descent = phi.value_and_descent(-LOG_P, miss)
    torch.testing.assert_close(value, phi.value(LOG_P), rtol=1e-12, atol=1e-30)
    torch.testing.assert_close(descent, phi.log_slope(LOG_P).exp(), rtol=1e-12, atol=1e-300)
    assert torch.equal(miss, -LOG_P.expm1())


@pytest.mark.parametrize("phi", PHIS, ids=str)
def test_in_single_precision(phi: Phi) -> None:
    log_p = LOG_P.float()
    value, descent = phi.value_and_descent(-log_p, -log_p.expm1())
    torch.testing.assert_close(value.double(), phi.value(log_p.double()), rtol=2e-6, atol=1e-36)
    torch.testing.assert_close(descent.double(), phi.log_slope(log_p.double()).exp(), rtol=2e-6, atol=1e-36)


CORE = {cls for cls in vars(classification).values() if isinstance(cls, type) and Phi in cls.__bases__}


def test_every_core_loss_is_tested() -> None:
    assert {type(phi) for phi in PHIS} == CORE


def test_a_subclass_is_what_it_overrides() -> None:
    class Twice(CrossEntropy):
        def value(self, log_p: Tensor) -> Tensor:
            return -2 * log_p

        def log_slope(self, log_p: Tensor) -> Tensor:
            return torch.full_like(log_p, 2.0).log()

    z = torch.zeros(1, 2, requires_grad=True)
    loss = kernels.target_loss(Twice(), z, torch.tensor([0]))
    assert torch.equal(loss, kernels.target_loss(Twice(), z.detach(), torch.tensor([0])))
    torch.testing.assert_close(torch.autograd.grad(loss.sum(), z)[0], torch.tensor([[-1.0, 1.0]]))
