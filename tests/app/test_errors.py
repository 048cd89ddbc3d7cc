"""Every bad input is one clear line, exit status 1 and no traceback."""

import errno
import os
import subprocess
import sys

import pytest

import lightning_losses as ll
from lightning_losses.app import run
from lightning_losses.app.errors import one_line

ROWS = 40
CLASSES = ["yes", "no"] * (ROWS // 2)
NUMBERS = [i / 7 for i in range(ROWS)]


def without_hole(values, row, value=None):
    return [value if i == row else v for i, v in enumerate(values)]


# columns of the table (None: no table is needed), arguments, what the line must say
CASES = {
    "unknown choice": (None, ["loss=foca"], "loss=foca is unknown, did you mean 'focal'?"),
    "unknown experiment": (None, ["experiment=rings_foca"], "did you mean 'rings_focal'?"),
    "unknown name": (None, ["loss.name=foca"], "did you mean 'focal'?"),
    "unknown argument": (None, ["loss.gama=3"], "loss.gama is unknown, did you mean 'gamma'?"),
    "added argument": (None, ["+loss.gama=3"], "no argument 'gama', did you mean 'gamma'?"),
    "unknown trainer argument": (None, ["trainer.max_epoch=3"], "did you mean 'max_epochs'?"),
    "unknown group": (None, ["optimiser=adam"], "optimiser is unknown, did you mean 'optimizer'?"),
    "no value": (None, ["loss.gamma"], "loss.gamma"),
    "negative gamma": (None, ["loss.gamma=-1"], "gamma must be a finite number >= 0, got -1"),
    "negative factor": (
        None,
        ["regularizer=l2", "regularizer.l2.factor=-0.1"],
        "regularizer.l2: factor must be a finite number >= 0",
    ),
    "factor NaN": (
        None,
        ["regularizer=l2", "regularizer.l2.factor=.nan"],
        "regularizer.l2: factor must be a finite number >= 0",
    ),
    "negative rate": (None, ["optimizer.lr=-1"], "lr must be a finite number >= 0, got -1"),
    "unknown activation": (None, ["model.activation=relu"], "did you mean 'ReLU'?"),
    "no model": (None, ["model=custom"], "model._target_ is not given"),
    "not a model": (None, ["model=custom", "model._target_=builtins.dict"], "must return an nn.Module"),
    "unknown monitor": (None, ["callbacks.checkpoint.monitor=val/auc"], "callbacks.checkpoint.monitor=val/auc"),
    "unknown metric": (None, ["metrics.binary.f1.name=BinaryF1"], "did you mean 'BinaryF1Score'?"),
    "wrong task": (None, ["task=regression"], "task=regression: these data are binary"),
    "no checkpoint": (None, ["ckpt_path=nowhere.ckpt"], "there is no checkpoint 'nowhere.ckpt'"),
    "folder": (None, ["hydra.run.dir=/dev/null/run"], "/dev/null"),
    "no path": (None, ["data=csv"], "data.path is not given"),
    "missing file": (None, ["data=csv", "data.path=no.csv", "data.target=y"], "no.csv"),
    "a folder": (None, ["data=csv", "data.path=.", "data.target=y"], "data.path: '.' cannot be read as CSV"),
    "missing column": (
        {"x": NUMBERS, "label": CLASSES},
        ["data.target=labl"],
        "'labl', did you mean 'label'? (columns: x",
    ),
    "missing group column": (
        {"x": NUMBERS, "y": CLASSES},
        ["data.target=y", "data.group=g"],
        "data.group: no column 'g'",
    ),
    "empty file": ({}, ["data.target=y"], "is empty"),
    "no rows": ({"x": [], "y": []}, ["data.target=y"], "has a header but no rows"),
    "strict hole": (
        {"x": without_hole(NUMBERS, 6), "y": CLASSES},
        ["data.target=y", "data.strict=true"],
        "column 'x' has 1 holes, the first in data row 7",
    ),
    "strict text": (
        {"x": without_hole(NUMBERS, 4, "many"), "y": CLASSES},
        ["data.target=y", "data.strict=true"],
        "column 'x' holds 'many' among numbers, the first time in data row 5",
    ),
    "strict hole in the target": (
        {"x": NUMBERS, "y": without_hole(CLASSES, 2)},
        ["data.target=y", "data.strict=true"],
        "column 'y' has 1 holes, the first in data row 3",
    ),
    "one class": ({"x": NUMBERS, "y": ["a"] * ROWS}, ["data.target=y"], "column 'y' holds one class only, 'a'"),
    "no positives in validation": (
        {"t": range(ROWS), "x": NUMBERS, "y": [1] * 20 + [0] * 20},
        ["data.target=y", "data.split=time", "data.time=t", "data.test_fraction=0"],
        "the val part (8 rows) holds no row of class '1'",
    ),
    "three classes as binary": (
        {"x": NUMBERS, "y": ["a", "b", "c", "b"] * 10},
        ["data.target=y", "task=binary"],
        "task=binary: column 'y' holds 3 classes (a, b, c)",
    ),
    "text as regression": (
        {"x": NUMBERS, "y": CLASSES},
        ["data.target=y", "task=regression"],
        "task=regression: column 'y' must hold numbers, got 'yes' in data row 1",
    ),
    "numbers as labels": (
        {"x": NUMBERS, "a": NUMBERS, "b": NUMBERS},
        ["data.target=[a,b]", "task=multilabel"],
        "task=multilabel: column 'a' must hold 0 and 1, got 0.142857",
    ),
    "continuous target, loss for classes": (
        {"x": NUMBERS, "y": NUMBERS},
        ["data.target=y"],
        "loss=focal is for classes",
    ),
    "classes, loss for numbers": (
        {"x": NUMBERS, "y": CLASSES},
        ["data.target=y", "loss=mse"],
        "loss=mse is for a regression",
    ),
    "two classes, loss for an output of each": (
        {"x": NUMBERS, "y": CLASSES},
        ["data.target=y", "loss=ldam"],
        "loss=ldam is not for a binary target but for an output of each class: add task=multiclass",
    ),
    "diverged": (
        None,
        ["optimizer=sgd", "optimizer.lr=1e10", "trainer.max_epochs=1", "callbacks=none"],
        "the objective is not finite at batch",
    ),
    "rare class": (
        {"x": NUMBERS, "y": ["a"] * 39 + ["b"]},
        ["data.target=y"],
        "data.split=stratified: class 'b' has 1 row, 3 are needed",
    ),
    "no group": (
        {"x": NUMBERS, "y": CLASSES},
        ["data.target=y", "data.split=group"],
        "data.split=group needs data.group",
    ),
    "unknown split": (None, ["data.split=stratfied"], "did you mean 'stratified'?"),
    "no features": ({"y": CLASSES}, ["data.target=y"], "no column is left to predict from"),
    "fold without folds": (None, ["data.fold=1"], "data.fold=1 needs data.folds, as in data.folds=5"),
    "unknown metric of the report": (
        None,
        ["compare.metric=averge_precision", "metrics.binary.auroc=null"],
        "compare.metric must be one of 'accuracy', 'average_precision', 'f1', 'calibration_error', "
        "got 'averge_precision', did you mean 'average_precision'?",
    ),
    "fractions": (None, ["data.val_fraction=0.6", "data.test_fraction=0.5"], "must leave rows for every part"),
}


NOT = "must be a whole number"
BOOLEAN = "must be true or false"
# arguments, what the line must say; all are refused before anything is trained
WRONG_TYPES = {
    "data.folds=five": f"data.folds {NOT} or null, got 'five'",
    "data.fold=1.5": f"data.fold {NOT}, got 1.5",
    "data.seed=x": f"data.seed {NOT}, got 'x'",
    "data.val_fraction=half": "data.val_fraction must be a number, got 'half'",
    "data.test_fraction=true": "data.test_fraction must be a number, got True",
    "data.batch_size=1.5": f"data.batch_size {NOT} or auto, got 1.5",
    "data.batch_size=many": f"data.batch_size {NOT} or auto, got 'many'",
    "data.eval_batch_size=many": f"data.eval_batch_size {NOT}, got 'many'",
    "data.positives=many": f"data.positives {NOT}, got 'many'",
    "data.negative_radius=far": "data.negative_radius must be a number, got 'far'",
    "data.imbalance.factor=ten": "data.imbalance.factor must be a number, got 'ten'",
    "data.label_noise.rate=some": "data.label_noise.rate must be a number, got 'some'",
    "data=fashion_mnist data.rows=many": f"data.rows {NOT} or null, got 'many'",
    "data=fashion_mnist data.download=maybe": f"data.download {BOOLEAN}, got 'maybe'",
    "data=random_labels data.features=3.5": f"data.features {NOT}, got 3.5",
    "data=random_labels data.labels=ten": f"data.labels {NOT}, got 'ten'",
    "data=image_folder data.root=. data.size=big": f"data.size {NOT} or a list, each a whole number, got 'big'",
    "data=npz data.path=a data.max_classes=few": f"data.max_classes {NOT}, got 'few'",
    "data=csv data.path=a data.target=y data.strict=yes_please": f"data.strict {BOOLEAN}, got 'yes_please'",
    "data=csv data.path=a data.target=y data.scale_target=2": f"data.scale_target {BOOLEAN}, got 2",
    "data=csv data.path=a data.target=y data.max_categories=few": f"data.max_categories {NOT} or null, got 'few'",
    "data=csv data.path=a data.target=y data.drop=id": "data.drop must be a list, each text or a whole number, "
    "got 'id'",
    "model.hidden=64": "model.hidden must be a list, each a whole number, got 64",
    "model.dropout=some": "model.dropout must be a number, got 'some'",
    "trainer.max_epochs=many": f"trainer.max_epochs {NOT} or null, got 'many'",
    "trainer.detect_anomaly=yes_please": f"trainer.detect_anomaly {BOOLEAN}, got 'yes_please'",
    "callbacks.early_stopping.patience=long": f"callbacks.early_stopping.patience {NOT}, got 'long'",
    "callbacks.early_stopping.strict=yes_please": f"callbacks.early_stopping.strict {BOOLEAN}, got 'yes_please'",
    "callbacks.checkpoint.save_last=yes_please": f"callbacks.checkpoint.save_last {BOOLEAN}",
    "callbacks.checkpoint.save_top_k=few": f"callbacks.checkpoint.save_top_k {NOT}, got 'few'",
    "callbacks.progress_bar.enabled=maybe": "callbacks.progress_bar.enabled must be one of 'auto', True, False",
    "callbacks.epoch_table.every_n_steps=few": f"callbacks.epoch_table.every_n_steps {NOT} or null, got 'few'",
    "data.imbalance=3": "data.imbalance must be a block, as in {name: value}, got 3",
    "data.label_noise.pairs=3": "data.label_noise.pairs must be text or a block or null, got 3",
    "data.label_noise.pairs=[a,b]": "data.label_noise.pairs must be text or a block or null, got ['a', 'b']",
    "data=image_folder data.root=. data.size=[8]": "data.size must be one number, or height and width, got [8]",
    "data=image_folder data.root=. data.size=[8,8,8]": "data.size must be one number, or height and width",
    "seed=x": "seed must be a whole number in [0, 4294967295], got 'x'",
    "seed=-1": "seed must be a whole number in [0, 4294967295], got -1",
    "data.seed=-1": "data.seed must be a whole number in [0, 4294967295], got -1",
    "ckpt_path=3": "there is no checkpoint '3'",
    "mode=test ckpt_path=3": "there is no checkpoint '3'",
    "mode=report path=3": "path: there is no folder '3'",
    "callbacks.lr_monitor=3": "callbacks.lr_monitor must be a block, as in {name: value}, got 3",
    "callbacks.schedules=3": "callbacks.schedules must be a block, as in {name: value}, got 3",
    "callbacks.epoch_table=3": "callbacks.epoch_table must be a block, as in {name: value}, got 3",
    "callbacks.progress_bar=3": "callbacks.progress_bar must be a block, as in {name: value}, got 3",
    "callbacks.early_stopping=3": "callbacks.early_stopping must be a block, as in {name: value}, got 3",
    "callbacks.checkpoint.train_time_interval=soon": "checkpoint.train_time_interval must be a finite number > 0",
    "callbacks.early_stopping.mode=lower": "callbacks.early_stopping.mode must be one of 'auto', 'min', 'max'",
    "callbacks=none callbacks.early_stopping={patence:1}": "callbacks.early_stopping has no argument 'patence'",
    "callbacks=none callbacks.lr_monitor={momentum:true}": "callbacks.lr_monitor has no argument 'momentum', did you",
    "metrics.binary.f1=3": "metrics.binary.f1 must be a block, as in {name: value}, got 3",
    "metrics.binary=3": "metrics.binary must be a block, as in {name: value}, got 3",
    "logger.csv=3": "logger.csv must be a block, as in {name: value}, got 3",
    "logger.csv.flush_logs_every_n_steps=many": f"logger.csv.flush_logs_every_n_steps {NOT}, got 'many'",
    "logger=tensorboard logger.tensorboard.log_graph=maybe": f"logger.tensorboard.log_graph {BOOLEAN}, got 'maybe'",
    "optimizer.betas=0.9": "optimizer.betas must be a list of 2, each a number, got 0.9",
    "optimizer.betas=[0.9]": "optimizer.betas must be a list of 2, each a number, got [0.9]",
    "scheduler=one_cycle scheduler.three_phase=maybe": f"scheduler.three_phase {BOOLEAN}, got 'maybe'",
    "scheduler=one_cycle scheduler.cycle_momentum=maybe": f"scheduler.cycle_momentum {BOOLEAN}, got 'maybe'",
    "scheduler=exponential scheduler.gamma=fast": "scheduler.gamma must be a number, got 'fast'",
    "scheduler=step scheduler.step_size=few": f"scheduler.step_size {NOT}, got 'few'",
    "scheduler=cosine scheduler.eta_min=low": "scheduler.eta_min must be a number, got 'low'",
    "scheduler=plateau scheduler.patience=long": f"scheduler.patience {NOT}, got 'long'",
    "callbacks.label_audit=yes_please": "callbacks.label_audit must be one of True, False, got 'yes_please'",
    "decide.temperature=yes_please": "decide.temperature must be one of True, False, got 'yes_please'",
    "optimizer.amsgrad=yes_please": f"optimizer.amsgrad {BOOLEAN}, got 'yes_please'",
    "optimizer.eps=small": "optimizer.eps must be a number, got 'small'",
    "loss.from_logits=yes_please": "from_logits",
    "compare.trials=five": "compare.trials must be a whole number of at least 1, or null, got 'five'",
}
DECIDE = {
    "decide.rule=none": "decide.rule, where it is not null, must be one of 'f1', 'cost', 'recall_at_precision'",
    "decide.rule=cost": "decide.rule='cost' needs cost",
    "decide.rule=recall_at_precision decide.precision=2": "decide.precision must be a number in [0, 1], got 2",
    "decide.rule=cost decide.cost=[[0,1]]": "decide.cost must be a square matrix",
    "decide.rule=cost decide.cost=3": "decide.cost must be a square matrix of finite numbers, cost[true][decided]",
    "decide.rule=cost decide.cost=[1,2]": "decide.cost must be a square matrix of finite numbers",
    "decide.rule=cost decide.cost=[[a,b],[c,d]]": "decide.cost must be a square matrix of finite numbers",
    "+decide.foo=1": "decide has no argument 'foo' (it takes rule, cost, precision, temperature)",
    "decide=3": "decide must be a block, as in {name: value}, got 3",
    "decide.rule=f1 data=digits loss=ce": "decide.rule='f1' chooses a threshold",
}


GAMMA = "callbacks.schedules.gamma"
SCHEDULES = {
    "{target: loss.gamma, at: [0, 3], values: [0, 3], intervall: step}": f"{GAMMA} has no argument 'intervall', "
    "did you mean 'interval'? (it takes target, at, values, shape, interval)",
    "{target: loss.gamma, at: [0, 3]}": f"{GAMMA} needs values",
    "{target: loss.gamma, at: [0, ten], values: [0, 3]}": f"{GAMMA}.at must be a list, each a number, got [0, 'ten']",
    "{target: loss.gamma, at: [0, 3], values: [0]}": f"{GAMMA}: at and values must be as long",
    "{target: lss.gamma, at: [0], values: [0]}": f"{GAMMA}: target must be 'loss'",
    "{target: loss.gamma, at: [0], values: [0], shape: lin}": f"{GAMMA}: shape must be one of",
    "3": f"{GAMMA} must be a block of target, at, values, shape and interval, got 3",
}


@pytest.mark.parametrize("block", SCHEDULES)
def test_an_error_of_a_schedule_says_which_one_it_is_of(block, command):
    outcome = command(f"+{GAMMA}={block}")
    assert outcome.status == 1
    assert SCHEDULES[block] in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments", [*WRONG_TYPES, *DECIDE])
def test_a_value_of_the_wrong_type_is_one_line(arguments, command):
    outcome = command(*arguments.split())
    assert outcome.status == 1
    assert {**WRONG_TYPES, **DECIDE}[arguments] in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


# what is null is left out, or as it is by default
EMPTY = [
    ["data.imbalance=null", "data.label_noise=null", "callbacks.epoch_table=null", "callbacks.schedules=null"],
    ["decide=null", "metrics.binary=null", "callbacks.progress_bar={}"],
    ["callbacks.checkpoint={monitor: val/loss}", "+callbacks.early_stopping={patience: 2}"],
    ["callbacks.checkpoint={train_time_interval: 600}"],
    ["experiment=rings_balanced", "callbacks=none"],
]


@pytest.mark.parametrize("overrides", EMPTY, ids=str)
def test_what_is_left_out_is_as_by_default(overrides, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_losses.app.report.write_figure", lambda *_: None)
    few = ["data.positives=50", "data.negatives=90", "trainer.max_epochs=1", "trainer.accelerator=cpu", "logger=none"]
    assert run(ll.compose(*few, "callbacks=none", *overrides), tmp_path).result["status"] == "finished"


@pytest.mark.parametrize("name", CASES)
def test_one_line(name, command, write_table, tmp_path):
    columns, arguments, expected = CASES[name]
    if columns == {}:
        (tmp_path / "table.csv").write_text("")
    elif columns is not None:
        write_table(**columns)
    table = [] if columns is None else ["data=csv", f"data.path={tmp_path / 'table.csv'}"]
    outcome = command(*table, *arguments)
    assert outcome.status == 1
    assert expected in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert "Traceback" not in outcome.out + outcome.err


@pytest.mark.parametrize(
    ("filename", "expected"),
    [("history.csv", "No space left on device: 'history.csv'"), (None, "No space left on device: a file of the run")],
)
def test_an_error_of_the_disk(filename, expected):
    assert one_line(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), filename)) == expected


def test_the_traceback_on_demand(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lightning_losses", "loss=foca"],
        env={**os.environ, "HYDRA_FULL_ERROR": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
