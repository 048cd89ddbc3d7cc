"""What is read of a sweep, and what is no sweep."""

import json

import pytest

from lightning_losses.app.compare.sweep import read_sweep
from tests.app.compare.making import write_job, write_overrides, write_sweep


def test_jobs_in_the_order_of_their_numbers(tmp_path):
    write_sweep(tmp_path, {"ce": [0.5] * 12})
    assert [job.name for job in read_sweep(tmp_path)] == [str(i) for i in range(12)]


def test_a_command_can_be_pasted_into_a_shell(tmp_path):
    write_job(tmp_path / "0", ["data.path=my table.csv", "loss=ce", "callbacks.schedules={a: 1}"])
    (job,) = read_sweep(tmp_path)
    assert job.command == "lightning-losses 'data.path=my table.csv' loss=ce 'callbacks.schedules={a: 1}'"


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


def test_what_is_no_sweep(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        read_sweep(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no job of a sweep"):
        read_sweep(tmp_path)
    write_overrides(tmp_path / "0", ["a=1"])
    (tmp_path / "0" / "result.json").write_text(json.dumps({"score": 1}))
    with pytest.raises(ValueError, match=r"holds 1 jobs, but no result\.json of this command"):
        read_sweep(tmp_path)
