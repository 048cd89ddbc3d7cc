"""Every fast version of the operations against the plain one in float64."""

from __future__ import annotations

import gc
import math
from functools import partial
from types import ModuleType

import pytest
import torch
from torch import Tensor

from lightning_losses import kernels
from lightning_losses.functional.classification import CrossEntropy, Focal, GeneralizedCrossEntropy
from lightning_losses.kernels import Phi, blocked, by_rows, elements, plain

try:
    from lightning_losses.kernels import on_cuda
except ModuleNotFoundError:
    on_cuda = None

BACKENDS = [pytest.param(module, id=module.__name__.rpartition(".")[2]) for module in (blocked, by_rows)]
ON_CUDA = pytest.param(
    on_cuda,
    id="on_cuda",
    marks=[
        pytest.mark.skipif(on_cuda is None, reason="needs triton, whose interpreter runs the kernels"),
        pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # the interpreter's arithmetic outside the matrix
    ],
)
PHIS = [CrossEntropy(), Focal(2.0), GeneralizedCrossEntropy(0.7)]
# with 100 elements a block, most of these are cut, some unevenly
SHAPES = [(1, 1), (7, 5), (4, 300), (600, 3), (520, 64), (9, 65), (0, 4)]
ELEMENTS_ON_CUDA = 200  # that many in some tiles, for the interpreter is slow
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 4e-3, torch.float16: 1e-3}


@pytest.fixture(params=[None, 100], ids="block={}".format, autouse=True)
def _block_size(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(blocked, "BLOCK", request.param)
        monkeypatch.setattr(elements, "BLOCK", request.param)
        monkeypatch.setattr(by_rows, "BLOCK", request.param)
        if on_cuda is not None:
            monkeypatch.setattr(on_cuda.tiles, "TILE", 64)


def fitting(backend: ModuleType, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape with as many of the rows as the backend is fast enough for."""
    rows = max(2, ELEMENTS_ON_CUDA // max(math.prod(shape[1:]), 1)) if backend is on_cuda else shape[0]
    return min(shape[0], rows), *shape[1:]


def logits_of(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Hard, easy and tied rows."""
    z = 3 * torch.randn(shape, dtype=torch.float64)
    z[::3] = 0
    z[1::3, 0] += 20
    return z.to(dtype)


def compare(fast: Tensor, exact: Tensor, z: Tensor, reference: Tensor, tolerance: float, atol: float = 0.0) -> None:
    seed = torch.rand(len(exact), dtype=torch.float64).reshape(-1, *[1] * (exact.dim() - 1)) + 0.5
    (slope,) = torch.autograd.grad((fast * seed.to(fast.dtype)).sum(), z)
    (exact_slope,) = torch.autograd.grad((exact * seed).sum(), reference)
    assert slope.dtype == z.dtype
    assert fast.dtype == torch.promote_types(z.dtype, torch.float32)
    rounding = 1e-12 if z.dtype == torch.float64 else 1e-5  # half logits are widened first
    torch.testing.assert_close(fast.double(), exact, rtol=rounding, atol=1e-30)
    torch.testing.assert_close(slope.double(), exact_slope, rtol=tolerance * 4, atol=atol + torch.finfo(z.dtype).tiny)


def pair(z: Tensor) -> tuple[Tensor, Tensor]:
    """The logits to differentiate, and the same numbers in float64."""
    return z.requires_grad_(), z.detach().double().requires_grad_()


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
@pytest.mark.parametrize("phi", [*PHIS, Focal(0.5)], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_target_loss(backend: ModuleType, phi: Phi, shape: tuple[int, int], dtype: torch.dtype) -> None:
    shape = fitting(backend, shape)
    z, reference = pair(logits_of(shape, dtype))
    target = torch.randint(shape[1], shape[:1])
    target[1::3] = 0
    compare(
        backend.target_loss(phi, z, target),
        plain.target_loss(phi, reference, target),
        z,
        reference,
        TOLERANCE[dtype],
    )


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
@pytest.mark.parametrize("by_row", [True, False], ids=["by row", "by class"])
@pytest.mark.parametrize("phi", PHIS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_row_expectation(
    backend: ModuleType, by_row: bool, phi: Phi, shape: tuple[int, int], dtype: torch.dtype
) -> None:
    rows = slice(fitting(backend, shape)[0])
    z, reference = pair(logits_of(shape, dtype)[rows])
    coefficient = torch.rand(shape if by_row else shape[1:], dtype=torch.float64)
    coefficient[..., 0] = 0
    coefficient = coefficient[rows] if by_row else coefficient
    compute = torch.promote_types(dtype, torch.float32)
    fast = backend.row_expectation(phi, z, coefficient.to(compute))
    exact = plain.row_expectation(phi, reference, coefficient.to(compute).double())
    seed = torch.rand(len(exact), dtype=torch.float64) + 0.5
    (slope,) = torch.autograd.grad((fast * seed.to(compute)).sum(), z)
    (exact_slope,) = torch.autograd.grad((exact * seed).sum(), reference)
    torch.testing.assert_close(fast.double(), exact, rtol=5e-6, atol=1e-12)
    # the classes' shares cancel in this gradient, so it is judged against the largest number of its row
    scale = exact_slope.abs().amax(dim=1, keepdim=True) + torch.finfo(dtype).tiny * 1e3
    torch.testing.assert_close(
        slope / scale, exact_slope / scale, rtol=0, atol=TOLERANCE[dtype] * 50, check_dtype=False
    )


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
@pytest.mark.parametrize("phi", PHIS, ids=str)
@pytest.mark.parametrize("labels", ["hard", "soft", "integer"])
@pytest.mark.parametrize("shape", [(1,), (513,), (5, 3), (2, 3, 40), (0, 3), (0,)], ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_element_loss(backend: ModuleType, phi: Phi, labels: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    shape = fitting(backend, shape)
    z, reference = pair((3 * torch.randn(shape, dtype=torch.float64)).to(dtype))
    share = torch.rand(shape).round(decimals=2 if labels == "soft" else 0)
    share = share.long() if labels == "integer" else share
    positive, negative = torch.rand(2, *shape[1:]).unbind()
    fast = backend.element_loss(phi, z, share, positive.to(z) if dtype == torch.float64 else positive, negative)
    exact = plain.element_loss(phi, reference, share, positive.double(), negative.double())
    # where a label is soft, the two classes' gradients cancel
    compare(fast, exact, z, reference, TOLERANCE[dtype], atol=TOLERANCE[dtype] if labels == "soft" else 0)


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
@pytest.mark.parametrize("shape", [(7, 5), (600, 3), (9, 65)], ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_rows_left_out_may_hold_anything(backend: ModuleType, shape: tuple[int, int], dtype: torch.dtype) -> None:
    shape = fitting(backend, shape)
    z, phi = logits_of(shape, dtype), Focal(2.0)
    used = torch.arange(shape[0]) % 3 != 1
    z[~used] = torch.tensor([torch.nan, torch.inf, -torch.inf]).repeat(shape[1])[: shape[1]].to(dtype)
    z.requires_grad_()
    target, coefficient = torch.zeros(shape[0], dtype=torch.long), torch.rand(shape).to(z)
    element_used = used[:, None].expand(shape)
    for compute in (
        lambda z, used: backend.target_loss(phi, z, target[: len(z)], used),
        lambda z, used: backend.row_expectation(phi, z, coefficient[: len(z)].float(), used),
        lambda z, used: backend.element_loss(
            phi, z, torch.ones_like(z), torch.ones(()), torch.ones(()), None if used is None else element_used
        ).sum(1),
    ):
        loss = compute(z, used)
        (slope,) = torch.autograd.grad(loss.sum(), z)
        assert (loss[~used] == 0).all()
        assert (slope[~used] == 0).all()
        assert loss.isfinite().all()
        assert slope[used].isfinite().all()
        assert slope[used].any()


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
@pytest.mark.parametrize("shape", [(7, 5), (600, 3), (9, 65)], ids=str)
def test_shift_is_added(backend: ModuleType, shape: tuple[int, int]) -> None:
    shape = fitting(backend, shape)
    z, shift, phi = logits_of(shape, torch.float64), torch.randn(shape[1], dtype=torch.float64), Focal(2.0)
    target, coefficient = torch.randint(shape[1], shape[:1]), torch.rand(shape, dtype=torch.float64)
    for name, argument in (("target_loss", target), ("row_expectation", coefficient)):
        ours, moved = z.clone().requires_grad_(), (z + shift).requires_grad_()
        value = getattr(backend, name)(phi, ours, argument, None, shift)
        expected = getattr(plain, name)(phi, moved, argument)
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
        slopes = torch.autograd.grad(value.sum(), ours), torch.autograd.grad(expected.sum(), moved)
        torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
@pytest.mark.parametrize("shape", [(7, 5), (600, 3), (9, 65)], ids=str)
def test_strides(backend: ModuleType, shape: tuple[int, int]) -> None:
    shape = fitting(backend, shape)
    z, target, phi = logits_of(shape, torch.float32), torch.zeros(shape[0], dtype=torch.long), Focal(2.0)
    for strided in (z.t().contiguous().t(), torch.stack([z, -z], dim=2)[..., 0], z[:1].expand(shape)):
        results = []
        for leaf in (strided.requires_grad_(), strided.detach().contiguous().requires_grad_()):
            value = backend.target_loss(phi, leaf, target)
            results.append((value, *torch.autograd.grad(value.sum(), leaf)))
        torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
@pytest.mark.parametrize("operation", ["row_expectation", "element_loss"])
def test_strides_of_every_argument(backend: ModuleType, operation: str) -> None:
    z, share, factor = logits_of((9, 65), torch.float64), torch.rand(9, 65).double(), torch.rand(65).double()
    used = torch.rand(9, 65) < 0.5
    results = []
    for strided in (lambda x: x, lambda x: x.t().contiguous().t(), lambda x: torch.stack([x, x], dim=2)[..., 0]):
        leaf = strided(z).detach().requires_grad_()
        rest = () if operation == "row_expectation" else (factor, factor, strided(used))
        loss = getattr(backend, operation)(Focal(2.0), leaf, strided(share), *rest)
        results.append((loss, *torch.autograd.grad(loss.sum(), leaf)))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
@pytest.mark.parametrize("sizes", [(3, 1, 1), (1, 3, 1, 5), (4, 5), (5,)], ids=str)
def test_factors_are_broadcast(backend: ModuleType, sizes: tuple[int, ...]) -> None:
    z, reference = pair(logits_of((2, 3, 4, 5), torch.float64))
    share, positive = torch.rand(z.shape).double(), torch.rand(sizes, dtype=torch.float64)
    arguments = share, positive, torch.ones((), dtype=torch.float64)
    fast, exact = (m.element_loss(Focal(2.0), x, *arguments) for m, x in ((backend, z), (plain, reference)))
    compare(fast, exact, z, reference, TOLERANCE[z.dtype], atol=1e-12)


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
@pytest.mark.parametrize("shape", [(7, 5), (520, 3)], ids=str)
def test_second_derivative(backend: ModuleType, shape: tuple[int, int]) -> None:
    shape = fitting(backend, shape)
    z, target, phi = logits_of(shape, torch.float64), torch.zeros(shape[0], dtype=torch.long), Focal(2.0)
    share, one = torch.rand(shape, dtype=torch.float64), torch.ones((), dtype=torch.float64)
    for name, arguments in (
        ("target_loss", (target,)),
        ("row_expectation", (share,)),
        ("element_loss", (share, one, one)),
    ):
        results = []
        for module in (backend, plain):
            leaf = z.clone().requires_grad_()
            (first,) = torch.autograd.grad(getattr(module, name)(phi, leaf, *arguments).sum(), leaf, create_graph=True)
            results.append(torch.autograd.grad(first.square().sum(), leaf)[0])
        torch.testing.assert_close(*results, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
def test_backward_twice(backend: ModuleType) -> None:
    rows = fitting(backend, (600, 3))[0]
    z, target = logits_of((rows, 3), torch.float32).requires_grad_(), torch.zeros(rows, dtype=torch.long)
    loss = backend.target_loss(Focal(2.0), z, target).sum()
    first = torch.autograd.grad(loss, z, retain_graph=True)
    assert torch.equal(*first, *torch.autograd.grad(loss, z))


TARGETS = {
    "indices": torch.tensor([0, 3, 4, -100, 5, -1, 2**40, 2]),
    "small integers": torch.tensor([0, 3, 255, 4, 5], dtype=torch.uint8),
    "labels": torch.tensor([True, False]),
    "shares": torch.tensor([0.0, 0.5, 1.0, 4.5, -0.1, -100.0, torch.inf, -torch.inf]),
    "minus infinity": torch.tensor([0.0, -torch.inf]),
    "NaN": torch.tensor([torch.inf, -torch.nan, 0.5, torch.nan]),
    "all good": torch.tensor([0.0, 1.0]),
    "none": torch.empty(0),
    "rows": torch.tensor([[0.2, 0.8], [-100, -100], [0.2, -100], [-1, 9], [torch.nan, 0], [4, 0]]),
    "good rows": torch.tensor([[0.2, 0.8], [-100, -100]]),
    "wide rows": torch.rand(5, 300).index_fill_(0, torch.tensor([1]), -100.0),
    "one bad entry": torch.rand(3, 300).index_put_((torch.tensor([1]), torch.tensor([290])), torch.tensor(7.0)),
    "columns first": torch.rand(70, 3).t(),
    "every other": torch.arange(12)[::2],
    "one number": torch.tensor(3.0).expand(5),
}


@pytest.mark.parametrize("backend", [ON_CUDA])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("dtype", [None, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", TARGETS)
def test_checked_target(backend: ModuleType, name: str, dtype: torch.dtype | None, kept: bool) -> None:
    target = TARGETS[name] if dtype is None else TARGETS[name].to(dtype)
    ours, exact = (torch.tensor(-torch.inf) if kept else None for _ in range(2))
    for largest in (1, 4):  # the largest of both is kept
        result = backend.checked_target(target, largest, -100, ours)
        torch.testing.assert_close(result, plain.checked_target(target, largest, -100, exact), rtol=0, atol=0)
    torch.testing.assert_close(ours, exact, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("backend", [plain, ON_CUDA])
def test_the_worst_value_is_kept(backend: ModuleType) -> None:
    worst = torch.tensor(-torch.inf)
    for target, expected in (([0, 4], -math.inf), ([-3, 0], -3.0), ([-5, 5], 5.0), ([-7, 0], 5.0), ([9, 1], 9.0)):
        backend.checked_target(torch.tensor(target), 4, -100, worst)
        assert worst == expected


@pytest.mark.parametrize("backend", [plain, ON_CUDA])
def test_rows_of_a_target(backend: ModuleType) -> None:
    target = torch.tensor([[0.2, 0.8], [-100, -100], [0.2, -100], [0.0, 1.5]])
    values, used, bad = backend.checked_target(target, 1, -100, None)
    assert values.tolist() == [target[0].tolist(), [0, 0], [0, 0], [0, 0]]
    assert used.tolist() == [True, False, False, False]
    assert bad.tolist() == [False, False, True, True]


def test_a_target_may_require_a_gradient(monkeypatch) -> None:
    monkeypatch.setattr(kernels, "blocked", None)
    target = torch.tensor([0.5, -100.0], requires_grad=True)
    values, _, _ = kernels.checked_target(target, 1, -100, None)
    values.sum().backward()
    assert target.grad.tolist() == [1, 0]


class Own(Focal):
    """A user's loss, which no kernel knows."""

    def value(self, log_p: Tensor) -> Tensor:
        return 3 * super().value(log_p)

    def value_and_descent(self, surprise: Tensor, miss: Tensor) -> tuple[Tensor, Tensor]:
        value, descent = super().value_and_descent(surprise, miss)
        return 3 * value, 3 * descent


@pytest.mark.parametrize("backend", [ON_CUDA])
@pytest.mark.parametrize("operation", ["row_expectation", "element_loss"])
def test_a_loss_of_the_users_own_is_computed_in_torch(backend: ModuleType, operation: str, monkeypatch) -> None:
    z = logits_of((5, 3), torch.float64)
    arguments = arguments_of(operation, z)
    torch.testing.assert_close(
        getattr(backend, operation)(Own(2.0), z, *arguments), getattr(plain, operation)(Own(2.0), z, *arguments)
    )
    monkeypatch.setattr(by_rows, operation, None)
    getattr(backend, operation)(Focal(2.0), z, *arguments)  # goes through a kernel


@pytest.mark.skipif(on_cuda is None, reason="needs triton")
def test_gpus_get_the_kernels() -> None:
    assert kernels._of_accelerators("cuda") is on_cuda
    assert kernels._of_accelerators("xpu") is by_rows


def test_transforms() -> None:
    z, target, phi = logits_of((6, 4), torch.float64), torch.randint(4, (6,)), Focal(2.0)

    def loss(row: Tensor, label: Tensor) -> Tensor:
        return kernels.target_loss(phi, row.unsqueeze(0), label.unsqueeze(0)).sum()

    leaf = z.clone().requires_grad_()
    (expected,) = torch.autograd.grad(plain.target_loss(phi, leaf, target).sum(), leaf)
    slopes = torch.func.vmap(torch.func.grad(loss))(z, target)
    torch.testing.assert_close(slopes, expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own, on first use
def test_forward_mode_is_refused() -> None:
    z, target = torch.randn(4, 3), torch.zeros(4, dtype=torch.long)
    with torch.autograd.forward_ad.dual_level(), pytest.raises((RuntimeError, NotImplementedError), match="jvp"):
        kernels.target_loss(Focal(2.0), torch.autograd.forward_ad.make_dual(z, torch.ones_like(z)), target)


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
def test_easy_rows_keep_their_digits(backend: ModuleType) -> None:
    # 1 - p = 3 exp(-30) / (1 + 3 exp(-30)): lost in float32 by any formula that subtracts from 1
    z = torch.tensor([[1030.0, 1000.0, 1000.0, 1000.0]], requires_grad=True)
    loss = backend.target_loss(CrossEntropy(), z, torch.tensor([0]))
    loss.sum().backward()
    miss = torch.tensor(-30.0, dtype=torch.float64).exp().item()
    torch.testing.assert_close(loss.item(), 3 * miss, rtol=1e-6, atol=0)
    torch.testing.assert_close(z.grad, torch.tensor([[-3 * miss, miss, miss, miss]]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("backend", [plain, *BACKENDS, ON_CUDA])
@pytest.mark.parametrize("others", [0.0, 0.1])
def test_easy_rows_keep_their_digits_with_shares(backend: ModuleType, others: float) -> None:
    # the target alone has a share, or a factor that is no power of 2 is the same for all classes
    z, reference = pair(torch.tensor([[1030.0, 1000.0, 1000.0, 1000.0], [0.0, -40.0, -30.0, -50.0]]))
    share = torch.tensor([[1.3, others, others, others]]).expand(2, 4)
    loss = backend.row_expectation(CrossEntropy(), z, share)
    exact = plain.row_expectation(CrossEntropy(), reference, share.double())
    slopes = torch.autograd.grad(loss.sum(), z)[0], torch.autograd.grad(exact.sum(), reference)[0]
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=0)
    torch.testing.assert_close(slopes[0].double(), slopes[1], rtol=2e-6, atol=0)


@pytest.mark.parametrize("backend", [plain, *BACKENDS, ON_CUDA])
def test_easy_elements_keep_their_digits(backend: ModuleType) -> None:
    z, reference = pair(torch.tensor([30.0, -30.0, 80.0, -80.0, 1e4]))
    share, one = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0]), torch.ones(())
    loss, exact = (m.element_loss(CrossEntropy(), x, share, one, one) for m, x in ((backend, z), (plain, reference)))
    compare(loss, exact, z, reference, 1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gap", [30.0, 39.9, 40.1, 80.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_another_class_far_ahead(backend: ModuleType, gap: float, dtype: torch.dtype) -> None:
    # beside an easy row, whose digits must stay, and a row of NaN, which must not hide the hard one
    z = torch.tensor([[0.0, gap, gap - 1, -5.0], [30.0, 0.0, 0.0, 0.0], [torch.nan] * 4], dtype=dtype)
    leaf, reference = pair(z)
    target = torch.zeros(3, dtype=torch.long)
    value, exact = backend.target_loss(Focal(2.0), leaf, target), plain.target_loss(Focal(2.0), reference, target)
    slopes = torch.autograd.grad(value.sum(), leaf)[0], torch.autograd.grad(exact.sum(), reference)[0]
    torch.testing.assert_close(value.double(), exact, rtol=TOLERANCE[dtype], atol=0, equal_nan=True)
    # as exact as the logits of the row are
    tolerance = max(TOLERANCE[dtype], torch.finfo(dtype).eps * min(gap, 100.0))
    torch.testing.assert_close(slopes[0].double(), slopes[1], rtol=tolerance, atol=1e-36, equal_nan=True)


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
@pytest.mark.parametrize("phi", [*PHIS, Focal(0.5)], ids=str)
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_extremes(backend: ModuleType, phi: Phi, offset: float) -> None:
    z = (torch.tensor([[0.0, 20.0, -20.0], [1e4, -1e4, 0.0], [0.0, 0.0, 0.0]]).repeat(3, 1) + offset).requires_grad_()
    target = torch.arange(3).repeat_interleave(3)
    loss = backend.target_loss(phi, z, target)
    (slope,) = torch.autograd.grad(loss.sum(), z)
    reference = z.detach().double().requires_grad_()
    exact = plain.target_loss(phi, reference, target)
    (exact_slope,) = torch.autograd.grad(exact.sum(), reference)
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=1e-30)
    torch.testing.assert_close(slope.double(), exact_slope, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("backend", [blocked, ON_CUDA])
def test_classes_of_minus_infinity(backend: ModuleType) -> None:
    # masked classes, a whole tile of them before the first other one
    z = torch.full((2, 70), -torch.inf).index_fill_(1, torch.tensor([66, 69]), 1.0).requires_grad_()
    loss = backend.target_loss(CrossEntropy(), z, torch.tensor([66, 69]))
    loss.sum().backward()
    torch.testing.assert_close(loss, torch.full((2,), 2.0).log())
    expected = torch.zeros(2, 70)
    expected[:, 66], expected[:, 69] = torch.tensor([-0.5, 0.5]), torch.tensor([0.5, -0.5])
    torch.testing.assert_close(z.grad, expected)


def keep_size(kept: list[int], saved: Tensor) -> Tensor:
    memory = saved.untyped_storage().nbytes() // saved.element_size()
    kept.append(min(saved.numel(), memory))  # a view may have more elements than there is memory, or fewer
    return saved


@pytest.mark.parametrize("backend", [blocked, by_rows, ON_CUDA])
def test_saved_memory_is_linear_in_the_rows(backend: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked, "KEPT", 0)
    rows, classes = fitting(backend, (600, 1000))  # several blocks
    z, target, coefficient = torch.randn(rows, classes), torch.randint(classes, (rows,)), torch.rand(classes)
    z.requires_grad_()
    for operation, argument in (("target_loss", target), ("row_expectation", coefficient)):
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(partial(keep_size, kept), lambda t: t):
            getattr(backend, operation)(Focal(2.0), z, argument)
        assert sum(kept) <= z.numel() + 10 * len(z) + classes


def matrices(numel: int) -> int:
    gc.collect()
    return sum(type(thing) is Tensor and thing.numel() == numel for thing in gc.get_objects())


def test_whoever_saves_in_another_place_saves_all() -> None:
    # as checkpoints do, which make it again: they must not hold the matrix all the same
    z = torch.randn(601, 1009, requires_grad=True)
    before = matrices(z.numel())
    with torch.autograd.graph.saved_tensors_hooks(lambda _: None, lambda _: z):
        loss = blocked.target_loss(Focal(2.0), z, torch.randint(1009, (601,)))
    assert loss.requires_grad
    assert matrices(z.numel()) == before


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
@pytest.mark.parametrize("classes", [3, 70])
def test_an_infinite_logit_is_not_free(backend: ModuleType, classes: int) -> None:
    z = torch.zeros(3, classes)
    z[0, 0], z[1, 1], z[2, 1] = torch.inf, torch.inf, 90.0  # of the target, of another class, and of none
    z.requires_grad_()
    loss = backend.target_loss(CrossEntropy(), z, torch.zeros(3, dtype=torch.long))
    (slope,) = torch.autograd.grad(loss.sum(), z)
    assert loss.isfinite().tolist() == [False, False, True]
    assert slope.isnan().any(dim=1).tolist() == [True, True, False]


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_an_infinite_logit_of_a_decision_is_not_free(backend: ModuleType, share: float) -> None:
    z = torch.tensor([[torch.inf, -torch.inf, 0.0], [1.0, -90.0, 90.0]], requires_grad=True)
    given = torch.full_like(z, share).detach(), torch.ones(()), torch.ones(())
    expected = [[False, False, True], [True, True, True]]
    loss = backend.element_loss(CrossEntropy(), z, *given)
    assert loss.isfinite().tolist() == expected
    assert backend.element_loss(CrossEntropy(), z.detach(), *given).isfinite().tolist() == expected


OPERATIONS = ("target_loss", "row_expectation", "element_loss")


def arguments_of(operation: str, z: Tensor) -> tuple[Tensor, ...]:
    return {
        "target_loss": (torch.zeros(len(z), dtype=torch.long),),
        "row_expectation": (torch.rand(z.shape).to(z),),
        "element_loss": (torch.rand(z.shape).to(z), torch.ones(()), torch.ones(())),
    }[operation]


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("phi", PHIS, ids=str)
def test_results_may_be_changed_in_place(backend: ModuleType, operation: str, phi: Phi) -> None:
    z = logits_of((40, 3), torch.float32).requires_grad_()
    arguments = arguments_of(operation, z)
    (expected,) = torch.autograd.grad(getattr(backend, operation)(phi, z, *arguments).sum() * 2, z)
    loss = getattr(backend, operation)(phi, z, *arguments)
    loss *= 2
    assert torch.equal(torch.autograd.grad(loss.sum(), z)[0], expected)


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_second_backward_pass_gives_the_same(backend: ModuleType, operation: str) -> None:
    z = logits_of((40, 3), torch.float32).requires_grad_()
    loss = getattr(backend, operation)(Focal(2.0), z, *arguments_of(operation, z)).sum()
    (first,) = torch.autograd.grad(loss, z, retain_graph=True)
    expected = first.clone()
    first.zero_()  # the gradient is the caller's own
    torch.testing.assert_close(torch.autograd.grad(loss, z)[0], expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_default_device_does_not_matter(backend: ModuleType, operation: str) -> None:
    z = logits_of((40, 3), torch.float32).requires_grad_()
    arguments = arguments_of(operation, z)
    with torch.device("meta"):
        getattr(backend, operation)(Focal(2.0), z, *arguments).sum().backward()
    assert z.grad.device.type == "cpu"


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
def test_one_sample_whose_labels_have_factors(backend: ModuleType) -> None:
    z, reference = pair(3 * torch.randn(513, dtype=torch.float64))
    arguments = torch.rand(513).round().double(), *torch.rand(2, 513, dtype=torch.float64)
    fast, exact = (m.element_loss(Focal(2.0), x, *arguments) for m, x in ((backend, z), (plain, reference)))
    compare(fast, exact, z, reference, TOLERANCE[z.dtype])


@pytest.mark.parametrize("backend", [*BACKENDS, ON_CUDA])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_gradients_of_a_batch(backend: ModuleType, operation: str) -> None:
    z = logits_of((7, 31), torch.float64).requires_grad_()
    loss = getattr(backend, operation)(Focal(2.0), z, *arguments_of(operation, z)).reshape(7, -1).sum(dim=1)
    one_by_one = [torch.autograd.grad(value, z, retain_graph=True)[0] for value in loss]
    (at_once,) = torch.autograd.grad(loss, z, torch.eye(7).double(), is_grads_batched=True)
    torch.testing.assert_close(at_once, torch.stack(one_by_one), rtol=1e-9, atol=1e-12)


class Miss(Phi):
    """`1 - p`, of which the two results are what it was given and new memory."""

    def value(self, log_p: Tensor) -> Tensor:
        return -log_p.expm1()

    def log_slope(self, log_p: Tensor) -> Tensor:
        return log_p

    def value_and_descent(self, surprise: Tensor, miss: Tensor) -> tuple[Tensor, Tensor]:
        return miss, surprise.neg_().exp_()


class Expanded(Phi):
    """`-l`, whose derivative is one number for all."""

    value, log_slope = CrossEntropy.value, CrossEntropy.log_slope

    def value_and_descent(self, surprise: Tensor, miss: Tensor) -> tuple[Tensor, Tensor]:
        return surprise, surprise.new_ones(()).expand_as(surprise)


class Remembering(Expanded):
    """`-l`, whose derivative is in memory that it keeps."""

    def __init__(self) -> None:
        self.ones: dict[torch.Size, Tensor] = {}

    def value_and_descent(self, surprise: Tensor, miss: Tensor) -> tuple[Tensor, Tensor]:
        return surprise, self.ones.setdefault(surprise.shape, torch.ones_like(surprise))


@pytest.mark.parametrize("backend", [blocked, by_rows, ON_CUDA])
@pytest.mark.parametrize("phi", [Miss(), Expanded(), Remembering()], ids=lambda phi: type(phi).__name__)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_loss_may_return_what_it_was_given_and_what_it_keeps(backend: ModuleType, phi: Phi, operation: str) -> None:
    z = torch.linspace(-3, 3, 12).reshape(4, 3)
    arguments = {
        "target_loss": (torch.arange(4) % 3,),
        "row_expectation": (torch.rand(4, 3),),
        "element_loss": ((torch.arange(12) % 2).float().reshape(4, 3), torch.ones(()), torch.ones(())),
    }[operation]
    for _ in range(2):
        leaf, reference = pair(z.clone())
        fast, exact = (getattr(m, operation)(phi, x, *arguments) for m, x in ((backend, leaf), (plain, reference)))
        compare(fast, exact, leaf, reference, 2e-6)
