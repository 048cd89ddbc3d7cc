"""L2 beside weight decay, the proximal step, and the distance from the start."""

import copy

import pytest
import torch
from torch import nn

from lightning_losses import regularizers as R


def train(net, x, y, optimizer, penalty=None, steps=5):
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x), y).backward()
        if penalty is not None:
            penalty.add_gradient_(net)
        optimizer.step()
    return [parameter.detach() for parameter in net.parameters()]


@pytest.mark.parametrize(
    ("cls", "arguments", "same"),
    [
        (torch.optim.SGD, {}, True),
        (torch.optim.SGD, {"momentum": 0.9}, True),
        (torch.optim.Adam, {}, True),  # torch's Adam adds the decay to the gradient, as the penalty does
        (torch.optim.AdamW, {}, False),  # here it is decoupled
    ],
)
def test_l2_and_weight_decay(cls, arguments, same):
    x, y = torch.randn(20, 4), torch.randn(20, 1)
    first = nn.Linear(4, 1, bias=False)
    second = copy.deepcopy(first)
    decayed = train(first, x, y, cls(first.parameters(), lr=0.1, weight_decay=0.3, **arguments))
    penalized = train(second, x, y, cls(second.parameters(), lr=0.1, weight_decay=0.0, **arguments), R.L2(0.3))
    assert all(torch.allclose(a, b, rtol=0, atol=1e-6) for a, b in zip(decayed, penalized, strict=True)) is same


def test_under_adam_l2_does_not_shrink_weights_alike():
    # Two weights of one size with gradients of sizes 1 and 100: SGD shrinks both by the same share, AdamW too.
    def shrinkage(make, penalty=None):
        moves = []
        for factor in (0.0, 0.1):
            net = nn.Linear(2, 1, bias=False)
            with torch.no_grad():
                net.weight.fill_(1.0)
            optimizer = make(net, factor)
            for step in range(10):
                net.weight.grad = torch.tensor([[1.0, 100.0]]) * (-1) ** step
                if penalty:
                    penalty(factor).add_gradient_(net)
                optimizer.step()
            moves.append(net.weight.detach().clone())
        return ((moves[0] - moves[1]) / moves[0]).flatten()

    sgd = shrinkage(lambda net, _: torch.optim.SGD(net.parameters(), lr=1e-3), R.L2)
    adam = shrinkage(lambda net, _: torch.optim.Adam(net.parameters(), lr=1e-3), R.L2)
    adamw = shrinkage(lambda net, f: torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=f))
    assert sgd[0].item() == pytest.approx(sgd[1].item(), rel=0.2)
    assert adamw[0].item() == pytest.approx(adamw[1].item(), rel=0.2)
    assert adam[0] > 20 * adam[1]


def test_proximal_l1_is_the_soft_threshold():
    net = nn.Linear(4, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.5, -0.5, 0.1, -3.0]]))
    bias = net.bias.detach().clone()
    term = R.ProximalL1(2.0)
    term.prox_(net, lambda parameter: {id(net.weight): 0.1}[id(parameter)])
    torch.testing.assert_close(net.weight.data, torch.tensor([[0.3, -0.3, 0.0, -2.8]]))
    assert torch.equal(net.bias, bias)
    assert term.sparsity(net) == 0.25


def test_proximal_l1_finds_the_exact_zeros_of_the_lasso():
    # With an orthonormal design the lasso is the soft threshold of least squares: 0.5*||y - w||^2 + f*|w|.
    target = torch.tensor([2.0, -0.3, 0.1, -1.0])
    net = nn.Linear(4, 1, bias=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    term = R.ProximalL1(0.5)
    for _ in range(300):
        optimizer.zero_grad()
        (0.5 * (net.weight - target).square().sum() + term(net)).backward()
        term.add_gradient_(net)
        optimizer.step()
        term.prox_(net, lambda _: 0.1)
    torch.testing.assert_close(net.weight.data, torch.tensor([[1.5, 0.0, 0.0, -0.5]]))
    assert term.sparsity(net) == 0.5


def test_sparsity_without_zeros_and_without_parameters():
    assert R.ProximalL1(0.1).sparsity(nn.Linear(3, 3)) == 0.0
    assert R.ProximalL1(0.1).sparsity(nn.ReLU()) == 0.0


class TestL2SP:
    def test_pulls_towards_the_start(self):
        net, term = nn.Linear(2, 1), R.L2SP(0.5)
        start = net.weight.detach().clone()
        term(net)
        with torch.no_grad():
            net.weight.add_(3.0)
        assert term.add_gradient_(net).item() == pytest.approx(0.5 * 0.5 * 2 * 9)
        torch.testing.assert_close(net.weight.grad, torch.full_like(start, 1.5))

    def test_resumes_from_the_old_start(self):
        net, term = nn.Linear(2, 1), R.L2SP(0.5)
        term(net)
        with torch.no_grad():
            net.weight.add_(3.0)
        resumed = R.L2SP(0.5)
        resumed.load_state_dict(term.state_dict())
        assert resumed(net).item() == pytest.approx(0.5 * 0.5 * 2 * 9)

    def test_a_layer_that_is_unfrozen_later_starts_from_what_it_was(self):
        net, term = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), R.L2SP(0.5)
        net[0].requires_grad_(False)
        term(net)
        assert list(term.state_dict()) == ["1.weight"]
        net[0].requires_grad_(True)
        assert term(net).item() == 0.0
        assert list(term.state_dict()) == ["1.weight", "0.weight"]
