"""Bad values on an accelerator: NaN at once, the error when values are logged. The CPU stands in for one here."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

import lightning_losses as ll
from lightning_losses import _target_checks

Z = torch.randn(3, 4)
MULTILABEL = {"name": "focal", "task": "multilabel"}


@pytest.fixture(autouse=True)
def _accelerator(monkeypatch):
    monkeypatch.setattr(_target_checks, "is_accelerator", bool)
    monkeypatch.setattr(_target_checks, "_flags", {})


@pytest.mark.parametrize(
    ("loss", "target", "rows", "message"),
    [
        (
            "ce",
            torch.tensor([0, 7, -100]),
            [1],
            r"target must hold class indices in \[0, 3\] or ignore_index=-100, got 7",
        ),
        ("ce", torch.tensor([0, 1, -5]), [2], "got -5"),
        ("ce", torch.full((3, 4), 0.25).index_fill(0, torch.tensor([0]), 1.5), [0], r"\[0, 1\], got 1.5"),
        (MULTILABEL, torch.zeros(3, 4).index_fill(0, torch.tensor([2]), -torch.inf), [2], "got -3.4"),
        (MULTILABEL, torch.zeros(3, 4).index_fill(0, torch.tensor([2]), torch.nan), [2], "got nan"),
    ],
    ids=["too large", "negative", "soft", "minus infinity", "NaN"],
)
def test_a_bad_target_is_nan_at_once_and_an_error_later(loss, target, rows, message):
    z = Z.clone().requires_grad_()
    loss = ll.get_loss(loss, reduction="none")
    for _ in range(2):  # a second bad step changes nothing
        value = loss(z, target)
    value.sum().backward()
    is_nan = value.isnan().reshape(3, -1).all(dim=1)
    assert is_nan.nonzero().flatten().tolist() == rows
    assert z.grad.isfinite().all()
    assert not z.grad[rows].any()
    loss(z, target.where(target == target.clamp(0, 1), 0))  # a good step does not clear the flag
    with pytest.raises(ValueError, match=message):
        _target_checks.report()
    _target_checks.report()  # reported once


def test_good_steps_report_nothing():
    ll.FocalLoss()(Z, torch.tensor([0, 3, -100]), torch.ones(3))
    ll.FocalLoss()(Z[:0], torch.zeros(0, dtype=torch.long))
    _target_checks.report()


def test_training_after_validation():
    with torch.inference_mode():
        ll.FocalLoss()(Z, torch.tensor([0, 7, 1]))
    ll.FocalLoss()(Z, torch.tensor([0, 9, 1]))
    with pytest.raises(ValueError, match="got 9"):
        _target_checks.report()


def test_sample_weights_are_reported():
    ll.FocalLoss()(Z, torch.tensor([0, 1, 2]), torch.tensor([1.0, -2.0, 1.0]))
    with pytest.raises(ValueError, match=r"sample_weight must hold finite numbers >= 0, got -2.0 in a step"):
        _target_checks.report()


def test_sync_raises_at_the_call():
    loss, bad = ll.CrossEntropyLoss(), torch.tensor([0, 7, 1])
    with ll.check_targets("sync"), pytest.raises(ValueError, match="got 7"):
        loss(Z, bad)
    assert loss(Z, bad).isnan()  # and the setting of before is back
    before = ll.check_targets("sync")
    with pytest.raises(ValueError, match="got 7"):
        loss(Z, bad)
    before.__exit__(None, None, None)
    with pytest.raises(ValueError, match="when must be one of 'deferred', 'sync', got 'never'"):
        ll.check_targets("never")
    assert loss(Z, bad).isnan()


class Net(ll.ObjectiveMixin, LightningModule):
    def __init__(self):
        super().__init__(optimizer={"name": "sgd", "lr": 0.1})
        self.net = torch.nn.Linear(2, 4)
        self.steps = 0

    def forward(self, x):
        self.steps += 1
        return self.net(x)


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")
@pytest.mark.parametrize(("log_every_n_steps", "steps"), [(3, 3), (50, 5)], ids=["step", "end of the epoch"])
def test_the_mixin_reports_when_it_logs(log_every_n_steps, steps):
    y = torch.tensor([0, 9, 1, 2, 3])
    data = DataLoader(TensorDataset(torch.randn(5, 2), y), batch_size=1)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    net = Net()
    trainer = Trainer(max_epochs=1, accelerator="cpu", log_every_n_steps=log_every_n_steps, **quiet)
    with pytest.raises(ValueError, match=r"target must hold class indices in \[0, 3\].*, got 9.0 in a step"):
        trainer.fit(net, data)
    assert net.steps == steps
    assert all(p.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", ["ce", "focal", "sce", "gce", "poly1"])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1, "weight": [1.0, 2.0, 3.0, 4.0]}], ids=str)
@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
def test_nothing_reads_a_value_from_the_device(name, options, soft):
    # a meta tensor has no values: whatever would wait for one raises
    loss = ll.get_loss(name, **options).to("meta")
    z = torch.empty(3, 4, device="meta", requires_grad=True)
    y = torch.empty(3, 4, device="meta") if soft else torch.empty(3, dtype=torch.long, device="meta")
    loss(z, y, torch.empty(3, device="meta")).backward()
    assert z.grad.shape == z.shape


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, see tests/functional
@pytest.mark.parametrize("name", ["ce", "focal", "sce", "gce", "poly1"])
@pytest.mark.parametrize("kind", ["indices", "probabilities", "elements"])
def test_compiled_code_is_one_graph_on_an_accelerator(name, kind):
    torch._dynamo.reset()
    loss = ll.get_loss(name, task="multilabel" if kind == "elements" else "multiclass").to("meta")
    z = torch.empty(3, 4, device="meta", requires_grad=True)
    y = torch.empty(3, dtype=torch.long, device="meta") if kind == "indices" else torch.empty(3, 4, device="meta")
    torch.compile(loss, fullgraph=True, backend="eager")(z, y, torch.empty(3, device="meta")).backward()
    assert z.grad.shape == z.shape
    assert _target_checks._flags == {}
