"""Every YAML file under conf is composed and trains for a step; lists of arguments are complete."""

import inspect
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint, RichProgressBar
from omegaconf import OmegaConf

import lightning_losses as ll
from lightning_losses import conf
from lightning_losses.app import run
from lightning_losses.app.data import KINDS
from lightning_losses.app.data.table_file import Columns
from tests.app.loading import write_fashion, write_image_folder

CONF = Path(conf.__file__).parent
GROUPS = ("loss", "regularizer", "constraint", "optimizer", "scheduler")
OWN_GROUPS = ("loss", "data", "model", "metrics", "trainer", "callbacks", "logger", "compare")
STEP = [
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=1",
    "trainer.log_every_n_steps=1",
    "trainer.accelerator=cpu",
    "callbacks.progress_bar=null",
]
DATA_FOR = {
    "binary": ["data=rings"],
    "multiclass": ["data=digits"],
    "multilabel": ["data=random_labels"],
    "regression": ["data=csv", "data.path={folder}/table.csv", "data.target=number"],
}
# without a key `task`
TASK_OF = {
    "adaptive_log_softmax": "multiclass",
    "ce_balanced": "multiclass",
    "ce_effective": "multiclass",
    "ce_smoothed": "multiclass",
    "focal_balanced": "binary",
    "hinge": "binary",
}
# a single batch may lack a class
ONE_BATCH = pytest.mark.filterwarnings(
    "ignore:No positive samples in targets", "ignore:Average precision score for one"
)
FASHION = ["data.root={folder}", "data.download=false", "data.val_fraction=0.5"]
# what a file cannot know by itself
NEEDED = {
    "loss/adaptive_log_softmax": [
        "loss.in_features=4",
        "loss.n_classes=10",
        "loss.cutoffs=[5]",
        "model.out_features=4",
    ],
    "loss/forward_correction": [f"loss.transition={torch.eye(10).tolist()}"],
    "data/digits_long_tailed": ["loss=ce"],
    "data/digits_noisy": ["loss=ce"],
    "data/csv": ["data.path={folder}/table.csv", "data.target=label"],
    "data/fashion_mnist": FASHION,
    "data/image_folder": ["data.root={folder}/images", "data.size=8", "loss=ce"],
    "data/npz": ["data.path={folder}/arrays.npz", "loss=ce"],
    "data/parquet": ["data.path={folder}/table.parquet", "data.target=label"],
    "model/cnn": ["data=fashion_mnist", *FASHION, "loss=ce"],
    "model/resnet18": ["data=fashion_mnist", *FASHION, "loss=ce"],
    "model/custom": ["model._target_=torch.nn.Linear", "+model.in_features=2", "+model.out_features=1"],
    "constraint/unit_norm": ["model=linear"],
}


def choices(folder, groups):
    return sorted(str(path.relative_to(folder).with_suffix("")) for g in groups for path in (folder / g).glob("*.yaml"))


def task_of(loss):
    """The task of a loss for which no root key `task` decides."""
    path = CONF / "loss" / f"{loss}.yaml"
    mapping = OmegaConf.create({"loss": OmegaConf.load(path)}).loss if path.exists() else {}
    return TASK_OF.get(loss) or mapping.get("task", "regression")


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch):
    monkeypatch.setattr("lightning_losses.app.report.write_figure", lambda *_: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    rows = [f"{i % 7},{'yes' if i % 3 else 'no'},{i % 7 + i / 100}" for i in range(60)]
    (path / "table.csv").write_text("\n".join(["x,label,number", *rows]))
    pd.read_csv(path / "table.csv").to_parquet(path / "table.parquet")
    np.savez(path / "arrays.npz", x=np.arange(120.0).reshape(60, 2), y=np.arange(60) % 3)
    write_image_folder(path / "images")
    write_fashion(path)
    return path


# kl_div takes probabilities, ddp starts processes: tests/app/test_relaunch.py
ELSEWHERE = {"loss/kl_div", "trainer/ddp"}
TRAINED = [c for c in choices(CONF, GROUPS) + choices(CONF / "app", OWN_GROUPS) if c not in ELSEWHERE]


@ONE_BATCH
@pytest.mark.parametrize("choice", TRAINED)
def test_a_step(choice, folder, tmp_path, request):
    group, _, name = choice.rpartition("/")
    if group in GROUPS:  # the figures do not depend on it
        request.getfixturevalue("no_figures")
    overrides = [f"{group}={name}", *STEP, *NEEDED.get(choice, [])]
    if group == "loss":
        overrides += DATA_FOR[task_of(name)]
    overrides = [override.replace("{folder}", str(folder)) for override in overrides]
    if group == "callbacks":
        overrides.remove("callbacks.progress_bar=null")
    result = run(ll.compose(*overrides), tmp_path).result
    assert result["status"] == "finished"
    assert result["epochs"] == 1


@ONE_BATCH
@pytest.mark.parametrize("name", [path.stem for path in (CONF / "app" / "experiment").glob("*.yaml")])
def test_every_experiment(name, tmp_path):
    assert run(ll.compose(f"experiment={name}", *STEP), tmp_path).result["status"] == "finished"


@pytest.mark.parametrize("name", [path.stem for path in (CONF / "app" / "experiment").glob("*.yaml")])
def test_an_experiments_penalties_and_constraints_can_be_switched_off(name):
    cfg = ll.compose(f"experiment={name}", "regularizer=none", "constraint=none")
    assert cfg.regularizer == cfg.constraint == {}


def test_a_step_of_kl_div_whose_targets_are_probabilities():
    scores = torch.zeros(4, 3, requires_grad=True)
    loss = ll.get_loss(OmegaConf.load(CONF / "loss" / "kl_div.yaml"))
    loss(scores.log_softmax(1), torch.full((4, 3), 1 / 3)).backward()
    assert scores.grad is not None


def test_no_file_that_others_mount_depends_on_another():
    files = [path for group in GROUPS for path in (CONF / group).glob("*.yaml")]
    assert len(files) > len(GROUPS)
    assert not [path for path in files if "defaults" in yaml.safe_load(path.read_text())]


def test_the_trainers_arguments_are_complete():
    built_from_other_groups = {"self", "logger", "callbacks", "plugins", "default_root_dir"}
    answered_by_callbacks = {"enable_checkpointing", "enable_progress_bar", "enable_model_summary"}
    expected = inspect.signature(L.Trainer.__init__).parameters.keys() - built_from_other_groups - answered_by_callbacks
    assert ll.compose().trainer.keys() == expected


@pytest.mark.parametrize(
    ("block", "callback", "elsewhere"),
    [
        ("early_stopping", EarlyStopping, set()),
        ("checkpoint", ModelCheckpoint, {"dirpath"}),
        ("lr_monitor", LearningRateMonitor, set()),
        ("progress_bar", RichProgressBar, {"theme", "console_kwargs"}),
    ],
)
def test_the_callbacks_arguments_are_complete_with_their_names(block, callback, elsewhere):
    expected = inspect.signature(callback.__init__).parameters.keys() - {"self"} - elsewhere
    assert ll.compose().callbacks[block].keys() - {"enabled", "last_every_n_steps"} == expected


@pytest.mark.parametrize("choice", choices(CONF / "app", ["data"]))
def test_the_datas_arguments_are_complete(choice):
    mapping = OmegaConf.load(CONF / "app" / f"{choice}.yaml")
    expected = inspect.signature(KINDS[mapping.name]).parameters.keys() - {"task", "split"}
    if "columns" in expected:
        expected = expected - {"columns"} | inspect.get_annotations(Columns).keys()
    shared = {
        "imbalance",
        "label_noise",
        "name",
        "split",
        "val_fraction",
        "test_fraction",
        "seed",
        "batch_size",
        "eval_batch_size",
    }
    assert mapping.keys() - shared == expected
