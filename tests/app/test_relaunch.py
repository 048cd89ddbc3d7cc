"""The command on two processes: Lightning starts the second by running the command again."""

import json
import subprocess
import sys

import pytest

import lightning_losses as ll
from lightning_losses.app import relaunch, run
from lightning_losses.app.data import build_data
from tests.app.test_run import FILES

RINGS = [
    "data.positives=50",
    "data.negatives=110",
    "model.hidden=[4]",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
]


@pytest.mark.parametrize(
    ("words", "folders"),
    [
        (["--multirun", "seed=0,1", "hydra.sweep.dir=here"], ["here/0", "here/1"]),
        pytest.param(["seed=0", "hydra.run.dir=here"], ["here"], marks=pytest.mark.long),
    ],
    ids=["sweep", "run"],
)
def test_two_processes_of_each_job_learn_what_one_learns_in_a_folder_of_the_job(words, folders, tmp_path):
    command = [sys.executable, "-m", "lightning_losses", *words, *RINGS, "trainer=ddp", "data.batch_size=7"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {path.name for path in tmp_path.iterdir()} == {"here"}
    assert {str(path.relative_to(tmp_path).parent) for path in tmp_path.rglob("result.json")} == set(folders)
    for folder in folders:
        written = {path.name for path in (tmp_path / folder).iterdir()}
        assert written == FILES | {".hydra", "hparams.yaml"}
    assert done.stdout.count("start   ") == len(folders)
    together = json.loads((tmp_path / folders[-1] / "result.json").read_text())
    one = run(ll.compose(*RINGS, "data.batch_size=14", f"seed={together['seed']}"), tmp_path / "one").result
    assert together["metrics"] == pytest.approx(one["metrics"], abs=1e-5)


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["-m", "loss=ce,focal", "seed=0,1"], []),
        (["--multirun", "--config-dir", "mine", "+x=1", "~loss"], ["--config-dir", "mine"]),
        (["--config-dir=mine", "-cn", "other", "--multirun"], ["--config-dir=mine", "-cn", "other"]),
        (["-m", "hydra.searchpath=[file://mine]", "hydra.sweep.dir=here", "x=1"], ["hydra.searchpath=[file://mine]"]),
    ],
)
def test_a_job_of_a_sweep_keeps_flags_and_drops_the_sweep(words, kept):
    assert relaunch._flags(words) == kept


def test_a_part_with_fewer_rows_than_processes_is_refused():
    data = build_data({"name": "rings", "positives": 4, "negatives": 4, "val_fraction": 0.25})

    class Ranks:
        global_rank, world_size = 0, 3

    data.trainer = Ranks()
    assert len(data.train_dataloader()) == 1
    with pytest.raises(ValueError, match="the val part has 2 rows, too few for 3 processes"):
        data.val_dataloader()


def test_several_processes_need_a_folder_that_they_share(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="folder must be given where several processes train"):
        run(ll.compose(*RINGS, "trainer=ddp"))
