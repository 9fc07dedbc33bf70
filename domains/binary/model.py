"""The network of a genotype: stem, cells with reductions at a third and two thirds of the depth, classifier.

The stem and the classifier are real-valued always. Source of the skeleton: DARTS (Liu et al. 2019) and, for
the binary families, BATS's library (bnn/models).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from nichenas.domains.binary.genotypes import Cell
from nichenas.domains.binary.genotypes import Genotype
from nichenas.domains.binary.operations import NONE
from nichenas.domains.binary.operations import Family

STEM_MULTIPLIER = 3
AUXILIARY_FROM = 8  # pixels a side that the auxiliary head needs


def reduction_positions(cells: int) -> tuple[int, ...]:
    """Returns where a network of this depth has its reduction cells."""
    return tuple(sorted({cells // 3, 2 * cells // 3}))


def drop_path(x: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
    """Returns x with whole samples set to zero at random, the others scaled up to keep the mean."""
    kept = 1.0 - probability
    mask = torch.rand(len(x), 1, 1, 1, device=x.device, generator=generator) < kept
    return x * (mask.to(x.dtype) / kept)


class DiscreteCell(nn.Module):
    """A cell with the operations that a genotype names.

    Args:
        before_previous: channels of the cell before the previous one.
        previous: channels of the previous cell.
        channels: of every node of this cell.
        after_reduction: whether the previous cell halved the resolution.
    """

    def __init__(
        self,
        family: Family,
        cell: Cell,
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
        self.concat = cell.concat
        self.plan: list[list[tuple[int, int]]] = []  # of every node, (position of the operation, its input node)
        self.operations = nn.ModuleList()
        for _, operations in cell.nodes():
            inputs = []
            for name, source in operations:
                if name == NONE:
                    continue
                inputs.append((len(self.operations), source))
                self.operations.append(family.operation(name, channels, 2 if reduction and source < 2 else 1))
            self.plan.append(inputs)
        self.channels = channels
        self.stride = 2 if reduction else 1
        # BNAS carries the cell's input around it, real-valued.
        self.around: nn.Module | None = None
        if family.keeps_none:
            wide = channels * len(cell.concat)
            same = not reduction and wide == previous
            self.around = nn.Identity() if same else nn.Conv2d(previous, wide, 1, self.stride, bias=False)

    def forward(self, s0: Tensor, s1: Tensor, drop: float = 0.0, generator: torch.Generator | None = None) -> Tensor:
        """Returns the cell's output, ``(batch, channels * concatenated, height, width)``."""
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        empty: Tensor | None = None
        for inputs in self.plan:
            terms = []
            for position, source in inputs:
                operation = self.operations[position]
                y = operation(states[source])
                if drop > 0 and self.training and not isinstance(operation, nn.Identity):
                    y = drop_path(y, drop, generator)
                terms.append(y)
            if not terms and empty is None:
                empty = torch.zeros_like(states[1][:, :, :: self.stride, :: self.stride])
            states.append(sum(terms[1:], terms[0]) if terms else empty)  # type: ignore[arg-type]
        out = torch.cat([states[node] for node in self.concat], dim=1)
        return out if self.around is None else out + self.around(s1)


class AuxiliaryHead(nn.Module):
    """The auxiliary classifier of DARTS's CIFAR networks; PReLU and BN before convolutions in binary families."""

    def __init__(self, family: Family, channels: int, classes: int) -> None:
        super().__init__()
        relu_first = not family.stem_activation
        pool = nn.AvgPool2d(5, stride=3, padding=0, count_include_pad=False)
        narrow, wide = nn.Conv2d(channels, 128, 1, bias=False), nn.Conv2d(128, 768, 2, bias=False)
        if relu_first:
            parts: Sequence[nn.Module] = (
                nn.ReLU(), pool, narrow, nn.BatchNorm2d(128), nn.ReLU(), wide, nn.BatchNorm2d(768), nn.ReLU()
            )  # fmt: skip
        else:
            parts = (pool, nn.BatchNorm2d(channels), narrow, nn.PReLU(128), nn.BatchNorm2d(128), wide, nn.PReLU(768))
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits, ``(batch, classes)``, from ``(batch, channels, 8, 8)``."""
        return self.classifier(self.features(x).flatten(1))  # type: ignore[no-any-return]


def cifar_stem(family: Family, channels_in: int, channels: int) -> nn.Sequential:
    """Returns a 3x3 convolution and BN, and ReLU in binary families; full resolution."""
    parts: list[nn.Module] = [nn.Conv2d(channels_in, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]
    return nn.Sequential(*parts, *([nn.ReLU()] if family.stem_activation else []))


def imagenet_stems(family: Family, channels_in: int, channels: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Returns the two stems of ImageNet networks, a quarter and an eighth of the resolution.

    In binary families their inner convolutions have ``channels // 20`` groups (BATS's library).
    """
    groups = max(1, channels // 20) if family.stem_activation else 1
    first = nn.Sequential(
        nn.Conv2d(channels_in, channels // 2, 3, 2, 1, bias=False),
        nn.BatchNorm2d(channels // 2),
        nn.ReLU(),
        nn.Conv2d(channels // 2, channels, 3, 2, 1, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
    )
    second = nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, 2, 1, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
    )
    return first, second


class Stemmed(nn.Module):
    """A network whose first two inputs of cells come from a stem."""

    def make_stem(self, family: Family, stem: str, channels_in: int, channels: int) -> tuple[int, bool]:
        """Adds the stem's modules.

        Args:
            stem: ``cifar``, of full resolution, or ``imagenet``, of a quarter and an eighth of it.
            channels: of the first cells' nodes.

        Returns:
            The channels of both inputs of the first cell, and whether the second has half the resolution of the first.
        """
        if stem == "imagenet":
            self.stem: nn.Module | None = None
            self.stem0, self.stem1 = imagenet_stems(family, channels_in, channels)
            return channels, True
        self.stem = cifar_stem(family, channels_in, STEM_MULTIPLIER * channels)
        return STEM_MULTIPLIER * channels, False

    def stem_outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns both inputs of the first cell."""
        if self.stem is None:
            s0 = self.stem0(images)
            return s0, self.stem1(s0)
        s0 = self.stem(images)
        return s0, s0


class Classifier(nn.Module):
    """What :class:`~nichenas.domains.binary.training.StagedTraining` trains.

    Attributes:
        drop: probability of drop path; the training raises it.
        generator: of its draws.
    """

    def __init__(self) -> None:
        super().__init__()
        self.drop = 0.0
        self.generator: torch.Generator | None = None

    def both(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns the logits and, in training, those of the auxiliary classifier where there is one."""
        return self(x), None


class CellNetwork(Classifier, Stemmed):
    """The network of a genotype.

    Args:
        family: how operations are built.
        channels: of the first cells' nodes; doubled by every reduction.
        cells: depth.
        channels_in: of the images.
        auxiliary: whether a second classifier sits after the second reduction, for images of 32 pixels.
        stem: ``cifar`` or ``imagenet``.
    """

    def __init__(
        self,
        family: Family,
        genotype: Genotype,
        channels: int,
        cells: int,
        classes: int,
        channels_in: int = 3,
        auxiliary: bool = False,
        stem: str = "cifar",
    ) -> None:
        super().__init__()
        previous, reduced = self.make_stem(family, stem, channels_in, channels)
        before_previous, current = previous, channels
        self.cells = nn.ModuleList()
        positions = reduction_positions(cells)
        self.auxiliary_at = 2 * cells // 3
        auxiliary_channels = 0
        for position in range(cells):
            reduction = position in positions
            current *= 2 if reduction else 1
            cell = genotype.cell(position, reduction)
            self.cells.append(
                DiscreteCell(
                    family,
                    cell,
                    before_previous=before_previous,
                    previous=previous,
                    channels=current,
                    reduction=reduction,
                    after_reduction=reduced,
                )
            )
            before_previous, previous, reduced = previous, len(cell.concat) * current, reduction
            if position == self.auxiliary_at:
                auxiliary_channels = previous
        self.auxiliary = AuxiliaryHead(family, auxiliary_channels, classes) if auxiliary else None
        self.classifier = nn.Linear(previous, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits, ``(batch, classes)``."""
        return self.both(x)[0]

    def both(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns the logits and, in training, those of the auxiliary classifier where there is one."""
        s0, s1 = self.stem_outputs(x)
        second = None
        for position, cell in enumerate(self.cells):
            s0, s1 = s1, cell(s0, s1, self.drop, self.generator)
            if position == self.auxiliary_at and self.auxiliary is not None and self.training:
                second = self.auxiliary(s1)
        return self.classifier(F.adaptive_avg_pool2d(s1, 1).flatten(1)), second
