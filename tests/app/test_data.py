"""Tables, rings and batches: every statistic from the training part, every row where it belongs."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from lightning_losses.app.data.columns import fit_encoder
from lightning_losses.app.data.module import BatchSampler, RowOrder
from lightning_losses.app.data.split import Split
from lightning_losses.app.data.target import read_target
from tests.app.loading import data


def encode(table, train):
    encoder, notes = fit_encoder(table, train)
    return encoder.encode(table), encoder.features, notes


def test_rings_are_as_separable_as_the_formula_says():
    dataset = data("rings", positives=20_000, negatives=20_000).dataset
    train = dataset.parts["train"]
    score = dataset.baselines["radius only"](train.x)
    assert roc_auc_score(train.y, score) == pytest.approx(0.983, abs=0.003)  # Phi(3 / sqrt 2)


def test_rings_have_the_sizes_of_the_reference():
    parts = data("rings").dataset.parts
    assert [(len(part.y), int(part.y.sum())) for part in parts.values()] == [(4340, 140), (1860, 60)]  # 70 % and 30 %


@pytest.mark.parametrize(
    ("name", "task", "inputs", "outputs"),
    [("rings", "binary", 2, 1), ("digits", "multiclass", 64, 10), ("random_labels", "multilabel", 64, 10)],
)
def test_task_and_sizes_come_from_the_data(name, task, inputs, outputs):
    dataset = data(name).dataset
    assert (dataset.task, dataset.inputs, dataset.outputs) == (task, inputs, outputs)


# column values, task asked for -> task, class names or target names
TARGETS = {
    "text, two classes": ({"y": ["b", "a", "b"]}, None, "binary", ["a", "b"]),
    "text, three classes": ({"y": ["b", "a", "c"]}, None, "multiclass", ["a", "b", "c"]),
    "booleans": ({"y": [True, False, True]}, None, "binary", ["False", "True"]),
    "few whole numbers": ({"y": [3, 1, 2]}, None, "multiclass", ["1", "2", "3"]),
    "whole numbers read as floats": ({"y": [1.0, 2.0, 1.0]}, None, "binary", ["1", "2"]),
    "many whole numbers": ({"y": list(range(30))}, None, "regression", ["y"]),
    "fractions": ({"y": [0.5, 1.0, 1.5]}, None, "regression", ["y"]),
    "columns of 0 and 1": ({"a": [0, 1, 1], "b": [1, 0, 0]}, None, "multilabel", ["a", "b"]),
    "columns of numbers": ({"a": [0.5, 1, 1], "b": [1, 0, 0]}, None, "regression", ["a", "b"]),
    "asked for: numbers": ({"y": [3, 1, 2]}, "regression", "regression", ["y"]),
    "asked for: classes": ({"y": [1, 2, 1]}, "multiclass", "multiclass", ["1", "2"]),
    "asked for: one label": ({"y": [0, 1, 1]}, "multilabel", "multilabel", ["y"]),
}


@pytest.mark.parametrize("name", TARGETS)
def test_the_task_is_inferred(name):
    columns, asked, task, names = TARGETS[name]
    target = read_target(pd.DataFrame(columns), asked)
    assert (target.task, target.names) == (task, names)


def test_the_positive_class_can_be_chosen():
    target = read_target(pd.DataFrame({"y": ["ill", "well", "well"]}), positive="ill")
    assert (target.names, target.values.tolist()) == (["well", "ill"], [1, 0, 0])


def test_statistics_are_those_of_the_training_part():
    table = pd.DataFrame({"x": [1.0, 2.0, 9.0, np.nan, 100.0, np.nan]})
    x, names, _ = encode(table, np.arange(4))
    filled = np.array([1, 2, 9, 2, 100, 2])  # 2 is the median of the first three
    indicator = np.array([0, 0, 0, 1, 0, 1])
    expected = [(v - v[:4].mean()) / v[:4].std() for v in (filled, indicator)]
    assert names == ["x", "missingindicator_x"]
    np.testing.assert_allclose(x.T, expected)


def test_text_is_one_hot_encoded_and_unseen_text_is_none_of_it():
    table = pd.DataFrame({"c": ["red", "blue", None, "red", "green"]})
    x, names, notes = encode(table, np.arange(4))
    assert names == ["c_(missing)", "c_blue", "c_red"]
    assert x.tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert notes == ["text columns one-hot encoded (categories): c (3)"]


def test_the_note_says_how_many_categories_are_kept():
    _, notes = fit_encoder(pd.DataFrame({"c": list("aaabbcde")}), np.arange(8), max_categories=3)
    assert notes == ["text columns one-hot encoded (categories): c (2 of 5, the others as one)"]


def test_text_among_numbers_is_a_hole_and_is_reported():
    table = pd.DataFrame({"x": ["1", "2", "many", "4", "5"]})
    x, _, notes = encode(table, np.arange(5))
    assert x.shape == (5, 2)
    assert "text or infinities in columns of numbers taken as holes: x (1)" in notes


def test_a_group_is_never_divided():
    groups = np.repeat(np.arange(20), 5)
    parts = Split("group", test_fraction=0.2).rows(100, groups=groups)
    found = [set(groups[rows]) for rows in parts.values()]
    assert sum(map(len, found)) == 20
    assert sorted(np.concatenate(list(parts.values()))) == list(range(100))


def test_the_test_part_is_the_latest():
    times = np.random.default_rng(0).permutation(100)
    parts = Split("time", test_fraction=0.2).rows(100, times=times)
    assert {name: (times[rows].min(), times[rows].max()) for name, rows in parts.items()} == {
        "train": (0, 59),
        "val": (60, 79),
        "test": (80, 99),
    }


def test_each_class_is_divided_alike():
    classes = np.repeat([0, 1], [900, 100])
    parts = Split(test_fraction=0.2).rows(1000, classes=classes)
    assert {name: int(classes[rows].sum()) for name, rows in parts.items()} == {"train": 60, "val": 20, "test": 20}


def test_a_regression_target_is_standardised_by_the_training_part(write_table):
    values = np.random.default_rng(0).normal(50, 10, 100)
    dataset = data("csv", path=write_table(x=values, y=values), target="y").dataset
    y = dataset.parts["train"].y
    assert y.mean() == pytest.approx(0, abs=1e-5)
    assert y.std() == pytest.approx(1, abs=1e-5)
    mean, deviation = dataset.target_scale
    original = np.sort(np.concatenate([part.y.flatten() * deviation + mean for part in dataset.parts.values()]))
    np.testing.assert_allclose(original, np.sort(values), rtol=1e-5)


def test_columns_may_be_named_by_numbers(write_table):
    path = write_table(**{str(i): np.arange(40) % (i + 2) for i in range(5)})
    named = data("csv", path=path, target=0, drop=[1], group=0, time=3, split="time", features=[1, 2, 4, 0]).dataset
    assert (named.targets, named.features) == (["0", "1"], ["2", "4"])
    with pytest.raises(ValueError, match=r"data\.drop: no column '7'"):
        data("csv", path=path, target=0, drop=[7])


def test_group_and_time_are_no_features(write_table):
    path = write_table(t=range(40), g=range(40), x=range(40), y=[0, 1] * 20)
    dataset = data("csv", path=path, target="y", split="time", time="t", group="g").dataset
    assert dataset.features == ["x"]


def test_an_epoch_serves_every_row_once_in_a_seeded_order():
    loader = data("rings", positives=70, negatives=170).train_dataloader()
    first, again = ([x for x, _ in loader] for _ in range(2))
    loader.batch_sampler.sampler.set_epoch(1)
    other = torch.cat([x for x, _ in loader])
    assert [len(x) for x in first] == [100, 68]
    assert len(loader) == 2
    torch.testing.assert_close(first, again)
    assert not torch.equal(torch.cat(first), other)
    torch.testing.assert_close(torch.cat(first).sort(0).values, other.sort(0).values)


def test_ranks_share_the_rows_equally():
    ranks = [RowOrder(11, shuffle=True, rank=rank, ranks=2).rows().tolist() for rank in range(2)]
    assert [len(rows) for rows in ranks] == [5, 5]
    assert not set(ranks[0]) & set(ranks[1])
    evaluated = [RowOrder(11, rank=rank, ranks=2).rows().tolist() for rank in range(2)]
    assert sorted(evaluated[0] + evaluated[1]) == list(range(11))


@pytest.mark.parametrize(("rows", "batch_size"), [(11, 5), (11, 6), (3, 1)])
def test_ranks_evaluate_equally_many_batches(rows, batch_size):
    samplers = [BatchSampler(RowOrder(rows, rank=rank, ranks=2), batch_size) for rank in range(2)]
    batches = [list(sampler) for sampler in samplers]
    assert len(batches[0]) == len(batches[1]) == len(samplers[0]) == len(samplers[1])
    assert sorted(torch.cat(batches[0] + batches[1]).tolist()) == list(range(rows))
    assert max(map(len, batches[0] + batches[1])) <= batch_size


def test_a_target_of_text_and_other_values_is_refused():
    with pytest.raises(ValueError, match="column 'y' mixes text and other values, 'no' and True"):
        read_target(pd.DataFrame({"y": pd.Series([True, "no"] * 20, dtype=object)}))
