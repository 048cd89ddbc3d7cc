"""A survey of other libraries, cell by cell, each with our answer.

Tables 7a (softmax), 7b (sigmoid) and 7d (low precision) are here; 7c (where it starts) and 7e (conventions) are in
`test_stress`, which has the versions of the libraries.

A row is a loss of another library, here with our counterpart of it; a column is a case. What the other library made of
it stands beside each row where it was wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import lightning_losses as ll
from tests import oracles

Spec = dict[str, Any]


def build(spec: Spec, **options: Any) -> ll.Loss:
    """Return the loss; `LinearLoss` with the identity as its weights is the loss of its input."""
    if spec["name"] != "linear":
        return ll.get_loss({**spec, **options})
    loss = ll.LinearLoss({"name": "ce", **options}, in_features=5, num_classes=5, bias=False)
    loss.weight.requires_grad_(False).copy_(torch.eye(5))
    return loss


def evaluate(loss: Any, z: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Return the loss and its gradient."""
    z = torch.as_tensor(z).detach().clone().requires_grad_()
    value = loss(z, torch.as_tensor(y))
    (gradient,) = torch.autograd.grad(value, z)
    return value.detach(), gradient


def expected(spec: Spec, z: list[Any], y: list[Any], **options: Any) -> float:
    oracle, names = ORACLES[spec["name"]]
    loss = partial(oracle, **{name: spec[name] for name in names if name in spec})
    return float(oracles.evaluate(loss, z, y, **options)["mean"])


ORACLES: dict[str, tuple[oracles.Loss, tuple[str, ...]]] = {
    "ce": (oracles.cross_entropy, ()),
    "bce": (oracles.cross_entropy, ()),
    "linear": (oracles.cross_entropy, ()),
    "focal": (oracles.focal, ("gamma",)),
    "gce": (oracles.generalized_cross_entropy, ("q",)),
    "poly1": (oracles.poly1, ("epsilon",)),
}

CE, FOCAL, LINEAR = {"name": "ce"}, {"name": "focal", "gamma": 2.0}, {"name": "linear"}

TABLE_7A: dict[str, Spec] = {
    "torch CE": CE,  # all ignored and empty: NaN; the gradient of an ignored row of NaN is NaN
    "torch LCE chunked": LINEAR,  # all ignored: NaN, also the gradient
    "kornia": FOCAL,  # mean over all pixels
    "monai softmax": FOCAL,  # gamma .5: NaN; the mean jumps by C with ignore_index
    "smp FocalLoss multiclass": FOCAL,  # one-vs-rest: 40; label C trains silently
    "smp softmax_focal": FOCAL,  # gamma .5: NaN
    "TB CrossEntropyFocal": FOCAL,  # gamma 0 is 2.2 times CE; gradient 2500 on a tie at 1e4
    "IL SoftmaxFocal": FOCAL,  # gamma .5: NaN
    "exacta Focal softmax": FOCAL,  # empty: NaN
    "keras CategoricalFocal": FOCAL,  # 16.1 without a gradient
    "keras GCE (q=.5)": {"name": "gce", "q": 0.5},  # gradient NaN; label -1 gives a loss silently
    "focal-loss-torch": FOCAL,  # 36.8 without a gradient
    "balanced-loss focal": FOCAL,  # half the loss is lost, gradient NaN
    "timm ASL single-label": FOCAL,  # gamma .5: NaN; (N, C, H, W) silently wrong
    "timm, spells Poly1 CE": {"name": "poly1", "epsilon": 1.0},  # empty: NaN
    "TB, smp SoftCE(0)": CE,  # mean over all
    "PO, TB BiTempered": {"name": "bi_tempered"},  # float16: NaN from 75.75
    "PO FocalCosine": FOCAL,  # alpha multiplies all; ignored rows of NaN: NaN; empty: NaN
    "PO LDAM": {"name": "ldam", "class_counts": [50, 20, 10, 5, 1], "scale": 1.0},  # a count of 0: NaN
    "liger CE": CE,  # empty: RuntimeError; overwrites the logits
    "liger FusedLinearCE": LINEAR,  # empty: ZeroDivisionError; label C accepted
    "CCE torch_compile": LINEAR,  # all ignored: NaN
}

Z = 3 * torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.tensor([0, 3, 2, 1, 4, 0, 1, 2])
HALF_IGNORED = Y.where(torch.arange(8) % 2 == 0, -100)


def wrong_by(size: float, spec: Spec) -> None:
    """The value of the oracle, and a gradient that pulls as it should."""
    z, y = [[size, -size, 0.0, 0.0, 0.0]], [1]
    value, gradient = evaluate(build(spec), z, y)
    assert value.isfinite()
    assert gradient.isfinite().all()
    if spec["name"] in ORACLES:
        assert value.item() == pytest.approx(expected(spec, z, y), rel=1e-6)
        slope = 0.0 if spec["name"] == "gce" else 1.0  # bounded by design
        torch.testing.assert_close(gradient, slope * torch.tensor([[1.0, -1.0, 0.0, 0.0, 0.0]]))


def small_gamma_at_certainty(spec: Spec) -> None:
    """0 with a gradient of 0; the losses without a gamma likewise."""
    given = {"gamma": 0.5} if "gamma" in spec else {}
    for logit in (16.75, 100.0, 1e4):
        value, gradient = evaluate(build({**spec, **given}), [[logit, 0.0, 0.0, 0.0, -logit]], [0])
        assert value.isfinite()
        assert gradient.isfinite().all()


def gamma_0_is_cross_entropy(spec: Spec) -> None:
    """Equal to torch's cross entropy, with weights too."""
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    given = {"gamma": 0.0} if spec["name"] == "focal" else {}
    for options in ({}, {"weight": weight}):
        value = build({**spec, **given}, **options).double()(Z, Y)
        torch.testing.assert_close(value, F.cross_entropy(Z, Y, **options), rtol=1e-12, atol=0)


def all_ignored(spec: Spec) -> None:
    """0 with a gradient of 0."""
    value, gradient = evaluate(build(spec).double(), Z, torch.full_like(Y, -100))
    assert value == 0
    assert (gradient == 0).all()


def half_ignored(spec: Spec) -> None:
    """The mean over the rows that count."""
    value, gradient = evaluate(build(spec).double(), Z, HALF_IGNORED)
    kept, kept_gradient = evaluate(build(spec).double(), Z[::2], Y[::2])
    torch.testing.assert_close(value, kept, rtol=1e-13, atol=0)
    torch.testing.assert_close(gradient[::2], kept_gradient, rtol=1e-12, atol=0)


def nan_in_ignored_rows(spec: Spec) -> None:
    """As if the rows were not there, with a gradient of 0."""
    z = Z.clone()
    z[1::2] = math.nan
    value, gradient = evaluate(build(spec).double(), z, HALF_IGNORED)
    assert value == evaluate(build(spec).double(), Z, HALF_IGNORED)[0]
    assert (gradient[1::2] == 0).all()


def empty(spec: Spec) -> None:
    """0 with a graph."""
    value, gradient = evaluate(build(spec).double(), Z[:0], Y[:0])
    assert value == 0
    assert gradient.shape == (0, 5)


def label_out_of_range(spec: Spec) -> None:
    """Refused, with the label and what is allowed."""
    for bad in (5, -1):
        with pytest.raises(ValueError, match=rf"target .*\[0, 4\].* {bad}"):
            build(spec).double()(Z, Y.where(Y != 3, bad))


def images_are_rows(spec: Spec) -> None:
    """Equal to the same numbers as rows."""
    image, labels = Z.reshape(2, 2, 2, 5).movedim(-1, 1), Y.reshape(2, 2, 2)
    torch.testing.assert_close(build(spec)(image, labels), build(spec)(Z, Y), rtol=1e-13, atol=0)


COLUMNS_7A: dict[str, Callable[[Spec], None]] = {
    "±100 wrong": partial(wrong_by, 100.0),
    "±1e4": partial(wrong_by, 1e4),
    "gamma=.5, p_t=1": small_gamma_at_certainty,
    "gamma=0 is CE": gamma_0_is_cross_entropy,
    "all ignored": all_ignored,
    "half ignored": half_ignored,
    "NaN logits in ignored rows": nan_in_ignored_rows,
    "empty": empty,
    "t=C, t=-1": label_out_of_range,
    "(N,C,H,W)": images_are_rows,
}


# the other cells of these columns mean nothing
ONLY: dict[str, tuple[str, ...]] = {
    "gamma=0 is CE": ("ce", "focal", "linear"),
    "(N,C,H,W)": ("ce", "focal", "gce", "poly1", "bi_tempered", "ldam"),
    "alpha=.25": ("focal",),
}


def cells(table: dict[str, Spec], columns: Iterable[str]) -> list[tuple[str, str]]:
    return [(row, c) for row, spec in table.items() for c in columns if spec["name"] in ONLY.get(c, (spec["name"],))]


@pytest.mark.parametrize(("row", "column"), cells(TABLE_7A, COLUMNS_7A))
def test_7a(row: str, column: str) -> None:
    COLUMNS_7A[column](TABLE_7A[row])


# --- 7b: one logit for each decision ----------------------------------------------------------------------------------

BINARY_FOCAL = {**FOCAL, "task": "binary"}
OF_PROBABILITIES = {**BINARY_FOCAL, "from_logits": False}

TABLE_7B: dict[str, Spec] = {
    "torch BCEWithLogits": {"name": "bce"},  # y=2 silent; empty: NaN
    "torchvision": BINARY_FOCAL,  # gamma .5: NaN; soft targets 27 % off
    "kornia binary": BINARY_FOCAL,  # y=2 silent
    "monai sigmoid": BINARY_FOCAL,  # soft targets 25 % off
    "smp binary": BINARY_FOCAL,  # gamma .5: NaN
    "TB BinaryFocal": BINARY_FOCAL,  # gamma .5: NaN
    "IL Sigmoid": BINARY_FOCAL,  # integer targets refused
    "exacta sigmoid": BINARY_FOCAL,  # empty: NaN
    "keras BinaryFocal(from_logits)": BINARY_FOCAL,  # 16.0 without a gradient
    "timm ASL multilabel (clip 0)": {"name": "asymmetric", "task": "binary", "margin": 0.0},  # 18.4; (8, 8) silently
    "timm PolyBCE (eps 0)": {"name": "poly1", "task": "binary", "epsilon": 0.0},  # y=2 silent
    "timm DistributionBalanced": {"name": "bce", "pos_weight": 2.0},  # NaN from 88.75; broadcasts silently
    "PO FocalLoss": BINARY_FOCAL,  # alpha multiplies all
    "PO BCEFocal (pr)": OF_PROBABILITIES,  # 13.8 without a gradient
    "spells Poly1Focal (eps 0)": BINARY_FOCAL,  # gamma .5: NaN
    "focal-loss-torch (pr)": OF_PROBABILITIES,  # 36.8 without a gradient; soft targets cut to integers
    "balanced-loss.focal_loss": BINARY_FOCAL,  # missed positives cost 0, gradient NaN
    "optax sigmoid_focal": BINARY_FOCAL,  # (8, 8) silently
}
B_Z = Z[:, 0]
B_Y = torch.tensor([0, 1, 1, 0, 0, 1, 0, 1])


def scores(spec: Spec, z: Tensor) -> Tensor:
    return z if spec.get("from_logits", True) else z.sigmoid()


def b_value(spec: Spec, z: list[float], y: list[float], **options: Any) -> float:
    """Return what the loss should cost: the asymmetric one is two focal losses."""
    options = {"pos_weight": [spec["pos_weight"]] if "pos_weight" in spec else None, **options}
    if spec["name"] != "asymmetric":
        return expected(spec, z, y, task="binary", **options)
    of_one = partial(oracles.focal, gamma=0.0)
    of_zero = partial(oracles.focal, gamma=4.0)
    terms = [
        share * float(loss(oracles.softmax([0.0, logit]), label))
        for logit, share_of_one in zip(z, y, strict=True)
        for label, share, loss in ((1, share_of_one, of_one), (0, 1 - share_of_one, of_zero))
    ]
    return sum(terms) / len(z)


def b_wrong(spec: Spec) -> None:
    """100 and -1 for each positive that is missed, likewise for negatives."""
    factor = spec.get("pos_weight", 1.0)
    for y, z, slope in ((1, -100.0, -factor), (0, 100.0, 1.0)):
        if "from_logits" in spec and y == 0:
            continue  # 1 - p is 0 already, of which the floor at -100 is tested in test_classification
        logits = torch.tensor([z], dtype=torch.float64, requires_grad=True)
        value = build(spec)(scores(spec, logits), torch.tensor([y]))
        value.backward()
        assert value.item() == pytest.approx(100 * abs(slope), rel=1e-6)
        if "from_logits" not in spec:
            assert logits.grad.item() == pytest.approx(slope, rel=1e-6)
        assert logits.grad.isfinite().all()


def b_small_gamma(spec: Spec) -> None:
    """Finite, up to 1e4."""
    given = {"gamma": 0.5} if "gamma" in spec else {}
    for logit in (16.75, 100.0, 1e4):
        z = torch.tensor([logit, -logit])
        value, gradient = evaluate(build({**spec, **given}), scores(spec, z), torch.tensor([1, 0]))
        assert value.isfinite()
        assert gradient.isfinite().all()


def b_alpha(spec: Spec) -> None:
    """Class 1 has alpha, class 0 has 1 - alpha."""
    for gamma in (0.0, 2.0):
        given = {**spec, "gamma": gamma}
        actual = build(given, alpha=0.25)(scores(spec, B_Z), B_Y).item()
        assert actual == pytest.approx(b_value(given, B_Z.tolist(), B_Y.tolist(), alpha=0.25), rel=1e-10)


def b_soft(spec: Spec) -> None:
    """The mixture of the two losses."""
    y = torch.tensor([0.0, 1.0, 0.8, 0.3, 0.5, 0.9, 0.1, 0.2], dtype=torch.float64)
    actual = build(spec)(scores(spec, B_Z), y).item()
    assert actual == pytest.approx(b_value(spec, B_Z.tolist(), y.tolist()), rel=1e-10)


def b_out_of_range(spec: Spec) -> None:
    """Refused, with the number and what is allowed."""
    for bad in (2.0, -1.0):
        with pytest.raises(ValueError, match=rf"target .*\[0, 1\].* {bad}"):
            build(spec)(scores(spec, B_Z), B_Y.double().where(B_Y == 1, bad))


def b_integers(spec: Spec) -> None:
    """As good as floating point."""
    assert build(spec)(scores(spec, B_Z), B_Y) == build(spec)(scores(spec, B_Z), B_Y.double())


def b_shapes(spec: Spec) -> None:
    """Refused."""
    p = scores(spec, B_Z)
    for z, y in ((p[:, None], B_Y), (p, B_Y[:, None])):
        with pytest.raises(ValueError, match="shape"):
            build(spec)(z, y)


def b_empty(spec: Spec) -> None:
    """0 with a graph."""
    value, gradient = evaluate(build(spec), B_Z[:0], B_Y[:0])
    assert value == 0
    assert gradient.shape == (0,)


def b_nan(spec: Spec) -> None:
    """Seen, where the row counts."""
    z = scores(spec, B_Z).clone()
    z[2] = math.nan
    assert build(spec)(z, B_Y).isnan()
    ignored = B_Y.clone()
    ignored[2] = -100
    assert build(spec)(z, ignored).isfinite()


COLUMNS_7B: dict[str, Callable[[Spec], None]] = {
    "±100 wrong": b_wrong,
    "gamma=.5, p_t=1": b_small_gamma,
    "alpha=.25": b_alpha,
    "soft targets": b_soft,
    "y=2, y=-1": b_out_of_range,
    "integer targets": b_integers,
    "(8, 1) and (8,)": b_shapes,
    "empty": b_empty,
    "NaN logit": b_nan,
}


@pytest.mark.parametrize(("row", "column"), cells(TABLE_7B, COLUMNS_7B))
def test_7b(row: str, column: str) -> None:
    COLUMNS_7B[column](TABLE_7B[row])


# --- 7d: bfloat16 inputs against float64 on the same inputs -----------------------------------------------------------

# the others' relative error of loss / gradient on random and on easy rows, in percent
TABLE_7D: dict[str, Spec] = {
    "torch BCEWithLogits": {"name": "bce"},  # 0.01 / 0.2, easy 37 / 11
    "torchvision, IL sigmoid, spells": BINARY_FOCAL,  # 0.35 / 0.5, easy 6.6 / 46
    "smp binary, PO FocalLoss": BINARY_FOCAL,  # 0.35 / 0.4, easy 150 / 170
    "kornia binary": BINARY_FOCAL,  # 0.4 / 0.3, easy 0.7 / 2.7
    "monai, exacta, TB binary, timm, keras": BINARY_FOCAL,  # 0 / 0.13, easy 0 / 0.16
    "PO BCEFocal, focal-loss-torch (pr)": OF_PROBABILITIES,  # 214 / 25, easy 3 / 20
    "balanced-loss": BINARY_FOCAL,  # 0.4 / 1.4, easy 0.4 / 47
    "softmax: torch CE": CE,  # 0.3 / 0.2, easy 2.7 / 4.1
    "softmax: kornia, smp_softmax, timm ASL1": FOCAL,  # 0.36 / 0.43, easy 1.1 / 2.7
    "softmax: IL": FOCAL,  # 0.36 / 0.37, easy 1.1 / 2.7
    "softmax: torch LCE chunked": LINEAR,  # 0.37 / 0.13, easy 0.4 / 0.2
    "softmax: monai, exacta, keras, timm Poly": FOCAL,  # 0 / 0.15, easy 0 / 0.1
    "liger CE": CE,  # 0.42 / 0.29
}


def rows_of(spec: Spec, easy: bool) -> tuple[Tensor, Tensor]:
    """Return random logits N(0, 3), or right ones with gaps of 4 to 12, and labels."""
    generator = torch.Generator().manual_seed(1)
    gaps = torch.linspace(4, 12, 256, dtype=torch.float64)
    if "task" in spec or spec["name"] == "bce":
        y = torch.arange(256) % 2
        z = (2 * y - 1) * gaps if easy else 3 * torch.randn(256, generator=generator, dtype=torch.float64)
        return scores(spec, z), y
    y = torch.arange(256) % 5
    z = F.one_hot(y, 5) * gaps[:, None] if easy else 3 * torch.randn(256, 5, generator=generator, dtype=torch.float64)
    return z, y


@pytest.mark.parametrize("column", ["random", "easy", "easy, autocast"])
@pytest.mark.parametrize("row", TABLE_7D)
def test_7d(row: str, column: str) -> None:
    """Loss within 0.1 % and gradient within 1 % of float64; the loss is float32."""
    spec = TABLE_7D[row]
    z, y = rows_of(spec, column != "random")
    z = z.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled="autocast" in column):
        value, gradient = evaluate(build(spec).bfloat16(), z, y)
    exact_value, exact_gradient = evaluate(build(spec).double(), z.double(), y)
    assert value.dtype == torch.float32
    assert abs(value.double() - exact_value) < 1e-3 * exact_value
    assert (gradient.double() - exact_gradient).norm() < 1e-2 * exact_gradient.norm()
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=1e-2, atol=1e-9)
