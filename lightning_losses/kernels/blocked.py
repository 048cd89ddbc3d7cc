"""The operations for CPUs: in blocks of rows that stay in the cache.

The forward pass reads the logits once and saves a few numbers a row; the backward pass reads them once and writes the
gradient once. Rows that fit into one block are read once in all: their gradient is made in the forward pass and kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lightning_losses.kernels import plain
from lightning_losses.kernels.phi import Phi

BLOCK = 2**18  # elements that are worked on at a time: 1 MB in float32
ELEMENTS = 2**17  # of a block of single decisions, which needs more temporary copies
FAR = 40.0  # e^-40 is lost beside 1 even in float64
FAR_ODDS = math.exp(FAR)


class _Blocks:
    """A matrix of logits in blocks of rows, in float32 at least.

    Args:
        logits: `(N, C)`.
        shift: `(C,)`, what is added to them.
    """

    def __init__(self, logits: Tensor, shift: Tensor | None) -> None:
        self.logits, self.shift = logits, shift
        self.rows, self.classes = logits.shape
        self.size = max(1, min(self.rows, BLOCK // max(self.classes, 1)))
        self.dtype = torch.promote_types(logits.dtype, torch.float32)

    def __iter__(self) -> Iterator[slice]:
        for start in range(0, max(self.rows, 1), self.size):
            yield slice(start, min(start + self.size, self.rows))

    @property
    def is_one(self) -> bool:
        """Whether all rows are in one block."""
        return self.size >= self.rows

    @cached_property
    def _buffer(self) -> Tensor:
        return torch.empty(self.size, self.classes, dtype=self.dtype)

    def scratch(self, rows: slice) -> Tensor:
        """Return working memory for these rows."""
        return self._buffer[: rows.stop - rows.start]

    def scores(self, rows: slice, out: Tensor | None) -> Tensor:
        """Return the shifted logits of these rows: the logits' own memory if that serves, otherwise `out` or new."""
        block = _part(self.logits, rows)
        if self.shift is not None:
            return torch.add(block, self.shift, out=out)
        if block.dtype == self.dtype:
            return block
        return block.to(self.dtype) if out is None else out.copy_(block)

    def odds(self, rows: slice, reference: Tensor, out: Tensor | None) -> Tensor:
        """Return `exp(score - reference)` of these rows, in `out` or new."""
        return torch.sub(self.scores(rows, out), reference, out=out).exp_()


def _part(tensor: Tensor, rows: slice) -> Tensor:
    """Return these rows; where they are all, not even as a view: on a small batch that takes as long as the work."""
    return tensor if rows.stop - rows.start == len(tensor) else tensor[rows]


def _zero_unused_(gradient: Tensor, used: Tensor | None) -> Tensor:
    """Also where a row left out holds NaN."""
    return gradient if used is None else gradient.index_fill_(0, (~used).nonzero().squeeze(1), 0)


def _join(parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Return each number of all rows, from the numbers of each block."""
    return list(parts[0]) if len(parts) == 1 else [torch.cat(numbers) for numbers in zip(*parts, strict=True)]


class _TargetLoss(torch.autograd.Function):
    """With all rows in one block the gradient is made in the forward pass, where its exponentials are."""

    @staticmethod
    def forward(
        ctx: Any, phi: Phi, logits: Tensor, target: Tensor, used: Tensor | None, shift: Tensor | None
    ) -> Tensor:
        blocks, column = _Blocks(logits, shift), target.unsqueeze(1)
        parts = [_log_p(blocks, rows, _part(column, rows)) for rows in blocks]
        reference, log_p, others = _join([numbers for _, *numbers in parts])
        if used is not None:
            log_p, others = log_p.where(used.unsqueeze(1), 0), others.where(used.unsqueeze(1), 0)
        if not ctx.needs_input_grad[1]:
            return phi.value(log_p).squeeze(1)
        everything = others + 1
        value, descent = phi.value_and_descent(log_p, others / everything)
        factor, others = descent / everything, -others
        ctx.phi = phi
        if blocks.is_one:
            gradient = parts[0][0].scatter_(1, column, others).mul_(factor)
            ctx.save_for_backward(logits, target, used, shift, gradient)
        else:
            ctx.save_for_backward(logits, target, used, shift, None, reference, others, factor)
        return value.squeeze(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None, None]:
        logits, target, used, shift, known, *by_row = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient itself will be differentiated
            loss = plain.target_loss(ctx.phi, logits, target, used, shift)
            return None, *torch.autograd.grad(loss, logits, grad, create_graph=True), None, None, None
        grad = grad.unsqueeze(1)
        if known is not None:
            gradient = known * grad if known.dtype == logits.dtype else (known * grad).to(logits.dtype)
            return None, _zero_unused_(gradient, used), None, None, None
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        reference, others, factor = by_row
        blocks, column, factor = _Blocks(logits, shift), target.unsqueeze(1), factor * grad
        for rows in blocks:
            block = gradient[rows]
            odds = blocks.odds(rows, reference[rows], block if block.dtype == blocks.dtype else blocks.scratch(rows))
            # the target gets minus the sum of the others: nothing cancels
            odds.scatter_(1, column[rows], others[rows]).mul_(factor[rows])
            if odds is not block:
                block.copy_(odds)
        return None, _zero_unused_(gradient, used), None, None, None


def _log_p(blocks: _Blocks, rows: slice, index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return `exp(z_c - r)` of these rows, 0 for the target, then for each row `r`, `log p` and the sum of the former.

    `r` is the target's score: on an easy row all information is in the others. Where one of these is ahead by more than
    FAR, `r` is that much below it; `exp(z_t - r)` does not matter beside the sum then, so that all classes add up to
    `1 + sum` in any case.
    """
    out = None if blocks.is_one else blocks.scratch(rows)
    at_target = blocks.scores(rows, out).gather(1, index)
    odds = blocks.odds(rows, at_target, out).scatter_(1, index, 0.0)
    others = odds.sum(dim=1, keepdim=True)
    if others.max().item() < FAR_ODDS:
        return odds, at_target, others.log1p().neg_(), others
    reference = torch.maximum(at_target, blocks.scores(rows, out).amax(dim=1, keepdim=True) - FAR)
    odds = blocks.odds(rows, reference, out).scatter_(1, index, 0.0)
    others = odds.sum(dim=1, keepdim=True)
    return odds, reference, at_target - reference - others.log1p(), others


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
        if torch.is_grad_enabled():
            loss = plain.row_expectation(ctx.phi, logits, coefficient, used, shift)
            return None, *torch.autograd.grad(loss, logits, grad, create_graph=True), None, None, None
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        blocks, column = _Blocks(logits, shift), grad.unsqueeze(1)
        for rows in blocks:
            work = blocks.scratch(rows)
            log_p = torch.sub(blocks.scores(rows, work), peak[rows], out=work).sub_(others[rows])
            p_minus_1 = log_p.expm1()
            _, descent = ctx.phi.value_and_descent(log_p, -p_minus_1)
            by_class = descent.mul_(_by_row(coefficient, rows)).mul_(column[rows])
            # p * sum(by_class) - by_class, without the cancellation where p is close to 1
            rest = by_class.sum(dim=1, keepdim=True) - by_class
            gradient[rows] = rest.mul_(log_p.exp_()).addcmul_(by_class, p_minus_1)
        return None, _zero_unused_(gradient, used), None, None, None


def _by_row(coefficient: Tensor, rows: slice) -> Tensor:
    return coefficient if coefficient.dim() == 1 else coefficient[rows]


class _ElementLoss(torch.autograd.Function):
    """The derivative is made in the forward pass: it needs the same numbers as the loss."""

    @staticmethod
    def forward(
        ctx: Any, phi: Phi, logits: Tensor, share: Tensor, positive: Tensor, negative: Tensor, used: Tensor | None
    ) -> Tensor:
        dtype = torch.promote_types(logits.dtype, torch.float32)
        loss, slope = torch.empty(logits.shape, dtype=dtype), torch.empty(logits.shape, dtype=dtype)
        for rows in _element_blocks(logits):
            scores, part = logits[rows].to(dtype), share[rows].to(dtype)
            if used is not None:
                scores, part = scores.where(used[rows], 0), part.where(used[rows], 0)
            if _are_labels(part):
                of_label = torch.addcmul(negative, positive + negative, part, value=-1)  # minus it for label 1
                _write_side(phi, torch.addcmul(scores, scores, part, value=-2), of_label, loss[rows], slope[rows])
            else:
                other_loss, other_slope = torch.empty_like(scores), torch.empty_like(scores)
                _write_side(phi, -scores, -positive * part, loss[rows], slope[rows])
                _write_side(phi, scores, negative * (1 - part), other_loss, other_slope)
                loss[rows] += other_loss
                slope[rows] += other_slope
        if used is not None:
            loss.masked_fill_(~used, 0)
            slope.masked_fill_(~used, 0)
        ctx.phi = phi
        ctx.save_for_backward(logits, share, positive, negative, used, slope)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None, None, None]:
        logits, share, positive, negative, used, slope = ctx.saved_tensors
        if torch.is_grad_enabled():
            loss = plain.element_loss(ctx.phi, logits, share, positive, negative, used)
            return None, *torch.autograd.grad(loss, logits, grad, create_graph=True), None, None, None, None
        return None, (grad * slope).to(logits.dtype), None, None, None, None


def _element_blocks(logits: Tensor) -> Iterator[slice]:
    size = max(1, ELEMENTS * len(logits) // max(logits.numel(), 1))
    for start in range(0, len(logits), size):
        yield slice(start, start + size)


def _are_labels(share: Tensor) -> bool:
    """Whether all are 0 or 1: only then is the sum of `y - y^2`, none of which is negative, 0."""
    return torch.addcmul(share, share, share, value=-1).sum().item() == 0


def _write_side(phi: Phi, against: Tensor, factor: Tensor, loss: Tensor, slope: Tensor) -> None:
    """Write `|factor| * phi(log p)` and `factor * dphi/dagainst`, for `p = sigmoid(-against)`."""
    miss = against.sigmoid()
    surprise = against.abs().neg_().exp_().log1p_().add_(against.clamp(min=0))
    value, descent = phi.value_and_descent(surprise.neg_(), miss)
    torch.abs(factor, out=loss).mul_(value)
    torch.mul(descent, miss.mul_(factor), out=slope)


def target_loss(
    phi: Phi, logits: Tensor, target: Tensor, used: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """See `plain.target_loss`."""
    if not len(logits):
        return plain.target_loss(phi, logits, target, used, shift)
    result: Tensor = _TargetLoss.apply(phi, logits, target, used, shift)
    return result


def row_expectation(
    phi: Phi, logits: Tensor, coefficient: Tensor, used: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """See `plain.row_expectation`."""
    result: Tensor = _RowExpectation.apply(phi, logits, coefficient, used, shift)
    return result


def element_loss(
    phi: Phi, logits: Tensor, share: Tensor, positive: Tensor, negative: Tensor, used: Tensor | None = None
) -> Tensor:
    """See `plain.element_loss`."""
    if not logits.dim() or not (logits.requires_grad and torch.is_grad_enabled()):
        return plain.element_loss(phi, logits, share, positive, negative, used)
    result: Tensor = _ElementLoss.apply(phi, logits, share, positive, negative, used)
    return result
