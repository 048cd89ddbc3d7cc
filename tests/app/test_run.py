"""One run end to end: what it returns, prints and leaves."""

import json
import shutil

import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

import lightning_losses as ll
from lightning_losses.app import callbacks, evaluate, run, training
from lightning_losses.checkpoints import read_checkpoint

QUICK = [
    "data.positives=100",
    "data.negatives=200",
    "model.hidden=[4,8]",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
]
FILES = {
    "checkpoints",
    "data.png",
    "history.csv",
    "history.png",
    "metrics.csv",
    "outputs.npz",
    "predictions.png",
    "result.json",
}


@pytest.fixture
def no_plots(monkeypatch):
    """Leave out the figures, which take longer than a short training."""
    monkeypatch.setattr("lightning_losses.app.report.write_figure", lambda *_: None)


def test_a_run_leaves_everything_and_says_where(command, tmp_path):
    outcome = command(*QUICK, "regularizer=l2", "hydra.run.dir=here")
    folder = tmp_path / "here"
    assert outcome.status == 0
    assert outcome.err == ""
    assert {path.name for path in folder.iterdir()} >= FILES | {".hydra"}
    assert outcome.out.rstrip().endswith(str(folder))
    for shown in ("inner ring", "hidden_1", "(N, 4)", "no_decay", "start ", "finish ", "val_auroc", "radius only, val"):
        assert shown in outcome.out
    assert max(map(len, outcome.out.splitlines()[:-2])) <= 100
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "finished"
    assert {"train/loss", "train/objective", "val/auroc", "val/accuracy"} <= result["metrics"].keys()
    assert result["config"]["task"] == "binary"
    assert (result["seed"], result["parameters"]) == (0, 61)
    assert result["versions"]["torch"] == torch.__version__
    assert result["targets"] == ["outer ring", "inner ring"]
    assert result["rows"] == {"train": 210, "val": 90}
    assert result["peak_memory_mb"].keys() == {"process", "gpu"}
    history = pd.read_csv(folder / "history.csv")
    assert history["epoch"].tolist() == [0, 1]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "regularizer/l2"} <= set(history.columns)


@pytest.mark.usefixtures("no_plots")
def test_the_notebook_gets_module_history_and_result(tmp_path):
    trained = run(ll.compose("experiment=rings_focal", *QUICK), tmp_path)
    assert trained.folder == tmp_path
    assert trained.result["metrics"]["val/loss"] == trained.history["val_loss"].iloc[-1]
    prediction = trained.module.predict_step((torch.zeros(3, 2),), 0)
    assert prediction.decision.shape == (3, 1)


@pytest.mark.usefixtures("no_plots")
def test_two_runs_with_one_seed_are_the_same(tmp_path):
    first, second = (run(ll.compose(*QUICK), tmp_path / name).history.drop(columns="seconds") for name in "ab")
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.usefixtures("no_plots")
def test_the_kept_epoch_is_the_best_by_the_tasks_own_metric(tmp_path):
    trained = run(ll.compose(*QUICK, "trainer.max_epochs=4", "optimizer.lr=0.05"), tmp_path)
    best = trained.history["val_auroc"].idxmax()
    checkpoint = trained.result["checkpoint"]
    assert (checkpoint["monitor"], checkpoint["epoch"]) == ("val/auroc", trained.history["epoch"][best])
    assert trained.result["metrics"]["val/auroc"] == trained.history["val_auroc"][best]


@pytest.mark.usefixtures("no_plots")
def test_of_a_metric_that_falls_the_smallest_is_kept(tmp_path):
    hamming = ["+metrics.binary.hamming={name: BinaryHammingDistance, of: decision}", "trainer.max_epochs=3"]
    monitor = ["callbacks.checkpoint.monitor=val/hamming", "callbacks.early_stopping.monitor=val/hamming"]
    trained = run(ll.compose(*QUICK, *hamming, *monitor, "optimizer.lr=0.1", "data.batch_size=20"), tmp_path)
    values = trained.history["val_hamming"]
    assert values.max() > values.min() == trained.result["checkpoint"]["score"]
    assert (trained.result["better"]["hamming"], trained.result["better"]["auroc"]) == ("min", "max")


@pytest.mark.usefixtures("no_plots")
def test_checkpoints_are_plain_data_and_hold_the_returned_weights(tmp_path):
    trained = run(ll.compose(*QUICK), tmp_path)
    saved = torch.load(trained.result["checkpoint"]["path"], weights_only=True)
    weights = trained.module.net.state_dict(prefix="net.")
    torch.testing.assert_close({name: saved["state_dict"][name] for name in weights}, dict(weights))
    assert saved["hyper_parameters"]["loss"]["name"] == "focal"


@pytest.mark.usefixtures("no_plots")
def test_a_checkpoint_at_the_end_of_an_epoch_holds_nothing_of_what_its_metrics_have_seen(tmp_path):
    run(ll.compose(*QUICK, "trainer.max_epochs=2"), tmp_path)
    for name in ("best", "last"):
        (progress,) = read_checkpoint(tmp_path / "checkpoints" / f"{name}.ckpt")["lightning_losses"]["progress"]
        counts = [count for collection in progress["metrics"] for count, _ in collection.values()]
        assert counts
        assert set(counts) == {0}


@pytest.mark.usefixtures("no_plots")
def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path):
    whole = run(ll.compose(*QUICK, "trainer.max_epochs=4"), tmp_path / "whole")
    run(ll.compose(*QUICK), tmp_path / "half")
    last = tmp_path / "half" / "checkpoints" / "last.ckpt"
    resumed = run(ll.compose(*QUICK, "trainer.max_epochs=4", f"ckpt_path={last}"), tmp_path / "resumed")
    assert resumed.result["checkpoint"]["score"] == whole.result["checkpoint"]["score"]
    columns = ["epoch", "loss", "val_loss", "val_auroc"]
    pd.testing.assert_frame_equal(resumed.history[columns], whole.history[columns])


@pytest.mark.usefixtures("no_plots")
def test_a_run_that_broke_off_within_an_epoch_ends_like_an_uninterrupted_one(tmp_path, monkeypatch):
    options = [*QUICK, "trainer.max_epochs=3", "model.dropout=0.3", "callbacks.checkpoint.last_every_n_steps=1"]
    options += ["data.batch_size=50", "callbacks.early_stopping.patience=20", "trainer.accumulate_grad_batches=2"]
    whole = run(ll.compose(*options), tmp_path / "whole")
    end_batch = callbacks.History.on_train_batch_end

    def break_off(self, trainer, pl_module, outputs, batch, batch_idx):
        end_batch(self, trainer, pl_module, outputs, batch, batch_idx)
        if (trainer.current_epoch, batch_idx) == (1, 2):
            raise RuntimeError("broken off")

    monkeypatch.setattr(callbacks.History, "on_train_batch_end", break_off)
    with pytest.raises(RuntimeError, match="broken off"):
        run(ll.compose(*options), tmp_path / "broken")
    monkeypatch.setattr(callbacks.History, "on_train_batch_end", end_batch)
    last = tmp_path / "broken" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 4  # of 3 in an epoch, the last of 1 batch
    resumed = run(ll.compose(*options, f"ckpt_path={last}"), tmp_path / "resumed")
    pd.testing.assert_frame_equal(*(r.history.drop(columns="seconds") for r in (resumed, whole)), check_exact=True)
    assert resumed.history["seconds"].max() < 60
    ends = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (resumed.folder, whole.folder)
    ]
    for name, value in ends[0]["state_dict"].items():
        assert value.equal(ends[1]["state_dict"][name])


@pytest.mark.usefixtures("no_plots")
def test_a_run_that_has_stopped_early_does_not_go_on_when_it_is_resumed(tmp_path):
    options = [*QUICK, "trainer.max_epochs=9", "callbacks.early_stopping.patience=1", "optimizer.lr=0"]
    stopped = run(ll.compose(*options), tmp_path / "stopped")
    last = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    resumed = run(ll.compose(*options, f"ckpt_path={last}"), tmp_path / "resumed")
    assert stopped.history["epoch"].tolist() == resumed.history["epoch"].tolist() == [0, 1]
    patient = run(
        ll.compose(*options, f"ckpt_path={last}", "callbacks.early_stopping.patience=2"), tmp_path / "patient"
    )
    assert patient.history["epoch"].tolist() == [0, 1, 2]


@pytest.mark.usefixtures("no_plots")
def test_steps_that_are_not_finite_can_be_skipped(tmp_path):
    diverging = [
        "model.hidden=[64,64]",
        "optimizer=sgd",
        "optimizer.lr=1e10",
        "callbacks=none",
        "logger=none",
        "non_finite=skip",
    ]
    with pytest.warns(UserWarning, match="a step is skipped"):
        trained = run(ll.compose(*QUICK, *diverging), tmp_path)
    assert trained.history["skipped_steps"].iloc[-1] > 0


@pytest.mark.usefixtures("no_plots")
def test_a_removed_folder_is_one_line(command, tmp_path, monkeypatch):
    begin = callbacks.History.on_train_epoch_start

    def remove(self, trainer, pl_module):
        begin(self, trainer, pl_module)
        shutil.rmtree(tmp_path / "here", ignore_errors=True)

    monkeypatch.setattr(callbacks.History, "on_train_epoch_start", remove)
    outcome = command(*QUICK, "logger=none", "hydra.run.dir=here")
    assert outcome.status == 1
    assert f"cannot be written (its folder has been removed): '{tmp_path / 'here' / 'history.csv'}'" in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


@pytest.mark.usefixtures("no_plots")
def test_ctrl_c_leaves_everything_and_says_how_to_resume(command, tmp_path, monkeypatch):
    add_row = callbacks.History.on_train_epoch_start

    def press_ctrl_c(self, trainer, pl_module):
        add_row(self, trainer, pl_module)
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(callbacks.History, "on_train_epoch_start", press_ctrl_c)
    outcome = command(*QUICK, "trainer.max_epochs=5", "hydra.run.dir=here")
    last = tmp_path / "here" / "checkpoints" / "last.ckpt"
    assert outcome.status == 130
    assert f"repeat the command with ckpt_path={last}" in outcome.out
    assert json.loads((tmp_path / "here" / "result.json").read_text())["status"] == "interrupted"
    assert len(pd.read_csv(tmp_path / "here" / "history.csv")) == 2
    monkeypatch.undo()
    resumed = run(ll.compose(*QUICK, "trainer.max_epochs=3", f"ckpt_path={last}"), tmp_path / "resumed")
    assert resumed.history["epoch"].tolist() == [0, 1, 2]


@pytest.mark.usefixtures("no_plots")
def test_a_sweep_runs_in_one_process(command, tmp_path):
    outcome = command("--multirun", *QUICK, "loss=bce,focal", "hydra.sweep.dir=sweep")
    assert outcome.status == 0
    losses = [json.loads((tmp_path / "sweep" / job / "result.json").read_text())["config"]["loss"] for job in "01"]
    assert [loss["name"] for loss in losses] == ["bce", "focal"]


@pytest.mark.usefixtures("no_plots")
def test_a_loss_without_probabilities_leaves_their_metrics_out(tmp_path, capsys):
    trained = run(ll.compose(*QUICK, "loss=prob_mae"), tmp_path)
    assert "metrics left out: auroc, average_precision, calibration_error" in capsys.readouterr().out
    assert trained.result["checkpoint"]["monitor"] == "val/accuracy"


@pytest.mark.usefixtures("no_plots")
def test_keras_network_has_its_4810_parameters_and_trains(tmp_path):
    trained = run(ll.compose("experiment=keras_regularized", "trainer.max_epochs=3"), tmp_path)
    assert trained.result["parameters"] == 4810  # 64*64 + 64 + 64*10 + 10, as the tutorial prints
    assert trained.history["objective"].is_monotonic_decreasing
    norms = trained.module.net.hidden_1.weight.norm(dim=1)
    assert norms.max() <= 2 + 1e-6


@pytest.mark.usefixtures("no_plots")
def test_breast_cancer_from_a_csv_file_with_text_labels(breast_cancer, tmp_path):
    overrides = ["data=csv", f"data.path={breast_cancer}", "data.target=target", "optimizer.lr=0.01"]
    trained = run(ll.compose(*overrides, "model=linear", "trainer.max_epochs=15"), tmp_path)
    assert trained.result["config"]["task"] == "binary"
    assert trained.result["metrics"]["test/auroc"] >= 0.98


PLOTTED = {
    "confusion matrix": ["data=digits"],
    "counts of labels": ["data=random_labels", "data.rows=100"],
    "predicted over true": ["data=csv", "data.path={path}", "data.target=number", "loss=mse"],
    "two scatter plots": ["data.positives=100", "data.negatives=100"],
}


@pytest.mark.parametrize("kind", PLOTTED)
def test_every_task_has_its_plot_of_predictions(kind, write_table, tmp_path):
    path = write_table(x=[i % 7 for i in range(60)], number=[i % 7 + i / 100 for i in range(60)])
    overrides = [override.format(path=path) for override in PLOTTED[kind]]
    run(ll.compose(*overrides, "trainer.max_epochs=1", "callbacks=none", "logger=none"), tmp_path)
    for name in ("history.png", "predictions.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_the_early_stop_and_the_best_epoch_can_be_left_out(tmp_path):
    cfg = ll.compose("callbacks=last")
    assert cfg.callbacks.early_stopping is None
    built = callbacks.build_callbacks(cfg.callbacks, "binary", {"val/auroc": "max", "val/loss": "min"}, tmp_path)
    (keeper,) = (callback for callback in built if isinstance(callback, ModelCheckpoint))
    assert keeper.monitor is None


def test_lightnings_own_messages_return_after_the_run(tmp_path):
    logger = training.logging.getLogger("lightning.pytorch")
    before = logger.level
    with pytest.raises(FileNotFoundError):
        run(ll.compose("ckpt_path=nowhere"), tmp_path)
    assert logger.level == before


@pytest.mark.usefixtures("no_plots")
def test_the_kept_epoch_is_judged_by_its_own_scheduled_loss(tmp_path):
    gamma = "+callbacks.schedules.gamma={target: loss.gamma, at: [0, 3], values: [0, 3], shape: linear}"
    keep = ["callbacks.checkpoint.monitor=val/loss", "callbacks.checkpoint.mode=max", "logger=csv"]
    trained = run(ll.compose(*QUICK, "trainer.max_epochs=4", "data.test_fraction=0.2", gamma, *keep), tmp_path)
    epoch = trained.result["checkpoint"]["epoch"]
    assert epoch < 3  # the loss falls as gamma rises
    assert trained.module.objective.loss.phi.gamma == epoch
    again = evaluate(ll.compose("mode=test", f"ckpt_path={trained.result['checkpoint']['path']}", *QUICK), tmp_path)
    assert again["test/loss"] == pytest.approx(trained.result["metrics"]["test/loss"])
    logged = pd.read_csv(tmp_path / "metrics.csv")["schedule/loss.gamma"].dropna()
    assert logged.tolist() == [0, 1, 2, 3]
