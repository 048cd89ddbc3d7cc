"""A sweep over the folds leaves one prediction of each row, by a model that has not seen it."""

import pandas as pd
import pytest

FOLDS = ["data.folds=3", "data.fold=range(3)", "trainer.max_epochs=1", "trainer.accelerator=cpu", "callbacks=none"]
FOLDS += ["logger=none", "hydra.sweep.dir=sweep"]


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch):
    monkeypatch.setattr("lightning_losses.app.report.write_figure", lambda *_: None)


def columns_of(probabilities):
    return ["row", "fold", "target", "decision", *probabilities, "overrides"]


@pytest.fixture
def table(write_table):
    """Sixty rows: x tells the class and the number."""
    return write_table(
        x=range(60),
        label=["low" if i < 30 else "high" for i in range(60)],
        number=[2.5 * i for i in range(60)],
        a=[i % 2 for i in range(60)],
        b=[i // 2 % 2 for i in range(60)],
    )


def test_every_row_that_is_not_for_the_test_once(command, table, tmp_path):
    arguments = [
        f"data.path={table}",
        "data.target=label",
        "data.features=[x]",
        "data.test_fraction=0.2",
        "loss=ce,focal",
    ]
    outcome = command("--multirun", "data=csv", *arguments, "loss.task=binary", *FOLDS)
    assert outcome.status == 0
    joined = pd.read_csv(tmp_path / "sweep" / "oof.csv")
    assert list(joined.columns) == columns_of(["probability_high", "probability_low"])
    for loss in ("ce", "focal"):
        rows = joined[joined["overrides"].str.contains(f"loss={loss} ")]
        assert len(rows) == 48
        assert rows["row"].is_monotonic_increasing
        assert rows["row"].is_unique
        assert rows["target"].tolist() == ["low" if row <= 30 else "high" for row in rows["row"]]
        assert rows["fold"].value_counts().tolist() == [16, 16, 16]
        assert (rows["probability_high"] + rows["probability_low"]).to_numpy() == pytest.approx(1)
        likelier = rows["probability_low"].gt(0.5).map({True: "low", False: "high"})
        assert rows["decision"].tolist() == likelier.tolist()
    assert f"96 out-of-fold predictions: {tmp_path / 'sweep' / 'oof.csv'}" in outcome.out.splitlines()


@pytest.mark.parametrize(
    ("arguments", "columns"),
    [
        (["data.target=number", "loss=mse"], ["target", "decision"]),
        (
            ["data.target=[a,b]", "loss=bce"],
            ["target_a", "target_b", "decision_a", "decision_b", "probability_a", "probability_b"],
        ),
    ],
    ids=["numbers", "labels"],
)
def test_other_tasks_in_their_own_units(arguments, columns, command, table, tmp_path):
    assert command("--multirun", "data=csv", f"data.path={table}", "data.features=[x]", *arguments, *FOLDS).status == 0
    joined = pd.read_csv(tmp_path / "sweep" / "oof.csv")
    assert list(joined.columns) == ["row", "fold", *columns, "overrides"]
    if columns == ["target", "decision"]:
        assert joined["target"].to_numpy() == pytest.approx(2.5 * (joined["row"].to_numpy() - 1), abs=1e-3)


def test_a_missing_fold_is_named(command, table, tmp_path):
    arguments = ["data=csv", f"data.path={table}", "data.target=label", "loss=bce", *FOLDS, "data.fold=0,2"]
    outcome = command("--multirun", *arguments)
    assert outcome.status == 0
    assert "fold 1 is missing" in outcome.out
    assert set(pd.read_csv(tmp_path / "sweep" / "oof.csv")["fold"]) == {0, 2}


def test_a_sweep_without_folds_leaves_no_such_file(command, tmp_path):
    quick = ["data.positives=20", "data.negatives=40", "trainer.max_epochs=1", "callbacks=none", "logger=none"]
    assert command("--multirun", *quick, "trainer.accelerator=cpu", "hydra.sweep.dir=sweep", "seed=0,1").status == 0
    assert not list(tmp_path.rglob("oof.csv"))
    assert not list(tmp_path.rglob("fold.csv"))
