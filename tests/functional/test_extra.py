"""Shifts, class weights and the losses that are not a function of the true class's likelihood, against their papers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional as F

import lightning_losses as ll
from tests import oracles

PRIOR = [0.6, 0.3, 0.1]
COUNTS = [60, 30, 10]
NOISE = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.0, 0.3, 0.7]]
NEEDED: dict[str, dict[str, Any]] = {
    "balanced_softmax": {"class_counts": COUNTS},
    "forward_correction": {"transition": NOISE},
    "ldam": {"class_counts": COUNTS},
    "logit_adjusted": {"prior": PRIOR},
}

# --- what one row of logits costs if class t is the true one ----------------------------------------------------------


def shifted(z: Sequence[float], t: int, prior: Sequence[float] = PRIOR, tau: float = 1.0) -> mpf:
    """Menon et al., Long-Tail Learning via Logit Adjustment, 2021, equation 10."""
    return mp.log(1 + mp.fsum((mpf(prior[c]) / prior[t]) ** tau * mp.exp(z[c] - z[t]) for c in range(3) if c != t))


def normalized(loss: oracles.Loss, z: Sequence[float], t: int, **arguments: float) -> mpf:
    """Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, 2020, equation 4."""
    p = oracles.softmax(z)
    return loss(p, t, **arguments) / mp.fsum(loss(p, c, **arguments) for c in range(len(z)))


def margin(z: Sequence[float], t: int, max_margin: float = 0.5, scale: float = 30.0) -> mpf:
    """Cao et al., Label-Distribution-Aware Margin Loss, 2019, equation 13."""
    margins = [mpf(count) ** mpf(-0.25) for count in COUNTS]
    moved = [mpf(scale) * (z[c] - (c == t) * max_margin * margins[c] / max(margins)) for c in range(3)]
    return oracles.cross_entropy(oracles.softmax(moved), t)


def bi_tempered(z: Sequence[float], t: int, t1: float = 0.8, t2: float = 1.2) -> mpf:
    """Amid et al., Robust Bi-Tempered Logistic Loss, 2019, equation 9; the normalisation by bisection."""
    t1, t2 = mpf(t1), mpf(t2)

    def probabilities(offset: mpf) -> list[mpf]:
        return [mp.exp(a - offset) if t2 == 1 else (1 + (1 - t2) * (a - offset)) ** (1 / (1 - t2)) for a in z]

    low = high = mpf(max(z))
    while mp.fsum(probabilities(high)) > 1:
        high = high + 2 * (high - low) + 1
    for _ in range(120):
        middle = (low + high) / 2
        low, high = (middle, high) if mp.fsum(probabilities(middle)) > 1 else (low, middle)
    p = probabilities(high)

    def log_t1(x: mpf) -> mpf:
        return mp.log(x) if t1 == 1 else (x ** (1 - t1) - 1) / (1 - t1)

    label = [mpf(c == t) for c in range(len(z))]
    powers = mp.fsum(y ** (2 - t1) - q ** (2 - t1) for y, q in zip(label, p, strict=True))
    return -log_t1(p[t]) - powers / (2 - t1)


def forward(z: Sequence[float], t: int) -> mpf:
    """Patrini et al., Making Deep Neural Networks Robust to Label Noise, 2017, theorem 2."""
    return -mp.log(mp.fsum(p * mpf(row[t]) for p, row in zip(oracles.softmax(z), NOISE, strict=True)))


ROW_LOSSES: dict[str, tuple[Callable[..., mpf], tuple[dict[str, Any], ...]]] = {
    "logit_adjusted": (shifted, ({}, {"tau": 0.5}, {"tau": 0.0})),
    "balanced_softmax": (lambda z, t: shifted(z, t, [0.6, 0.3, 0.1]), ({},)),
    "nce": (lambda z, t: normalized(oracles.cross_entropy, z, t), ({},)),
    "nfl": (lambda z, t, gamma=0.5: normalized(oracles.focal, z, t, gamma=gamma), ({}, {"gamma": 2.0})),
    "ldam": (margin, ({}, {"max_margin": 0.0}, {"scale": 2.0})),
    "bi_tempered": (bi_tempered, ({}, {"t1": 1.0, "t2": 1.0}, {"t1": 0.2, "t2": 4.0}, {"t1": 0.5, "t2": 1.0})),
    "forward_correction": (forward, ({},)),
    "nll": (lambda z, t: -mpf(z[t]), ({},)),
}
VARIANTS = [(name, own) for name, (_, variants) in ROW_LOSSES.items() for own in variants]
CASES = [(name, {**NEEDED.get(name, {}), **own}) for name, own in VARIANTS]
IDS = [f"{name}-{own}" for name, own in VARIANTS]

Z = torch.tensor(
    [[0.3, -1.2, 2.0], [1.0, 1.0, 1.0], [-3.0, 0.5, 0.1], [30.0, -20.0, 0.0], [0.1, 0.2, -0.3]], dtype=torch.float64
)
Y = torch.tensor([0, 2, 1, 1, -100])
WEIGHT, SAMPLE_WEIGHT = [0.5, 2.0, 1.0], torch.tensor([1.0, 0.5, 2.0, 3.0, 1.0], dtype=torch.float64)


def table(name: str, arguments: dict[str, Any]) -> Tensor:
    """Return what each row of Z costs for each class."""
    own = {key: value for key, value in arguments.items() if key not in NEEDED.get(name, {})}
    oracle = ROW_LOSSES[name][0]
    return torch.tensor([[float(oracle(z, t, **own)) for t in range(3)] for z in Z.tolist()], dtype=torch.float64)


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=IDS)
def test_value_with_class_indices(name: str, arguments: dict[str, Any]) -> None:
    cost = table(name, arguments)
    smooth = 0.0 if name == "forward_correction" else 0.2
    weight = None if name == "forward_correction" else WEIGHT
    w = torch.tensor(weight or [1.0] * 3, dtype=torch.float64)
    rows = [
        w[t] * (1 - smooth) * cost[n, t] + smooth / 3 * (w * cost[n]).sum() if t >= 0 else cost[n, 0] * 0
        for n, t in enumerate(Y.tolist())
    ]
    expected = SAMPLE_WEIGHT * torch.stack(rows)
    mass = (SAMPLE_WEIGHT * w[Y.clamp_min(0)])[Y >= 0].sum()
    options = {"label_smoothing": smooth, "weight": weight, **arguments}
    for reduction, value in {"none": expected, "sum": expected.sum(), "mean": expected.sum() / mass}.items():
        loss = ll.get_loss(name, reduction=reduction, **options)
        torch.testing.assert_close(loss(Z, Y, SAMPLE_WEIGHT), value, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=IDS)
def test_value_with_probabilities(name: str, arguments: dict[str, Any]) -> None:
    q = torch.rand(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q = q / q.sum(1, keepdim=True)
    expected = (q * table(name, arguments)).sum(1)
    loss = ll.get_loss(name, reduction="none", **arguments)
    torch.testing.assert_close(loss(Z, q), expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(loss(Z[0], q[0]), expected[0], rtol=1e-10, atol=0)
    smooth = {} if name == "forward_correction" else {"label_smoothing": 0.1}
    loss = ll.get_loss(name, reduction="none", **smooth, **arguments)
    for integer in (torch.int64, torch.uint8):
        one_hot = F.one_hot(Y[:4], 3).to(integer)
        torch.testing.assert_close(loss(Z[:4], one_hot), loss(Z[:4], Y[:4]), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=IDS)
def test_derivatives(name: str, arguments: dict[str, Any]) -> None:
    z = Z[[0, 2, 4]].clone().requires_grad_()
    loss, y = ll.get_loss(name, reduction="none", **arguments), torch.tensor([0, 1, 2])
    assert torch.autograd.gradcheck(lambda x: loss(x, y), z)
    assert torch.autograd.gradgradcheck(lambda x: loss(x, y), z)


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=IDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_finite_at_extremes_and_blind_to_ignored_rows(name: str, arguments: dict[str, Any], dtype: torch.dtype) -> None:
    z = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [torch.nan, torch.inf, 0.0], [0.0, 16.75, -16.75]])
    z = z.to(dtype).requires_grad_()
    y = torch.tensor([0, 0, -100, 1])
    loss = ll.get_loss(name, **arguments)
    value = loss(z, y)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert z.grad.isfinite().all()
    assert (z.grad[2] == 0).all()
    nothing = loss(z, torch.full_like(y, -100))
    nothing.backward()
    assert nothing == 0
    one_hot = F.one_hot(y.clamp_min(0), 3).where(y[:, None] >= 0, -100)
    torch.testing.assert_close(loss(z, one_hot), value, rtol=1e-6, atol=0)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("name", ["ce", "nce", "nll"])
def test_one_class(name: str, label_smoothing: float) -> None:
    z, y = torch.tensor([[2.0], [1.0], [-3.0]]), torch.tensor([0, -100, 0])
    value = ll.get_loss(name, label_smoothing=label_smoothing, reduction="none")(z, y)
    # p is 1; of the one class, so is the normalized loss, but for 0 / 0
    assert value.tolist() == ([-2.0, 0.0, 3.0] if name == "nll" else [0.0, 0.0, 0.0])


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=IDS)
def test_spatial_is_rows(name: str, arguments: dict[str, Any]) -> None:
    loss = ll.get_loss(name, reduction="none", **arguments)
    image, labels = Z[:4].reshape(2, 2, 3).movedim(-1, 1), Y[:4].reshape(2, 2)
    torch.testing.assert_close(loss(image, labels), loss(Z[:4], Y[:4]).reshape(2, 2), rtol=1e-13, atol=0)


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=IDS)
def test_bad_targets_are_refused(name: str, arguments: dict[str, Any]) -> None:
    loss = ll.get_loss(name, **arguments)
    with pytest.raises(ValueError, match=r"target .*\[0, 2\].* 3"):
        loss(Z[:2], torch.tensor([0, 3]))
    with pytest.raises(ValueError, match=r"target .*shape"):
        loss(Z[:2], torch.tensor([0]))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("name", ["logit_adjusted", "balanced_softmax"])
def test_shifts_compile_to_one_graph_and_transform(name: str) -> None:
    loss = ll.get_loss(name, **NEEDED[name])
    z = Z[:4].clone().requires_grad_()
    loss(z, Y[:4]).backward()
    torch._dynamo.reset()
    moved = Z[:4].clone().requires_grad_()
    torch.compile(loss, fullgraph=True, backend="aot_eager")(moved, Y[:4]).backward()
    torch.testing.assert_close(moved.grad, z.grad)
    torch.testing.assert_close(torch.func.grad(loss)(Z[:4], Y[:4]), z.grad)


# --- one logit for each decision --------------------------------------------------------------------------------------


def asymmetric(z: float, y: float, positive: float = 0.0, negative: float = 4.0, m: float = 0.05) -> mpf:
    """Ridnik et al., Asymmetric Loss for Multi-Label Classification, 2021, equations 4 to 7."""
    p = 1 / (1 + mp.exp(-mpf(z)))
    kept = max(p - mpf(m), mpf(0))
    return -y * (1 - p) ** positive * mp.log(p) - (1 - y) * kept**negative * mp.log(1 - kept)


@pytest.mark.parametrize("arguments", [(0.0, 4.0, 0.05), (1.0, 4.0, 0.0), (0.5, 0.0, 0.2)], ids=str)
def test_asymmetric(arguments: tuple[float, float, float]) -> None:
    z = torch.tensor([-40.0, -3.0, -2.944, 0.0, 0.4, 3.0, 15.0], dtype=torch.float64, requires_grad=True)
    for y in (0.0, 1.0, 0.3):
        expected = [float(asymmetric(score, y, *arguments)) for score in z.tolist()]
        value = ll.AsymmetricLoss(*arguments, reduction="none")(z, torch.full_like(z, y))
        torch.testing.assert_close(value.detach(), torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-16)
    x = torch.tensor([-4.0, -1.0, 0.3, 5.0], dtype=torch.float64, requires_grad=True)
    loss = ll.AsymmetricLoss(*arguments, reduction="none")
    assert torch.autograd.gradcheck(lambda s: loss(s, torch.tensor([0.0, 1.0, 0.3, 0.0])), x)
    assert torch.autograd.gradgradcheck(lambda s: loss(s, torch.tensor([0.0, 1.0, 0.3, 0.0])), x)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_asymmetric_without_asymmetry_is_focal(task: str) -> None:
    z, y = (Z, (Z > 0.2).long()) if task == "multilabel" else (Z[:, 0], (Z[:, 0] > 0.2).long())
    options: dict[str, Any] = {"task": task, "label_smoothing": 0.1, "pos_weight": 3.0}
    ours = ll.AsymmetricLoss(2.0, 2.0, margin=0.0, **options)(z, y)
    torch.testing.assert_close(ours, ll.FocalLoss(2.0, **options)(z, y), rtol=1e-12, atol=0)


def ghm(z: np.ndarray, y: np.ndarray, bins: int = 10) -> np.ndarray:
    """mmdetection 2.28's GHMC: each element's BCE by elements / (elements in its bin * bins in use)."""
    p = 1 / (1 + np.exp(-z))
    norm = np.abs(p - y)
    edges = np.arange(bins + 1) / bins
    edges[-1] += 1e-6
    weight, used = np.zeros_like(z), 0
    for low, high in itertools.pairwise(edges):
        inside = (norm >= low) & (norm < high)
        if inside.any():
            weight[inside] = len(z) / inside.sum()
            used += 1
    return weight / used * -(y * np.log(p) + (1 - y) * np.log1p(-p))


def test_ghm_counts_half_inputs_in_float32() -> None:
    # sigmoid(-0.001) is 0.49975, in bfloat16 0.5, which is in the next bin
    z, y = torch.full((3,), -0.001, dtype=torch.bfloat16), torch.zeros(3)
    loss = ll.GHMLoss(bins=2, momentum=0.5)
    loss(z, y)
    assert loss.class_constant.tolist() == [3.0, 0.0]


def test_ghm_of_probabilities_and_of_what_is_certain() -> None:
    z, y = Z[:3].flatten(), torch.tensor([0, 1, 1, 0, -100, 1, 0, 0, 1])
    torch.testing.assert_close(ll.GHMLoss(from_logits=False)(z.sigmoid(), y), ll.GHMLoss()(z, y))
    # |p - y| is 1 in the first, which the last bin holds: two bins of one element each
    assert ll.GHMLoss()(torch.tensor([1e4, 0.0]), torch.tensor([0, 0])).item() == pytest.approx((1e4 + np.log(2)) / 2)


def test_ghm() -> None:
    generator = np.random.default_rng(0)
    z, y = generator.normal(size=60), generator.integers(0, 2, 60)
    value = ll.GHMLoss(reduction="none")(torch.tensor(z), torch.tensor(y))
    torch.testing.assert_close(value, torch.tensor(ghm(z, y)), rtol=1e-12, atol=0)
    mean = ll.GHMLoss()(torch.tensor(np.append(z, np.nan)), torch.tensor(np.append(y, -100)))
    assert mean.item() == pytest.approx(ghm(z, y).mean(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_ghm_averages_over_training_batches(dtype: torch.dtype) -> None:
    loss = ll.GHMLoss(bins=2, momentum=0.75).to(dtype)
    easy, hard, label = torch.full((8,), 4.0), torch.full((8,), -4.0), torch.ones(8)
    torch.testing.assert_close(loss.eval()(easy, label), ll.GHMLoss(bins=2)(easy, label))  # nothing counted yet
    loss.train()(easy, label)
    loss(hard, label)
    # 0.75 * [8, 0] + 0.25 * [0, 8]; the hard ones then have N / (bins in use * 2) times the cross entropy
    assert loss.class_constant.tolist() == [6.0, 2.0]
    torch.testing.assert_close(loss.eval()(hard, label), 8 / 2 * F.softplus(torch.tensor(4.0)))
    assert loss.class_constant.tolist() == [6.0, 2.0]
    other = ll.GHMLoss(bins=2, momentum=0.75).eval()
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other(hard, label), loss(hard, label))
    assert ll.GHMLoss().state_dict() == {}


@pytest.mark.parametrize("name", ["nce", "nfl"])
@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_normalized_of_one_logit_is_that_of_two(name: str, task: str) -> None:
    z, y = (Z[:, 0], (Z[:, 0] > 0.2).long()) if task == "binary" else (Z, (Z > 0.2).long())
    two = torch.stack([torch.zeros_like(z), z], dim=-1).reshape(-1, 2)
    expected = ll.get_loss(name, reduction="none")(two, y.flatten()).reshape(y.shape)
    torch.testing.assert_close(ll.get_loss(name, task=task, reduction="none")(z, y), expected, rtol=1e-12, atol=0)


def test_shift_of_one_logit_is_that_of_two() -> None:
    z, y = Z[:, 0], torch.tensor([0, 1, 1, 0, 1])
    two = torch.stack([torch.zeros_like(z), z], dim=-1)
    expected = ll.LogitAdjustedLoss([0.9, 0.1], reduction="none")(two, y)
    binary = ll.LogitAdjustedLoss([0.9, 0.1], task="binary", reduction="none")
    torch.testing.assert_close(binary(z, y), expected, rtol=1e-12, atol=0)
    multilabel = ll.BalancedSoftmaxLoss([[90, 10], [1, 1]], task="multilabel", reduction="none")
    value = multilabel(torch.stack([z, z], dim=1), torch.stack([y, y], dim=1))
    torch.testing.assert_close(value[:, 0], expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(value[:, 1], ll.CrossEntropyLoss(reduction="none")(two, y), rtol=1e-12, atol=0)


# --- class weights and z-loss -----------------------------------------------------------------------------------------


def test_inverse_frequency_is_balanced_of_sklearn() -> None:
    labels = np.repeat([0, 1, 2], COUNTS)
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    torch.testing.assert_close(ll.class_weights.inverse_frequency(COUNTS), torch.tensor(expected))


@pytest.mark.parametrize("counts", [COUNTS, [6000, 300, 10]], ids=str)
@pytest.mark.parametrize("given", [{"beta": 0.99}, {}], ids=str)
def test_effective_number(given: dict[str, float], counts: list[int]) -> None:
    # Cui et al., Class-Balanced Loss Based on Effective Number of Samples, 2019, equation 10 and their code's scale
    beta = given.get("beta", 0.999)
    number = np.array([(1 - beta**count) / (1 - beta) for count in counts])
    expected = torch.tensor(1 / number / (1 / number).sum() * 3)
    torch.testing.assert_close(ll.class_weights.effective_number(counts, **given), expected)
    assert ll.class_weights.effective_number(counts, beta=0.0).tolist() == [1, 1, 1]
    spec = {"name": "effective_number", "counts": counts, **given}
    torch.testing.assert_close(ll.CrossEntropyLoss(weight=spec).weight, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["index", "one_hot", "soft"])
@pytest.mark.parametrize("counts", [None, COUNTS])
@pytest.mark.parametrize("ignored", [None, 1])
def test_z_loss(kind: str, counts: Any, ignored: int | None, dtype: torch.dtype) -> None:
    index = torch.tensor([0, 2, 1, 1, 2])
    y = {"index": index, "one_hot": F.one_hot(index, 3), "soft": F.one_hot(index, 3) * 0.7 + 0.1}[kind]
    z, used = Z.to(dtype, copy=True), torch.ones(5, dtype=torch.bool)
    if ignored is not None:
        z[ignored], y[ignored], used[ignored] = torch.nan, -100, False
    name, own = ("ce", {}) if counts is None else ("balanced_softmax", {"class_counts": counts})
    shift = 0 if counts is None else (torch.tensor(counts) / sum(counts)).double().log()
    squares = [float(mp.log(mp.fsum(map(mp.exp, row))) ** 2) for row in (z.double() + shift).tolist()]
    penalty = torch.tensor(squares, dtype=torch.float64).where(used, 0)
    value = ll.get_loss(name, weight=WEIGHT, z_loss=0.25, reduction="none", **own)(z, y)
    expected = ll.get_loss(name, weight=WEIGHT, reduction="none", **own)(z.double(), y) + 0.25 * penalty
    torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("name", "argument"), [("ldam", "class_counts"), ("forward_correction", "transition")])
def test_another_number_of_classes_is_refused(name: str, argument: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} .*4 classes.*3"):
        ll.get_loss(name, **NEEDED[name])(torch.zeros(2, 4), torch.tensor([0, 1]))


@pytest.mark.parametrize("name", ["logit_adjusted", "balanced_softmax"])
def test_a_prior_of_another_number_of_classes_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"the prior .*4.*3"):
        ll.get_loss(name, **NEEDED[name])(torch.zeros(2, 4), torch.tensor([0, 1]))
