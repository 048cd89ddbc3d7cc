"""Penalties of one parameter, and their gradients added in place where autograd would be slow or hungry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce

import torch
from torch import Tensor

_BLOCK = 2**18  # Numbers of a block that a core's cache holds with its gradient, so that memory is read once.
_EXACT = 2**13  # Numbers of which torch's `vector_norm` adds the squares without losing digits.
_SHORT = 2**6  # Numbers of a row whose norm costs more than the numbers.


def l1_penalty(weight: Tensor) -> Tensor:
    """Sum of absolute values.

    `sum_i |w_i|`

    Args:
        weight: Any shape.

    Returns:
        A scalar, at least of float32.

    Example:
        >>> import torch
        >>> l1_penalty(torch.tensor([[1.0, -2.0], [0.0, 3.0]]))
        tensor(6.)

    Source:
        R. Tibshirani, Regression Shrinkage and Selection via the Lasso, 1996.
    """
    return reduce(torch.add, (block.abs().sum() for block in _blocks(weight)))


def l2_penalty(weight: Tensor) -> Tensor:
    """Half the sum of squares, whose gradient is the weight itself, as in SGD's `weight_decay`.

    `0.5 * sum_i w_i^2`

    Args:
        weight: Any shape.

    Returns:
        A scalar, at least of float32.

    Example:
        >>> import torch
        >>> l2_penalty(torch.tensor([[1.0, -2.0], [0.0, 3.0]]))
        tensor(7.)

    Source:
        A. Hoerl, R. Kennard, Ridge Regression, 1970; A. Krogh, J. Hertz, A Simple Weight Decay Can Improve
        Generalization, 1992.
    """
    return 0.5 * reduce(torch.add, (block.square().sum() for block in _blocks(weight)))


def elastic_net_penalty(weight: Tensor, l1: float, l2: float) -> Tensor:
    """Weighted sum of the L1 and the L2 penalty.

    `l1 * sum_i |w_i| + 0.5 * l2 * sum_i w_i^2`

    Args:
        weight: Any shape.
        l1: Factor of the first term.
        l2: Factor of the second term.

    Returns:
        A scalar, at least of float32.

    Example:
        >>> import torch
        >>> elastic_net_penalty(torch.tensor([1.0, -2.0]), l1=1.0, l2=0.1)
        tensor(3.2500)

    Source:
        H. Zou, T. Hastie, Regularization and Variable Selection via the Elastic Net, 2005.
    """
    return l1 * l1_penalty(weight) + l2 * l2_penalty(weight)


def group_lasso_penalty(weight: Tensor) -> Tensor:
    """Sum of the norms of the output units, which switches off whole units.

    `sqrt(K) * sum_n ||w_n||_2` with K numbers in each unit

    Args:
        weight: `(N, ...)`, a row for each output unit; a vector has units of one number.

    Returns:
        A scalar, at least of float32; the gradient of a unit of zeros is zero.

    Example:
        >>> import torch
        >>> group_lasso_penalty(torch.tensor([[3.0, 0.0, 4.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
        tensor(10.)

    Source:
        M. Yuan, Y. Lin, Model Selection and Estimation in Regression with Grouped Variables, 2006.
    """
    units = _units(_accurate(weight))
    return units.shape[1] ** 0.5 * torch.linalg.vector_norm(units, dim=1).sum()


def orthogonal_penalty(weight: Tensor) -> Tensor:
    """Squared distance of the Gram matrix from the identity.

    `||W W^T - I||_F^2` for at most as many rows as columns, otherwise `||W^T W - I||_F^2`

    Args:
        weight: `(N, ...)`, flattened to a matrix with a row for each output unit; a vector is one row.

    Returns:
        A scalar, at least of float32; 0 for orthonormal rows or columns.

    Example:
        >>> import torch
        >>> orthogonal_penalty(torch.eye(2, 3)), orthogonal_penalty(torch.zeros(2, 3))
        (tensor(0.), tensor(2.))

    Source:
        A. Brock, T. Lim, J. Ritchie, N. Weston, Neural Photo Editing with Introspective Adversarial Networks, 2017;
        N. Bansal, X. Chen, Z. Wang, Can We Gain More from Orthogonality Regularizations in Training CNNs?, 2018.
    """
    return _gram_error(_wide(_matrix(_accurate(weight)))).square().sum()


def spectral_penalty(weight: Tensor, vectors: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Half the square of the largest singular value.

    `0.5 * sigma_max(W)^2`

    Args:
        weight: `(N, ...)`, flattened to a matrix with a row for each output unit; a vector is one row.
        vectors: Its first left `(N,)` and right `(K,)` singular vector, where they are known from `power_iteration`; a
            full decomposition takes long.

    Returns:
        A scalar, at least of float32.

    Example:
        >>> import torch
        >>> spectral_penalty(torch.tensor([[3.0, 0.0], [0.0, 2.0]]))
        tensor(4.5000)

    Source:
        Y. Yoshida, T. Miyato, Spectral Norm Regularization for Improving the Generalizability of Deep Learning, 2017.
    """
    matrix = _matrix(_accurate(weight))
    if vectors is None:
        return 0.5 * torch.linalg.matrix_norm(matrix, ord=2).square()
    left, right = vectors
    return 0.5 * torch.dot(left, matrix @ right).square()


def l2sp_penalty(weight: Tensor, start: Tensor) -> Tensor:
    """Half the squared distance from the starting point.

    `0.5 * sum_i (w_i - w0_i)^2`

    Args:
        weight: Any shape.
        start: The weights that training started from, of the same shape.

    Returns:
        A scalar, at least of float32.

    Example:
        >>> import torch
        >>> l2sp_penalty(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0]))
        tensor(2.)

    Source:
        X. Li, Y. Grandvalet, F. Davoine, Explicit Inductive Bias for Transfer Learning with Convolutional Networks,
        2018.
    """
    return l2_penalty(_accurate(weight) - start)


def power_iteration(weight: Tensor, right: Tensor | None = None, iterations: int = 20) -> tuple[Tensor, Tensor]:
    """Approach the singular vectors of the largest singular value.

    Args:
        weight: `(N, ...)`, flattened as for `spectral_penalty`.
        right: `(K,)`, where to start, of any dtype and device; by default somewhere, the same each time.
        iterations: How many steps, at least 1.

    Returns:
        Left `(N,)` and right `(K,)` vector, of unit length; for a zero matrix zero, and where it started.

    Example:
        >>> import torch
        >>> left, right = power_iteration(torch.tensor([[3.0, 0.0], [0.0, 2.0]]))
        >>> right.abs().round(decimals=3)
        tensor([1., 0.])
    """
    matrix = _matrix(_accurate(weight))
    if right is None:
        right = torch.randn(matrix.shape[1], generator=torch.Generator().manual_seed(0), device="cpu")
    right = right.to(matrix)
    for _ in range(iterations):
        left = torch.nn.functional.normalize(matrix @ right, dim=0)
        product = left @ matrix
        right = torch.nn.functional.normalize(product, dim=0).where(product.any(), right)  # or 0 would stay for good
    return left, right


def add_elastic_net_gradient_(weights: list[Tensor], gradients: list[Tensor], l1: float, l2: float) -> Tensor:
    """Add `l1 * sign(w) + l2 * w` to gradients and return `l1 * sum|w| + 0.5 * l2 * sum w^2`.

    Without a graph, in one pass through memory, with no more extra memory than the largest tensor.

    Args:
        weights: Tensors of any shapes.
        gradients: Their gradients, changed in place.
        l1: Factor of the absolute values.
        l2: Factor of the squares.

    Returns:
        The value of the penalty, a scalar of at least float32.

    Example:
        >>> import torch
        >>> gradient = torch.zeros(2)
        >>> add_elastic_net_gradient_([torch.tensor([1.0, -2.0])], [gradient], l1=1.0, l2=0.1), gradient
        (tensor(3.2500), tensor([ 1.1000, -1.2000]))
    """
    on_cpu = all(weight.device.type == "cpu" for weight in weights)
    return (_add_by_blocks_ if on_cpu else _add_by_buckets_)(weights, gradients, l1, l2)


@torch.no_grad()
def _add_by_blocks_(weights: list[Tensor], gradients: list[Tensor], l1: float, l2: float) -> Tensor:
    squares: list[Tensor] = []
    absolutes: list[Tensor] = []
    signs: dict[torch.dtype, Tensor] = {}  # one after the other in the same memory: freed blocks are not always reused
    for weight, gradient in zip(weights, gradients, strict=True):
        for block, block_gradient in _cut_alike(weight, gradient):
            if l1:
                sign = torch.sign(block, out=signs.setdefault(block.dtype, block.new_empty(0)).resize_(0))
                block_gradient.add_(sign, alpha=l1)
                absolutes.append(_accurate(sign.mul_(block)).sum())
            if l2:
                block_gradient.add_(block, alpha=l2)
                squares.append(_sum_of_squares(_accurate(block)))
    value = torch.zeros(())
    if squares:
        value = value + 0.5 * l2 * torch.stack(squares).sum()
    if absolutes:
        value = value + l1 * torch.stack(absolutes).sum()
    return value


def _cut_alike(weight: Tensor, gradient: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    """Blocks of rows; what is one block is not even viewed, for most parameters are small."""
    if weight.numel() <= _BLOCK:
        return [(weight, gradient)]
    rows = max(_BLOCK * len(weight) // weight.numel(), 1)
    return zip(weight.split(rows), gradient.split(rows), strict=True)


def _sum_of_squares(block: Tensor) -> Tensor:
    """Of rows that are neither too long nor too short by their norms, which take no memory for the squares.

    torch's `vector_norm` of 2**24 float32 numbers has an error of 5e-3, and that of many short rows takes long.
    """
    if block.ndim > 1 and block.numel() > _EXACT and _SHORT < block.shape[1:].numel() <= _EXACT:
        norms = torch.linalg.vector_norm(block, dim=tuple(range(1, block.ndim)))
        return torch.dot(norms, norms)
    return block.square().sum()


@torch.no_grad()
def _add_by_buckets_(weights: list[Tensor], gradients: list[Tensor], l1: float, l2: float) -> Tensor:
    """For accelerators, where launches cost most: one for many tensors."""
    wide = reduce(torch.promote_types, {weight.dtype for weight in weights}, torch.float32)
    value = torch.zeros((), dtype=wide, device=weights[0].device)
    if l2:
        norms = torch._foreach_norm(weights, 2, dtype=wide)
        value = value + 0.5 * l2 * torch.stack([norm.to(value.device) for norm in norms]).square().sum()
        torch._foreach_add_(gradients, weights, alpha=l2)
    if l1:
        norms = torch._foreach_norm(weights, 1, dtype=wide)
        value = value + l1 * torch.stack([norm.to(value.device) for norm in norms]).sum()
        for part in _buckets([weight.numel() for weight in weights]):
            torch._foreach_add_(gradients[part], torch._foreach_sign(weights[part]), alpha=l1)
    return value


def _buckets(sizes: list[int]) -> Iterator[slice]:
    """Runs of tensors that together hold no more numbers than the largest one."""
    limit = max(sizes)
    start, held = 0, 0
    for index, size in enumerate(sizes):
        if held + size > limit:
            yield slice(start, index)
            start, held = index, 0
        held += size
    yield slice(start, len(sizes))


def _blocks(weight: Tensor) -> Iterator[Tensor]:
    """The numbers in vectors of at least float32."""
    size = _BLOCK if weight.device.type == "cpu" else max(weight.numel(), 1)
    return map(_accurate, weight.reshape(-1).split(size))


def _accurate(weight: Tensor) -> Tensor:
    """At least float32: a sum of thousands of half-precision numbers has no correct digits."""
    return weight if weight.dtype.itemsize >= 4 else weight.float()


def _units(weight: Tensor) -> Tensor:
    """A row for each output unit."""
    return weight.flatten(1) if weight.ndim > 1 else weight.reshape(-1, 1)


def _matrix(weight: Tensor) -> Tensor:
    """What the layer multiplies with; a vector is one row."""
    return weight.flatten(1) if weight.ndim > 1 else weight.reshape(1, -1)


def _wide(matrix: Tensor) -> Tensor:
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T


def _gram_error(matrix: Tensor) -> Tensor:
    return matrix @ matrix.T - torch.eye(matrix.shape[0], dtype=matrix.dtype, device=matrix.device)
