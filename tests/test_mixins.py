from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_losses as ll
from lightning_losses.ranks import TrainerRanks

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")

CLASSES = 4


def rows(count: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, labels of which some are ignored unevenly, and sample weights."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3, generator=generator)
    y = torch.randint(CLASSES, (count,), generator=generator)
    y[: count // 4] = y[: count // 4].where(torch.arange(count // 4) % 5 == 0, -100)
    y[count // 2 : count // 2 + 16] = -100  # one whole micro-batch of 16
    return x, y, torch.rand(count, generator=generator)


def loader(batch_size: int, count: int = 64) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*rows(count)), batch_size=batch_size)


class Net(ll.ObjectiveMixin, LightningModule):
    def __init__(self, **options: Any) -> None:
        torch.manual_seed(1)
        super().__init__(**{"loss": {"name": "focal", "weight": [1.0, 2.0, 0.5, 3.0]}, "optimizer": SGD, **options})
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9}
ADAMW = {"name": "adamw", "lr": 0.01, "weight_decay": 0.0}


def fit(
    module: LightningModule, data: Any, val_dataloaders: Any = None, ckpt_path: Path | None = None, **trainer: Any
) -> Trainer:
    options = {"max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    runner = Trainer(**{**options, **quiet, **trainer})
    runner.fit(module, data, val_dataloaders, ckpt_path=ckpt_path, weights_only=True)
    return runner


def weights(module: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(module.net.parameters()).detach()


# 4 x 16, 8 x 8 and windows that the epoch's end cuts short must learn what one batch of 64 learns.
@pytest.mark.parametrize(
    ("optimizer", "regularizer", "clip", "epochs"),
    [
        (SGD, {}, None, 1),
        (ADAMW, {}, None, 1),
        (SGD, {"l1": 1e-3, "l2": 1e-2}, 0.05, 1),
        (SGD, {"l1": 1e-3, "l2": 1e-2}, 0.05, 20),
        (ADAMW, {"l1": 1e-3, "l2": 1e-2}, 0.05, 20),
    ],
)
def test_the_batch_can_be_split(
    optimizer: dict[str, Any], regularizer: dict[str, float], clip: float | None, epochs: int
) -> None:
    def train(batch_size: int) -> Tensor:
        module = Net(optimizer=optimizer, regularizer=regularizer)
        windows = {"accumulate_grad_batches": 64 // batch_size, "gradient_clip_val": clip, "max_epochs": epochs}
        fit(module, loader(batch_size), **windows)
        return weights(module)

    whole = train(64)
    for batch_size in (16, 8):
        torch.testing.assert_close(train(batch_size), whole, rtol=0, atol=1e-6)


def test_a_last_window_that_is_not_full_is_a_mean_over_its_own_rows() -> None:
    split, whole = Net(), Net()
    fit(split, loader(16, count=80), accumulate_grad_batches=4)  # windows of 64 and 16 rows
    fit(whole, loader(16, count=80), accumulate_grad_batches=4)
    torch.testing.assert_close(weights(split), weights(whole), rtol=0, atol=0)
    by_hand = Net()
    optimizer = by_hand.configure_optimizers()["optimizer"]
    x, y, w = rows(80)
    for window in (slice(0, 64), slice(64, 80)):
        optimizer.zero_grad()
        by_hand.objective.loss(by_hand(x[window]), y[window], w[window]).backward()
        optimizer.step()
    torch.testing.assert_close(weights(split), weights(by_hand), rtol=0, atol=1e-6)


def test_a_penalty_and_weight_decay_on_the_same_parameters_warn() -> None:
    with pytest.warns(UserWarning, match=r"'l2' \(2 tensors\)"):
        fit(Net(regularizer={"l2": 0.1}, optimizer={"name": "sgd", "lr": 0.1, "weight_decay": 0.1}), loader(16))


def test_a_step_is_the_step_of_a_hand_written_loop_with_the_penalty_in_the_loss() -> None:
    module, by_hand = Net(regularizer={"l2": 0.1, "l1": 0.01}), Net()
    fit(module, loader(16), max_epochs=5)
    optimizer = by_hand.configure_optimizers()["optimizer"]
    x, y, w = rows()
    for _ in range(5):
        for start in range(0, 64, 16):
            part = slice(start, start + 16)
            optimizer.zero_grad()
            kernels = [by_hand.net[0].weight, by_hand.net[2].weight]
            penalty = sum(0.1 * 0.5 * k.square().sum() + 0.01 * k.abs().sum() for k in kernels)
            (by_hand.objective.loss(by_hand(x[part]), y[part], w[part]) + penalty).backward()
            optimizer.step()
    torch.testing.assert_close(weights(module), weights(by_hand), rtol=0, atol=1e-6)


def test_a_monitor_of_learning_rates_names_the_groups(tmp_path: Path) -> None:
    module = Net(optimizer={"name": "sgd", "lr": 0.01, "rules": {"net.2.*": {"lr": 0.1}}})
    logger = CSVLogger(tmp_path)
    logged = fit(module, loader(16), logger=logger, log_every_n_steps=1, callbacks=[LearningRateMonitor()])
    rates = {name: rate.item() for name, rate in logged.callback_metrics.items() if name.startswith("lr-")}
    names = ("decay", "no_decay", "net.2.*/decay", "net.2.*/no_decay")
    assert rates == pytest.approx(dict(zip([f"lr-SGD/{name}" for name in names], (0.01, 0.01, 0.1, 0.1), strict=True)))


def test_inexact_training_is_the_trainers_mean_of_means() -> None:
    exact, inexact, by_hand = Net(), Net(exact=False), Net()
    for module in (exact, inexact):
        fit(module, loader(16), accumulate_grad_batches=4)
    optimizer = by_hand.configure_optimizers()["optimizer"]
    x, y, w = rows()
    for part in (slice(start, start + 16) for start in range(0, 64, 16)):
        (by_hand.objective.loss(by_hand(x[part]), y[part], w[part]) / 4).backward()
    optimizer.step()
    torch.testing.assert_close(weights(inexact), weights(by_hand), rtol=0, atol=1e-6)
    assert (weights(exact) - weights(inexact)).abs().max() > 1e-4


def test_a_step_costs_one_small_reduction(monkeypatch: pytest.MonkeyPatch) -> None:
    reductions: list[tuple[str, int]] = []

    def reduce(self: TrainerRanks, value: Tensor, operation: str) -> Tensor:
        reductions.append((operation, value.numel()))
        return value

    monkeypatch.setattr(TrainerRanks, "reduce", reduce)
    fit(Net(regularizer={"l1": 1e-3, "l2": 1e-2}), loader(8), accumulate_grad_batches=4, max_epochs=3)
    assert reductions == [("max", 1), *[("sum", 2)] * 6]


def test_logged_terms_add_up_and_are_means_over_all_rows() -> None:
    module = Net(regularizer={"l1": 1e-3, "l2": 1e-2}, optimizer={"name": "sgd", "lr": 0.0})
    logged = fit(module, loader(16), limit_val_batches=0).callback_metrics
    x, y, w = rows()
    torch.testing.assert_close(logged["train/loss"], module.objective.loss(module(x), y, w).detach())
    penalties = logged["train/regularizer/l1"] + logged["train/regularizer/l2"]
    torch.testing.assert_close(logged["train/objective"], logged["train/loss"] + penalties)


def test_the_terms_of_a_recorded_step_add_up() -> None:
    module = Net(regularizer={"l1": 1e-3, "l2": 1e-2})
    logged = fit(module, loader(16), log_every_n_steps=1).callback_metrics
    penalties = logged["train/regularizer/l1_step"] + logged["train/regularizer/l2_step"]
    torch.testing.assert_close(logged["train/objective_step"], logged["train/loss_step"] + penalties)


@pytest.mark.parametrize("stage", ["val", "test"])
def test_evaluation_logs_the_mean_over_all_rows(stage: str) -> None:
    module = Net(regularizer={"l2": 1e-2})
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    run = trainer.validate if stage == "val" else trainer.test
    (logged,) = run(module, loader(24), verbose=False)
    x, y, w = rows()
    assert logged[f"{stage}/loss"] == pytest.approx(module.objective.loss(module(x), y, w).item())
    kernels = [module.net[0].weight, module.net[2].weight]
    penalty = sum(0.005 * k.square().sum() for k in kernels).item()
    assert logged[f"{stage}/objective"] == pytest.approx(logged[f"{stage}/loss"] + penalty)


class OwnStep(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y, w = batch
        return self.compute_objective(self(x), y, w).total + 0.1 * self(x).square().mean()


def test_a_step_of_ones_own_gets_ordinary_means_and_penalties_once() -> None:
    module, by_hand = OwnStep(regularizer={"l2": 0.1}), Net()
    fit(module, loader(64))
    optimizer = by_hand.configure_optimizers()["optimizer"]
    x, y, w = rows()
    kernels = [by_hand.net[0].weight, by_hand.net[2].weight]
    loss = by_hand.objective.loss(by_hand(x), y, w) + 0.1 * by_hand(x).square().mean()
    (loss + sum(0.05 * k.square().sum() for k in kernels)).backward()
    optimizer.step()
    torch.testing.assert_close(weights(module), weights(by_hand), rtol=0, atol=1e-6)


class Manual(Net):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        x, y, w = batch
        self.manual_backward(self.compute_objective(self(x), y, w).total)
        self.finish_gradients(optimizer)
        self.clip_gradients(optimizer, gradient_clip_val=0.05, gradient_clip_algorithm="norm")
        optimizer.step()


def test_manual_optimization_clips_loss_and_penalties_together() -> None:
    automatic, manual = Net(regularizer={"l2": 0.1}), Manual(regularizer={"l2": 0.1})
    fit(automatic, loader(16), gradient_clip_val=0.05)
    fit(manual, loader(16))
    torch.testing.assert_close(weights(manual), weights(automatic), rtol=0, atol=1e-6)


def test_constraints_hold_after_every_step() -> None:
    module = Net(constraint={"max_norm": 0.5})
    fit(module, loader(16))
    for layer in (module.net[0], module.net[2]):
        assert (layer.weight.norm(dim=1) <= 0.5 + 1e-6).all()


def test_the_sparsity_of_a_proximal_penalty_is_reported() -> None:
    module = Net(regularizer={"proximal_l1": 0.3})
    logged = fit(module, loader(16), max_epochs=3).callback_metrics
    kernels = torch.cat([module.net[0].weight.flatten(), module.net[2].weight.flatten()])
    torch.testing.assert_close(logged["train/sparsity/proximal_l1"], (kernels == 0).float().mean())
    assert logged["train/sparsity/proximal_l1"] > 0


def test_penalties_on_outputs_belong_to_the_mean_over_the_window() -> None:
    penalty = {"activity": {"name": "activity_l2", "factor": 0.1, "where": "net.1"}}
    whole, split, by_hand = Net(regularizer=penalty), Net(regularizer=penalty), Net()
    fit(whole, loader(64))
    logged = fit(split, loader(16), accumulate_grad_batches=4).callback_metrics
    x, y, w = rows()
    optimizer = by_hand.configure_optimizers()["optimizer"]
    row_weight = by_hand.objective.loss.rows(by_hand(x), y, w).weight
    activity = 0.05 * by_hand.net[:2](x).square().sum(dim=1)
    mean = (activity * row_weight).sum() / row_weight.sum()
    (by_hand.objective.loss(by_hand(x), y, w) + mean).backward()
    optimizer.step()
    for module in (whole, split):
        torch.testing.assert_close(weights(module), weights(by_hand), rtol=0, atol=1e-6)
    torch.testing.assert_close(logged["train/regularizer/activity"], mean.detach())
    assert not split.net[1]._forward_hooks


def test_predictions_are_decisions_and_posteriors() -> None:
    module = Net(loss={"name": "focal", "gamma": 2.0})
    x = rows()[0]
    prediction = module.predict_step((x,), 0)
    assert prediction.decision.equal(module(x).argmax(dim=1))
    torch.testing.assert_close(prediction.probabilities, module.objective.loss.posterior(module(x)))


def test_checkpoints_are_plain_data_and_survive_a_change_of_loss(tmp_path: Path) -> None:
    module = Net(loss={"name": "focal", "weight": torch.ones(CLASSES)}, regularizer={"l2": 0.1}, scheduler="cosine")
    trainer = fit(module, loader(16), max_epochs=2)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    checkpoint = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"]["loss"] == {"name": "focal", "weight": [1.0] * CLASSES}
    other = Net(loss="sce")
    other.load_state_dict(checkpoint["state_dict"])
    torch.testing.assert_close(weights(other), weights(module), rtol=0, atol=0)


GHM = {"name": "ghm", "task": "multilabel", "momentum": 0.75}
SUM = {"name": "combined", "terms": {"asymmetric": 1.0, "ghm": {"momentum": 0.75}}, "task": "multilabel"}
ADAPTIVE = {"name": "adaptive_log_softmax", "in_features": CLASSES, "n_classes": 8, "cutoffs": [4]}


@pytest.mark.parametrize("loss", [GHM, SUM, ADAPTIVE], ids=["running", "running in a sum", "learned"])
def test_what_a_loss_learns_is_restored_with_it_and_left_out_with_another(loss: dict[str, Any], tmp_path: Path) -> None:
    x, y, _ = rows()
    y = nn.functional.one_hot(y.clamp_min(0), CLASSES) if loss is not ADAPTIVE else y.clamp_min(0)
    data, path = DataLoader(TensorDataset(x, y), batch_size=16), tmp_path / "run.ckpt"
    module, again, other = Net(loss=loss), Net(loss=loss), Net(loss="sce")
    fit(module, data).save_checkpoint(path)
    fit(again, data, ckpt_path=path)
    assert module.objective.loss.state_dict()
    torch.testing.assert_close(again.objective.loss.state_dict(), module.objective.loss.state_dict(), rtol=0, atol=0)
    checkpoint = torch.load(path, weights_only=True)
    other.on_load_checkpoint(checkpoint)
    other.load_state_dict(checkpoint["state_dict"])
    assert weights(other).equal(weights(module))


def test_what_a_loss_has_learned_is_restored_where_the_hook_that_saves_does_not_call_super(tmp_path: Path) -> None:
    class Forgetful(Net):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["mine"] = 1

    x, y, _ = rows()
    module, again = Forgetful(loss=ADAPTIVE), Forgetful(loss=ADAPTIVE)
    fit(module, DataLoader(TensorDataset(x, y.clamp_min(0)), batch_size=16)).save_checkpoint(tmp_path / "run.ckpt")
    checkpoint = torch.load(tmp_path / "run.ckpt", weights_only=True)
    again.on_load_checkpoint(checkpoint)
    again.load_state_dict(checkpoint["state_dict"])
    torch.testing.assert_close(again.state_dict(), module.state_dict(), rtol=0, atol=0)


def test_resuming_with_other_parameter_groups_is_explained(tmp_path: Path) -> None:
    fit(Net(), loader(16)).save_checkpoint(tmp_path / "run.ckpt")
    regrouped = Net(optimizer={**SGD, "rules": {"net.0.*": {"lr": 0.01}}})
    with pytest.raises(ValueError, match="the checkpoint's optimizer groups are"):
        fit(regrouped, loader(16), max_epochs=2, ckpt_path=tmp_path / "run.ckpt")
    fit(Net(), loader(16), max_epochs=2, ckpt_path=tmp_path / "run.ckpt")


def test_batches_of_another_form_name_the_method_to_override() -> None:
    with pytest.raises(TypeError, match=r"Net\.supervised_step must be overridden"):
        Net().supervised_step({"x": 1})


def test_the_mixin_must_stand_first() -> None:
    with pytest.raises(TypeError, match=r"class Wrong\(ObjectiveMixin, LightningModule\)"):
        type("Wrong", (LightningModule, ll.ObjectiveMixin), {})


@pytest.mark.parametrize("method", ["training_step", "validation_step", "predict_step", "configure_optimizers"])
def test_a_base_whose_method_would_never_run_is_refused(method: str) -> None:
    base = type("Base", (LightningModule,), {method: lambda *_: None})
    with pytest.raises(TypeError, match=rf"Base\.{method} would never run"):
        type("Wrong", (ll.ObjectiveMixin, base), {})


def test_a_base_may_bring_what_no_mixin_replaces() -> None:
    own = {"training_step": lambda *_: None, "configure_optimizers": lambda *_: None}
    base = type("Base", (LightningModule,), own)
    type("Chooses", (ll.ObjectiveMixin, base), own)
    type("KeepsIts", (ll.RegularizerMixin, base), {})


def test_a_name_clash_is_refused() -> None:
    clash = type("Clash", (ll.ObjectiveMixin, LightningModule), {"objective": None})
    with pytest.raises(TypeError, match=r"Clash\.objective hides"):
        clash()


def test_a_hook_without_super_is_named() -> None:
    class Forgetful(Net):
        def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None: ...

    with pytest.raises(RuntimeError, match=r"Forgetful\.on_before_optimizer_step must call super"):
        fit(Forgetful(), loader(16))


def test_means_are_those_of_one_epoch_where_a_hook_that_starts_it_does_not_call_super() -> None:
    class Forgetful(Net):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None: ...

        def on_validation_epoch_start(self) -> None: ...

    expected, logged = (fit(net, loader(16), loader(16), max_epochs=3).callback_metrics for net in (Net(), Forgetful()))
    for name in ("train/loss", "val/loss", "val/objective"):
        assert logged[name] == expected[name]


class Listens(LightningModule):
    """A base of a user's own, whose hooks hide those of the mixin."""

    def on_train_epoch_end(self) -> None:
        self.log("own", 1.0)

    def on_validation_epoch_end(self) -> None: ...

    def on_test_epoch_end(self) -> None: ...


class CallsSuper(Net):
    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log("own", 1.0)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()


class DoesNot(Net):
    on_train_epoch_end = Listens.on_train_epoch_end
    on_validation_epoch_end = Listens.on_validation_epoch_end
    on_test_epoch_end = Listens.on_test_epoch_end


class CallsOneThatDoesNot(DoesNot):
    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()


HOOKS = {
    "super is called": CallsSuper,
    "it is not": DoesNot,
    "a base does not": CallsOneThatDoesNot,
    "a base before the mixin does not": type("Before", (Listens, Net), {}),
}


@pytest.mark.parametrize("kind", HOOKS)
def test_an_epoch_is_logged_once_whatever_its_own_hook_calls(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sparse: dict[str, Any] = {"regularizer": {"proximal_l1": 0.1}}
    expected = fit(Net(**sparse), loader(16), loader(16), max_epochs=2)
    finished, finish = [], Net._ll_finish
    monkeypatch.setattr(Net, "_ll_finish", lambda self, stage: (finished.append(stage), finish(self, stage)))
    module = HOOKS[kind](**sparse)
    trainer = fit(module, loader(16), loader(16), max_epochs=2)
    for name in ("train/loss", "train/objective", "train/sparsity/proximal_l1", "val/loss", "val/objective"):
        assert trainer.callback_metrics[name] == expected.callback_metrics[name]
    assert trainer.callback_metrics["own"] == 1.0
    assert [stage for stage in finished if stage == "train"] == ["train", "train"]
    assert trainer.test(module, loader(16), verbose=False)[0].keys() >= {"test/loss", "test/objective"}


@pytest.mark.parametrize(
    ("mixin", "options"),
    [
        (ll.LossMixin, {"loss": "sce"}),
        (ll.RegularizerMixin, {"regularizer": {"l2": 0.1}}),
        (ll.OptimizerMixin, {"optimizer": SGD}),
    ],
)
def test_each_mixin_works_alone(mixin: type, options: dict[str, Any]) -> None:
    class Alone(mixin, LightningModule):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__(**options)
            self.net = nn.Linear(3, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

        if mixin is not ll.LossMixin:

            def training_step(self, batch: Any, batch_idx: int) -> Tensor:
                return nn.functional.cross_entropy(self(batch[0]), batch[1])

        if mixin is not ll.OptimizerMixin:

            def configure_optimizers(self) -> torch.optim.Optimizer:
                return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Alone()
    before = weights(module)
    fit(module, loader(64))
    assert not weights(module).equal(before)


def test_modules_of_the_other_package_work() -> None:
    pytorch_lightning = pytest.importorskip("pytorch_lightning")

    class Other(ll.ObjectiveMixin, pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__(loss="focal", optimizer=SGD)
            self.net = nn.Linear(3, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    module = Other()
    trainer = pytorch_lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that package's own deprecations
        trainer.fit(module, loader(16))
    assert "train/loss" in trainer.callback_metrics


def test_an_interrupted_window_does_not_reach_into_the_next_run() -> None:
    class FailsOnce(Net):
        fails = True

        def supervised_step(self, batch: Any) -> ll.Supervised:
            if self.fails and len(batch[0]) == 16 and not batch[1].ge(0).any():  # the third micro-batch
                raise ArithmeticError
            return super().supervised_step(batch)

    module, fresh = FailsOnce(), Net()
    with pytest.raises(ArithmeticError):
        fit(module, loader(16), accumulate_grad_batches=4)
    module.fails = False
    for trained in (module, fresh):
        fit(trained, loader(16), accumulate_grad_batches=4)
    torch.testing.assert_close(weights(module), weights(fresh), rtol=0, atol=0)


def test_a_foreign_loss_has_ordinary_means_and_is_refused_as_exact() -> None:
    with pytest.raises(ValueError, match="exact must be False or None"):
        Net(loss="torch.CrossEntropyLoss", exact=True)
    assert not Net(loss="torch.CrossEntropyLoss")._ll_exact


@pytest.mark.parametrize(
    "loss", [{"name": "focal", "reduction": "sum"}, {"name": "torch.MSELoss", "reduction": "none"}]
)
def test_an_objective_averages_by_itself(loss: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="reduction must be 'mean' in an objective"):
        Net(loss=loss)


def test_lbfgs_with_accumulation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"LBFGS .* cannot accumulate"):
        fit(Net(optimizer={"name": "lbfgs", "lr": 0.1}), loader(16), accumulate_grad_batches=2)


def test_lbfgs_sees_the_penalty_in_its_closure() -> None:
    module, by_hand = Net(regularizer={"l2": 0.1}, optimizer={"name": "lbfgs", "lr": 0.1}), Net()
    fit(module, loader(64))
    x, y, w = rows()
    optimizer = torch.optim.LBFGS(by_hand.net.parameters(), lr=0.1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        kernels = [by_hand.net[0].weight, by_hand.net[2].weight]
        objective = by_hand.objective.loss(by_hand(x), y, w) + sum(0.05 * k.square().sum() for k in kernels)
        objective.backward()
        return objective

    optimizer.step(closure)
    torch.testing.assert_close(weights(module), weights(by_hand), rtol=0, atol=1e-5)


def test_a_penalty_needs_the_hook_in_a_step_of_ones_own_too() -> None:
    class Forgetful(OwnStep):
        def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None: ...

    with pytest.raises(RuntimeError, match=r"Forgetful\.on_before_optimizer_step must call super"):
        fit(Forgetful(regularizer={"l2": 0.1}), loader(16))


def test_each_of_two_optimizers_gets_the_penalty_of_its_own_parameters() -> None:
    class Two(Net):
        def __init__(self) -> None:
            super().__init__(regularizer={"l2": 1.0})
            self.automatic_optimization = False

        def configure_optimizers(self) -> list[torch.optim.Optimizer]:
            return [torch.optim.SGD(self.net[i].parameters(), lr=0.1) for i in (0, 2)]

        def training_step(self, batch: Any, batch_idx: int) -> None:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward(0 * self(batch[0]).sum())
                optimizer.step()

    module, start = Two(), Net()
    fit(module, loader(64))
    for i in (0, 2):
        torch.testing.assert_close(module.net[i].weight, 0.9 * start.net[i].weight)


def test_a_fit_after_another_applies_constraints_and_thresholds_once() -> None:
    class Kept(Net):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            if not hasattr(self, "kept"):
                self.kept = torch.optim.SGD(self.parameters(), lr=0.1)
            return self.kept

    module = Kept(regularizer={"proximal_l1": 0.01})
    for _ in range(2):
        fit(module, loader(16))
    assert len(module.kept._optimizer_step_post_hooks) == 0


def test_weights_alone_can_be_loaded_and_trained_with_other_groups(tmp_path: Path) -> None:
    fit(Net(), loader(16)).save_checkpoint(tmp_path / "run.ckpt")
    other = Net(optimizer={**SGD, "rules": {"net.0.*": {"lr": 0.01}}})
    checkpoint = torch.load(tmp_path / "run.ckpt", weights_only=True)
    other.on_load_checkpoint(checkpoint)
    other.load_state_dict(checkpoint["state_dict"])
    fit(other, loader(16))


def test_predicting_watches_no_layers() -> None:
    module = Net(regularizer={"activity_l2": 0.1})
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    predictions = trainer.predict(module, loader(24))
    assert [len(prediction.decision) for prediction in predictions] == [24, 24, 16]


def test_without_a_trainer_penalties_are_those_of_the_present_weights() -> None:
    module = Net(regularizer={"l2": 0.1})
    x, y, w = rows()
    assert module.compute_objective(module(x), y, w).penalties["l2"] > 0
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert module.compute_objective(module(x), y, w).penalties["l2"] == 0


def test_hyper_parameters_of_objects_are_plain() -> None:
    module = Net(regularizer={"mine": ll.regularizers.L1(1e-3)})
    assert module.hparams["regularizer"]["mine"]["name"] == "l1"


def test_bf16_mixed_penalties_are_within_one_percent_of_the_update() -> None:
    start, full, mixed = Net(), Net(regularizer={"l2": 0.1}), Net(regularizer={"l2": 0.1})
    fit(full, loader(16), accumulate_grad_batches=4, max_epochs=20)
    fit(mixed, loader(16), accumulate_grad_batches=4, max_epochs=20, precision="bf16-mixed")
    update = (weights(full) - weights(start)).norm()
    assert (weights(mixed) - weights(full)).norm() < 0.01 * update


# Further terms beside the loss: in the window (a mean or a sum and its weight), or added to the mixin's own step.
class WithAuxiliary(Net):
    def auxiliary_losses(self, batch: Any) -> dict[str, Any]:
        x, y, w = batch
        kept = w * (y >= 0) * torch.tensor([1.0, 2.0, 0.5, 3.0])[y.clamp_min(0)]  # the denominator of the loss
        squares = self(x).square().sum(dim=1)
        sum_and_weight = (squares * kept).sum(), 2 * kept.sum()
        return {"mean": sum_and_weight[0] / kept.sum().clamp_min(1e-9), "share": sum_and_weight}


def test_auxiliary_terms_belong_to_the_window_and_are_logged() -> None:
    by_hand = Net()
    x, y, w = rows()
    optimizer = by_hand.configure_optimizers()["optimizer"]
    row_weight = by_hand.objective.loss.rows(by_hand(x), y, w).weight
    mean = (by_hand(x).square().sum(dim=1) * row_weight).sum() / row_weight.sum()
    (by_hand.objective.loss(by_hand(x), y, w) + 1.5 * mean).backward()
    optimizer.step()
    for batch_size in (64, 16):
        module = WithAuxiliary()
        logged = fit(module, loader(batch_size), accumulate_grad_batches=4, log_every_n_steps=1).callback_metrics
        torch.testing.assert_close(weights(module), weights(by_hand), rtol=0, atol=1e-6)
        torch.testing.assert_close(logged["train/auxiliary/mean"], mean.detach())
        torch.testing.assert_close(logged["train/auxiliary/share"], mean.detach() / 2)
        torch.testing.assert_close(logged["train/objective"], logged["train/loss"] + 1.5 * mean.detach())


def test_an_auxiliary_term_over_other_rows_is_refused_in_a_window_of_several() -> None:
    class OtherRows(Net):
        def auxiliary_losses(self, batch: Any) -> dict[str, Any]:
            return {"all": (self(batch[0]).square().sum(), torch.tensor(float(len(batch[0]))))}

    fit(OtherRows(), loader(64))
    with pytest.raises(ValueError, match="exact=False"):
        fit(OtherRows(), loader(16), accumulate_grad_batches=4)
    with pytest.raises(ValueError, match=r"auxiliary_losses\['rows'\] must be a scalar mean"):
        Net().objective.terms(torch.zeros(2, 4), torch.tensor([0, 1]), None, {}, {"rows": torch.zeros(2)})


def test_a_term_added_to_the_mixins_own_step_keeps_its_gradient() -> None:
    class Adds(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) + 0.1 * self(batch[0]).square().mean()

    module, by_hand = Adds(), Net()
    fit(module, loader(64))
    optimizer = by_hand.configure_optimizers()["optimizer"]
    x, y, w = rows()
    (by_hand.objective.loss(by_hand(x), y, w) + 0.1 * by_hand(x).square().mean()).backward()
    optimizer.step()
    torch.testing.assert_close(weights(module), weights(by_hand), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("limits", "train_rows", "val_rows"),
    [
        ({}, 64, 64),  # the last batch of 24 has 16 rows
        ({"limit_train_batches": 2, "limit_val_batches": 1}, 48, 24),
        ({"limit_train_batches": 0.4, "limit_val_batches": 0.7}, 24, 48),
    ],
)
def test_an_epochs_loss_is_the_mean_over_the_rows_served(
    limits: dict[str, Any], train_rows: int, val_rows: int
) -> None:
    module = Net(optimizer={"name": "sgd", "lr": 0.0})
    logged = fit(module, loader(24), loader(24), **limits).callback_metrics
    for stage, count in (("train", train_rows), ("val", val_rows)):
        x, y, w = (column[:count] for column in rows())
        torch.testing.assert_close(logged[f"{stage}/loss"], module.objective.loss(module(x), y, w).detach())


def test_several_loaders_are_logged_each_and_pooled() -> None:
    module = Net()
    x, y, w = rows()
    parts = [slice(0, 24), slice(24, 64)]
    loaders = [DataLoader(TensorDataset(x[part], y[part], w[part]), batch_size=16) for part in parts]
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.validate(module, loaders, verbose=False)
    logged = trainer.callback_metrics
    torch.testing.assert_close(logged["val/loss"], module.objective.loss(module(x), y, w).detach())
    for i, part in enumerate(parts):
        expected = module.objective.loss(module(x[part]), y[part], w[part]).detach()
        torch.testing.assert_close(logged[f"val/loss/dataloader_idx_{i}"], expected)


def test_what_cannot_be_exact_says_so() -> None:
    with pytest.raises(ValueError, match="exact must be False or None: it weights a row by how many of its batch"):
        Net(loss=GHM, exact=True)
    assert not Net(loss=GHM)._ll_exact
    module = Net(exact=True)
    module.net.insert(1, nn.BatchNorm1d(8))
    with pytest.warns(UserWarning, match=r"exact=True, but net.1 \(BatchNorm1d\)"):
        fit(module, loader(16), accumulate_grad_batches=2)


# What half precision rounds is compared with the update that training makes.
@pytest.mark.parametrize(
    ("precision", "share"), [("bf16-mixed", 0.02), ("bf16-true", 0.1), ("64-true", 1e-12), ("32-true", 1e-5)]
)
def test_a_batch_can_be_split_in_every_precision(precision: str, share: float) -> None:
    def train(batch_size: int) -> Tensor:
        module = Net(optimizer={"name": "sgd", "lr": 1.0})
        fit(module, loader(batch_size), accumulate_grad_batches=64 // batch_size, precision=precision)
        return weights(module).double()

    start, whole = weights(Net()).double(), train(64)
    assert (train(16) - whole).norm() < share * (whole - start).norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_loss_of_half_outputs_is_float32_without_autocast(dtype: torch.dtype) -> None:
    x, y, w = rows()
    module = Net()
    terms = module.compute_objective(module(x).to(dtype), y, w)
    assert terms.loss.dtype == torch.float32
    torch.testing.assert_close(terms.loss, module.compute_objective(module(x), y, w).loss, rtol=0.01, atol=0)
