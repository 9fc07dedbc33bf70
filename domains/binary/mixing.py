"""The fast way to mix the operations on all edges that leave one node of a cell.

What the operations share is done once: pooling, the normalisation and sign (or ReLU) before the first
convolution, and one product for everything that is linear in the node itself (skip, residuals, pooled values).
Where an operation is one convolution, its kernels for all edges are one kernel. The mixture's weights are
multiplied into the scale of a last normalisation where there is one. ``none`` costs nothing at all.

Binary kernels stay +-1 and are scaled after the convolution: its sums are whole numbers and often exactly 0,
where the gradient of PReLU must not hang on rounding.

Exactness against the plain form is tested in float64, outputs and gradients. It needs normalisations without
weights, as the search network of DARTS has them.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from nichenas.domains.binary.convolution import BinaryConv2d
from nichenas.domains.binary.convolution import shuffle_order
from nichenas.domains.binary.native.functions import normalise
from nichenas.domains.binary.native.functions import scaled_prelu
from nichenas.domains.binary.operations import AVERAGE
from nichenas.domains.binary.operations import MAX
from nichenas.domains.binary.operations import NONE
from nichenas.domains.binary.operations import SHUFFLE_GROUPS
from nichenas.domains.binary.operations import SKIP
from nichenas.domains.binary.operations import Bats
from nichenas.domains.binary.operations import Bnas
from nichenas.domains.binary.operations import DartsReal
from nichenas.domains.binary.operations import FactorizedReduce
from nichenas.domains.binary.operations import Family
from nichenas.domains.binary.operations import Residual

Terms = list[tuple[int, Tensor]]  # edge, and what it adds to the node it leads to


class SourceMixer:
    """Mixes what leaves one node.

    Args:
        names: of the operations.
        edges: that leave the node, by index.
        stride: of all of them.
    """

    def __init__(self, family: Family, names: Sequence[str], edges: Sequence[int], stride: int) -> None:
        self.family = family
        self.names = tuple(names)
        self.edges = tuple(edges)
        self.stride = stride
        self.single = isinstance(family, (Bats, Bnas))  # every convolution operation is one convolution
        self.residual = isinstance(family, Bats) and stride == 1
        self.convolutions = [k for k, name in enumerate(names) if name not in (NONE, SKIP, MAX, AVERAGE)]

    def __call__(
        self, x: Tensor, operations: nn.ModuleList, mix: Tensor, active: list[list[bool]] | None
    ) -> tuple[Terms, Terms]:
        """Returns what every edge adds to its target, in two lists: plain terms, and terms still to be shuffled.

        Args:
            x: the node, ``(batch, channels, height, width)``.
            operations: of all edges of the cell, ``[edge][operation]``.
            mix: ``(edges, operations)`` of the cell.
            active: likewise; none for all.
        """
        terms = self._linear(x, mix, active)
        later: Terms = []
        used = {k: [e for e in self.edges if active is None or active[e][k]] for k in range(len(self.names))}
        if self.stride == 2 and SKIP in self.names:
            skip = self.names.index(SKIP)
            terms += self._reductions(x, operations, mix, skip, used[skip])
        if any(used[k] for k in self.convolutions):
            first = self._first(x, operations)
            if self.single:
                later += self._single(first, operations, mix, used)
            else:
                terms += self._separable(first, operations, mix, used)
        return terms, later

    def join(self, terms: list[Tensor], later: list[Tensor], empty: Tensor | None) -> Tensor:
        """Returns a node: the sum of its terms, those of the second kind shuffled."""
        total = _sum(terms)
        if later:
            grouped = _sum(later)
            assert grouped is not None
            if isinstance(self.family, Bats):
                order = shuffle_order(grouped.shape[1], SHUFFLE_GROUPS).to(grouped.device)
                grouped = grouped.index_select(1, order)
            total = grouped if total is None else total + grouped
        if total is None:
            assert empty is not None
            return empty
        return total

    def _linear(self, x: Tensor, mix: Tensor, active: list[list[bool]] | None) -> Terms:
        """Returns the terms that are the node itself or its pooled values, times a number an edge."""
        rows = list(self.edges)

        def weight(k: int) -> Tensor:
            return mix[rows, k]

        def runs(k: int) -> bool:
            return active is None or any(active[e][k] for e in rows)

        basis, weights = [], []
        if self.stride == 1:
            kept = [k for k, name in enumerate(self.names) if name == SKIP and runs(k)]
            if self.residual:
                kept += [k for k in self.convolutions if runs(k)]
            if kept:
                basis.append(x)
                weights.append(mix[rows][:, kept].sum(1))
        for name in (MAX, AVERAGE):
            if name in self.names and runs(self.names.index(name)):
                pooled = (
                    F.max_pool2d(x, 3, self.stride, 1)
                    if name == MAX
                    else F.avg_pool2d(x, 3, self.stride, 1, count_include_pad=False)
                )
                basis.append(normalise(pooled))
                weights.append(weight(self.names.index(name)))
        if not basis:
            return []
        if len(basis) == 1:
            mixed = weights[0].view(-1, 1, 1, 1, 1) * basis[0]
        else:
            batch, channels, height, width = basis[0].shape
            flat = torch.stack([b.permute(0, 2, 3, 1) for b in basis]).flatten(1)
            mixed = (torch.stack(weights, 1) @ flat).view(-1, batch, height, width, channels).permute(0, 1, 4, 2, 3)
        return list(zip(self.edges, mixed.unbind(0), strict=True))

    def _reductions(self, x: Tensor, operations: nn.ModuleList, mix: Tensor, skip: int, edges: list[int]) -> Terms:
        """Returns the skips of a reduction cell."""
        terms: Terms = []
        shared: Tensor | None = None
        for edge in edges:
            module = operations[edge][skip]  # type: ignore[index]
            assert isinstance(module, FactorizedReduce)
            if isinstance(module.one, BinaryConv2d):
                if shared is None:
                    shared = normalise(x)
                    shared = module.one.sign(shared) if module.one.binary_input else shared
                halves = [_convolve(part(shared), c) for c, part in _halves(module)]
                y = torch.cat(halves, 1)
                assert isinstance(module.after, nn.PReLU)
                terms.append((edge, scaled_prelu(y, None, module.after.weight, mix[edge, skip].repeat(y.shape[1]))))
            else:
                if shared is None:
                    shared = F.relu(x)
                halves = [c(part(shared)) for c, part in _halves(module)]
                y = torch.cat(halves, 1)
                terms.append((edge, normalise(y, mix[edge, skip].repeat(y.shape[1]))))
        return terms

    def _first(self, x: Tensor, operations: nn.ModuleList) -> Tensor:
        """Returns what all convolutions of this node read."""
        if isinstance(self.family, DartsReal):
            return F.relu(x)
        y = normalise(x)
        conv = self._conv(operations, self.edges[0], self.convolutions[0])
        return conv.sign(y) if conv.binary_input else y

    def _conv(self, operations: nn.ModuleList, edge: int, k: int) -> BinaryConv2d:
        module = operations[edge][k]  # type: ignore[index]
        block = module.block if isinstance(module, Residual) else module
        conv = block[1]  # type: ignore[index]
        assert isinstance(conv, BinaryConv2d)
        return conv

    def _single(self, x: Tensor, operations: nn.ModuleList, mix: Tensor, used: dict[int, list[int]]) -> Terms:
        """Returns the terms of operations that are one convolution each: one kernel for all edges."""
        gathered: dict[tuple[int, ...], Tensor] = {}
        for k in self.convolutions:
            edges = used[k]
            if not edges:
                continue
            convs = [self._conv(operations, edge, k) for edge in edges]
            groups = convs[0].groups
            # A grouped convolution puts out group by group, so the edges lie within each group.
            kernel = _interleaved([conv.kernel() for conv in convs], groups)
            first = convs[0]
            y = F.conv2d(x, kernel.to(x.dtype), None, first.stride, first.padding, first.dilation, groups)
            found = [scale for scale in (conv.scales() for conv in convs) if scale is not None]
            scales = _interleaved(found, groups) if found else None
            weights = mix[edges, k].repeat_interleave(first.out_channels // groups).repeat(groups)
            slopes = [conv.activation.weight for conv in convs if conv.activation is not None]
            slope = _interleaved(slopes, groups) if slopes else torch.zeros_like(weights)  # BNAS has ReLU
            y = scaled_prelu(y, scales, slope, weights)
            key = (groups, *edges)
            gathered[key] = gathered[key] + y if key in gathered else y
        terms: Terms = []
        for (groups, *edges), total in gathered.items():
            parts = total.unflatten(1, (groups, len(edges), -1)).unbind(2)
            terms += [(edge, part.flatten(1, 2)) for edge, part in zip(edges, parts, strict=True)]
        return terms

    def _separable(self, x: Tensor, operations: nn.ModuleList, mix: Tensor, used: dict[int, list[int]]) -> Terms:
        """Returns the terms of chains of depthwise and pointwise convolutions, edge by edge."""
        terms: Terms = []
        for k in self.convolutions:
            for edge in used[k]:
                chain = operations[edge][k]  # type: ignore[index]
                assert isinstance(chain, nn.Sequential)
                modules: list[Any] = list(chain)
                if isinstance(self.family, DartsReal):
                    y = x
                    for module in modules[1:-1]:
                        y = module(y)
                    y = normalise(y, mix[edge, k].repeat(y.shape[1]))
                else:
                    y = _convolve(x, modules[1])
                    for module in modules[2:-1]:
                        y = module(y)
                    last = modules[-1]
                    y = last.sign(y) if last.binary_input else y
                    y = last.finish(last.convolve(y, last.kernel().to(y.dtype)), mix[edge, k])
                terms.append((edge, y))
        return terms


def _shifted(x: Tensor) -> Tensor:
    return x[:, :, 1:, 1:]


def _halves(module: FactorizedReduce) -> list[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    return [(module.one, lambda x: x), (module.other, _shifted)]


def _interleaved(parts: Sequence[Tensor], groups: int) -> Tensor:
    """Returns tensors ``(channels, ...)``, one an edge, as one in the order (group, edge, channel of the group)."""
    return torch.stack([part.unflatten(0, (groups, -1)) for part in parts], 1).flatten(0, 2)


def _convolve(x: Tensor, conv: nn.Module) -> Tensor:
    """Returns a binary convolution of what is binarised already."""
    assert isinstance(conv, BinaryConv2d)
    return conv.finish(conv.convolve(x, conv.kernel().to(x.dtype)))


def _sum(terms: list[Tensor]) -> Tensor | None:
    """Returns the sum of some tensors, added up in place."""
    if not terms:
        return None
    if len(terms) == 1:
        return terms[0]
    total = terms[0] + terms[1]
    for term in terms[2:]:
        total += term
    return total
