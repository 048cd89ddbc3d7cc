from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_losses.gradient_window import GradientWindow


def same(value: Tensor) -> Tensor:
    return value


@pytest.mark.parametrize("weights", [[1.0, 5.0, 3.0], [0.0, 2.0], [0.0, 0.0], [1e-3, 1e4]])
def test_the_gradient_is_that_of_the_mean_over_the_window(weights: list[float]) -> None:
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.rand(4))
    slopes = torch.rand(len(weights), 4)
    window = GradientWindow()
    for slope, weight in zip(slopes, weights, strict=True):
        mean = slope @ parameter * (weight > 0)
        window.watch(mean)
        (window.add(mean, [torch.tensor(weight)], same) / len(weights)).backward()  # as a trainer divides
    window.finish([parameter], divided_by=len(weights), total=same)
    shares = torch.tensor(weights) / max(sum(weights), 1e-30)
    torch.testing.assert_close(parameter.grad, shares @ slopes)


def test_the_value_to_differentiate_is_scaled_by_a_power_of_two() -> None:
    window = GradientWindow()
    window.add(torch.tensor(1.0), [torch.tensor(48.0)], same)
    assert window.scale == 64.0


def test_without_a_window_gradients_are_left_alone() -> None:
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    GradientWindow().finish([parameter], divided_by=4, total=same)
    assert parameter.grad.tolist() == [1.0, 1.0]


def test_a_finished_window_is_closed() -> None:
    window = GradientWindow()
    window.watch(torch.tensor(1.0))
    window.add(torch.tensor(1.0), [torch.tensor(1.0)], same)
    assert window.is_open
    window.finish([], divided_by=1, total=same)
    assert not window.is_open


# The weights of two means in the batches of one window.
@pytest.mark.parametrize(
    ("weights", "unequal"),
    [
        ([(4.0, 12.0), (2.0, 6.0), (1e4, 3e4)], False),
        ([(0.1, 0.3), (0.7, 2.1), (1 / 3, 1.0)], False),  # as far as float32 goes
        ([(3.0, 5.0)], False),
        ([(0.0, 0.0), (2.0, 1.0)], False),
        ([(0.0, 2.0), (0.0, 1.0)], False),
        ([(4.0, 12.0), (2.0, 5.0)], True),
        ([(1e4, 1e4), (1e4, 1e4 - 1)], True),
        ([(0.0, 2.0), (1.0, 1.0)], True),
    ],
)
def test_denominators_that_are_not_proportional_are_noticed(weights: list[tuple[float, float]], unequal: bool) -> None:
    window = GradientWindow()
    for batch in weights:
        window.watch(torch.tensor(1.0))
        window.add(torch.tensor(1.0), [torch.tensor(weight) for weight in batch], same)
    verdict = window.finish([], divided_by=1, total=same)
    assert bool(verdict.unequal) == unequal
    assert verdict.not_finite == 0


def test_batches_that_are_not_finite_are_counted() -> None:
    window = GradientWindow()
    for objective in (1.0, torch.nan, -torch.inf):
        window.watch(torch.tensor(objective))
    assert window.finish([], divided_by=1, total=same).not_finite == 2
    assert window.finish([], divided_by=1, total=same) is None
