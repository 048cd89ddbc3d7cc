"""A sweep ends with its report, whatever has happened in it."""

import json

import pandas as pd
import pytest
from omegaconf import OmegaConf

import lightning_losses as ll
from lightning_losses.app import callbacks
from lightning_losses.app.compare.callback import Report
from tests.app.compare.making import write_job, write_overrides, write_plan, write_sweep

QUICK = ["data.positives=50", "data.negatives=90", "trainer.max_epochs=1", "trainer.accelerator=cpu", "callbacks=none"]
QUICK += ["logger=none", "hydra.sweep.dir=sweep", "compare.references=[linear]"]
FILES = {"report.html", "report.csv", "report.json", "references.json", "differences.png", "learning_curves.png"}


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch):
    monkeypatch.setattr("lightning_losses.app.report.write_figure", lambda *_: None)


def test_a_sweep_ends_with_its_report_and_lists_what_has_failed(command, tmp_path):
    outcome = command("--multirun", *QUICK, "loss=bce,focal,mse", "seed=0,1")
    page = tmp_path / "sweep" / "report.html"
    assert outcome.status == 1  # loss=mse is for numbers
    assert outcome.out.splitlines()[-1] == str(page)
    assert {path.name for path in page.parent.iterdir()} >= FILES | {"reliability_0.png", "reliability_1.png"}
    error = "loss=mse"
    assert outcome.err.count(f"lightning-losses: {error}") == 2
    rows = pd.read_csv(page.parent / "report.csv")
    assert rows["name"].unique().tolist() == ["logistic regression", "bce", "focal"]
    assert set(rows["runs"]) == {2}
    jobs = json.loads((page.parent / "report.json").read_text())["jobs"]
    assert [job["status"] for job in jobs] == ["finished"] * 4 + ["failed"] * 2
    assert error in jobs[-1]["error"]
    assert jobs[-1]["error"] in page.read_text().replace("&#39;", "'")

    page.unlink()
    again = command("mode=report", "path=sweep", "compare.baseline=focal")
    assert (again.status, again.out.splitlines()[-1]) == (0, str(page))
    rows = pd.read_csv(page.parent / "report.csv")
    assert set(rows["baseline"]) == {"focal"}
    assert "logistic regression" in set(rows["name"])


def test_a_reference_model_that_fails_is_listed_on_the_page(command, tmp_path, monkeypatch):
    def fails(*_):
        raise MemoryError("no room")

    monkeypatch.setattr("lightning_losses.app.compare.references._predict", fails)
    outcome = command("--multirun", *QUICK, "loss=bce,focal")
    page = tmp_path / "sweep" / "report.html"
    assert (outcome.status, outcome.out.splitlines()[-1]) == (1, str(page))
    assert "reference model logistic regression failed: MemoryError: no room" in outcome.out
    unfinished = page.read_text().partition("<h2>What has not finished</h2>")[2]
    assert "MemoryError: no room" in unfinished
    assert set(pd.read_csv(page.parent / "report.csv")["name"]) == {"bce", "focal"}


def test_a_page_is_written_where_the_reference_models_cannot_even_begin(command, tmp_path, monkeypatch):
    def fails(*_):
        raise OSError("no folder to write to")

    monkeypatch.setattr("lightning_losses.app.compare.references.fit_references", fails)
    outcome = command("--multirun", *QUICK, "loss=bce")
    page = tmp_path / "sweep" / "report.html"
    assert (outcome.status, outcome.out.splitlines()[-1]) == (1, str(page))
    assert "reference models failed: no folder to write to" in outcome.out
    assert page.is_file()


# refused before the first job is trained
BAD_SETTINGS = {
    "compare.references=linear": "compare.references must be a list, each text or null, got 'linear'",
    "compare.references=[linear,treees]": "compare.references must be one of 'linear', 'trees', got 'treees', did you",
    "compare.reference_limit=many": "compare.reference_limit must be a number, got 'many'",
    "compare.metric=3": "compare.metric must be text or null, got 3",
    "compare.baseline=[bce]": "compare.baseline must be text or null, got ['bce']",
    "compare.trials=five": "compare.trials must be a whole number of at least 1, or null, got 'five'",
    "compare.space.loss.gce.q.low=few": "compare.space.loss.gce.q.low must be a number, got 'few'",
}


@pytest.mark.parametrize("setting", BAD_SETTINGS)
def test_a_setting_of_the_report_is_refused_before_anything_is_trained(setting, command, tmp_path):
    outcome = command("--multirun", *QUICK, "loss=bce,focal", setting)
    assert outcome.status == 1
    assert BAD_SETTINGS[setting] in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "sweep" / "0").exists()


def test_no_reference_models_by_null(command, tmp_path):
    outcome = command("--multirun", *QUICK, "loss=bce", "compare.references=null")
    assert outcome.status == 0, outcome.err
    assert "reference model" not in outcome.out
    assert (tmp_path / "sweep" / "report.html").is_file()


def test_ctrl_c_reports_what_is_there(command, tmp_path, monkeypatch):
    start = callbacks.History.on_train_epoch_start
    started = []

    def press_ctrl_c(self, trainer, pl_module):
        started.append(self)
        if len(started) == 2:
            raise KeyboardInterrupt
        start(self, trainer, pl_module)

    monkeypatch.setattr(callbacks.History, "on_train_epoch_start", press_ctrl_c)
    outcome = command("--multirun", *QUICK, "loss=bce,focal,sce")
    assert outcome.status == 130
    assert outcome.out.splitlines()[-1] == str(tmp_path / "sweep" / "report.html")
    jobs = json.loads((tmp_path / "sweep" / "report.json").read_text())["jobs"]
    assert [job["status"] for job in jobs] == ["finished", "interrupted", "not started"]
    assert "1 of 3 jobs were not started" in outcome.out
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert "1 of 3 jobs finished" in page
    assert "loss=sce" in page.partition("<h2>What has not finished</h2>")[2]


def test_ctrl_c_while_reference_models_are_fitted_reports_the_jobs(command, tmp_path, monkeypatch):
    def press_ctrl_c(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lightning_losses.app.compare.references._fit", press_ctrl_c)
    outcome = command("--multirun", *QUICK, "loss=bce,focal")
    page = tmp_path / "sweep" / "report.html"
    assert (outcome.status, outcome.out.splitlines()[-1]) == (130, str(page))
    assert page.is_file()


def test_a_sweep_of_which_nothing_has_finished_is_one_line(command):
    outcome = command("--multirun", *QUICK, "loss=mse,huber")
    assert outcome.status == 1
    assert "none of 2 jobs has finished, the first with: loss=mse" in outcome.err.splitlines()[-1]


def test_a_sweep_of_another_mode_has_no_report(command, tmp_path):
    outcome = command("--multirun", "mode=predict", "seed=0,1", "hydra.sweep.dir=sweep")
    assert outcome.status == 1
    assert not (tmp_path / "sweep" / "report.html").exists()


def something_else(folder):
    write_overrides(folder / "0", ["a=1"])


def unwritable(folder):
    write_sweep(folder, {"ce": [0.5]})
    (folder / "report.html").mkdir()


BAD_FOLDERS = {
    "missing": (lambda _: None, "path: there is no folder 'sweep'"),
    "empty": (lambda folder: folder.mkdir(), "path: 'sweep' holds no job of a sweep"),
    "something else": (something_else, "path: 'sweep' holds 1 jobs, but no result.json of this command"),
    "unwritable": (unwritable, "Is a directory"),
}


@pytest.mark.parametrize("kind", BAD_FOLDERS)
def test_a_folder_that_cannot_be_reported_is_one_line(kind, command, tmp_path):
    make, line = BAD_FOLDERS[kind]
    make(tmp_path / "sweep")
    outcome = command("mode=report", "path=sweep")
    assert outcome.status == 1
    assert line in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("divides", "values", "said"),
    [
        (True, [0.5, 0.6, 0.7], "corrected for the rows that they share (Nadeau and Bengio, 2003), by 0.67 rows"),
        (False, [0.5, 0.6, 0.7], "± and p are Student"),
        (True, [0.5], None),
    ],
    ids=["the same rows divided anew", "the same rows judge", "one run"],
)
def test_the_page_says_how_chance_was_judged(divides, values, said, command, tmp_path):
    write_sweep(tmp_path / "sweep", {"ce": values, "focal": values[::-1]}, divides=divides)
    assert command("mode=report", "path=sweep").status == 0
    page = (tmp_path / "sweep" / "report.html").read_text()
    notes = page[page.index("<main>") : page.index("How to read the numbers")]
    assert said in notes if said else "Student" not in notes and "Nadeau" not in notes


KEPT = {"monitor": "val/auroc"}
CHOICES = {
    "a test part": ({"checkpoint": KEPT}, False, []),
    "nothing chosen": ({"checkpoint": {"monitor": None}}, True, []),
    "the epoch": ({"checkpoint": KEPT}, True, ["the rows that judge also chose the epoch,"]),
    "the trial": ({"trials": [{"values": {}}], "chosen_trial": 0}, True, ["also chose the trial,"]),
    "the threshold": (
        {"checkpoint": KEPT, "decide": {"threshold": [0.3]}},
        True,
        ["also chose the epoch and how to decide,", "How to decide was chosen on the validation part: decide.rule=f1."],
    ),
    "the threshold, with a test part": (
        {"decide": {"threshold": [0.3]}},
        False,
        ["How to decide was chosen on the validation part: decide.rule=f1."],
    ),
}


@pytest.mark.parametrize("case", CHOICES)
def test_the_page_says_what_the_rows_that_judge_have_chosen(case, command, tmp_path):
    more, on_val, said = CHOICES[case]
    rows = {"train": 60, "val": 40} if on_val else {"train": 60, "val": 20, "test": 40}
    config = {"decide": {"rule": "f1", "cost": None}}
    write_sweep(tmp_path / "sweep", {"ce": [0.5], "focal": [0.6]}, config=config, rows=rows, **more)
    if on_val:
        for path in tmp_path.glob("sweep/*/result.json"):
            path.write_text(path.read_text().replace('"test/', '"val/'))
    assert command("mode=report", "path=sweep").status == 0
    page = (tmp_path / "sweep" / "report.html").read_text()
    for sentence in said:
        assert sentence in page
    assert page.count("also chose") + page.count("How to decide was") == len(said)


def test_what_an_earlier_sweep_has_left_in_the_folder_is_said_and_not_reported(command, tmp_path):
    write_sweep(tmp_path / "sweep", {"ce": [0.5], "focal": [0.6], "gce": [0.7]})
    write_plan(tmp_path / "sweep", {}, ["data=csv", "loss=ce,focal", "seed=0"])
    assert "left out, of an earlier sweep in this folder: 2" in command("mode=report", "path=sweep").out
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert "2 of 2 jobs finished · 1 of an earlier sweep left out" in page
    assert "<h1>Comparison of ce, focal</h1>" in page


def test_a_sweep_that_begins_removes_the_reference_models_of_an_earlier_one(tmp_path):
    (tmp_path / "references.json").write_text('{"references": []}')
    cfg = ll.compose()
    folder = {"sweep": {"dir": str(tmp_path)}}
    Report().on_multirun_start(OmegaConf.create({"mode": "train", "compare": cfg.compare, "hydra": folder}))
    assert list(tmp_path.iterdir()) == []


def test_the_page_names_all_data(command, tmp_path):
    for i, name in enumerate(("rings", "random_labels", "csv", "csv")):
        data = {"name": name, "path": "here/new.csv" if name == "csv" else None}
        write_job(tmp_path / "sweep" / str(i), [f"data={name}", f"seed={i}"], {"f1": 0.5}, data=data)
    assert command("mode=report", "path=sweep").status == 0
    assert "data rings, random_labels, csv new.csv ·" in (tmp_path / "sweep" / "report.html").read_text()


def test_a_report_of_a_single_run_says_that_it_is_one(command, tmp_path):
    write_sweep(tmp_path / "sweep", {"ce": [0.5]})
    said = "path is the folder of a single run: there is nothing to compare it to"
    assert said in command("mode=report", "path=sweep/0").out
    assert said not in command("mode=report", "path=sweep").out


def test_a_report_needs_a_path(command):
    assert "path is not given: add path=FOLDER" in command("mode=report").err
