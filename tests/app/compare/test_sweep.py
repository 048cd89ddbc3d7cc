"""What is read of a sweep, and what is no sweep."""

import json
import shlex
import shutil

import pytest

from lightning_losses.app.compare.sweep import left_out, read_sweep
from tests.app.compare.making import BASIC, write_job, write_overrides, write_plan, write_sweep


def test_jobs_in_the_order_of_their_numbers(tmp_path):
    write_sweep(tmp_path, {"ce": [0.5] * 12})
    assert [job.name for job in read_sweep(tmp_path)] == [str(i) for i in range(12)]


def test_a_command_can_be_pasted_into_a_shell(tmp_path):
    write_job(tmp_path / "0", ["data.path=my table.csv", "loss=ce", "callbacks.schedules={a: 1}"])
    (job,) = read_sweep(tmp_path)
    assert job.command == "lightning-losses 'data.path=my table.csv' loss=ce 'callbacks.schedules={a: 1}'"


def test_a_command_has_the_folders_of_configs_that_the_sweep_had(command, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_losses.app.report.write_figure", lambda *_: None)
    monkeypatch.setattr("lightning_losses.app.compare.callback.report_sweep", lambda *_, **__: 0)
    for folder, rate in (("my settings", 0.25), ("others", 0.5)):
        (tmp_path / folder / "experiment").mkdir(parents=True)
        text = f"# @package _global_\noptimizer: {{lr: {rate}}}\n"
        (tmp_path / folder / "experiment" / f"rate_{rate}.yaml").write_text(text)
    found = f"hydra.searchpath=[file://{tmp_path / 'others'},pkg://lightning_losses.conf]"
    quick = ["data.positives=50", "data.negatives=90", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    quick += ["callbacks=none", "logger=none", "hydra.sweep.dir=sweep"]
    sweep = ["--multirun", "experiment=rate_0.25,rate_0.5", found, *quick]
    assert command("--config-dir", "my settings", *sweep).status == 0
    jobs = read_sweep(tmp_path / "sweep")
    for job, rate in zip(jobs, (0.25, 0.5), strict=True):
        assert job.flags == ["--config-dir", str(tmp_path / "my settings"), found]
        name, *words = shlex.split(job.command)
        assert name == "lightning-losses"
        assert f"  lr: {rate}\n" in command(*words, "--cfg", "job").out
    shutil.rmtree(tmp_path / "sweep" / "1")
    assert read_sweep(tmp_path / "sweep")[1].command == jobs[1].command


@pytest.mark.parametrize("content", ["", "- 1", "{", "hydra: 3", "hydra: {runtime: {config_sources: 3}}"])
def test_a_damaged_config_of_hydra_is_as_good_as_none(content, tmp_path):
    write_job(tmp_path / "0", ["loss=ce"])
    (tmp_path / "0" / ".hydra" / "hydra.yaml").write_text(content)
    assert read_sweep(tmp_path)[0].command == "lightning-losses loss=ce"


def test_nothing_in_an_override_is_resolved(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    write_job(tmp_path / "0", ["loss=${oc.env:SECRET}"])
    assert read_sweep(tmp_path)[0].overrides == {"loss": "${oc.env:SECRET}"}


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"accuracy": 1}', '{"status": "finished"}', '{"status": []}'])
def test_a_result_that_is_damaged_or_of_something_else_is_no_result(content, tmp_path):
    write_job(tmp_path / "0", ["loss=ce"])
    write_overrides(tmp_path / "1", ["loss=focal"])
    (tmp_path / "1" / "result.json").write_text(content)
    assert [job.status for job in read_sweep(tmp_path)] == ["finished", "unfinished"]


def test_damaged_files_beside_the_result_are_as_good_as_none(tmp_path):
    write_job(tmp_path / "0", ["loss=ce"])
    for name in ("history.csv", "outputs.npz"):
        (tmp_path / "0" / name).write_bytes(b"\x00PK")
    (job,) = read_sweep(tmp_path)
    assert job.outputs == {}
    assert "val_average_precision" not in job.history


def test_a_chosen_trial_has_its_files_in_its_own_folder(tmp_path):
    write_job(tmp_path / "0", ["loss=ce"], chosen_trial=3)
    assert read_sweep(tmp_path)[0].kept_folder == tmp_path / "0" / "trials" / "3"


PLANNED = ["data=csv", "loss=ce,focal", "seed=0,1"]
OPEN = [("2", "loss=focal", "seed=0"), ("3", "loss=focal", "seed=1")]
PLANS = {
    "on the command line": ({}, PLANNED, OPEN),
    "in an experiment": ({"loss": "ce,gce", "seed": "0,1"}, ["data=csv", "loss=ce,focal"], OPEN),
    "a range": ({}, ["data=csv", "loss=choice(ce,focal)", "seed=range(0,2)"], OPEN),
    "of a sweep with other jobs": ({}, ["data=csv", "loss=gce,focal", "seed=0,1"], []),
    "which only Hydra knows": ({}, ["data=csv", "loss=glob(*)", "seed=0,1"], []),
}


@pytest.mark.parametrize("plan", PLANS)
def test_jobs_that_were_planned_and_have_not_started(plan, tmp_path):
    params, task, expected = PLANS[plan]
    write_sweep(tmp_path, {"ce": [0.5, 0.6]})
    write_plan(tmp_path, params, task)
    jobs = read_sweep(tmp_path)[2:]
    found = [(job.name, *(f"{key}={value}" for key, value in job.overrides.items() if key != "data")) for job in jobs]
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))
    assert {job.status for job in jobs} <= {"not started"}


def test_what_an_earlier_sweep_has_left_in_the_folder_is_left_out(tmp_path):
    write_sweep(tmp_path, {"ce": [0.5], "sce": [0.6], "gce": [0.7]})
    write_plan(tmp_path, {}, ["data=csv", "loss=ce,sce,focal", "seed=0"])
    jobs = read_sweep(tmp_path)
    assert [(job.overrides["loss"], job.status) for job in jobs] == [
        ("ce", "finished"),
        ("sce", "finished"),
        ("focal", "not started"),
    ]
    assert left_out(tmp_path, jobs) == ["2"]


def test_a_sweeper_that_chooses_among_the_combinations_has_no_plan(tmp_path):
    write_sweep(tmp_path, {"ce": [0.5]})
    write_plan(
        tmp_path,
        {},
        ["data=csv", "loss=ce,sce", "seed=0"],
        sweeper="hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper",
    )
    jobs = read_sweep(tmp_path)
    assert [job.status for job in jobs] == ["finished"]
    assert left_out(tmp_path, jobs) == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        "- 1",
        "{",
        "hydra: 3",
        "hydra: {sweeper: {}}",
        f"hydra: {{sweeper: {{_target_: {BASIC}}}, overrides: {{task: [=]}}}}",
    ],
)
def test_a_plan_that_is_damaged_is_as_good_as_none(content, tmp_path):
    write_sweep(tmp_path, {"ce": [0.5]})
    (tmp_path / "multirun.yaml").write_text(content)
    assert len(read_sweep(tmp_path)) == 1


def test_what_is_no_sweep(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        read_sweep(tmp_path / "nowhere")
    (tmp_path / "report.html").touch()
    with pytest.raises(FileNotFoundError, match="it is a file: give the folder of a sweep"):
        read_sweep(tmp_path / "report.html")
    with pytest.raises(ValueError, match="holds no job of a sweep"):
        read_sweep(tmp_path)
    write_overrides(tmp_path / "0", ["a=1"])
    (tmp_path / "0" / "result.json").write_text(json.dumps({"score": 1}))
    with pytest.raises(ValueError, match=r"holds 1 jobs, but no result\.json of this command"):
        read_sweep(tmp_path)
