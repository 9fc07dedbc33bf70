"""AutoGAN's generator: with all operations, whose weights all genotypes share, or with those of one genotype.

Both are the same module: built without a genotype it holds every operation and runs the genotype that a call names;
built with one it holds, under the same names, only what that genotype uses, so weights are copied by name.

Departures from the released code, which adds in place: sums are new tensors, so that every genotype can be trained
(there, a cell that is post-activation and has a skip or shortcut raises an error in the backward pass), and what a cell
hands on to later ones is a choice (``tap``). Where an up-sampling is an interpolation, the 1x1 convolution of a
shortcut or skip runs before it: both are linear and the weights of an interpolation add up to 1, so they commute, at a
quarter or a sixteenth of the multiply-adds. ``plain=True`` runs them in the paper's order.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from nichenas.domains.gan.genotypes import BLOCKS
from nichenas.domains.gan.genotypes import CellGenotype
from nichenas.domains.gan.genotypes import Genotype
from nichenas.domains.gan.genotypes import Norm
from nichenas.domains.gan.genotypes import Up

Tap = Literal["before", "after"]


def interpolate(x: Tensor, size: int, up: Up) -> Tensor:
    """Returns square images ``(n, c, h, h)`` enlarged to ``size``."""
    if up == "nearest":
        return F.interpolate(x, size=(size, size), mode="nearest")
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)


class ConvBlock(nn.Module):
    """Convolution 3x3 with normalisation and ReLU before or after it; the first block of a cell also enlarges."""

    def __init__(self, channels: int, norm: bool, deconv: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels) if norm else None
        self.deconv = nn.ConvTranspose2d(channels, channels, 2, 2) if deconv else None

    def forward(self, x: Tensor, genotype: CellGenotype, enlarge: bool) -> Tensor:
        """Returns ``(n, channels, s h, s w)``, s = 2 where it enlarges."""
        if genotype.block == "pre":
            x = F.relu(self._normalise(x, genotype.norm))
        if enlarge:
            if genotype.up == "deconv":
                assert self.deconv is not None
                x = self.deconv(x)
            else:
                x = interpolate(x, 2 * x.shape[-1], genotype.up)
        x = self.conv(x)
        if genotype.block == "post":
            x = F.relu(self._normalise(x, genotype.norm))
        return x

    def _normalise(self, x: Tensor, norm: Norm) -> Tensor:
        if norm == "batch":
            assert self.norm is not None
            return self.norm(x)
        return F.instance_norm(x) if norm == "instance" else x


class Cell(nn.Module):
    """A cell: two blocks, skips from earlier cells between them, a shortcut around both.

    Args:
        index: of the cell, from 0.
        genotype: what it must be able to run; none for everything.
    """

    def __init__(self, channels: int, index: int, genotype: CellGenotype | None, tap: Tap, plain: bool) -> None:
        super().__init__()
        self.tap, self.plain = tap, plain
        kinds = BLOCKS if genotype is None else (genotype.block,)
        norm = genotype is None or genotype.norm == "batch"
        deconv = genotype is None or genotype.up == "deconv"
        shortcut = genotype is None or genotype.shortcut
        skips = range(index) if genotype is None else genotype.skips
        self.first = nn.ModuleDict({kind: ConvBlock(channels, norm, deconv) for kind in kinds})
        self.second = nn.ModuleDict({kind: ConvBlock(channels, norm, False) for kind in kinds})
        self.shortcut = nn.Conv2d(channels, channels, 1) if shortcut else None
        self.shortcut_deconv = _deconvs(channels, 1) if shortcut and deconv else None
        self.skips = nn.ModuleDict({str(source): nn.Conv2d(channels, channels, 1) for source in skips})
        self.skip_deconvs = nn.ModuleDict(
            {str(source): _deconvs(channels, index - source) for source in skips if deconv}
        )

    def forward(self, x: Tensor, taps: list[Tensor], genotype: CellGenotype) -> tuple[Tensor, Tensor]:
        """Returns the cell's output, ``(n, channels, 2h, 2w)``, and what later cells may receive, of that shape.

        Args:
            x: ``(n, channels, h, w)``.
            taps: of the cells before.
        """
        h = self.first[genotype.block](x, genotype, True)
        tap = h
        size = h.shape[-1]
        for source in genotype.skips:
            deconvs = self.skip_deconvs[str(source)] if genotype.up == "deconv" else None
            h = h + self._enlarged(taps[source], size, self.skips[str(source)], deconvs, genotype.up)
        if self.tap == "after":
            tap = h
        out = self.second[genotype.block](h, genotype, False)
        if genotype.shortcut:
            assert self.shortcut is not None
            out = out + self._enlarged(x, size, self.shortcut, self.shortcut_deconv, genotype.up)
        return out, tap

    def _enlarged(self, x: Tensor, size: int, project: nn.Module, deconvs: nn.Module | None, up: Up) -> Tensor:
        if up == "deconv":
            assert deconvs is not None
            return project(deconvs(x))
        if self.plain:
            return project(interpolate(x, size, up))
        return interpolate(project(x), size, up)


def _deconvs(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(nn.ConvTranspose2d(channels, channels, 2, 2) for _ in range(count)))


class Generator(nn.Module):
    """From noise to images in [-1, 1].

    Args:
        cells: how many it has; each doubles the resolution.
        channels: of all features.
        latent: numbers an image is made from, standard normal.
        bottom: pixels a side before the first cell.
        image_channels: 1 or 3.
        genotype: of which it holds the operations; none for all of them.
        tap: whether a cell hands on its features before or after skips are added. The paper's figure branches off
            before, the released code hands on the sum.
        plain: run everything in the paper's order.
    """

    def __init__(
        self,
        cells: int,
        channels: int,
        latent: int = 128,
        bottom: int = 4,
        image_channels: int = 3,
        genotype: Genotype | None = None,
        tap: Tap = "before",
        plain: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.latent, self.bottom = channels, latent, bottom
        self.genotype = genotype
        self.project = nn.Linear(latent, bottom * bottom * channels)
        each = genotype.cells if genotype is not None else (None,) * cells
        self.cells = nn.ModuleList(
            Cell(channels, index, genotype=cell, tap=tap, plain=plain) for index, cell in enumerate(each)
        )
        self.norm = nn.BatchNorm2d(channels)
        self.to_image = nn.Conv2d(channels, image_channels, 3, padding=1)

    def forward(self, z: Tensor, genotype: Genotype | None = None) -> Tensor:
        """Returns images ``(n, image channels, s, s)`` with s = bottom * 2 ** (cells of the genotype).

        Args:
            z: ``(n, latent)``.
            genotype: to be run; by default that which it was built with.
        """
        genotype = genotype or self.genotype
        assert genotype is not None, "a shared generator needs a genotype"
        x = self.project(z).view(-1, self.channels, self.bottom, self.bottom)
        taps: list[Tensor] = []
        for module, cell in zip(self.cells, genotype.cells, strict=False):
            x, tap = module(x, taps, cell)
            taps.append(tap)
        return torch.tanh(self.to_image(F.relu(self.norm(x))))


@torch.no_grad()
def initialise(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draws kernels of convolutions from Glorot's uniform distribution and scales of normalisations from N(1, 0.02).

    AutoGAN's rule; biases of convolutions, linear and transposed layers keep torch's own.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02, generator=generator)
            nn.init.zeros_(module.bias)
