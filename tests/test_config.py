"""`ll.compose` gives in a notebook what the command runs."""

import subprocess
import sys

import hydra
import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import lightning_losses as ll


def test_overrides_are_those_of_the_command():
    cfg = ll.compose("loss=sce", "loss.alpha=0.1", "trainer.max_epochs=3")
    assert (cfg.loss.name, cfg.loss.alpha, cfg.trainer.max_epochs) == ("sce", 0.1, 3)


def test_the_same_config_as_the_command_prints():
    overrides = ["experiment=rings_focal", "loss.gamma=3"]
    command = [sys.executable, "-m", "lightning_losses", *overrides, "--cfg", "job"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert OmegaConf.to_container(ll.compose(*overrides)) == yaml.safe_load(printed)


def test_the_state_of_a_running_hydra_app_is_restored(tmp_path):
    (tmp_path / "theirs.yaml").write_text("theirs: 1\n")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.3"):
        running = GlobalHydra.instance().hydra
        assert ll.compose().loss.name == "focal"
        assert GlobalHydra.instance().hydra is running
        assert hydra.compose("theirs").theirs == 1


def test_nothing_is_left_behind_after_an_error():
    with pytest.raises(hydra.errors.HydraException):
        ll.compose("loss=foca")
    assert not GlobalHydra.instance().is_initialized()


def test_hydra_is_imported_by_compose_alone():
    code = "import sys, lightning_losses; assert not {'hydra', 'omegaconf', 'lightning'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_task_of_the_data_reaches_every_loss():
    cfg = ll.compose("loss=focal", "task=multilabel")
    assert cfg.loss.task == "multilabel"
