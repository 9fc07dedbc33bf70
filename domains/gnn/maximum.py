"""The maximum over neighbours on CSR patterns, with a gradient that goes to one entry of every row and channel.

Three forms give the same values and winners: the CPU's own kernel, whose loop takes one number at a time; one that
orders rows by their number of entries and so works on whole arrays, which is faster for wide features on large graphs;
and a plain one for any device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nichenas.domains.gnn.patterns import Pattern

_CHUNK = 1 << 18  # elements of an edge-wise temporary that stays in the cache
_WORTH = 1 << 16  # elements for every number of entries that a row has, from which whole arrays are faster
_WIDE = 32  # channels from which they are: over fewer, torch's reductions have no vectors
_FAR = 2.0**30  # beyond any place in a row; such places are exact in float32 up to 2^24


class _RowMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pattern: Pattern, values: Tensor, dense: Tensor) -> Tensor:
        result, winner = _row_max_and_winner(pattern, values, dense)
        ctx.pattern = pattern
        ctx.save_for_backward(values, dense, winner)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        pattern: Pattern = ctx.pattern
        values, dense, winner = ctx.saved_tensors
        grad = grads[0]
        entry = winner.flatten()
        source = pattern.col.index_select(0, entry).view_as(winner)
        by_values = by_dense = None
        if ctx.needs_input_grad[1]:
            picked = dense.gather(0, source).mul_(grad).flatten()
            by_values = torch.zeros_like(values).index_add_(0, entry, picked)
        if ctx.needs_input_grad[2]:
            spread = values.index_select(0, entry).view_as(grad) * grad
            by_dense = torch.zeros_like(dense).scatter_add_(0, source, spread)
        return None, by_values, by_dense


def _row_max_and_winner(pattern: Pattern, values: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    if dense.device.type != "cpu":
        return row_max_by_gather(pattern, values, dense)
    width = dense.shape[1]
    if width >= _WIDE and pattern.entries * width >= _WORTH * len(pattern.rows_by_degree.sizes):
        return row_max_by_degree(pattern, values, dense)
    return row_max_by_kernel(pattern, values, dense)


def row_max_by_kernel(pattern: Pattern, values: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the row maxima and the winning entries, both ``(rows, d)``, on the CPU."""
    # The differentiable half of torch.sparse.mm(..., "amax"): it alone also returns the winning entry,
    # and it does so only for a matrix that asks for a gradient.
    with torch.enable_grad():
        matrix = pattern.matrix(values).requires_grad_()
        result, winner = torch.ops.aten._sparse_mm_reduce_impl(matrix, dense, "amax")
    return result.detach(), winner


def row_max_by_degree(pattern: Pattern, values: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the row maxima and the winning entries, both ``(rows, d)``; of entries that tie, the first.

    Rows with equally many entries are one array ``(rows, entries, d)``, taken in parts that stay in the cache. The
    winner is found without comparisons, whose results of one byte torch forms ten times as slowly as it computes: the
    sign of message minus maximum is 0 for winners and -1 for others, which it sends far behind all places.
    """
    by_degree, width = pattern.rows_by_degree, dense.shape[1]
    weights = values.index_select(0, by_degree.entries)[:, None]
    best, place = dense.new_empty(pattern.rows, width), dense.new_empty(pattern.rows, width)
    buffer = dense.new_empty(max(_CHUNK, by_degree.sizes[-1][0] * width))
    row = entry = 0
    for degree, count in by_degree.sizes:
        places = torch.arange(degree, dtype=dense.dtype)[:, None]
        for start in range(0, count, step := max(1, _CHUNK // (degree * width))):
            rows = min(step, count - start)
            chosen, of = slice(entry, entry + rows * degree), slice(row, row + rows)
            messages = buffer[: rows * degree * width].view(-1, width)
            torch.index_select(dense, 0, by_degree.columns[chosen], out=messages)
            grouped = messages.mul_(weights[chosen]).view(rows, degree, width)
            torch.amax(grouped, 1, out=best[of])
            grouped.sub_(best[of, None]).sign_()
            torch.add(places, grouped, alpha=-_FAR, out=grouped)
            torch.amin(grouped, 1, out=place[of])
            row, entry = row + rows, entry + rows * degree
    # A place that is not a number, of a training that diverges, must still be one of the row.
    winner = place.index_select(0, by_degree.inverse).long().clamp_(min=0).add_(pattern.crow[:-1, None])
    return best.index_select(0, by_degree.inverse), winner


def row_max_by_gather(pattern: Pattern, values: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the row maxima and the winning entries, both ``(rows, d)``, on any device.

    Takes ``E x d`` memory; the CPU has forms without it.
    """
    messages = values[:, None] * dense.index_select(0, pattern.col)
    index = pattern.row[:, None].expand_as(messages)
    shape = (pattern.rows, dense.shape[1])
    result = messages.new_empty(shape).scatter_reduce_(0, index, messages, "amax", include_self=False)
    entry = torch.arange(pattern.entries, device=dense.device)[:, None].expand_as(messages)
    candidates = torch.where(messages == result.index_select(0, pattern.row), entry, pattern.entries)
    winner = entry.new_empty(shape).scatter_reduce_(0, index, candidates, "amin", include_self=False)
    return result, winner


def row_max(pattern: Pattern, values: Tensor, dense: Tensor) -> Tensor:
    """Returns ``max_j values_ij dense_j`` channel by channel, ``(rows, d)``; ``dense`` is ``(columns, d)``.

    Where several entries of a row tie, the gradient goes to the first of them.
    """
    result: Tensor = _RowMax.apply(pattern, values, dense.contiguous())
    return result
