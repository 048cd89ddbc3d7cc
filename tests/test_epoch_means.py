from __future__ import annotations

import torch

from lightning_losses.epoch_means import EpochMeans


def test_means_are_those_of_all_rows_however_they_are_batched() -> None:
    torch.manual_seed(0)
    values, weights = torch.rand(7), torch.rand(7)
    means = EpochMeans()
    for chunk in (slice(0, 3), slice(3, 4), slice(4, 7)):
        weight = weights[chunk].sum()
        means.add({"loss": (values[chunk] * weights[chunk]).sum() / weight}, weight)
    expected = (values * weights).sum() / weights.sum()
    torch.testing.assert_close(means.compute(lambda total: total)["loss"], expected)


def test_a_batch_of_weight_zero_changes_nothing_and_an_epoch_of_them_is_zero() -> None:
    means = EpochMeans()
    means.add({"loss": torch.tensor(0.0)}, torch.tensor(0.0))
    assert means.compute(lambda total: total) == {"loss": torch.tensor(0.0)}
    means.add({"loss": torch.tensor(3.0)}, torch.tensor(2.0))
    means.add({"loss": torch.tensor(0.0)}, torch.tensor(0.0))
    assert means.compute(lambda total: total) == {"loss": torch.tensor(3.0)}


def test_compute_starts_again() -> None:
    means = EpochMeans()
    means.add({"loss": torch.tensor(3.0)}, torch.tensor(1.0))
    means.compute(lambda total: total)
    assert means.compute(lambda total: total) == {}


def test_counting_goes_on_beyond_what_float32_can_count() -> None:
    means = EpochMeans()
    means.add({"loss": torch.tensor(0.0)}, torch.tensor(2.0**24))
    for _ in range(64):
        means.add({"loss": torch.tensor(1.0)}, torch.tensor(1.0))
    assert means.compute(lambda total: total)["loss"].item() > 0.99 * 64 / 2**24
