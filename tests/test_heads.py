"""Several heads: a loss for each, one window for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

import lightning_losses as ll
from lightning_losses.module import ObjectiveModule
from tests.test_mixins import SGD, fit, weights

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")

HEADS = {"cls": {"name": "focal", "gamma": 2.0}, "aux": {"name": "mse", "factor": 0.5}}


def rows() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs, classes, numbers, and sample weights that are spread unevenly."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 3, generator=generator)
    classes = torch.randint(4, (64,), generator=generator)
    return x, classes, x[:, :2].sin(), torch.rand(64, generator=generator).square()


def loader(batch_size: int, *columns: Tensor) -> Any:
    return DataLoader(TensorDataset(*(columns or rows())), batch_size=batch_size)


class Trunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.cls, self.aux = nn.Linear(3, 8), nn.Linear(8, 4), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = self.trunk(x).tanh()
        return {"cls": self.cls(hidden), "aux": self.aux(hidden)}


class Net(ll.ObjectiveMixin, LightningModule):
    def __init__(self, **options: Any) -> None:
        torch.manual_seed(1)
        super().__init__(**{"loss": HEADS, "optimizer": SGD, **options})
        self.net = Trunk()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.net(x)

    def supervised_step(self, batch: Any) -> ll.Supervised:
        x, classes, numbers, weight = batch
        return ll.Supervised(self(x), {"cls": classes, "aux": numbers}, weight)


class HeadByHead(Net):
    def supervised_step(self, batch: Any) -> dict[str, ll.Supervised]:
        x, classes, numbers, weight = batch
        output = self(x)
        return {
            "cls": ll.Supervised(output["cls"], classes, weight),
            "aux": ll.Supervised(output["aux"], numbers, weight),
        }


def by_hand(net: Trunk) -> tuple[Tensor, Tensor]:
    """The weighted means over all rows, written out."""
    x, classes, numbers, weight = rows()
    output = net(x)
    p = output["cls"].softmax(1)[torch.arange(64), classes]
    focal = (weight * (1 - p).square() * -p.log()).sum() / weight.sum()
    return focal, 0.5 * (weight[:, None] * (output["aux"] - numbers).square()).sum() / (2 * weight.sum())


@pytest.mark.parametrize("cls", [Net, HeadByHead])
def test_a_step_is_that_of_the_sum_of_the_means_however_it_is_split(cls: type[Net]) -> None:
    expected = Net()
    optimizer = expected.configure_optimizers()["optimizer"]
    sum(by_hand(expected.net)).backward()
    optimizer.step()
    for batch_size in (64, 16, 7):
        module = cls()
        fit(module, loader(batch_size), accumulate_grad_batches=10)
        torch.testing.assert_close(weights(module), weights(expected), rtol=0, atol=1e-6)


def test_each_head_is_logged_and_they_add_up() -> None:
    module = Net(optimizer={"name": "sgd", "lr": 0.0}, regularizer={"l2": 0.1})
    logged = fit(module, loader(24), loader(24), log_every_n_steps=1).callback_metrics
    focal, mse = (value.detach() for value in by_hand(module.net))
    for stage in ("train", "val"):
        torch.testing.assert_close(logged[f"{stage}/loss/cls"], focal)
        torch.testing.assert_close(logged[f"{stage}/loss/aux"], mse)
        torch.testing.assert_close(logged[f"{stage}/loss"], focal + mse)
    torch.testing.assert_close(logged["train/objective"], focal + mse + logged["train/regularizer/l2"])
    steps = logged["train/loss/cls_step"] + logged["train/loss/aux_step"]
    torch.testing.assert_close(logged["train/loss_step"], steps)


def test_the_terms_of_a_sum_of_losses_are_logged() -> None:
    module = ObjectiveModule(nn.Linear(3, 4), loss={"name": "combined", "terms": {"nce": 1.0, "rce": 0.1}})
    x, classes, *_ = rows()
    logged = fit(module, loader(16, x, classes), loader(16, x, classes)).callback_metrics
    torch.testing.assert_close(logged["val/loss/nce"] + logged["val/loss/rce"], logged["val/loss"])
    assert logged["val/loss/rce"] > 0


def ignoring(unevenly: bool) -> Any:
    x, classes, numbers, weight = rows()
    classes[:16] = -100 if unevenly else classes[:16]
    return loader(16, x, classes, numbers, weight)


def test_heads_with_different_ignored_rows_are_refused_once_a_window_shows_it() -> None:
    fit(Net(), ignoring(unevenly=True))  # each window is one batch: its mean is exact
    fit(Net(), ignoring(unevenly=False), accumulate_grad_batches=4)
    with pytest.raises(ValueError, match="exact=False takes the mean of each batch"):
        fit(Net(), ignoring(unevenly=True), accumulate_grad_batches=4)
    fit(Net(exact=False), ignoring(unevenly=True), accumulate_grad_batches=4)


def test_an_epochs_mean_of_a_head_is_over_its_own_rows() -> None:
    module = Net(exact=False, optimizer={"name": "sgd", "lr": 0.0})
    data = ignoring(unevenly=True)
    logged = fit(module, data).callback_metrics
    x, classes, _, weight = data.dataset.tensors
    loss = F.cross_entropy(module(x)["cls"], classes, reduction="none")
    focal = (1 - (-loss).exp()).square() * loss
    kept = weight * (classes >= 0)
    torch.testing.assert_close(logged["train/loss/cls"], ((focal * kept).sum() / kept.sum()).detach())


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (
            {"cls": {"name": "focal", "weight": [1.0, 2.0, 1.0, 1.0]}, "aux": "mse"},
            ValueError,
            "exact must be False: the means of head 'cls'",
        ),
        ({"cls": "focal", "aux": {"gamma": 2}}, ValueError, "loss of head 'aux' must have a name"),
        ({"cls": "focal", "aux": {"name": "mse", "factor": -1}}, ValueError, "factor of head 'aux'"),
        ({"cls": "focal", "aux": "mze"}, ValueError, "did you mean 'mse'"),
        ({"cls": "focal", "aux": {"name": "mse", "reduction": "sum"}}, ValueError, "must be 'mean' in an objective"),
        ({"cls": "focal"}, ValueError, "must have a name"),
    ],
)
def test_mistakes_are_named_at_construction(loss: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Net(loss=loss)


def test_class_weights_are_allowed_by_either_way_out() -> None:
    weighted = {"name": "focal", "weight": [1.0, 2.0, 1.0, 1.0]}
    Net(loss={"cls": weighted, "aux": "mse"}, exact=False)
    Net(loss={"cls": {**weighted, "normalizer": "samples"}, "aux": "mse"})
    with pytest.raises(ValueError, match="exact must be False or None: head 'aux' has no numerator"):
        Net(loss={"cls": "focal", "aux": "torch.MSELoss"}, exact=True)


def test_a_missing_head_is_named() -> None:
    outputs = {"cls": torch.zeros(2, 4), "auks": torch.zeros(2)}
    with pytest.raises(ValueError, match="input has no head 'aux', only 'cls', 'auks', did you mean 'auks'"):
        ll.get_loss(HEADS)(outputs, outputs)
    with pytest.raises(TypeError, match="input must be a mapping with one entry for each head, got a Tensor"):
        ll.get_loss(HEADS)(torch.zeros(2), outputs)


def test_predictions_are_by_head() -> None:
    module = Net()
    x = rows()[0]
    prediction = module.predict_step((x,), 0)
    assert prediction["cls"].decision.equal(module(x)["cls"].argmax(dim=1))
    assert prediction["aux"].decision.equal(module(x)["aux"])


def test_checkpoints_hold_the_mapping_and_what_heads_learn(tmp_path: Path) -> None:
    learned = {"name": "adaptive_log_softmax", "in_features": 4, "n_classes": 8, "cutoffs": [4]}
    loss = {"cls": learned, "aux": {"name": "torch.MSELoss", "factor": 0.5}}

    class Unweighted(Net):
        def supervised_step(self, batch: Any) -> ll.Supervised:
            return super().supervised_step((*batch[:3], None))

    module, again = Unweighted(loss=loss), Unweighted(loss=loss)
    fit(module, loader(16)).save_checkpoint(tmp_path / "run.ckpt")
    fit(again, loader(16), ckpt_path=tmp_path / "run.ckpt")
    head = "losses.cls.softmax.head.weight"
    assert again.objective.loss.state_dict()[head].equal(module.objective.loss.state_dict()[head])
    assert torch.load(tmp_path / "run.ckpt", weights_only=True)["hyper_parameters"]["loss"] == loss
    assert Net(loss=ll.get_loss(HEADS)).hparams["loss"]["aux"]["factor"] == 0.5


def test_the_objective_of_a_bare_loop_takes_heads() -> None:
    net = Trunk()
    x, classes, numbers, weight = rows()
    terms = ll.Objective(HEADS)(net(x), {"cls": classes, "aux": numbers}, weight)
    torch.testing.assert_close(terms.total, sum(by_hand(net)))


def test_hydra_composes_heads_on_the_command_line() -> None:
    heads = ["~loss", "+loss@loss.cls=focal", "+loss@loss.aux=mse"]
    config = ll.compose("task=multiclass", *heads, "loss.cls.gamma=3", "+loss.aux.factor=2")
    loss = ll.build({"loss": config.loss}).loss
    assert loss.losses["cls"].phi.gamma == 3
    assert loss.factors == {"cls": 1.0, "aux": 2.0}


def test_metrics_are_by_head() -> None:
    metrics = {"cls": {"decision": {"accuracy": MulticlassAccuracy(4, average="micro")}}}

    class Module(ObjectiveModule):
        supervised_step = Net.supervised_step

    module = Module(Trunk(), loss=HEADS, metrics=metrics, optimizer={"name": "sgd", "lr": 0.0})
    logged = fit(module, loader(24), loader(24)).callback_metrics
    x, classes, *_ = rows()
    expected = (module(x)["cls"].argmax(dim=1) == classes).float().mean()
    torch.testing.assert_close(logged["val/cls/accuracy"], expected)
    with pytest.raises(ValueError, match="metrics must be one of 'cls', 'aux', got 'decision'"):
        Module(Trunk(), loss=HEADS, metrics=metrics["cls"])
