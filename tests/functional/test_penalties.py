"""Penalties of one tensor against formulas in float64 NumPy and against each other, at every awkward shape."""

import math

import numpy as np
import pytest
import torch

from lightning_losses.functional import penalties as P

SHAPES = [(), (1,), (7,), (1, 5), (5, 1), (3, 4), (4, 3), (2, 3, 2, 2), (0,), (0, 3), (3, 0)]


def matrix(w):
    return w.reshape(w.shape[0], math.prod(w.shape[1:])) if w.ndim > 1 else w.reshape(1, -1)


def gram_distance(w):
    m = matrix(w)
    gram = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    return ((gram - np.eye(len(gram))) ** 2).sum()


def largest_singular_value(w):
    return max(np.linalg.svd(matrix(w), compute_uv=False), default=0.0) if w.size else 0.0


def unit_norms(w):
    units = w.reshape(w.shape[0], -1) if w.ndim > 1 and w.size else w.reshape(-1, 1)
    return math.sqrt(units.shape[1]) * np.sqrt((units**2).sum(1)).sum()


FUNCTIONS = {
    "l1": (P.l1_penalty, lambda w: np.abs(w).sum()),
    "l2": (P.l2_penalty, lambda w: (w**2).sum() / 2),
    "elastic_net": (
        lambda w: P.elastic_net_penalty(w, l1=0.3, l2=0.7),
        lambda w: 0.3 * np.abs(w).sum() + 0.35 * (w**2).sum(),
    ),
    "group_lasso": (P.group_lasso_penalty, unit_norms),
    "orthogonal": (P.orthogonal_penalty, gram_distance),
    "spectral": (
        lambda w: P.spectral_penalty(w, P.power_iteration(w.detach(), iterations=300)),
        lambda w: largest_singular_value(w) ** 2 / 2,
    ),
    "l2_sp": (lambda w: P.l2sp_penalty(w, torch.ones_like(w)), lambda w: ((w - 1) ** 2).sum() / 2),
}
EACH = pytest.mark.parametrize("name", FUNCTIONS)


@EACH
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values(name, shape):
    function, formula = FUNCTIONS[name]
    weight = torch.randn(shape, dtype=torch.float64)
    assert function(weight).item() == pytest.approx(formula(weight.numpy()), rel=1e-9, abs=1e-12)


@EACH
@pytest.mark.parametrize("shape", [(7,), (1, 5), (3, 4), (4, 3), (2, 3, 2, 2)], ids=str)
def test_gradients(name, shape):
    function, _ = FUNCTIONS[name]
    weight = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, weight)


@EACH
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_finite_at_zero(name, shape):
    function, formula = FUNCTIONS[name]
    weight = torch.zeros(shape, requires_grad=True)
    value = function(weight)
    (gradient,) = torch.autograd.grad(value, weight)
    assert value.item() == pytest.approx(formula(np.zeros(shape)))
    assert gradient.isfinite().all()


@EACH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_weights_give_a_float32_value(name, dtype):
    function, formula = FUNCTIONS[name]
    weight = torch.randn(20, 30).to(dtype)
    value = function(weight)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(formula(weight.double().numpy()), rel=1e-4)


def test_spectral_penalty_decomposes_where_no_vectors_are_given():
    weight = torch.randn(5, 3, 2, dtype=torch.float64)
    assert P.spectral_penalty(weight).item() == pytest.approx(largest_singular_value(weight.numpy()) ** 2 / 2)


def test_a_large_sum_is_exact():
    weight = torch.full((2**24 + 1,), 0.1)
    exact = weight[0].double()
    # Equal numbers are the worst case for rounding; torch.linalg.vector_norm is off by 5e-3 already for random ones.
    assert P.l1_penalty(weight).item() == pytest.approx(exact.item() * len(weight), rel=1e-6)
    assert P.l2_penalty(weight).item() == pytest.approx(exact.item() ** 2 * len(weight) / 2, rel=1e-6)


@pytest.mark.parametrize("shape", [(2**19 + 3,), (1, 2**19), (2**18, 2), (2**10, 2**9), (2**9 - 1, 2**9 + 1)], ids=str)
def test_a_large_sum_in_place_is_exact(shape):
    weight, gradient = torch.full(shape, 0.7), torch.zeros(shape)
    exact = weight.flatten()[0].item()
    value = P.add_elastic_net_gradient_([weight], [gradient], l1=0.3, l2=0.5)
    assert value.item() == pytest.approx((0.3 * exact + 0.25 * exact**2) * weight.numel(), rel=1e-5)
    torch.testing.assert_close(gradient, torch.full(shape, 0.3 + 0.5 * exact))


def test_no_tensors_are_no_penalty():
    assert P.add_elastic_net_gradient_([], [], l1=0.3, l2=0.5) == 0


def awkward_tensors():
    """Weights and gradients whose memory differs: longer than a block, of many layouts, sliced, half, scalar, empty."""
    channels_last = torch.randn(3, 4, 2, 2).to(memory_format=torch.channels_last)
    weights = [
        torch.randn(2**18 + 5),
        torch.randn(2**9, 2**10).T,
        torch.randn(3, 4),
        torch.randn(4, 3).T,
        channels_last,
        channels_last.clone(),
        torch.randn(6, 8)[:, ::2],
        torch.randn(6, 8)[2:],
        torch.tensor(-2.0),
        torch.zeros(3, 3),
        torch.zeros(0, 3),
        torch.randn(5, 5).to(torch.bfloat16),
        torch.randn(2, 2, dtype=torch.float64),
    ]
    gradients = [torch.randn_like(weight) for weight in weights]
    gradients[5] = gradients[5].contiguous()
    return weights, gradients


@pytest.mark.parametrize("add", [P._add_by_blocks_, P._add_by_buckets_])  # the second is what accelerators run
@pytest.mark.parametrize(("l1", "l2"), [(0.3, 0.0), (0.0, 0.7), (0.3, 0.7), (0.0, 0.0)])
def test_elastic_net_in_place(add, l1, l2):
    weights, gradients = awkward_tensors()
    before = [gradient.clone() for gradient in gradients]
    unchanged = [weight.clone() for weight in weights]
    value = add(weights, gradients, l1, l2)
    total = sum(l1 * w.double().abs().sum() + l2 * w.double().square().sum() / 2 for w in weights)
    assert value.item() == pytest.approx(total.item(), rel=1e-5)
    for weight, gradient, old, same in zip(weights, gradients, before, unchanged, strict=True):
        expected = old.double() + l1 * weight.double().sign() + l2 * weight.double()
        rounding = 0.02 if weight.dtype == torch.bfloat16 else 1e-6
        torch.testing.assert_close(gradient.double(), expected, rtol=0, atol=rounding)
        assert torch.equal(weight, same)


@pytest.mark.parametrize("sizes", [[5], [1, 1, 5, 1, 1], [5, 5, 5], [0, 0], [3, 2, 1, 4]])
def test_buckets_hold_no_more_than_the_largest_tensor(sizes):
    parts = [sizes[part] for part in P._buckets(sizes)]
    assert [size for part in parts for size in part] == sizes
    assert all(sum(part) <= max(sizes) for part in parts)
