"""The operators of graph attention on CSR patterns, each with a hand-written gradient.

Every function here has the plain PyG form of :mod:`nichenas.domains.gnn.reference` as its twin and is tested equal to
it. Entry values are ``(E,)`` in the order of the pattern; on a pattern of several heads E counts every head.
Gradients are formed by sparse products, never by scattering, which is an order of magnitude slower.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nichenas.domains.gnn.patterns import HALF
from nichenas.domains.gnn.patterns import Pattern
from nichenas.domains.gnn.patterns import sparse_product

_CHUNK = 1 << 18  # elements of an edge-wise temporary that stay in the cache


def keep_mask(shape: tuple[int, ...] | torch.Size, p: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """Returns a dropout mask, true where a value is kept, and the factor that keeps the mean unchanged.

    Sixteen random bits decide a value, four values to one 64-bit draw: torch's own ``bernoulli_`` makes one
    float a value in one thread and was the largest single cost of a training step. The probability is
    rounded to 1/65536 and the factor is that of the rounded probability, so the mean is exact.

    Args:
        p: probability of dropping a value, below 1.
    """
    count = torch.Size(shape).numel()
    bits = torch.empty((count + 3) // 4, dtype=torch.int64, device=generator.device)
    bits.random_(-(2**63), None, generator=generator)
    threshold = round(p * 65536)
    mask = bits.view(torch.int16)[:count] >= threshold - 32768
    return mask.view(shape), 65536 / (65536 - threshold)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, generator: torch.Generator) -> Tensor:
        mask, factor = keep_mask(x.shape, p, generator)
        # As numbers, once: a product with truth values converts them, in both directions, which took twice as long.
        scale = mask.to(x.dtype).mul_(factor)
        ctx.save_for_backward(scale)
        return x * scale

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = ctx.saved_tensors
        return grads[0] * scale, None, None


def dropout(x: Tensor, p: float, generator: torch.Generator | None) -> Tensor:
    """Returns ``x`` with every value dropped with probability ``p`` and the others scaled up.

    Without a generator, as in evaluation, ``x`` comes back as it is.
    """
    if generator is None or p == 0:
        return x
    result: Tensor = _Dropout.apply(x, p, generator)
    return result


class _ELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        low = x.clamp(max=0.0).exp_()
        ctx.save_for_backward(low)
        return x.clamp(min=0.0).add_(low).sub_(1.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (low,) = ctx.saved_tensors
        return grads[0] * low


def elu(x: Tensor) -> Tensor:
    """Returns the exponential linear unit with slope 1, through ``exp``.

    torch's own goes through ``expm1``, which has no vector form on the CPU and takes 20 times as long. The
    absolute error is that of ``exp`` near 1, about one unit in the last place of 1.
    """
    result: Tensor = _ELU.apply(x)
    return result


class _Softplus(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.abs().neg_().exp_().add_(1.0).log_().add_(x.clamp(min=0.0))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * torch.sigmoid(x)


def softplus(x: Tensor) -> Tensor:
    """Returns ``log(1 + exp(x))``, through ``exp`` and ``log``; see :func:`elu` for why."""
    result: Tensor = _Softplus.apply(x)
    return result


class _SparseMatmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pattern: Pattern, values: Tensor, dense: Tensor) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(values, dense)
        return pattern.times(values, dense)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        pattern: Pattern = ctx.pattern
        values, dense = ctx.saved_tensors
        grad = grads[0].contiguous()
        by_values = sampled_product(pattern, grad, dense) if ctx.needs_input_grad[1] else None
        by_dense = pattern.transposed_times(values, grad) if ctx.needs_input_grad[2] else None
        return None, by_values, by_dense


def sparse_matmul(pattern: Pattern, values: Tensor, dense: Tensor) -> Tensor:
    """Returns the product of the matrix with these values, ``rows x columns``, and ``dense``, ``(columns, d)``."""
    result: Tensor = _SparseMatmul.apply(pattern, values, dense)
    return result


def sampled_product(pattern: Pattern, left: Tensor, right: Tensor) -> Tensor:
    """Returns ``<left_i, right_j>`` of every entry (i, j), ``(E,)``, without a gradient.

    Args:
        left: ``(rows, d)``.
        right: ``(columns, d)``.
    """
    if left.dtype in HALF and left.device.type == "cpu":
        return sampled_product(pattern, left.float(), right.float()).to(left.dtype)
    zero = torch.zeros(pattern.entries, dtype=left.dtype, device=left.device)
    return torch.sparse.sampled_addmm(pattern.matrix(zero), left, right.t(), beta=0.0).values()


class _EdgeDot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pattern: Pattern, left: Tensor, right: Tensor) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(left, right)
        return sampled_product(pattern, left, right)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        pattern: Pattern = ctx.pattern
        left, right = ctx.saved_tensors
        return None, pattern.times(grads[0], right), pattern.transposed_times(grads[0], left)


def edge_dot(pattern: Pattern, left: Tensor, right: Tensor) -> Tensor:
    """Returns ``<left_i, right_j>`` of every entry (i, j), ``(E,)``; ``left (rows, d)``, ``right (columns, d)``."""
    result: Tensor = _EdgeDot.apply(pattern, left.contiguous(), right.contiguous())
    return result


class _EdgeSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pattern: Pattern, by_row: Tensor, by_column: Tensor) -> Tensor:
        ctx.pattern = pattern
        return by_row.index_select(0, pattern.row).add_(by_column.index_select(0, pattern.col))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        pattern: Pattern = ctx.pattern
        return None, _row_sum(pattern, grads[0]), _column_sum(pattern, grads[0])


def edge_sum(pattern: Pattern, by_row: Tensor, by_column: Tensor) -> Tensor:
    """Returns ``by_row_i + by_column_j`` of every entry (i, j), ``(E,)``."""
    result: Tensor = _EdgeSum.apply(pattern, by_row.flatten(), by_column.flatten())
    return result


def _row_sum(pattern: Pattern, values: Tensor) -> Tensor:
    return pattern.times(values, values.new_ones(pattern.columns, 1)).flatten()


def _column_sum(pattern: Pattern, values: Tensor) -> Tensor:
    return pattern.transposed_times(values, values.new_ones(pattern.rows, 1)).flatten()


class _EdgeTanhDot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pattern: Pattern, left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
        width = weight.numel()
        step = max(1, _CHUNK // width)
        scores = left.new_empty(pattern.entries, weight.shape[0])
        tanhs = left.new_empty(pattern.entries, *weight.shape)
        for start in range(0, pattern.entries, step):
            chosen = slice(start, start + step)
            part = left.index_select(0, pattern.row[chosen])
            part += right.index_select(0, pattern.col[chosen])
            torch.tanh(part, out=tanhs[chosen])
            torch.mul(tanhs[chosen], weight, out=part)
            torch.sum(part, -1, out=scores[chosen])
        ctx.pattern = pattern
        ctx.save_for_backward(tanhs, weight)
        return scores

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        pattern: Pattern = ctx.pattern
        tanhs, weight = ctx.saved_tensors
        grad = grads[0]
        step = max(1, _CHUNK // weight.numel())
        by_weight = torch.zeros_like(weight)
        inner = torch.empty_like(tanhs)
        for start in range(0, pattern.entries, step):
            chosen = slice(start, start + step)
            tanh, part = tanhs[chosen], grad[chosen, :, None]
            by_weight += (tanh * part).sum(0)
            torch.mul(tanh, tanh, out=inner[chosen]).neg_().add_(1.0).mul_(weight).mul_(part)
        flat = inner.view(pattern.entries, -1)
        shape = (-1, *weight.shape)
        by_left = sparse_product(pattern.row_incidence(flat), flat).view(shape)
        by_right = sparse_product(pattern.column_incidence(flat), flat).view(shape)
        return None, by_left, by_right, by_weight


def edge_tanh_dot(pattern: Pattern, left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
    """Returns ``weight_h . tanh(left_ih + right_jh)`` of every entry (i, j) and head h, ``(E, heads)``.

    Args:
        pattern: of the graph itself, not of its heads.
        left: ``(rows, heads, d)``.
        right: ``(columns, heads, d)``.
        weight: ``(heads, d)``.
    """
    result: Tensor = _EdgeTanhDot.apply(pattern, left, right, weight)
    return result


class _RowSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pattern: Pattern, scores: Tensor) -> Tensor:
        top = torch.segment_reduce(scores, "max", offsets=pattern.crow)
        result = scores.sub(top.index_select(0, pattern.row)).exp_()
        result.mul_(_row_sum(pattern, result).reciprocal_().index_select(0, pattern.row))
        ctx.pattern = pattern
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        pattern: Pattern = ctx.pattern
        (result,) = ctx.saved_tensors
        weighted = result * grads[0]
        return None, weighted - result * _row_sum(pattern, weighted).index_select(0, pattern.row)


def row_softmax(pattern: Pattern, scores: Tensor) -> Tensor:
    """Returns the softmax of the entries of every row, ``(E,)``; every row must have an entry."""
    result: Tensor = _RowSoftmax.apply(pattern, scores)
    return result
