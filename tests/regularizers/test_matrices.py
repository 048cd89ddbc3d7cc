"""What penalties of units and matrices are for: units switched off, orthonormal rows, a largest singular value held."""

import pytest
import torch
from torch import nn

from lightning_losses import regularizers as R


def test_group_lasso_switches_off_whole_units():
    net = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0]]))
    R.GroupLasso(1.0).add_gradient_(net)
    root = 3**0.5
    torch.testing.assert_close(net.weight.grad, torch.tensor([[0.0, 0.0, 0.0], [0.6 * root, 0.0, 0.8 * root]]))


def test_orthogonal_steps_reach_orthonormal_rows():
    net = nn.Conv1d(2, 3, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        R.Orthogonal(1.0).add_gradient_(net)
        optimizer.step()
    rows = net.weight.detach().flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(3), atol=1e-4, rtol=0)


def test_spectral_follows_a_changing_weight():
    net = nn.Linear(30, 20)
    term = R.Spectral(1.0)
    for _ in range(30):
        with torch.no_grad():
            net.weight.mul_(1.01).add_(0.002 * torch.randn_like(net.weight))
        value = term.add_gradient_(net)
    assert value.item() == pytest.approx(torch.linalg.matrix_norm(net.weight, ord=2).item() ** 2 / 2, rel=0.02)


def test_spectral_wakes_up_after_a_weight_of_zeros():
    net = nn.Linear(3, 2)
    nn.init.zeros_(net.weight)
    term = R.Spectral(1.0)
    assert term(net) == 0
    nn.init.eye_(net.weight)
    assert term(net).item() == pytest.approx(0.5)


def test_spectral_follows_the_module_to_another_dtype():
    net = nn.Linear(3, 2)
    term = R.Spectral(1.0)
    before = term(net)
    torch.testing.assert_close(term(net.double()), before.double(), rtol=1e-3, atol=0)


def test_spectral_draws_nothing_from_the_global_generator():
    net = nn.Linear(3, 2)
    before = torch.get_rng_state()
    R.Spectral(1.0)(net)
    assert torch.equal(torch.get_rng_state(), before)
