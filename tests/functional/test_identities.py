"""What must hold for any batch: reductions, permutations, parts of a batch, weights that count rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

import lightning_losses as ll
from tests.cases import BY_TASK

few = settings(max_examples=8)


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, list[float], str]:
    """Logits up to 1e4, labels with ignored ones among them, sample weights, class weights and a normalizer."""
    rows, classes = draw(st.integers(1, 6)), draw(st.integers(2, 5))
    scale = draw(st.sampled_from([0.1, 1.0, 10.0, 1e4]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    z = scale * (2 * torch.rand(rows, classes, generator=generator, dtype=torch.float64) - 1)
    y = torch.randint(-1, classes, (rows,), generator=generator)
    sample_weight = torch.randint(0, 4, (rows,), generator=generator).double()
    weight = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=classes, max_size=classes))
    return z, y.where(y >= 0, -100), sample_weight, weight, draw(st.sampled_from(["weights", "samples"]))


def adapt(task: str, z: Tensor, y: Tensor, weight: list[float]) -> tuple[Tensor, Tensor, list[float]]:
    if task == "multiclass":
        return z, y, weight
    if task == "binary":
        return z[:, 0], y.clamp_max(1), weight[:2]
    return z, F.one_hot(y.clamp_min(0), z.shape[1]).where(y[:, None] >= 0, -100), weight


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "task"), BY_TASK)
@given(batch=batches())
@few
def test_reductions_agree(name: str, task: str, batch: Any) -> None:
    z, y, sample_weight, weight, normalizer = batch
    z, y, weight = adapt(task, z, y, weight)
    none, mean, total = (
        ll.get_loss(name, task=task, weight=weight, normalizer=normalizer, reduction=reduction)
        for reduction in ("none", "mean", "sum")
    )
    value_sum, value_weight = mean.sum_and_weight(z, y, sample_weight)
    assert_close(none(z, y, sample_weight).sum(), total(z, y, sample_weight))
    assert_close(value_sum, total(z, y, sample_weight))
    assert_close(mean(z, y, sample_weight) * value_weight, value_sum if value_weight else torch.zeros_like(value_sum))
    assert none(z, y, sample_weight).shape == y.shape


@pytest.mark.parametrize(("name", "task"), BY_TASK)
@given(batch=batches(), first=st.integers(0, 6))
@few
def test_sums_and_weights_of_parts_add_up(name: str, task: str, batch: Any, first: int) -> None:
    z, y, sample_weight, weight, normalizer = batch
    z, y, weight = adapt(task, z, y, weight)
    loss = ll.get_loss(name, task=task, weight=weight, normalizer=normalizer)
    whole = loss.sum_and_weight(z, y, sample_weight)
    parts = [loss.sum_and_weight(z[part], y[part], sample_weight[part]) for part in (slice(first), slice(first, None))]
    for index in (0, 1):
        assert_close(parts[0][index] + parts[1][index], whole[index])


@pytest.mark.parametrize(("name", "task"), BY_TASK)
@given(batch=batches(), data=st.data())
@few
def test_order_does_not_matter(name: str, task: str, batch: Any, data: st.DataObject) -> None:
    z, y, sample_weight, weight, normalizer = batch
    rows = data.draw(st.permutations(range(len(z))))
    classes = data.draw(st.permutations(range(z.shape[1]))) if task != "binary" else list(range(z.shape[1]))
    inverse = torch.tensor(classes).argsort()
    moved_z, moved_y = z[rows][:, classes], y[rows].where(y[rows] < 0, inverse[y[rows].clamp_min(0)])
    moved = adapt(task, moved_z, moved_y, [weight[c] for c in classes])
    z, y, weight = adapt(task, z, y, weight)
    before = ll.get_loss(name, task=task, weight=weight, normalizer=normalizer)(z, y, sample_weight)
    after = ll.get_loss(name, task=task, weight=moved[2], normalizer=normalizer)(
        moved[0], moved[1], sample_weight[rows]
    )
    assert_close(after, before)


@pytest.mark.parametrize(("name", "task"), BY_TASK)
@given(batch=batches())
@few
def test_a_weight_of_two_is_two_rows(name: str, task: str, batch: Any) -> None:
    z, y, sample_weight, weight, _ = batch
    z, y, weight = adapt(task, z, y, weight)
    loss = ll.get_loss(name, task=task, weight=weight)
    repeats = sample_weight.long()
    repeated = loss(z.repeat_interleave(repeats, dim=0), y.repeat_interleave(repeats, dim=0))
    assert_close(loss(z, y, sample_weight), repeated)


@pytest.mark.parametrize(("name", "task"), BY_TASK)
@given(batch=batches())
@few
def test_losses_and_gradients_are_finite(name: str, task: str, batch: Any) -> None:
    z, y, sample_weight, weight, normalizer = batch
    z, y, weight = adapt(task, z, y, weight)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        x = z.to(dtype, copy=True).requires_grad_()
        value = ll.get_loss(name, task=task, weight=weight, normalizer=normalizer)(x, y, sample_weight)
        value.backward()
        assert value.isfinite()
        assert value >= 0
        assert x.grad.isfinite().all()
