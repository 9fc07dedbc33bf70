"""The supernet of a family: every operation on every edge of every cell, mixed.

A cell holds the operations as modules, so that its weights are those of the plain form. ``forward`` computes
them the fast way of :mod:`nichenas.domains.binary.mixing`; with ``plain=True`` as the papers write it, operation by
operation, which tests and benchmarks compare with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn
from torch.utils.checkpoint import checkpoint

from nichenas.core.gradient.supernet import Active
from nichenas.core.gradient.supernet import EdgeGroup
from nichenas.core.gradient.supernet import Mixes
from nichenas.core.gradient.supernet import Supernet
from nichenas.core.gradient.supernet import dense_edges
from nichenas.domains.binary.convolution import BinaryConv2d
from nichenas.domains.binary.convolution import binarize
from nichenas.domains.binary.convolution import clip_latent
from nichenas.domains.binary.mixing import SourceMixer
from nichenas.domains.binary.model import Stemmed
from nichenas.domains.binary.model import reduction_positions
from nichenas.domains.binary.native.functions import plain_operations
from nichenas.domains.binary.operations import AVERAGE
from nichenas.domains.binary.operations import MAX
from nichenas.domains.binary.operations import NONE
from nichenas.domains.binary.operations import PARAMETER_FREE
from nichenas.domains.binary.operations import SKIP
from nichenas.domains.binary.operations import Family
from nichenas.domains.binary.space import KINDS
from nichenas.domains.binary.space import cell_names

INPUTS = 2


@dataclasses.dataclass(frozen=True)
class BinarisationStage:
    """What is binary during a part of the search.

    Attributes:
        until: share of the search at which the stage ends.
        activations: whether inputs of convolutions are binary.
        weights: whether kernels are.
    """

    until: float
    activations: bool
    weights: bool


class SearchCell(nn.Module):
    """A cell with all operations on all edges; see :class:`.model.DiscreteCell` for the arguments."""

    def __init__(
        self,
        family: Family,
        operations: Sequence[str],
        nodes: int,
        before_previous: int,
        previous: int,
        channels: int,
        reduction: bool,
        after_reduction: bool,
    ) -> None:
        super().__init__()
        make = family.reduce if after_reduction else family.preprocess
        self.preprocess0 = make(before_previous, channels)
        self.preprocess1 = family.preprocess(previous, channels)
        self.edges = dense_edges(nodes)
        self.names = tuple(operations)
        self.nodes = nodes
        self.operations = nn.ModuleList(
            nn.ModuleList(
                self._operation(family, name, channels, 2 if reduction and source < INPUTS else 1)
                for name in operations
            )
            for source, _ in self.edges
        )
        self.around: nn.Module | None = None
        if family.keeps_none:
            same = not reduction and nodes * channels == previous
            wide = nn.Conv2d(previous, nodes * channels, 1, 2 if reduction else 1, bias=False)
            self.around = nn.Identity() if same else wide
        self.mixers = [
            SourceMixer(
                family,
                self.names,
                [edge for edge, (start, _) in enumerate(self.edges) if start == source],
                2 if reduction and source < INPUTS else 1,
            )
            for source in range(INPUTS + nodes - 1)
        ]

    @staticmethod
    def _operation(family: Family, name: str, channels: int, stride: int) -> nn.Module:
        operation = family.operation(name, channels, stride)
        # DARTS's search network normalises what it pools, so that no operation wins by its magnitude.
        return nn.Sequential(operation, family.norm(channels)) if name in (MAX, AVERAGE) else operation

    def forward(self, s0: Tensor, s1: Tensor, mix: Tensor, active: Tensor | None = None, plain: bool = False) -> Tensor:
        """Returns the cell's output, ``(batch, nodes * channels, height, width)``.

        Args:
            mix: ``(edges, operations)``.
            active: operations to run, likewise, bool; none for all.
            plain: compute operation by operation.
        """
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        states = self._plain(states, mix) if plain else self._fast(states, mix, active)
        out = torch.cat(states[INPUTS:], dim=1)
        return out if self.around is None else out + self.around(s1)

    def _candidates(self, edge: int) -> list[nn.Module]:
        candidates = self.operations[edge]
        assert isinstance(candidates, nn.ModuleList)
        return list(candidates)

    def _plain(self, states: list[Tensor], mix: Tensor) -> list[Tensor]:
        for node in range(INPUTS, INPUTS + self.nodes):
            total = None
            for edge, (source, target) in enumerate(self.edges):
                if target == node:
                    for k, operation in enumerate(self._candidates(edge)):
                        y = mix[edge, k] * operation(states[source])
                        total = y if total is None else total + y
            assert total is not None
            states.append(total)
        return states

    def _fast(self, states: list[Tensor], mix: Tensor, active: Tensor | None) -> list[Tensor]:
        sums: dict[int, list[Tensor]] = {node: [] for node in range(INPUTS, INPUTS + self.nodes)}
        shuffled: dict[int, list[Tensor]] = {node: [] for node in sums}
        chosen = None if active is None else active.tolist()
        empty: Tensor | None = None
        for source, mixer in enumerate(self.mixers):
            if source >= INPUTS:
                if not sums[source] and not shuffled[source] and empty is None:
                    stride = self.mixers[0].stride
                    empty = torch.zeros_like(states[1][:, :, ::stride, ::stride])
                states.append(mixer.join(sums.pop(source), shuffled.pop(source), empty))
            parts, later = mixer(states[source], self.operations, mix, chosen)
            for edge, term in parts:
                sums[self.edges[edge][1]].append(term)
            for edge, term in later:
                shuffled[self.edges[edge][1]].append(term)
        last = INPUTS + self.nodes - 1
        if not sums[last] and not shuffled[last] and empty is None:
            stride = self.mixers[0].stride
            empty = torch.zeros_like(states[1][:, :, ::stride, ::stride])
        states.append(self.mixers[0].join(sums.pop(last), shuffled.pop(last), empty))
        return states


class CellSupernet(Stemmed, Supernet):
    """The search network.

    Args:
        family: how operations are built, with ``affine=False`` normalisations.
        operations: names of the candidates; all of the family's by default.
        nodes: intermediate nodes of a cell.
        reductions: positions of reduction cells; by default at a third and two thirds.
        classifier_bias: whether the classifier has one (identities of wiring diagnostics hold without).
        stages: what is binary in which part of the search; everything, always, by default.
        per_cell: whether every cell has architecture parameters of its own; else all of a kind share them.
        activation_checkpointing: whether cells are computed again in the backward pass.
        clip_weights: whether latent kernels are kept in [-1, 1] while they are binary.
        stem: ``cifar`` or ``imagenet``.
        plain: compute operation by operation.
    """

    def __init__(
        self,
        family: Family,
        channels: int,
        cells: int,
        classes: int,
        channels_in: int = 3,
        operations: Sequence[str] | None = None,
        nodes: int = 4,
        reductions: Sequence[int] | None = None,
        classifier_bias: bool = True,
        stages: Sequence[BinarisationStage] = (),
        per_cell: bool = False,
        activation_checkpointing: bool = False,
        clip_weights: bool = True,
        stem: str = "cifar",
        plain: bool = False,
    ) -> None:
        super().__init__()
        self.clip_weights = clip_weights
        names = tuple(operations or family.operations)
        self.stages = tuple(stages)
        self.activation_checkpointing, self.plain = activation_checkpointing, plain
        previous, reduced = self.make_stem(family, stem, channels_in, channels)
        before_previous, current = previous, channels
        self.cells = nn.ModuleList()
        self.kinds: list[tuple[str, int]] = []  # of every cell, its group and its place within it
        positions = reduction_positions(cells) if reductions is None else tuple(reductions)
        counts = dict.fromkeys(cell_names(cells) if per_cell else KINDS, 0)
        for position in range(cells):
            reduction = position in positions
            current *= 2 if reduction else 1
            self.cells.append(
                SearchCell(
                    family,
                    names,
                    nodes=nodes,
                    before_previous=before_previous,
                    previous=previous,
                    channels=current,
                    reduction=reduction,
                    after_reduction=reduced,
                )
            )
            kind = cell_names(cells)[position] if per_cell else KINDS[reduction]
            self.kinds.append((kind, counts[kind]))
            counts[kind] += 1
            before_previous, previous, reduced = previous, nodes * current, reduction
        self.classifier = nn.Linear(previous, classes, bias=classifier_bias)
        self.groups = tuple(
            EdgeGroup(
                kind,
                dense_edges(nodes),
                names,
                instances=count,
                inputs=INPUTS,
                none=NONE,
                parameter_free=PARAMETER_FREE,
                skip=SKIP,
            )
            for kind, count in counts.items()
            if count
        )

    @property
    def smooth(self) -> bool:
        """Whether nothing is binary in any stage; without stages, at present."""
        if self.stages:
            return not any(stage.activations or stage.weights for stage in self.stages)
        return not any(
            isinstance(module, BinaryConv2d) and (module.binary_input or module.binary_weights > 0)
            for module in self.modules()
        )

    def twice_differentiable(self) -> AbstractContextManager[None]:
        """Leaves the kernels out."""
        return plain_operations()

    def begin_epoch(self, progress: float) -> None:
        """Binarises what the stage of this part of the search says."""
        for stage in self.stages:
            if progress < stage.until or stage is self.stages[-1]:
                binarize(self, stage.activations, float(stage.weights))
                return

    def after_step(self) -> None:
        """Clips latent kernels."""
        if self.clip_weights:
            clip_latent(self)

    def forward(self, inputs: Tensor, mixes: Mixes, active: Active | None = None) -> Tensor:
        """Returns logits, ``(batch, classes)``, of images ``(batch, channels, height, width)``."""
        if not self.plain:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        s0, s1 = self.stem_outputs(inputs)
        for cell, (kind, place) in zip(self.cells, self.kinds, strict=True):
            chosen = None if active is None else active[kind]
            if self.activation_checkpointing and self.training:
                y = checkpoint(cell, s0, s1, mixes[kind][place], chosen, self.plain, use_reentrant=False)
            else:
                y = cell(s0, s1, mixes[kind][place], chosen, self.plain)
            s0, s1 = s1, y
        return self.classifier(F.adaptive_avg_pool2d(s1, 1).flatten(1))  # type: ignore[no-any-return]
