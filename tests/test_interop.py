"""Modules with the mixin in what people train with: they learn what a loop written by hand learns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from lightning.fabric import Fabric
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import EMAWeightAveraging, StochasticWeightAveraging
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

import lightning_losses as ll
from tests.test_mixins import CLASSES, Net, fit, loader, rows, weights

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")

ACTIVITY = {"activity": {"name": "activity_l2", "factor": 0.1, "where": "net.1"}}
Step = Callable[[Net], None]


def by_hand(
    steps: list[slice], *, after_backward: Step | None = None, after_step: Step | None = None, **options: Any
) -> Net:
    """Train with a loop, a step for each part of the rows, and the penalty in the loss."""
    module = Net(**options)
    optimizer = module.configure_optimizers()["optimizer"]
    x, y, w = rows()
    for part in steps:
        optimizer.zero_grad()
        penalty = sum(0.05 * layer.weight.square().sum() for layer in (module.net[0], module.net[2]))
        (module.objective.loss(module(x[part]), y[part], w[part]) + penalty).backward()
        if after_backward is not None:
            after_backward(module)
        optimizer.step()
        if after_step is not None:
            after_step(module)
    return module


WHOLE = [slice(0, 64)]
QUARTERS = [slice(start, start + 16) for start in range(0, 64, 16)]
L2 = {"l2": 0.1}


def assert_same(module: Any, other: Any) -> None:
    torch.testing.assert_close(weights(module), weights(other), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("batch_size", "options", "steps"),
    [
        (16, {"limit_train_batches": 2}, QUARTERS[:2]),
        (16, {"overfit_batches": 3}, QUARTERS[:3]),
        (16, {"max_steps": 1, "max_epochs": -1}, QUARTERS[:1]),
        (16, {"fast_dev_run": True}, QUARTERS[:1]),
        (8, {"accumulate_grad_batches": 8, "limit_train_batches": 4}, [slice(0, 32)]),
    ],
)
def test_limits_of_the_trainer(batch_size: int, options: dict[str, Any], steps: list[slice]) -> None:
    module = Net(regularizer=L2)
    fit(module, loader(batch_size), loader(batch_size), **options)
    assert_same(module, by_hand(steps))


@pytest.mark.parametrize("batch_size", [64, 16, 7])
@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_clipping_sees_the_mean_and_the_penalties_together(algorithm: str, batch_size: int) -> None:
    def clip(module: Net) -> None:
        if algorithm == "norm":
            nn.utils.clip_grad_norm_(module.parameters(), 0.05)
        else:
            nn.utils.clip_grad_value_(module.parameters(), 0.02)

    module = Net(regularizer=L2)
    limit = {"norm": 0.05, "value": 0.02}[algorithm]
    options = {"gradient_clip_val": limit, "gradient_clip_algorithm": algorithm, "accumulate_grad_batches": 10}
    fit(module, loader(batch_size), max_epochs=3, **options)
    assert_same(module, by_hand(3 * WHOLE, after_backward=clip))


@pytest.mark.filterwarnings("default")  # of the compiler's own use of torch
def test_a_compiled_module_learns_what_it_learns_otherwise() -> None:
    module = Net(regularizer=L2)
    fit(torch.compile(module, backend="eager"), loader(16), accumulate_grad_batches=4)
    assert_same(module, by_hand(WHOLE))


def test_checkpointed_layers_learn_the_same() -> None:
    class Checkpointed(Net):
        def forward(self, x: Tensor) -> Tensor:
            hidden: Any = checkpoint(self.net[:2], x, use_reentrant=False)
            return self.net[2](hidden)

    module, plain = Checkpointed(regularizer=L2 | ACTIVITY), Net(regularizer=L2 | ACTIVITY)
    for either in (module, plain):
        fit(either, loader(16), accumulate_grad_batches=2)
    assert_same(module, plain)


def test_each_of_two_optimizers_steps_on_ordinary_means() -> None:
    class Two(Net):
        def __init__(self) -> None:
            super().__init__(regularizer=L2)
            self.automatic_optimization = False

        def configure_optimizers(self) -> list[torch.optim.Optimizer]:
            return [torch.optim.SGD(self.net[i].parameters(), lr=0.1) for i in (0, 2)]

        def training_step(self, batch: Any, batch_idx: int) -> None:
            x, y, w = batch
            optimizers: Any = self.optimizers()
            self.manual_backward(self.compute_objective(self(x), y, w).total)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()

    module, one = Two(), Net(regularizer=L2, optimizer={"name": "sgd", "lr": 0.1})
    for either in (module, one):
        fit(either, loader(16))
    assert_same(module, one)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_fabric_trains_by_the_objective(precision: Any) -> None:
    module = Net()
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    objective = ll.Objective(module.objective.loss, L2).bind(module.net)
    net, optimizer = fabric.setup(module.net, module.configure_optimizers()["optimizer"])
    x, y, w = rows()
    for part in QUARTERS:
        optimizer.zero_grad()
        fabric.backward(objective(net(x[part]), y[part], w[part]).total)
        optimizer.step()
    hand = by_hand(QUARTERS)
    tolerance = 1e-6 if precision == "32-true" else 0.02 * (weights(hand) - weights(Net())).abs().max().item()
    torch.testing.assert_close(weights(module), weights(hand), rtol=0, atol=tolerance)


def test_an_average_of_the_weights_is_that_of_the_exact_steps() -> None:
    decay = 0.5
    averages: list[Tensor] = []

    def average(module: Net) -> None:
        now = weights(module).clone()
        averages.append(now if not averages else decay * averages[-1] + (1 - decay) * now)

    by_hand(3 * WHOLE, after_step=average)
    module = Net(regularizer=L2)
    callback = EMAWeightAveraging(decay=decay)
    fit(module, loader(16), loader(16), accumulate_grad_batches=4, max_epochs=3, callbacks=[callback])
    torch.testing.assert_close(weights(module), averages[-1], rtol=0, atol=1e-6)


def test_stochastic_weight_averaging_averages_epochs() -> None:
    module = Net(regularizer=L2, optimizer={"name": "sgd", "lr": 0.1})
    callback = StochasticWeightAveraging(swa_lrs=0.1, swa_epoch_start=2, annealing_epochs=1)
    fit(module, loader(16), accumulate_grad_batches=4, max_epochs=4, callbacks=[callback])
    reached = [weights(by_hand(count * WHOLE, optimizer={"name": "sgd", "lr": 0.1})) for count in (1, 2, 3)]
    torch.testing.assert_close(weights(module), torch.stack(reached).mean(dim=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch_size", [64, 16])
def test_float16_gradients_are_unscaled_before_the_window_completed(batch_size: int) -> None:
    def train(**trainer: Any) -> Net:
        module = Net(regularizer=L2, optimizer={"name": "sgd", "lr": 1.0})
        fit(module, loader(batch_size), accumulate_grad_batches=64 // batch_size, gradient_clip_val=0.1, **trainer)
        return module

    half, full = train(plugins=[float16()]), train()
    update = (weights(full) - weights(Net())).norm()
    assert (weights(half) - weights(full)).norm() < 0.02 * update


def float16() -> MixedPrecision:
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))


def test_a_fused_optimizer_under_a_scaler_is_refused() -> None:
    module = Net(regularizer=L2, optimizer={"name": "adamw", "lr": 0.1, "weight_decay": 0.0, "fused": True})
    with pytest.raises(ValueError, match="fused=False"):
        fit(module, loader(16), plugins=[float16()])
    fit(module, loader(16))


class ForTheCommandLine(ll.ObjectiveMixin, LightningModule):
    """As LightningCLI takes it: arguments with types."""

    def __init__(self, loss: str | dict[str, Any] = "ce", lr: float = 0.1) -> None:
        super().__init__(loss=loss, optimizer={"name": "sgd", "lr": lr})
        self.net = nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def train_dataloader(self) -> Any:
        return loader(16)


@pytest.mark.filterwarnings("default::DeprecationWarning")  # of Lightning's use of jsonargparse
def test_lightning_cli_chooses_a_loss_by_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["train.py"])
    quiet = ["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"]
    trainer = {"max_epochs": 1, "accelerator": "cpu", "default_root_dir": str(tmp_path), **dict.fromkeys(quiet, False)}
    arguments = ["fit", "--model.loss={name: focal, gamma: 3.0}", "--model.lr=0.5"]
    app = LightningCLI(
        ForTheCommandLine,
        args=arguments,
        trainer_defaults=trainer,
        save_config_callback=None,
        seed_everything_default=1,
    )
    assert app.model.objective.loss.phi.gamma == 3
    assert app.trainer.callback_metrics["train/loss"].isfinite()
    app.trainer.save_checkpoint(tmp_path / "cli.ckpt")
    loaded = ForTheCommandLine.load_from_checkpoint(tmp_path / "cli.ckpt")
    assert loaded.net.weight.equal(app.model.net.weight)
    assert loaded.objective.loss.phi.gamma == 3


BEFORE = """
model:
  _target_: tests.programs.template.Original
  optimizer: {_target_: torch.optim.Adam, _partial_: true, lr: 0.01, weight_decay: 0.0}
"""
AFTER = """
defaults: [_self_, loss: ce, optimizer: adam]
hydra: {searchpath: [pkg://lightning_losses.conf]}
model: {_target_: tests.programs.template.Moved, loss: "${loss}", optimizer: "${optimizer}"}
"""


def test_a_module_of_the_hydra_template_moved_over_learns_the_same(tmp_path: Path) -> None:
    (tmp_path / "before.yaml").write_text(BEFORE)
    (tmp_path / "after.yaml").write_text(AFTER)
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.3"):
        configs = [hydra.compose("before"), hydra.compose("after", ["optimizer.lr=0.01"])]
        other = hydra.compose("after", ["loss=focal", "loss.gamma=3"])
    before, after = (hydra.utils.instantiate(config.model) for config in configs)
    x, y, _ = rows()
    data = DataLoader(TensorDataset(x, y.clamp_min(0)), batch_size=16)
    logged = [fit(module, data, max_epochs=3).callback_metrics["train/loss"] for module in (before, after)]
    assert_same(before, after)
    torch.testing.assert_close(logged[0], logged[1])
    assert hydra.utils.instantiate(other.model).objective.loss.phi.gamma == 3
