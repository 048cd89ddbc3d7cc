"""A checkpoint alone suffices to predict: in the words of the training file, on a table that may differ a little."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import lightning_losses as ll
from lightning_losses.app import evaluate, predict, run
from lightning_losses.app.data.split import Split
from lightning_losses.app.data.table_file import table_dataset

pytestmark = pytest.mark.usefixtures("no_figures")

ROWS = 150
QUICK = ["trainer.max_epochs=3", "trainer.accelerator=cpu", "model=linear", "optimizer.lr=0.05", "logger=none"]


def patients():
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": generator.integers(20, 90, ROWS),
            "ward": generator.choice(["A", "B", "C"], ROWS),
            "dose": generator.normal(5, 2, ROWS),
        }
    )
    frame.loc[::9, "dose"] = np.nan
    risk = (frame["age"] - 55) / 10 + (frame["ward"] == "C") * 2 - frame["dose"].fillna(5) / 5
    frame["outcome"] = np.where(risk + generator.normal(0, 0.5, ROWS) > 0.5, "ill", "well")
    frame["grade"] = np.select([risk < -1, risk < 1], [3, 1], 2)  # classes that are numbers, in no order
    frame["cost"] = 1000 + 100 * risk
    frame["fever"], frame["cough"] = (risk > 0).astype(int), (risk > 2).astype(int)
    return frame


TARGETS = {"binary": "outcome", "multiclass": "grade", "regression": "cost", "multilabel": "[fever,cough]"}
OUTPUTS = ["outcome", "grade", "cost", "fever", "cough"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A trained run for each task, from one file."""
    folder = tmp_path_factory.mktemp("runs")
    path = folder / "patients.csv"
    patients().to_csv(path, index=False)
    trained = {}
    for task, target in TARGETS.items():
        loss = "mse" if task == "regression" else "focal"
        drop = f"data.drop=[{','.join(name for name in OUTPUTS if name not in target)}]"
        decide = {"binary": ["decide.rule=f1", "decide.temperature=true"]}.get(task, [])
        overrides = ["data=csv", f"data.path={path}", f"data.target={target}", drop, f"loss={loss}", *decide, *QUICK]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lightning_losses.app.report.write_figure", lambda *_: None)
            trained[task] = run(ll.compose(*overrides), folder / task)
    return trained


def checkpoint(trained):
    return f"ckpt_path={trained.result['checkpoint']['path']}"


def predicted(trained, table, folder):
    table.to_csv(folder / "new.csv", index=False)
    cfg = ll.compose("mode=predict", checkpoint(trained), "data=csv", f"data.path={folder / 'new.csv'}", *QUICK)
    return predict(cfg, folder)


@pytest.mark.parametrize("task", TARGETS)
def test_predictions_are_the_modules_own_in_the_words_of_the_file(task, runs, tmp_path):
    trained, table = runs[task], patients().drop(columns=OUTPUTS)
    found = predicted(trained, table, tmp_path)
    pd.testing.assert_frame_equal(found, pd.read_csv(tmp_path / "predictions.csv", dtype=dict(found.dtypes)), rtol=1e-4)
    assert found["row"].tolist() == list(range(1, ROWS + 1))
    saved = torch.load(trained.result["checkpoint"]["path"], weights_only=True)["lightning_losses"]["run"]
    # features by hand: the columns in the order of the encoder, its numbers from the checkpoint
    numbers = [
        (table[column["name"]].fillna(column["fill"]) - column["mean"]) / column["scale"]
        for column in saved["encoder"]["numbers"]
    ]
    (age, dose), (ward,) = saved["encoder"]["numbers"], saved["encoder"]["text"]
    holes = (table["dose"].isna() - dose["holes"][0]) / dose["holes"][1]
    one_hot = [(table["ward"] == text).astype(float) for text in ward["categories"]]
    x = torch.tensor(np.stack([*numbers, holes, *one_hot], axis=1), dtype=torch.float32)
    assert (age["name"], dose["name"], age["holes"]) == ("age", "dose", None)
    with torch.no_grad():
        decision, probabilities = trained.module.eval().predict_step((x,), 0)
    expected = {
        "binary": lambda: {"decision": [["ill", "well"][i] for i in decision.flatten()]},
        "multiclass": lambda: {"decision": [["1", "2", "3"][i] for i in decision]},
        "regression": lambda: {"decision": decision.flatten() * saved["target_scale"][1] + saved["target_scale"][0]},
        "multilabel": lambda: {"decision_fever": decision[:, 0], "decision_cough": decision[:, 1]},
    }[task]()
    chances = {
        "binary": lambda: {"probability_ill": 1 - probabilities[:, 0], "probability_well": probabilities[:, 0]},
        "multiclass": lambda: {f"probability_{name}": probabilities[:, i] for i, name in enumerate("123")},
        "regression": dict,
        "multilabel": lambda: {
            "probability_fever": probabilities[:, 0],
            "probability_cough": probabilities[:, 1],
        },
    }[task]()
    assert list(found.columns) == ["row", *expected, *chances]
    for name, values in (expected | chances).items():
        if isinstance(values, list):
            assert found[name].tolist() == values
        else:
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-6)
    assert len(set(found.iloc[:, 1])) > 1


def test_columns_are_matched_by_name(runs, tmp_path, capsys):
    table = patients()
    changed = table[table.columns[::-1]].assign(notes="none")
    changed.loc[3, "ward"] = "Z"
    plain, other = predicted(runs["binary"], table, tmp_path), predicted(runs["binary"], changed, tmp_path)
    pd.testing.assert_frame_equal(plain.drop(index=3), other.drop(index=3))
    said = capsys.readouterr().out
    assert "columns that the model does not know, left out: notes\n" in said  # it knows the target
    assert "column 'ward': 1 rows with unknown categories, 'Z': no category is set" in said


def test_the_rows_can_lie_in_a_parquet_file(runs, tmp_path):
    table = patients().drop(columns=OUTPUTS)
    table.to_parquet(tmp_path / "new.parquet")
    overrides = [checkpoint(runs["binary"]), "data=parquet", f"data.path={tmp_path / 'new.parquet'}", *QUICK]
    found = predict(ll.compose("mode=predict", *overrides), tmp_path)
    pd.testing.assert_frame_equal(found, predicted(runs["binary"], table, tmp_path))


def test_another_process_predicts_from_the_checkpoint_alone(runs, tmp_path):
    patients().drop(columns=OUTPUTS).to_csv(tmp_path / "new.csv", index=False)
    arguments = ["mode=predict", checkpoint(runs["binary"]), "data=csv", "data.path=new.csv", "hydra.run.dir=out"]
    command = [sys.executable, "-m", "lightning_losses", *arguments, "trainer.accelerator=cpu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"{ROWS} rows: {tmp_path / 'out' / 'predictions.csv'}"
    written = pd.read_csv(tmp_path / "out" / "predictions.csv")
    pd.testing.assert_frame_equal(written, predicted(runs["binary"], patients(), tmp_path), rtol=1e-4)


@pytest.mark.parametrize("task", TARGETS)
def test_the_test_mode_repeats_the_runs_numbers(task, runs, tmp_path):
    for mode, stage in (("test", "test"), ("validate", "val")):
        values = evaluate(ll.compose(f"mode={mode}", checkpoint(runs[task]), *QUICK), tmp_path)
        reported = runs[task].result["metrics"]
        assert values == pytest.approx({name: reported[name] for name in reported if name.startswith(f"{stage}/")})
        assert json.loads((tmp_path / "evaluation.json").read_text())["metrics"] == values
    assert len(values) > 2


@pytest.mark.parametrize("task", TARGETS)
def test_a_table_with_a_target_is_evaluated_as_a_whole(task, runs, tmp_path):
    table = patients()[90:]
    table.to_csv(tmp_path / "later.csv", index=False)
    options = ["data=csv", f"data.path={tmp_path / 'later.csv'}", *QUICK]
    values = evaluate(ll.compose("mode=test", checkpoint(runs[task]), *options), tmp_path)
    found = predicted(runs[task], table, tmp_path)
    if task == "regression":
        saved = torch.load(runs[task].result["checkpoint"]["path"], weights_only=True)["lightning_losses"]["run"]
        error = (found["decision"].to_numpy() - table["cost"]).abs().mean()
        assert values["test/mae"] == pytest.approx(error / float(saved["target_scale"][1]), rel=1e-4)
    elif task == "multilabel":
        right = [(found[f"decision_{name}"].to_numpy() == table[name]).mean() for name in ("fever", "cough")]
        assert values["test/accuracy"] == pytest.approx(np.mean(right))
    else:
        right = found["decision"].to_numpy() == table[TARGETS[task]].astype(str)
        assert values["test/accuracy"] == pytest.approx(right.mean())


# the checkpoint's task, changes to the table (None: no table), overrides, what the line says
REFUSED = {
    "missing column": ("binary", {"drop": "dose"}, [], "lacks the column that the model was trained on: 'dose'"),
    "text for numbers": ("binary", {"age": "old"}, [], "column 'age' held numbers in training, here it holds 'old'"),
    "no target": ("binary", {"drop": "outcome"}, ["mode=test"], "lacks the target 'outcome'"),
    "new class": (
        "binary",
        {"outcome": "dead"},
        ["mode=test"],
        "column 'outcome' holds 'dead' in data row 1, the model knows the classes ill, well",
    ),
    "no file of rows": ("binary", None, [], "data for mode=predict must be one of 'csv', 'parquet', got 'rings'"),
    "no checkpoint": (None, {}, [], "ckpt_path is not given"),
    "unknown mode": ("binary", {}, ["mode=predicts"], "mode must be one of"),
    "no such part": ("rings", None, ["mode=test"], "the run has no test part (parts: train, val)"),
    "no table": ("rings", {}, [], "the model was trained on data=rings, which is no table"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_line(name, runs, command, tmp_path):
    task, changes, overrides, expected = REFUSED[name]
    arguments = ["mode=predict", *overrides, *QUICK]
    if task == "rings":
        trained = run(ll.compose(*QUICK, "trainer.max_epochs=1"), tmp_path / "rings")
        arguments.append(checkpoint(trained))
    elif task:
        arguments.append(checkpoint(runs[task]))
    if changes is not None:
        table = patients()
        table = table.drop(columns=changes["drop"]) if "drop" in changes else table.assign(**changes)
        table.to_csv(tmp_path / "new.csv", index=False)
        arguments += ["data=csv", "data.path=new.csv"]
    outcome = command(*arguments)
    assert outcome.status == 1
    assert expected in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not (tmp_path / "predictions.csv").exists()


def test_a_file_that_has_changed_is_not_taken_for_that_of_the_training(runs, tmp_path, monkeypatch):
    trained = runs["binary"]
    changed = patients().assign(age=lambda table: table["age"] + 1)
    monkeypatch.setattr("lightning_losses.app.data.table_file.read_table", lambda *_: changed)
    with pytest.raises(ValueError, match="the data have changed since the training"):
        evaluate(ll.compose("mode=test", checkpoint(trained), *QUICK), tmp_path)


def write_images(folder, count):
    for number in range(count):
        for name, level in (("dark", 60), ("light", 190)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (level, number, 0)).save(folder / name / f"{number}.png")
    return ["data=image_folder", f"data.root={folder}", "data.size=4"]


def write_words(folder, count):
    folder.mkdir(exist_ok=True)
    words = pd.DataFrame({"word": ["hot", "cold", "cold"] * count, "y": [1, 0, 0] * count})
    words.to_csv(folder / "words.csv", index=False)
    return ["data=csv", f"data.path={folder / 'words.csv'}", "data.target=y"]


# data of which no statistic is kept that would change with them
@pytest.mark.parametrize("write", [write_images, write_words])
def test_rows_that_were_added_since_are_not_taken_for_those_of_the_training(write, tmp_path):
    trained = run(ll.compose(*write(tmp_path / "data", 20), *QUICK, "trainer.max_epochs=1"), tmp_path / "run")
    reported = trained.result["metrics"]["test/loss"]
    cfg = ll.compose("mode=test", checkpoint(trained), *QUICK)
    assert evaluate(cfg, tmp_path)["test/loss"] == pytest.approx(reported)
    write(tmp_path / "data", 30)
    for cfg.mode in ("test", "validate"):
        with pytest.raises(ValueError, match="the data have changed since the training"):
            evaluate(cfg, tmp_path)
    saved = torch.load(cfg.ckpt_path, weights_only=True)
    del saved["lightning_losses"]["run"]["checksums"]  # as before they were kept
    torch.save(saved, tmp_path / "old.ckpt")
    evaluate(ll.compose("mode=test", f"ckpt_path={tmp_path / 'old.ckpt'}", *QUICK), tmp_path)


def test_the_check_of_the_data_does_not_depend_on_the_number_of_threads():
    target = np.random.default_rng(1).uniform(0, 1, 100_000)  # a mean in float32 of them depends on it
    table = pd.DataFrame({"x": np.zeros(len(target)), "y": target})
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 8):
            torch.set_num_threads(count)
            parts = table_dataset(None, Split(), table, target="y").parts
            found.append([part.checksum() for part in parts.values()])
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1]


def test_a_class_in_a_checkpoint_is_not_imported(tmp_path):
    own = ["model=custom", "model._target_=torch.nn.Linear", "+model.in_features=2", "+model.out_features=1"]
    trained = run(ll.compose(*QUICK[:2], *own, "data.positives=100", "data.negatives=100"), tmp_path)
    options = ["mode=validate", checkpoint(trained), *QUICK[:2]]
    with pytest.raises(ValueError, match=r"give model\._target_=torch\.nn\.Linear again"):
        evaluate(ll.compose(*options), tmp_path)
    values = evaluate(ll.compose(*options, *own), tmp_path)
    assert values["val/loss"] == pytest.approx(trained.result["metrics"]["val/loss"])


def test_a_checkpoint_of_another_program_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="is a file of torch's but no checkpoint of Lightning's"):
        evaluate(ll.compose("mode=test", f"ckpt_path={tmp_path / 'other.ckpt'}"), tmp_path)


def test_the_threshold_of_a_run_is_said_and_stored(runs, tmp_path, capsys):
    result = runs["binary"].result
    (threshold,) = result["decide"]["threshold"]
    saved = torch.load(result["checkpoint"]["path"], weights_only=True)
    assert saved["lightning_losses"]["decider"] == result["decide"]
    found = predicted(runs["binary"], patients(), tmp_path)
    assert (found["decision"] == np.where(found["probability_well"] >= threshold, "well", "ill")).all()
    run(ll.compose(*QUICK, "decide.rule=f1", "data.negatives=400"), tmp_path / "again")
    assert "decides by threshold 0." in capsys.readouterr().out
