"""The operations for CPUs: in blocks of rows that stay in the cache.

The forward pass reads the logits once and saves a few numbers a row; the backward pass reads them once and writes the
gradient once. A small batch is read once in all: what the gradient is made of is kept from the forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from lightning_losses.kernels import elements, plain
from lightning_losses.kernels.exponential import FAR, exp_
from lightning_losses.kernels.phi import Phi

element_loss, checked_target = elements.element_loss, plain.checked_target

BLOCK = 2**19  # elements that are worked on at a time: 2 MB in float32
KEPT = 2**23  # exponentials that are kept for the backward pass: 32 MB in float32
AS_GIVEN = (torch.float32, torch.float64)  # what is computed with as it is
WIDE = 64  # classes from which torch's softmax of float32 is faster than differences and their exponentials
FAR_ODDS = math.exp(FAR)
_ONE = torch.ones((), device="cpu")  # a number that is no tensor costs as much as the work on a small batch


class _Blocks:
    """A matrix of logits in blocks of rows, in float32 at least.

    Args:
        logits: `(N, C)`.
        shift: `(C,)`, what is added to them.
    """

    def __init__(self, logits: Tensor, shift: Tensor | None) -> None:
        self.logits, self.shift = logits, shift
        numel = BLOCK if logits.dtype in AS_GIVEN else BLOCK // 2  # whose copies are large beside the logits
        self.size = max(1, numel // max(logits.shape[1], 1))
        self.dtype = torch.promote_types(logits.dtype, torch.float32)

    def __iter__(self) -> Iterator[slice]:
        rows = len(self.logits)
        for start in range(0, max(rows, 1), self.size):
            yield slice(start, min(start + self.size, rows))

    @cached_property
    def _buffer(self) -> Tensor:
        return torch.empty_like(self.logits[: self.size], dtype=self.dtype, memory_format=torch.contiguous_format)

    def scratch(self, rows: slice) -> Tensor:
        """Return working memory for these rows."""
        return self._buffer[: rows.stop - rows.start]

    def scores(self, rows: slice, out: Tensor) -> Tensor:
        """Return the shifted logits of these rows: the logits' own memory if that serves, otherwise `out`."""
        return _scores(self.logits[rows], self.shift, out)


def _scores(logits: Tensor, shift: Tensor | None, out: Tensor | None = None) -> Tensor:
    if shift is not None:
        return torch.add(logits, shift, out=out)
    if logits.dtype in AS_GIVEN:
        return logits
    return logits.float() if out is None else out.copy_(logits)


def _zero_unused_(gradient: Tensor, used: Tensor | None) -> Tensor:
    """Also where a row left out holds NaN."""
    return gradient if used is None else gradient.index_fill_(0, (~used).nonzero().squeeze(1), 0)


def _join(parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Return each number of all rows, from the numbers of each block."""
    return [torch.cat(numbers) for numbers in zip(*parts, strict=True)]


class _OneBlock(torch.autograd.Function):
    """The target loss of a matrix that is no larger than a block: its exponentials are kept."""

    @staticmethod
    def forward(
        ctx: Any, phi: Phi, logits: Tensor, target: Tensor, used: Tensor | None, shift: Tensor | None
    ) -> Tensor:
        column = target.unsqueeze(1)
        odds, _, surprise, others, total = _numbers(logits, shift, column)
        if not ctx.needs_input_grad[1]:
            return _value(phi, surprise, used)
        value, at_target, factor = _value_and_slope(phi, surprise, others, total, used)
        ctx.phi = phi
        ctx.save_for_backward(logits, target, used, shift, odds.scatter_(1, column, at_target), factor)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None, None]:
        logits, target, used, shift, odds, factor = ctx.saved_tensors
        if plain.needs_formula(grad):
            again = plain.differentiable_gradient(plain.target_loss, grad, ctx.phi, logits, target, used, shift)
            return None, again, None, None, None
        gradient = odds * (factor * grad.unsqueeze(1))
        if gradient.dtype != logits.dtype:
            gradient = gradient.to(logits.dtype)
        return None, _zero_unused_(gradient, used), None, None, None


class _ManyBlocks(torch.autograd.Function):
    """The target loss of any matrix; exponentials that may be kept become the gradient in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, phi: Phi, logits: Tensor, target: Tensor, used: Tensor | None, shift: Tensor | None
    ) -> Tensor:
        needed = ctx.needs_input_grad[1]
        may_be_kept = needed and logits.numel() <= KEPT and logits.dtype in AS_GIVEN
        kept = torch.empty_like(logits, memory_format=torch.contiguous_format) if may_be_kept else None
        reference, surprise, others, total = target_numbers(logits, target, shift, kept)
        if not needed:
            return _value(phi, surprise, used)
        value, at_target, factor = _value_and_slope(phi, surprise, others, total, used)
        ctx.phi, ctx.is_given_away = phi, False
        odds = None if kept is None else kept.scatter_(1, target.unsqueeze(1), at_target)
        ctx.save_for_backward(logits, target, used, shift, reference, at_target, factor, odds)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None, None]:
        logits, target, used, shift, reference, at_target, factor, odds = ctx.saved_tensors
        if plain.needs_formula(grad):
            again = plain.differentiable_gradient(plain.target_loss, grad, ctx.phi, logits, target, used, shift)
            return None, again, None, None, None
        factor = factor * grad.unsqueeze(1)
        if odds is None or ctx.is_given_away:  # a second backward pass makes them again
            gradient = target_gradient(logits, target, shift, reference, at_target, factor)
        else:
            ctx.is_given_away = True
            gradient = odds.data.mul_(factor)  # of `data`: autograd would refuse a second pass what has changed
        return None, _zero_unused_(gradient, used), None, None, None


def target_numbers(
    logits: Tensor, target: Tensor, shift: Tensor | None, kept: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the numbers of each row, see `_compare`; `kept` gets the exponentials of all."""
    blocks, column, parts = _Blocks(logits, shift), target.unsqueeze(1), []
    for rows in blocks:
        out = blocks.scratch(rows) if kept is None else kept[rows]
        parts.append(_numbers(logits[rows], shift, column[rows], out)[1:])
    reference, surprise, others, total = _join(parts)
    return reference, surprise, others, total


def target_gradient(
    logits: Tensor, target: Tensor, shift: Tensor | None, reference: Tensor, at_target: Tensor, factor: Tensor
) -> Tensor:
    """Return the exponentials of each row, with `at_target` in the target's place, times `factor`."""
    gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
    blocks, column = _Blocks(logits, shift), target.unsqueeze(1)
    wide = _is_wide(logits, shift)
    for rows in blocks:
        block = gradient[rows]
        odds = block if block.dtype == blocks.dtype else blocks.scratch(rows)
        if wide:
            torch.softmax(logits[rows], dim=1, out=odds)
        else:
            exp_(torch.sub(blocks.scores(rows, odds), reference[rows], out=odds), logits.dtype)
        odds.scatter_(1, column[rows], at_target[rows]).mul_(factor[rows])
        if odds is not block:
            block.copy_(odds)
    return gradient


def _is_wide(logits: Tensor, shift: Tensor | None) -> bool:
    return logits.dtype == torch.float32 and shift is None and logits.shape[1] >= WIDE


def _numbers(
    logits: Tensor, shift: Tensor | None, index: Tensor, out: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    if _is_wide(logits, shift):
        return _normalize(logits, index, out)
    return _compare(partial(_scores, logits, shift, out), logits.dtype, index, out)


def _compare(
    scores: Callable[[], Tensor], given: torch.dtype, index: Tensor, out: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return `exp(z_c - r)`, 0 for the target, in `out`; then for each row `r`, `-log p` and two sums of exponentials.

    The first sum leaves the target out, the second one is that of all classes. `r` is the target's score: on an easy
    row all information is in the others. Where one of these is ahead by more than FAR, `r` is that much below it;
    `exp(z_t - r)` does not matter beside the sum then, so that all classes add up to `1 + sum` in any case.
    """
    z = scores()
    at_target = z.gather(1, index)
    odds, others = _beside_target(z, at_target, given, index, out)
    if others.max().item() < FAR_ODDS:
        return odds, at_target, others.log1p(), others, others + _ONE
    z = scores()  # once more: `out` may have held them
    reference = torch.maximum(at_target, z.amax(dim=1, keepdim=True) - FAR)
    odds, others = _beside_target(z, reference, given, index, out)
    return odds, reference, others.log1p() + (reference - at_target), others, others + _ONE


def _beside_target(
    z: Tensor, reference: Tensor, given: torch.dtype, index: Tensor, out: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the exponentials, 0 for the target, and their sum, NaN where the reference is infinite."""
    odds = exp_(torch.sub(z, reference, out=out), given).scatter_(1, index, 0.0)
    return odds, odds.sum(dim=1, keepdim=True).add_(reference, alpha=0)


def _normalize(z: Tensor, index: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the numbers of `_compare` for an `r` by which all classes add up to 1."""
    share = torch.softmax(z, dim=1, out=out)
    at_target = share.gather(1, index)
    others = share.scatter_(1, index, 0.0).sum(dim=1, keepdim=True)
    odds_against = others / at_target
    score = z.gather(1, index)
    surprise = odds_against.log1p()
    if not odds_against.max().item() < FAR_ODDS:
        far = z.amax(dim=1, keepdim=True) - score - share.amax(dim=1, keepdim=True).log()
        surprise = surprise.where(odds_against < FAR_ODDS, far)
    return share, score + surprise, surprise, others, torch.ones_like(others)


def _value(phi: Phi, surprise: Tensor, used: Tensor | None) -> Tensor:
    value = phi.value(surprise.neg_()).squeeze_(1)  # no view: autograd would not let users change it in place
    return value if used is None else value.where(used, 0)


def _value_and_slope(
    phi: Phi, surprise: Tensor, others: Tensor, total: Tensor, used: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss, and what is to take the place of the target's odds and to multiply all of its row then.

    The target gets minus the sum of the others: nothing cancels.
    """
    if used is not None:
        row = used.unsqueeze(1)
        surprise, others, total = surprise.where(row, 0), others.where(row, 0), total.where(row, 1)
    value, descent = phi.value_and_descent(surprise, others / total)
    return value.squeeze_(1), others.neg_(), descent / total


class _RowExpectation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, phi: Phi, logits: Tensor, coefficient: Tensor, used: Tensor | None, shift: Tensor | None
    ) -> Tensor:
        blocks, parts = _Blocks(logits, shift), []
        for rows in blocks:
            scores = blocks.scores(rows, blocks.scratch(rows))
            peak, peak_class = scores.max(dim=1, keepdim=True)
            gap = scores - peak
            others = torch.exp(gap, out=blocks.scratch(rows))
            others = others.scatter_(1, peak_class, torch.zeros_like(peak)).sum(dim=1, keepdim=True).log1p_()
            loss = (phi.value(gap.sub_(others)) * _by_row(coefficient, rows)).sum(dim=1)
            parts.append((peak, others, loss))
        peak, others, loss = _join(parts)
        ctx.phi = phi
        ctx.save_for_backward(logits, coefficient, used, shift, peak, others)
        return loss if used is None else loss.where(used, 0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None, None]:
        logits, coefficient, used, shift, peak, others = ctx.saved_tensors
        if plain.needs_formula(grad):
            again = plain.differentiable_gradient(
                plain.row_expectation, grad, ctx.phi, logits, coefficient, used, shift
            )
            return None, again, None, None, None
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        blocks, column = _Blocks(logits, shift), grad.unsqueeze(1)
        for rows in blocks:
            work = blocks.scratch(rows)
            log_p = torch.sub(blocks.scores(rows, work), peak[rows], out=work).sub_(others[rows])
            p_minus_1 = log_p.expm1()
            _, descent = ctx.phi.value_and_descent(-log_p, -p_minus_1)
            by_class = (descent * _by_row(coefficient, rows)).mul_(column[rows])
            # p * sum(by_class) - by_class, without the cancellation where p is close to 1
            rest = by_class.sum(dim=1, keepdim=True) - by_class
            gradient[rows] = rest.mul_(log_p.exp_()).addcmul_(by_class, p_minus_1)
        return None, _zero_unused_(gradient, used), None, None, None


def _by_row(coefficient: Tensor, rows: slice) -> Tensor:
    return coefficient if coefficient.dim() == 1 else coefficient[rows]


def _if_wanted(logits: Tensor) -> Tensor:
    """Let a function know that nobody wants a gradient: autograd tells it of the logits alone."""
    return logits if torch.is_grad_enabled() else logits.detach()


def target_loss(
    phi: Phi, logits: Tensor, target: Tensor, used: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """See `plain.target_loss`."""
    size = logits.numel()
    if not size:
        return plain.target_loss(phi, logits, target, used, shift)
    way = _OneBlock if size <= BLOCK else _ManyBlocks
    result: Tensor = way.apply(phi, _if_wanted(logits), target, used, shift)
    return result


def row_expectation(
    phi: Phi, logits: Tensor, coefficient: Tensor, used: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """See `plain.row_expectation`."""
    result: Tensor = _RowExpectation.apply(phi, _if_wanted(logits), coefficient, used, shift)
    return result
