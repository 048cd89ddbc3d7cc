"""The curves of a loss over the probability of the true class."""

import pytest
import torch
from matplotlib import pyplot as plt

import lightning_losses as ll
from lightning_losses.plot import loss_curves, plot_loss

CLASSES = {"class_counts": [9, 1]}
ARGUMENTS = {
    "balanced_softmax": CLASSES,
    "combined": {"terms": {"nce": 1.0, "rce": 0.1}},
    "forward_correction": {"transition": [[0.9, 0.1], [0.1, 0.9]]},
    "ldam": CLASSES,
    "logit_adjusted": {"prior": [0.9, 0.1]},
}
P = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _no_window():
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.mark.parametrize(
    ("loss", "value", "gradient_weight"),
    [
        # derivatives by hand of the formulas of the papers, in l = log p
        ("ce", -P.log(), torch.ones_like(P)),
        ("bce", -P.log(), torch.ones_like(P)),
        ("nll", -P.log(), torch.ones_like(P)),
        ("focal", -((1 - P) ** 2) * P.log(), (1 - P) ** 2 - 2 * P * (1 - P) * P.log()),
        ("prob_mae", 2 * (1 - P), 2 * P),
        ({"name": "gce", "q": 0.5}, 2 * (1 - P.sqrt()), P.sqrt()),
        ({"name": "poly1", "epsilon": 3.0}, -P.log() + 3 * (1 - P), 1 + 3 * P),
    ],
)
def test_curves(loss, value, gradient_weight):
    curves = loss_curves(loss)
    torch.testing.assert_close(curves.probability, P)
    torch.testing.assert_close(curves.value, value)
    torch.testing.assert_close(curves.gradient_weight, gradient_weight)


# the one takes features and owns the logits, the other takes distributions alone
OTHER_INPUTS = ("adaptive_log_softmax", "kl_div")
OF_CLASSES = [
    name
    for name, answers in ll.SUPPORT.items()
    if name not in OTHER_INPUTS and True in (answers["binary"], answers["multiclass"])
]


@pytest.mark.parametrize("name", OF_CLASSES)
def test_every_loss_of_classes_has_curves(name):
    left, right = plot_loss({"name": name, **ARGUMENTS.get(name, {})}, label=name)
    for axis in (left, right):
        (line,) = axis.lines
        assert torch.as_tensor(line.get_ydata()).isfinite().all()
        assert line.get_label() == name
        assert axis.get_xlabel()
        assert axis.get_ylabel()


def test_losses_share_axes():
    axes = plot_loss("ce")
    assert plot_loss("focal", ax=axes) is axes
    assert len(axes[0].lines) == 2


def test_other_losses_are_refused():
    with pytest.raises(TypeError, match="MSELoss"):
        plot_loss("mse")
