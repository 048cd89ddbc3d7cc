"""Projections against their definition, unit by unit in NumPy, and the identity on what already lies in the set."""

import numpy as np
import pytest
import torch

from lightning_losses.functional import projections as P


def per_unit(weight, dim, change):
    """Apply `change` to each unit, which extends over the dimensions `dim`."""
    dims = tuple(range(1, weight.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    dims = tuple(d % weight.ndim for d in dims)
    out = weight.numpy().copy()
    others = [range(1) if d in dims else range(size) for d, size in enumerate(weight.shape)]
    for index in np.ndindex(*map(len, others)):
        where = tuple(slice(None) if d in dims else i for d, i in enumerate(index))
        out[where] = change(out[where])
    return torch.from_numpy(out)


def clip(unit, low, high, rate=1.0):
    norm = np.sqrt((unit**2).sum())
    return unit if norm == 0 else unit * (rate * np.clip(norm, low, high) + (1 - rate) * norm) / norm


SHAPES_AND_DIMS = [
    ((3, 4), None),
    ((3, 4), 0),
    ((3, 4), 1),
    ((3, 4), -1),
    ((3, 4), (0, 1)),
    ((4, 3, 2, 2), None),
    ((4, 3, 2, 2), (0, 2, 3)),
    ((4, 3, 2, 2), 1),
    ((1, 5), None),
    ((5,), None),
    ((5,), 0),
]


@pytest.mark.parametrize(("shape", "dim"), SHAPES_AND_DIMS)
@pytest.mark.parametrize(
    ("project", "change"),
    [
        (lambda w, dim: P.max_norm_projection(w, 0.9, dim), lambda u: clip(u, 0.0, 0.9)),
        (lambda w, dim: P.min_max_norm_projection(w, 0.7, 0.9, 1.0, dim), lambda u: clip(u, 0.7, 0.9)),
        (lambda w, dim: P.min_max_norm_projection(w, 0.7, 0.9, 0.3, dim), lambda u: clip(u, 0.7, 0.9, 0.3)),
        (P.unit_norm_projection, lambda u: clip(u, 1.0, 1.0)),
    ],
    ids=["max_norm", "min_max_norm", "min_max_norm part of the way", "unit_norm"],
)
def test_norms(shape, dim, project, change):
    weight = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(project(weight, dim), per_unit(weight, dim, change))


def test_keras_max_norm():
    # Keras 3's MaxNorm(max_value=2, axis=0) on the kernel (in, out) [[3, 0], [4, 1]]: the norm 5 of the first output
    # becomes 2, the 1 of the second stays. Values by hand.
    kernel = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    expected = torch.tensor([[1.2, 1.6], [0.0, 1.0]])
    torch.testing.assert_close(P.max_norm_projection(kernel, 2.0), expected)
    torch.testing.assert_close(P.max_norm_projection(kernel, 2.0, dim=1), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_identity_inside_the_ball(dtype):
    # Keras' own divides by 1e-7 + norm, so that a weight of 1e-3 is 6.8e-7 after 10,000 steps.
    weight = torch.full((3, 1), 1e-3, dtype=dtype)
    for project in (
        lambda w: P.max_norm_projection(w, 2.0),
        lambda w: P.min_max_norm_projection(w, 1e-4, 1.0),
        P.non_neg_projection,
    ):
        assert torch.equal(project(weight), weight)


@pytest.mark.parametrize("shape", [(), (3,), (3, 4), (0, 3), (3, 0), (2, 3, 2, 2)], ids=str)
def test_zeros_stay_zeros(shape):
    weight = torch.zeros(shape)
    for project in (
        lambda w: P.max_norm_projection(w, 2.0),
        lambda w: P.min_max_norm_projection(w, 1.0, 2.0),
        P.unit_norm_projection,
        P.non_neg_projection,
    ):
        assert torch.equal(project(weight), weight)


def test_half_weights_keep_their_dtype_and_get_norms_of_float32():
    weight = torch.ones(1, 4096, dtype=torch.bfloat16)
    projected = P.max_norm_projection(weight, 1.0)
    assert projected.dtype == torch.bfloat16
    assert P.unit_norms(projected).item() == pytest.approx(1.0, rel=1e-6)
    assert P.unit_norms(weight).dtype == torch.float32


def test_non_neg():
    weight = torch.tensor([[1.0, -2.0], [-0.0, 0.5]])
    assert torch.equal(P.non_neg_projection(weight), torch.tensor([[1.0, 0.0], [0.0, 0.5]]))


@pytest.mark.parametrize("dim", [2, -3, (0, 2)])
def test_dimensions_that_a_weight_lacks_are_refused(dim):
    with pytest.raises(ValueError, match=r"dim .*\(2, 3\)"):
        P.unit_norms(torch.ones(2, 3), dim)


def test_norms_of_half_vectors_are_float32():
    assert P.unit_norms(torch.ones(3, dtype=torch.bfloat16)).dtype == torch.float32
