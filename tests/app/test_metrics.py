"""What torchmetrics knows of its metrics."""

import pytest

from lightning_losses.app.metrics import better, build_metrics

DIRECTIONS = {
    "mape": ("MeanAbsolutePercentageError", {}, "min"),
    "msle": ("MeanSquaredLogError", {}, "min"),
    "hamming": ("BinaryHammingDistance", {}, "min"),
    "brier": ("MeanSquaredError", {}, "min"),
    "calibration": ("BinaryCalibrationError", {}, "min"),
    "no_error": ("BinaryAccuracy", {}, "max"),  # a name that would say the contrary
    "r2": ("R2Score", {}, "max"),
    "deviance": ("TweedieDevianceScore", {"power": 0}, "min"),  # of which torchmetrics says nothing
    "pearson": ("PearsonCorrCoef", {}, "max"),
}


@pytest.mark.parametrize("name", DIRECTIONS)
def test_whether_less_is_better_is_known_by_the_metric_and_else_by_its_name(name):
    metric, arguments, expected = DIRECTIONS[name]
    built = build_metrics({name: {"name": metric, "of": "decision", **arguments}})
    assert better(name, built["decision"][name]) == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("loss", "min"), ("objective", "min"), ("val_mse", "min"), ("clean_accuracy", "max")]
)
def test_what_has_no_metric_is_known_by_its_name(name, expected):
    assert better(name) == expected
