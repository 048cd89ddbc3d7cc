"""Calibration errors against torchmetrics, and which probabilities are there to compare."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from lightning_losses.app.compare.calibration import calibration
from lightning_losses.app.compare.sweep import Job
from lightning_losses.app.outputs import Outputs


def job(task, outputs, **loss):
    made = Job(".", None, {}, {"task": task, "targets": ["a", "b", "c"], "config": {"loss": loss}})
    made.__dict__["outputs"] = {"test": outputs}
    return made


def outputs(target, output, probabilities=None):
    return Outputs(torch.arange(len(target)), target, output, target, probabilities)


def test_errors_are_torchmetrics_own():
    z, y = 3 * torch.randn(500, 3), torch.randint(3, (500,))
    found = calibration([job("multiclass", outputs(y, z, (z / 3).softmax(1)))], "test")
    assert found.errors == {
        "softmax": pytest.approx(float(multiclass_calibration_error(z, y, 3, n_bins=15)), abs=1e-6),
        "posterior": pytest.approx(float(multiclass_calibration_error((z / 3).softmax(1), y, 3, n_bins=15)), abs=1e-6),
    }


def test_of_a_binary_task_the_probability_of_class_1_counts():
    z, y = torch.randn(400, 1), torch.randint(2, (400, 1))
    found = calibration([job("binary", outputs(y, z))], "test")
    expected = binary_calibration_error(z.sigmoid().flatten(), y.flatten(), n_bins=15)
    assert found.errors == {"sigmoid": pytest.approx(float(expected), abs=1e-6)}
    assert not found.rare


def test_rare_hits_get_logarithmic_bins():
    y = torch.zeros(1000, 1, dtype=torch.int64)
    y[:3] = 1
    z = torch.full((1000, 1), -6.0)
    z[500:] = -4.0
    found = calibration([job("binary", outputs(y, z))], "test")
    assert found.rare
    assert found.curves["sigmoid"].said == pytest.approx(np.array([0.00247, 0.01799]), abs=1e-4)
    assert found.curves["sigmoid"].seen == pytest.approx(np.array([0.006, 0.0]))


@pytest.mark.parametrize(
    ("task", "output", "loss"),
    [
        ("regression", torch.zeros(4, 1), {}),
        ("multiclass", torch.zeros(4, 7), {}),
        ("multiclass", torch.full((4, 3), 1 / 3), {"from_logits": False}),
    ],
    ids=["no classes", "hidden features", "no logits"],
)
def test_where_there_is_nothing_to_compare(task, output, loss):
    assert calibration([job(task, outputs(torch.zeros(4).long(), output), **loss)], "test") is None
