from __future__ import annotations

import torch

from lightning_losses.epoch_means import EpochMeans


def test_means_are_those_of_all_rows_however_they_are_batched() -> None:
    torch.manual_seed(0)
    values, weights = torch.rand(7), torch.rand(7)
    means = EpochMeans()
    for chunk in (slice(0, 3), slice(3, 4), slice(4, 7)):
        weight = weights[chunk].sum()
        means.add({"loss": ((values[chunk] * weights[chunk]).sum() / weight, weight)})
    expected = (values * weights).sum() / weights.sum()
    torch.testing.assert_close(means.compute()["loss"], expected)


def test_many_batches_add_up() -> None:
    means = EpochMeans()
    for step in range(200):
        means.add({"loss": (torch.tensor(float(step)), torch.tensor(1.0))})
    assert means.compute() == {"loss": torch.tensor(99.5)}


def test_a_batch_of_weight_zero_changes_nothing_and_an_epoch_of_them_is_zero() -> None:
    means = EpochMeans()
    means.add({"loss": (torch.tensor(torch.nan), torch.tensor(0.0))})
    assert means.compute() == {"loss": torch.tensor(0.0)}
    means.add({"loss": (torch.tensor(3.0), torch.tensor(2.0))})
    assert means.compute() == {"loss": torch.tensor(3.0)}


def test_each_value_has_a_denominator_of_its_own() -> None:
    means = EpochMeans()
    means.add({"a": (torch.tensor(1.0), torch.tensor(1.0)), "b": (torch.tensor(1.0), torch.tensor(3.0))})
    means.add({"a": (torch.tensor(2.0), torch.tensor(1.0)), "b": (torch.tensor(2.0), torch.tensor(1.0))})
    assert means.compute() == {"a": torch.tensor(1.5), "b": torch.tensor(1.25)}
    assert means.total("b") == 5


def test_loaders_are_pooled_row_by_row() -> None:
    means = [EpochMeans() for _ in range(3)]  # the second has served nothing
    for served, value, weight in ((means[0], 1.0, 1.0), (means[2], 5.0, 3.0)):
        served.add({"loss": (torch.tensor(value), torch.tensor(weight))})
    assert EpochMeans().merge(means).compute() == {"loss": torch.tensor(4.0)}
    assert means[0].compute() == {"loss": torch.tensor(1.0)}


def test_no_batches_are_no_means() -> None:
    assert EpochMeans().compute() == {}


def test_saved_means_go_on_where_further_batches_come_from() -> None:
    means = EpochMeans()
    means.add({"loss": (torch.tensor(1.0), torch.tensor(1.0))})
    device = torch.device("meta")  # stands for an accelerator: tensors elsewhere cannot be added to its own
    resumed = EpochMeans.from_state(means.state(), device)
    resumed.add({"loss": (torch.ones((), device=device), torch.ones((), device=device))})
    assert resumed.compute()["loss"].device == device
    assert EpochMeans.from_state(EpochMeans().state(), device).compute() == {}


def test_counting_goes_on_beyond_what_float32_can_count() -> None:
    means = EpochMeans()
    means.add({"loss": (torch.tensor(0.0), torch.tensor(2.0**24))})
    for _ in range(64):
        means.add({"loss": (torch.tensor(1.0), torch.tensor(1.0))})
    assert means.compute()["loss"].item() > 0.99 * 64 / 2**24
