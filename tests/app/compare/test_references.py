"""Reference models on the rows of the jobs, judged as scikit-learn judges them."""

import json

import numpy as np
import pytest
from omegaconf import OmegaConf
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    precision_recall_curve,
    r2_score,
    recall_score,
    roc_auc_score,
)

import lightning_losses as ll
from lightning_losses.app.compare.references import BOOSTING, fit_references, read_references
from lightning_losses.app.compare.sweep import Job
from lightning_losses.app.data import build_data

RINGS = ["data=rings", "data.positives=100", "data.negatives=300", "data.test_fraction=0.2"]


def job(name, task, *overrides):
    cfg = ll.compose(*overrides)
    config = {part: OmegaConf.to_container(cfg[part], resolve=True) for part in ("data", "decide")}
    result = {"status": "finished", "task": task, "seed": cfg.seed, "config": config}
    return Job(name, None, {}, result)


def dataset_of(made):
    return build_data(json.loads(json.dumps(made.result["config"]["data"])), made.result["task"]).dataset


def test_metrics_are_scikit_learns_on_the_same_rows(tmp_path):
    jobs = [job("0", "binary", *RINGS), job("1", "binary", *RINGS), job("2", "binary", *RINGS, "seed=1")]
    fit_references(tmp_path, jobs, ll.compose())
    records = read_references(tmp_path)
    assert [(record["name"], record["jobs"]) for record in records] == [
        ("logistic regression", ["0", "1"]),
        ("boosted trees", ["0", "1"]),
        ("logistic regression", ["2"]),
        ("boosted trees", ["2"]),
    ]
    parts = dataset_of(jobs[0]).parts
    (x, y), (test_x, test_y) = ((parts[name].x.numpy(), parts[name].y.flatten().numpy()) for name in ("train", "test"))
    for record, model in zip(
        records, [LogisticRegression(max_iter=1000), HistGradientBoostingClassifier(**BOOSTING)], strict=False
    ):
        model.fit(x, y)
        said, decided = model.predict_proba(test_x)[:, 1], model.predict(test_x)
        assert record["metrics"]["test/auroc"] == pytest.approx(roc_auc_score(test_y, said))
        assert record["metrics"]["test/average_precision"] == pytest.approx(average_precision_score(test_y, said))
        assert record["metrics"]["test/accuracy"] == pytest.approx(accuracy_score(test_y, decided))
        assert record["recall"]["test"] == pytest.approx(recall_score(test_y, decided, average=None))


def test_each_division_is_fitted_once(tmp_path):
    table = tmp_path / "two.csv"
    table.write_text("x,y\n" + "".join(f"{i % 7},{i % 2}\n" for i in range(60)))
    rows = ["data=csv", f"data.path={table}", "data.target=y"]
    learned = [
        ["data.batch_size=16"],
        ["data.batch_size=32", "data.sampler=balanced"],
        ["data.eval_batch_size=7", "seed=1"],
    ]
    jobs = [job(str(i), "binary", *rows, "data.seed=0", *own) for i, own in enumerate(learned)]
    jobs += [job("3", "binary", *rows, "seed=1"), job("4", "multiclass", *rows, "data.seed=0")]
    fit_references(tmp_path, jobs, ll.compose("compare.references=[linear]"))
    records = read_references(tmp_path)
    assert [record["jobs"] for record in records] == [["0", "1", "2"], ["3"], ["4"]]
    assert {record["status"] for record in records} == {"finished"}


def test_decisions_are_by_the_rule_of_the_jobs_chosen_on_validation_rows(tmp_path):
    rare = [*RINGS, "data.positives=60", "data.positive_radius=6"]
    made = [job("0", "binary", *rare, "decide.rule=f1"), job("1", "binary", *rare, "decide.rule=f1")]
    fit_references(tmp_path, made, ll.compose("compare.references=[linear]"))
    (record,) = read_references(tmp_path)
    parts = dataset_of(made[0]).parts
    (x, y), (val_x, val_y), (test_x, test_y) = ((p.x.numpy(), p.y.flatten().numpy()) for p in parts.values())
    model = LogisticRegression(max_iter=1000).fit(x, y)
    p = model.predict_proba(val_x)[:, 1]
    precision, recall, thresholds = precision_recall_curve(val_y, p)
    lowest = thresholds[np.argmax(2 * precision * recall / (precision + recall).clip(1e-12))]
    (threshold,) = record["decide"]["threshold"]
    assert ((p >= threshold) == (p >= lowest)).all()
    decided = model.predict_proba(test_x)[:, 1] >= threshold
    assert record["metrics"]["test/f1"] == pytest.approx(f1_score(test_y, decided))
    assert record["recall"]["test"] == pytest.approx(recall_score(test_y, decided, average=None))
    assert record["metrics"]["test/f1"] > f1_score(test_y, model.predict(test_x), zero_division=0)


@pytest.mark.parametrize(
    ("task", "overrides", "decide"),
    [
        ("multiclass", ["data=digits"], ["decide.rule=cost", f"decide.cost={(1 - np.eye(10)).tolist()}"]),
        ("multilabel", ["data=random_labels", "data.rows=60", "data.labels=2"], ["decide.rule=f1"]),
        ("binary", RINGS, ["decide.temperature=true"]),
    ],
)
def test_rules_of_other_tasks(task, overrides, decide, tmp_path):
    fit_references(tmp_path, [job("0", task, *overrides, *decide)], ll.compose("compare.references=[linear]"))
    (record,) = read_references(tmp_path)
    assert (record["status"], any(record["decide"].values())) == ("finished", True)


def test_where_jobs_decide_by_rules_of_their_own_so_does_a_reference_model(tmp_path):
    made = [job("0", "binary", *RINGS), job("1", "binary", *RINGS, "decide.rule=f1")]
    fit_references(tmp_path, made, ll.compose("compare.references=[linear]"))
    assert read_references(tmp_path)[0]["decide"] is None


@pytest.mark.parametrize(
    ("task", "overrides", "metric"),
    [
        ("multiclass", ["data=digits"], "test/accuracy"),
        ("multilabel", ["data=random_labels", "data.rows=60", "data.labels=2"], "val/average_precision"),
    ],
)
def test_other_tasks(task, overrides, metric, tmp_path):
    fit_references(tmp_path, [job("0", task, *overrides)], ll.compose("compare.references=[linear]"))
    (record,) = read_references(tmp_path)
    assert 0.3 < record["metrics"][metric] <= 1


def test_the_trees_find_rare_positives_among_many_rows(tmp_path):
    rare = ["data=rings", "data.positives=80", "data.negatives=40000", "data.positive_radius=3"]
    made = job("0", "binary", *rare)
    fit_references(tmp_path, [made], ll.compose("compare.references=[trees]"))
    train, val = (dataset_of(made).parts[name] for name in ("train", "val"))
    # its defaults stop after ten trees where there are more than 10,000 rows
    default = HistGradientBoostingClassifier(random_state=0).fit(train.x.numpy(), train.y.flatten().numpy())
    reached = average_precision_score(val.y.flatten().numpy(), default.predict_proba(val.x.numpy())[:, 1])
    assert read_references(tmp_path)[0]["metrics"]["val/average_precision"] > reached + 0.2


def test_a_number_to_predict(tmp_path, write_table):
    path = write_table(x=range(60), y=[2.0 * i + 0.5 for i in range(60)])
    made = job("0", "regression", "data=csv", f"data.path={path}", "data.target=y")
    fit_references(tmp_path, [made], ll.compose("compare.references=[linear]"))
    (record,) = read_references(tmp_path)
    assert record["name"] == "ridge regression"
    part = dataset_of(made).parts["test"]
    assert record["metrics"]["test/r2"] == pytest.approx(r2_score(part.y, part.y), abs=0.01)


def test_what_would_take_long_is_left_out_and_said(tmp_path):
    fit_references(tmp_path, [job("0", "binary", *RINGS)], ll.compose("compare.reference_limit=100"))
    record = read_references(tmp_path)[0]
    assert record["status"] == "skipped"
    # (400 - 80 - 120) rows x 2 columns
    assert record["error"] == "200 rows x 2 columns x 1 outputs would take long: compare.reference_limit=400 fits it"


@pytest.mark.parametrize("none", ["[]", "null"])
def test_none(none, tmp_path):
    fit_references(tmp_path, [job("0", "binary", *RINGS)], ll.compose(f"compare.references={none}"))
    assert read_references(tmp_path) == []


def missing_file(tmp_path):
    return job("0", "binary", "data=csv", f"data.path={tmp_path / 'gone.csv'}", "data.target=y")


def test_what_fails_is_written_down(tmp_path):
    fit_references(tmp_path, [missing_file(tmp_path)], ll.compose())
    records = read_references(tmp_path)
    assert len(records) == 2
    for record in records:
        assert (record["status"], record["jobs"]) == ("failed", ["0"])
        assert record["error"].startswith("data.path: there is no file")
        assert "gone.csv" in record["error"]
