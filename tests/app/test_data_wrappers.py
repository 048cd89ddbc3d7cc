"""What is done to the training part of any data: wrong labels, rare classes, balanced draws, folds."""

import json

import numpy as np
import pytest
import torch

import lightning_losses as ll
from lightning_losses.app import run
from lightning_losses.app.data.module import _batch_size
from tests.app.loading import data


def transitions(part, classes=10):
    """How often each class (column) was given where a class (row) is true."""
    counts = np.zeros((classes, classes))
    np.add.at(counts, (part.clean.flatten(), part.y.flatten()), 1)
    return counts


def test_symmetric_noise_replaces_the_asked_share_by_all_other_classes():
    part = data("rings", positives=20_000, negatives=20_000, label_noise={"rate": 0.3}).dataset.parts["train"]
    counts = transitions(part, 2)
    np.testing.assert_allclose(counts[[0, 1], [1, 0]] / counts.sum(1), 0.3, atol=0.015)  # 4 deviations of 14,000 draws
    digits = transitions(data("digits", label_noise={"rate": 0.5}).dataset.parts["train"])
    others = digits[~np.eye(10, dtype=bool)]
    assert others.sum() / digits.sum() == pytest.approx(0.5, abs=0.06)
    assert others.min() > 0  # 90 cells, 6 expected in each


def test_all_labels_can_be_wrong():
    counts = transitions(data("digits", label_noise={"rate": 1.0}).dataset.parts["train"])
    assert counts.diagonal().sum() == 0


def test_pairs_replace_these_classes_alone():
    part = data("digits", label_noise={"rate": 0.4, "pairs": {"7": "1", 2: "7"}}).dataset.parts["train"]
    counts = transitions(part)
    changed = {(int(true), int(given)) for true, given in zip(*np.nonzero(counts), strict=True) if true != given}
    assert changed == {(7, 1), (2, 7)}
    share = counts[[7, 2], [1, 7]].sum() / counts[[7, 2]].sum()
    assert share == pytest.approx(0.4, abs=0.14)  # 4 deviations of 215 draws


def test_pairs_to_the_next_class():
    counts = transitions(data("digits", label_noise={"rate": 1.0, "pairs": "next"}).dataset.parts["train"])
    np.testing.assert_array_equal(np.nonzero(counts)[1], (np.arange(10) + 1) % 10)


def test_a_given_matrix_is_followed():
    matrix = np.array([[0.9, 0.1], [0.6, 0.4]])
    noise = {"transition": matrix.tolist()}
    part = data("rings", positives=20_000, negatives=20_000, label_noise=noise).dataset.parts["train"]
    counts = transitions(part, 2)
    np.testing.assert_allclose(counts / counts.sum(1, keepdims=True), matrix, atol=0.017)


def test_noise_is_in_the_training_labels_alone_and_is_seeded():
    plain, noisy, again, other = (
        data("digits", seed=0, label_noise={"rate": rate}).dataset for rate in (0.0, 0.4, 0.4, 0.2)
    )
    for name in ("val", "test"):
        assert torch.equal(plain.parts[name].y, noisy.parts[name].y)
        assert noisy.parts[name].clean is None
    for ours, theirs in zip(noisy.parts["train"], plain.parts["train"]._replace(y=noisy.parts["train"].y), strict=True):
        assert theirs is None or torch.equal(ours, theirs)
    assert torch.equal(noisy.parts["train"].clean, plain.parts["train"].y)
    assert torch.equal(noisy.parts["train"].y, again.parts["train"].y)
    assert not torch.equal(noisy.parts["train"].y, other.parts["train"].y)
    assert noisy.notes[-1].startswith("label noise in the training part, symmetric: ")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # 100 of each class: 100 * 16^(-c / 4), and 100 / 16 of those in the second half
        ("long_tailed", [100, 50, 25, 12, 6]),
        ("step", [100, 100, 100, 6, 6]),
    ],
)
def test_classes_become_rare(kind, expected, write_table):
    path = write_table(x=range(1000), y=[f"class {i % 5}" for i in range(1000)])
    arguments = {"path": path, "target": "y", "val_fraction": 0.25, "test_fraction": 0.25}
    whole = data("csv", **arguments).dataset
    thin = data("csv", **arguments, imbalance={"factor": 16, "kind": kind}).dataset
    assert whole.counts(whole.parts["train"]) == [100] * 5
    assert thin.counts(thin.parts["train"]) == expected
    assert torch.equal(thin.parts["val"].rows, whole.parts["val"].rows)
    assert {*thin.parts["train"].rows.tolist()} < {*whole.parts["train"].rows.tolist()}


def test_a_balanced_sampler_draws_the_classes_alike_in_a_seeded_order():
    loader = data("rings", sampler="balanced", positives=500, negatives=9500).train_dataloader()
    first, again = (torch.cat([y for _, y in loader]) for _ in range(2))
    loader.batch_sampler.sampler.set_epoch(1)
    assert len(first) == 7000
    assert float(first.double().mean()) == pytest.approx(0.5, abs=0.025)  # 4 deviations
    assert torch.equal(first, again)
    assert not torch.equal(first, torch.cat([y for _, y in loader]))


@pytest.mark.parametrize("split", ["stratified", "random", "group"])
def test_every_row_that_is_not_for_the_test_is_predicted_by_one_fold(split, write_table):
    groups = np.arange(200) // 4
    path = write_table(x=range(200), group=groups, y=[f"class {i % 3}" for i in range(200)])
    arguments = {"path": path, "target": "y", "split": split, "group": "group", "folds": 4}
    folds = [data("csv", **arguments, fold=fold).dataset.parts for fold in range(4)]
    test = folds[0]["test"].rows
    validated = torch.cat([parts["val"].rows for parts in folds])
    assert sorted([*validated.tolist(), *test.tolist()]) == list(range(200))
    for parts in folds:
        rows = [set(part.rows.tolist()) for part in parts.values()]
        assert sum(map(len, rows)) == 200
        assert len(set.union(*rows)) == 200
        assert torch.equal(parts["test"].rows, test)
        if split == "group":
            assert not set(groups[parts["train"].rows]) & set(groups[parts["val"].rows])


@pytest.mark.usefixtures("no_figures")
def test_a_resumed_run_goes_on_with_the_same_noise_and_draws(tmp_path):
    overrides = [
        "data=digits",
        "data.label_noise.rate=0.4",
        "data.imbalance.factor=5",
        "data.sampler=balanced",
        "loss=ce",
    ]

    def train(name, *more):
        return run(ll.compose(*overrides, "trainer.accelerator=cpu", *more), tmp_path / name)

    whole, _ = train("whole", "trainer.max_epochs=2"), train("half", "trainer.max_epochs=1")
    last = tmp_path / "half" / "checkpoints" / "last.ckpt"
    resumed = train("resumed", "trainer.max_epochs=2", f"ckpt_path={last}")
    assert resumed.history["loss"].tolist() == whole.history["loss"].tolist()


# columns of a table (None: the rings), arguments, what the line must say
REFUSED = {
    "rate": (None, ["data.label_noise.rate=1.5"], r"data.label_noise.rate must be a number in [0, 1], got 1.5"),
    "unknown pairs": (
        None,
        ["data.label_noise.rate=0.1", "data.label_noise.pairs=nxt"],
        "data.label_noise.pairs must be one of 'next', got 'nxt'",
    ),
    "unknown class": (
        None,
        ["data.label_noise.rate=0.1", "data.label_noise.pairs={inner rng: outer ring}"],
        "got 'inner rng', did you mean 'inner ring'?",
    ),
    "size of the matrix": (None, ["data.label_noise.transition=[[1]]"], "must be 2 x 2, got shape (1, 1)"),
    "no probabilities": (None, ["data.label_noise.transition=[[1,1],[0,1]]"], "must hold rows of probabilities"),
    "matrix and rate": (
        None,
        ["data.label_noise.transition=[[1,0],[0,1]]", "data.label_noise.rate=0.1"],
        "leave rate at 0",
    ),
    "factor": (None, ["data.imbalance.factor=0.5"], "data.imbalance.factor must be at least 1, got 0.5"),
    "kind": (None, ["data.imbalance.kind=stp"], "did you mean 'step'?"),
    "sampler": (None, ["data.sampler=balancd"], "did you mean 'balanced'?"),
    "one fold": (None, ["data.folds=1"], "data.folds must be at least 2, got 1"),
    "fold": (None, ["data.folds=3", "data.fold=3"], "data.fold must be from 0 to 2, below data.folds, got 3"),
    "folds in time": (
        {"t": range(40)},
        ["data.folds=4", "data.split=time", "data.time=t"],
        "data.folds: with data.split=time",
    ),
    "too few rows for the folds": ({"t": range(40)}, ["data.folds=30"], "class 'a' has 20 rows, 31 are needed"),
    "noise in numbers": (
        {"y": [i / 7 for i in range(40)]},
        ["data.label_noise.rate=0.1", "loss=mse"],
        "data.label_noise needs one class for each row, these data are regression",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name, command, write_table):
    columns, arguments, expected = REFUSED[name]
    if columns is not None:
        path = write_table(**{"x": range(40), "y": ["a", "b"] * 20, **columns})
        arguments = ["data=csv", f"data.path={path}", "data.target=y", *arguments]
    outcome = command(*arguments)
    assert outcome.status == 1
    assert expected in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_the_accuracy_by_the_clean_labels_is_reported(command, tmp_path):
    arguments = ["data=digits", "data.label_noise.rate=0.4", "loss=ce", "trainer.max_epochs=5", "hydra.run.dir=here"]
    assert command(*arguments, "optimizer.lr=0.01", "trainer.accelerator=cpu").status == 0
    metrics = json.loads((tmp_path / "here" / "result.json").read_text())["metrics"]
    assert metrics["train/clean_accuracy"] > metrics["train/accuracy"] + 0.1


# 4,200 outer and 140 inner points; loss, what stands in the result, a number of the table
FROM_LABELS = {
    "weight": (["loss=bce", "loss.weight=balanced"], {"weight": [4340 / 8400, 4340 / 280]}, "15.5"),
    "effective number": (["loss=bce", "loss.weight=effective_number"], {}, "1.766"),
    "positives": (["loss=bce", "loss.pos_weight=balanced"], {"pos_weight": 30.0}, "30"),
    "prior": (["loss=logit_adjusted"], {"prior": [4200 / 4340, 140 / 4340]}, "0.03226"),
    "counts": (["loss=balanced_softmax"], {"class_counts": [4200.0, 140.0]}, "140"),
}


@pytest.mark.parametrize("name", FROM_LABELS)
def test_the_loss_knows_the_training_labels(name, command, tmp_path):
    arguments, expected, shown = FROM_LABELS[name]
    outcome = command(*arguments, "trainer.max_epochs=1", "trainer.accelerator=cpu", "hydra.run.dir=here")
    assert (outcome.status, outcome.err) == (0, "")
    inner_ring = next(line for line in outcome.out.splitlines() if line.startswith("inner ring"))
    assert shown in inner_ring.split()
    loss = json.loads((tmp_path / "here" / "result.json").read_text())["config"]["loss"]
    for key, value in expected.items():
        np.testing.assert_allclose(loss[key], value)


def test_the_margins_of_ldam_are_those_of_the_noisy_labels(command):
    arguments = ["data=digits", "data.imbalance.factor=100", "data.label_noise.rate=0.2", "loss=ldam"]
    outcome = command(*arguments, "trainer.max_epochs=1", "trainer.accelerator=cpu")
    rows = [line.split() for line in outcome.out.splitlines() if len(line.split()) == 8 and line[0].isdigit()]
    counts, margins = (np.array([float(row[column].replace(",", "")) for row in rows]) for column in (1, -1))
    assert len(rows) == 10
    # Cao et al., 2019: proportional to n^(-1/4), the largest 0.5
    np.testing.assert_allclose(margins, 0.5 * (counts / counts.min()) ** -0.25, rtol=1e-3)


@pytest.mark.parametrize(("rows", "size"), [(10, 32), (12_800, 64), (170_883, 1024), (10**7, 2048)])
def test_the_automatic_batch_makes_about_200_steps_within_its_bounds(rows, size):
    assert _batch_size("auto", rows) == size
