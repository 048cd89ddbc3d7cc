"""What stands in a checkpoint, a results file or a data file is read, never executed."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import LightningModule
from torch import nn

import lightning_losses as ll
from lightning_losses.app.data import build_data
from lightning_losses.app.metrics import build_metrics
from lightning_losses.app.out_of_fold import join_folds
from lightning_losses.checkpoints import read_checkpoint
from lightning_losses.module import ObjectiveModule
from tests.test_mixins import SGD, Net, fit, loader

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that exists once a plant has been executed."""
    return tmp_path / "executed"


def target(marker: Path) -> dict[str, Any]:
    return {"_target_": "pathlib.Path.touch", "_args_": [str(marker)]}


def checkpoint(tmp_path: Path, **hyper_parameters: Any) -> str:
    """Return the path of a real checkpoint with other hyper-parameters."""
    module = ObjectiveModule(nn.Linear(3, 4), optimizer=SGD)
    path = tmp_path / "run.ckpt"
    fit(module, loader(64)).save_checkpoint(path)
    saved = torch.load(path, weights_only=True)
    saved["hyper_parameters"] |= hyper_parameters
    torch.save(saved, path)
    return str(path)


def test_the_plants_would_work(marker: Path, tmp_path: Path) -> None:
    torch.save(Payload(marker), tmp_path / "payload")
    torch.load(tmp_path / "payload", weights_only=False)
    assert marker.exists()
    marker.unlink()
    with pytest.raises(TypeError, match="loss must be"):
        ll.get_loss(target(marker))
    assert marker.exists()


def test_a_pickled_payload_is_refused(marker: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, loss=Payload(marker))
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        ObjectiveModule.load_from_checkpoint(path, net=nn.Linear(3, 4))
    with pytest.raises(ValueError, match="nothing in it was executed"):
        read_checkpoint(path)
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        fit(ObjectiveModule(nn.Linear(3, 4)), loader(64), max_epochs=2, ckpt_path=path)
    assert not marker.exists()


@pytest.mark.parametrize("heads", [False, True])
def test_a_target_in_the_hyper_parameters_is_refused(heads: bool, marker: Path, tmp_path: Path) -> None:
    loss = {"cls": "ce", "aux": target(marker)} if heads else target(marker)
    path = checkpoint(tmp_path, loss=loss)
    with pytest.raises(ValueError, match=r"a checkpoint may not say what is imported, .* 'pathlib\.Path\.touch'"):
        ObjectiveModule.load_from_checkpoint(path, net=nn.Linear(3, 4))
    waits_for_counts = ObjectiveModule(nn.Linear(3, 4), loss={"name": "focal", "weight": "balanced"})
    with pytest.raises(ValueError, match="a checkpoint may not say what is imported"):
        waits_for_counts.on_load_checkpoint(torch.load(path, weights_only=True))
    loaded = ObjectiveModule.load_from_checkpoint(path, net=nn.Linear(3, 4), loss="ce")
    assert isinstance(loaded.objective.loss, ll.CrossEntropyLoss)
    assert not marker.exists()


def test_a_class_that_the_caller_names_is_imported(tmp_path: Path) -> None:
    own = {"_target_": "torch.nn.CrossEntropyLoss", "label_smoothing": 0.1}
    path = checkpoint(tmp_path, loss=own)
    with pytest.raises(ValueError, match="give it yourself"):
        ObjectiveModule.load_from_checkpoint(path, net=nn.Linear(3, 4))
    loaded = ObjectiveModule.load_from_checkpoint(path, net=nn.Linear(3, 4), loss=own)
    assert loaded.objective.loss.function.label_smoothing == 0.1


def test_an_instantiator_in_the_hyper_parameters_is_refused(marker: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, _instantiator="pathlib.Path.touch", _class_path=str(marker))
    with pytest.raises(ValueError, match="not in the allowlist"):
        ObjectiveModule.load_from_checkpoint(path, net=nn.Linear(3, 4))
    assert not marker.exists()


def test_loading_on_an_instance_is_refused_as_by_lightning() -> None:
    with pytest.raises(TypeError, match="cannot be called on an instance"):
        Net().load_from_checkpoint("run.ckpt")


def test_results_of_a_fold_are_data(marker: Path, tmp_path: Path) -> None:
    (tmp_path / "0" / ".hydra").mkdir(parents=True)
    (tmp_path / "0" / "fold.csv").write_text("row,fold,target\n1,0,a\n")
    (tmp_path / "0" / ".hydra" / "config.yaml").write_text(yaml.safe_dump({"data": {"folds": 1, **target(marker)}}))
    (tmp_path / "0" / ".hydra" / "overrides.yaml").write_text("[data.fold=0]")
    assert "1 out-of-fold predictions" in join_folds(tmp_path)
    plant = f"!!python/object/apply:pathlib.Path.touch [{marker}]"
    (tmp_path / "0" / ".hydra" / "overrides.yaml").write_text(plant)
    with pytest.raises(yaml.YAMLError):
        join_folds(tmp_path)
    assert not marker.exists()


def test_arrays_of_objects_are_refused(marker: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=np.array([[Payload(marker)]] * 9, dtype=object), y=np.arange(9) % 3)
    with pytest.raises(ValueError, match=r"rows\.npz"):
        build_data({"name": "npz", "path": str(tmp_path / "rows.npz")})
    assert not marker.exists()


def test_hydra_refuses_targets_that_run_code() -> None:
    with pytest.raises(hydra.errors.InstantiationException):
        ll.get_loss({"_target_": "os.system", "_args_": ["true"]})


def test_where_hydra_has_a_whitelist_it_holds_what_the_config_names(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = []

    @contextmanager
    def execution_whitelist(names: list[str]) -> Any:
        lists.append(list(names))
        yield

    monkeypatch.setattr(hydra.utils, "execution_whitelist", execution_whitelist, raising=False)
    inner = {"_target_": "torch.nn.MSELoss", "reduction": {"_target_": "builtins.str", "object": "mean"}}
    ll.get_loss(inner)
    assert lists == [["torch.nn.MSELoss", "builtins.str"]]


def test_metrics_are_metrics() -> None:
    with pytest.raises(ValueError, match=r"torchmetrics has no 'subprocess\.Popen'"):
        build_metrics({"mine": {"name": "subprocess.Popen", "of": "decision", "args": ["true"]}})


def test_a_module_of_ones_own_loads_as_before(tmp_path: Path) -> None:
    class Own(ll.ObjectiveMixin, LightningModule):
        def __init__(self, width: int = 3) -> None:
            super().__init__(loss="sce", optimizer=SGD)
            self.save_hyperparameters("width")
            self.net = nn.Linear(width, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

    module = Own()
    fit(module, loader(64)).save_checkpoint(tmp_path / "own.ckpt")
    loaded = Own.load_from_checkpoint(tmp_path / "own.ckpt")
    assert loaded.net.weight.equal(module.net.weight)
