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
        (window.add(mean, torch.tensor(weight), same) / len(weights)).backward()  # as a trainer divides
    window.finish([parameter], divided_by=len(weights), total=same)
    shares = torch.tensor(weights) / max(sum(weights), 1e-30)
    torch.testing.assert_close(parameter.grad, shares @ slopes)


def test_the_value_to_differentiate_is_scaled_by_a_power_of_two() -> None:
    window = GradientWindow()
    window.add(torch.tensor(1.0), torch.tensor(48.0), same)
    assert window.scale == 64.0


def test_without_a_window_gradients_are_left_alone() -> None:
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    GradientWindow().finish([parameter], divided_by=4, total=same)
    assert parameter.grad.tolist() == [1.0, 1.0]


def test_a_finished_window_is_closed() -> None:
    window = GradientWindow()
    window.add(torch.tensor(1.0), torch.tensor(1.0), same)
    assert window.is_open
    window.finish([], divided_by=1, total=same)
    assert not window.is_open
