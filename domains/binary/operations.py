"""The operations of three families of cells: BATS, plain DARTS (real, or binarised directly) and BNAS.

A family says what its operations are, how a cell's inputs are brought to its width, and the stem. What BATS
leaves out of the DARTS space and why (Bulat et al. 2020, section 3): separable convolutions, since a binary
depthwise kernel of k x k gives only k*k + 1 values and the 1x1 convolutions are the bottleneck that suffers most
from binarisation; grouped convolutions with a channel shuffle and a real-valued shortcut take their place.
"""

from __future__ import annotations

import math
from abc import ABC
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import ClassVar

import torch
from torch import Tensor
from torch import nn

from nichenas.core.errors import ConfigError
from nichenas.domains.binary.convolution import BinaryConv2d
from nichenas.domains.binary.convolution import ChannelShuffle
from nichenas.domains.binary.convolution import Estimator
from nichenas.domains.binary.convolution import Scale
from nichenas.domains.binary.convolution import ScaleStart
from nichenas.domains.binary.native.functions import depthwise_conv2d
from nichenas.domains.binary.native.functions import normalise

NONE, SKIP, MAX, AVERAGE = "none", "skip_connect", "max_pool_3x3", "avg_pool_3x3"
PARAMETER_FREE = frozenset({NONE, SKIP, MAX, AVERAGE})
SHUFFLE_GROUPS = 4  # BATS's library
EPS = 1e-5


class Zero(nn.Module):
    """Returns zeros, at the resolution that the stride leaves."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Returns zeros."""
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class BatchStatistics(nn.Module):
    """Batch normalisation without weights and without running statistics, for search networks."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns x with mean 0 and variance 1 a channel."""
        return normalise(x, eps=EPS)


class DepthwiseConv2d(nn.Conv2d):
    """A real depthwise convolution without bias."""

    def __init__(self, channels: int, size: int, stride: int, padding: int, dilation: int) -> None:
        super().__init__(channels, channels, size, stride, padding, dilation, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the convolution."""
        stride, padding, dilation = self.stride[0], int(self.padding[0]), self.dilation[0]
        return depthwise_conv2d(x, self.weight, stride, padding, dilation)


class Residual(nn.Module):
    """Adds the real-valued input of a block to its output."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``block(x) + x``."""
        return self.block(x) + x


class FactorizedReduce(nn.Module):
    """Halves the resolution: two 1x1 stride-2 convolutions, the second on the input shifted by a pixel, concatenated.

    Args:
        before: applied to the input once.
        one: the first convolution, to half of the output's channels.
        other: the second.
        after: applied to the concatenation.
    """

    def __init__(self, before: nn.Module, one: nn.Module, other: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.before, self.one, self.other, self.after = before, one, other, after

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``(batch, out, height / 2, width / 2)``."""
        x = self.before(x)
        return self.after(torch.cat([self.one(x), self.other(x[:, :, 1:, 1:])], dim=1))


@dataclass(frozen=True)
class Family(ABC):
    """How the operations of a space are built.

    Attributes:
        affine: whether normalisations have weights; DARTS's search network has none.
        groups: of grouped convolutions.
        scale: of binary convolutions.
        scale_start: where a learned one starts; see :class:`~nichenas.domains.binary.convolution.BinaryConv2d`.
        estimator: of the gradients of signs.
    """

    affine: bool = True
    groups: int = 12
    scale: Scale = "learned"
    scale_start: ScaleStart = "magnitude"
    estimator: Estimator = "ste_sign"

    name: ClassVar[str]
    operations: ClassVar[tuple[str, ...]]
    further: ClassVar[tuple[str, ...]] = ()  # not searched, but found in published genotypes
    keeps_none: ClassVar[bool] = False  # whether the derived cell may hold "none"
    stem_activation: ClassVar[bool] = True
    real_layers: ClassVar[str] = ""

    @property
    def signs(self) -> dict[str, Any]:
        """How convolutions are binary, as arguments of theirs."""
        return {"scale": self.scale, "scale_start": self.scale_start, "estimator": self.estimator}

    def norm(self, channels: int) -> nn.Module:
        """Returns a batch normalisation; without weights it uses the batch's own statistics always."""
        return nn.BatchNorm2d(channels, eps=EPS) if self.affine else BatchStatistics()

    def operation(self, name: str, channels: int, stride: int) -> nn.Module:
        """Returns an operation that keeps the channels.

        Raises:
            KeyError: for a name that the family does not have.
        """
        if name == NONE:
            return Zero(stride)
        if name == MAX:
            return nn.MaxPool2d(3, stride, 1)
        if name == AVERAGE:
            return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        if name == SKIP:
            return nn.Identity() if stride == 1 else self.reduce(channels, channels)
        if name not in (*self.operations, *self.further):
            raise KeyError(name)
        kind, _, size = name.rpartition("_")
        return self.convolution(kind, int(size.split("x")[0]), channels, stride)

    @abstractmethod
    def convolution(self, kind: str, size: int, channels: int, stride: int) -> nn.Module:
        """Returns one of the family's convolutions, such as ``sep_conv`` of size 3."""

    @abstractmethod
    def reduce(self, channels_in: int, channels_out: int) -> nn.Module:
        """Returns a module that halves the resolution."""

    @abstractmethod
    def preprocess(self, channels_in: int, channels_out: int) -> nn.Module:
        """Returns the 1x1 block that brings a cell's input to its width."""

    @property
    def width_step(self) -> int:
        """What widths are multiples of."""
        return 2  # half of the channels come from each side of a reduction

    def check(self, channels: int) -> None:  # noqa: B027  (most families take any width)
        """Checks that networks of this width (and its doublings) can be built.

        Raises:
            ConfigError: when not.
        """


def _reduce(family: Family, channels_in: int, channels_out: int, activation: nn.Module) -> FactorizedReduce:
    half = channels_out // 2
    one = BinaryConv2d(channels_in, half, 1, stride=2, **family.signs)
    other = BinaryConv2d(channels_in, channels_out - half, 1, stride=2, **family.signs)
    return FactorizedReduce(family.norm(channels_in), one, other, activation)


def _real_reduce(family: Family, channels_in: int, channels_out: int) -> FactorizedReduce:
    half = channels_out // 2
    one = nn.Conv2d(channels_in, half, 1, stride=2, bias=False)
    other = nn.Conv2d(channels_in, channels_out - half, 1, stride=2, bias=False)
    return FactorizedReduce(nn.ReLU(), one, other, family.norm(channels_out))


def _real_preprocess(family: Family, channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(channels_in, channels_out, 1, bias=False), family.norm(channels_out))


@dataclass(frozen=True)
class Bats(Family):
    """BATS: one grouped k x k binary convolution each, dilated by 2 under the names ``dil_conv_*``.

    Block: BN, sign, grouped convolution, learned scale, PReLU, channel shuffle (4 groups), plus the real-valued
    input where the stride is 1. Source: the authors' library (bnn/models/layers/bats_ops.py).
    """

    name = "bats"
    operations = (NONE, MAX, AVERAGE, SKIP, "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")

    @property
    def width_step(self) -> int:
        """Groups of the convolution and of the shuffle."""
        return math.lcm(self.groups, SHUFFLE_GROUPS)

    def check(self, channels: int) -> None:
        """Channels must divide into the groups of the convolution and of the shuffle."""
        if channels % self.groups or channels % SHUFFLE_GROUPS:
            good = [g for g in range(1, channels + 1) if channels % g == 0]
            raise ConfigError(
                f"domain.groups: {channels} channels do not divide into {self.groups} groups (and a shuffle of "
                f"{SHUFFLE_GROUPS}); allowed for {channels}: {good if channels % SHUFFLE_GROUPS == 0 else 'none'}"
            )

    def convolution(self, kind: str, size: int, channels: int, stride: int) -> nn.Module:
        """Returns the block, with its residual where the stride is 1."""
        dilation = 2 if kind == "dil_conv" else 1
        padding = dilation * (size - 1) // 2
        activation = nn.PReLU(channels)
        conv = BinaryConv2d(
            channels,
            channels,
            kernel=size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=self.groups,
            **self.signs,
            activation=activation,
        )
        block = nn.Sequential(self.norm(channels), conv, ChannelShuffle(SHUFFLE_GROUPS))
        return Residual(block) if stride == 1 else block

    def reduce(self, channels_in: int, channels_out: int) -> nn.Module:
        """Returns BN, two binary 1x1 stride-2 convolutions, PReLU."""
        return _reduce(self, channels_in, channels_out, nn.PReLU(channels_out))

    def preprocess(self, channels_in: int, channels_out: int) -> nn.Module:
        """Returns BN, binary 1x1 convolution, PReLU, plus the input where the channels agree."""
        conv = BinaryConv2d(
            channels_in,
            channels_out,
            1,
            activation=nn.PReLU(channels_out),
            **self.signs,
        )
        block = nn.Sequential(self.norm(channels_in), conv)
        return Residual(block) if channels_in == channels_out else block


@dataclass(frozen=True)
class DartsBinary(Family):
    """The DARTS space binarised directly: its separable and dilated convolutions with binary parts.

    Each convolution is BN, sign, convolution, scale; a PReLU ends each depthwise-pointwise pair. DARTS's own
    order, ReLU before the convolution, would leave sign nothing but +1.
    """

    name = "darts"
    operations = Bats.operations

    def convolution(self, kind: str, size: int, channels: int, stride: int) -> nn.Module:
        """Returns depthwise and pointwise convolution, twice for ``sep_conv``."""
        if kind == "dil_conv":
            return self._pair(size, channels, stride, 2)
        return nn.Sequential(*self._pair(size, channels, stride, 1), *self._pair(size, channels, 1, 1))

    def _pair(self, size: int, channels: int, stride: int, dilation: int) -> nn.Sequential:
        padding = dilation * (size - 1) // 2
        depthwise = BinaryConv2d(
            channels,
            channels,
            kernel=size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=channels,
            **self.signs,
        )
        pointwise = BinaryConv2d(channels, channels, 1, activation=nn.PReLU(channels), **self.signs)
        return nn.Sequential(self.norm(channels), depthwise, self.norm(channels), pointwise)

    def reduce(self, channels_in: int, channels_out: int) -> nn.Module:
        """Returns BN, two binary 1x1 stride-2 convolutions, PReLU."""
        return _reduce(self, channels_in, channels_out, nn.PReLU(channels_out))

    def preprocess(self, channels_in: int, channels_out: int) -> nn.Module:
        """Returns BN, binary 1x1 convolution, PReLU."""
        conv = BinaryConv2d(
            channels_in,
            channels_out,
            1,
            activation=nn.PReLU(channels_out),
            **self.signs,
        )
        return nn.Sequential(self.norm(channels_in), conv)


@dataclass(frozen=True)
class Bnas(Family):
    """BNAS (Kim et al., ECCV 2020): full binary convolutions, no skip, ``none`` kept in the derived cell.

    Block: BN, sign, convolution, ReLU. 1x1 convolutions between cells stay real. Source: gistvision/bnas.
    """

    name = "bnas"
    operations = (NONE, MAX, AVERAGE, "bin_conv_3x3", "bin_conv_5x5", "bin_dil_conv_3x3", "bin_dil_conv_5x5")
    keeps_none = True
    real_layers = "stem, 1x1 convolutions between cells, classifier"

    def convolution(self, kind: str, size: int, channels: int, stride: int) -> nn.Module:
        """Returns the block."""
        dilation = 2 if kind == "bin_dil_conv" else 1
        conv = BinaryConv2d(
            channels,
            channels,
            kernel=size,
            stride=stride,
            padding=dilation * (size - 1) // 2,
            dilation=dilation,
            groups=1,
            **self.signs,
        )
        return nn.Sequential(self.norm(channels), conv, nn.ReLU())

    def reduce(self, channels_in: int, channels_out: int) -> nn.Module:
        """Returns DARTS's reduction, real."""
        return _real_reduce(self, channels_in, channels_out)

    def preprocess(self, channels_in: int, channels_out: int) -> nn.Module:
        """Returns DARTS's block, real."""
        return _real_preprocess(self, channels_in, channels_out)


@dataclass(frozen=True)
class DartsReal(Family):
    """The DARTS space as published, all real: ReLU, convolution, BN (the authors' repository, operations.py)."""

    name = "darts-real"
    operations = Bats.operations
    further = ("sep_conv_7x7", "conv_7x1_1x7")
    stem_activation = False

    def operation(self, name: str, channels: int, stride: int) -> nn.Module:
        """Returns an operation that keeps the channels; also those of NASNet and AmoebaNet."""
        if name == "conv_7x1_1x7":
            return nn.Sequential(
                nn.ReLU(),
                nn.Conv2d(channels, channels, (1, 7), (1, stride), (0, 3), bias=False),
                nn.Conv2d(channels, channels, (7, 1), (stride, 1), (3, 0), bias=False),
                self.norm(channels),
            )
        return super().operation(name, channels, stride)

    def convolution(self, kind: str, size: int, channels: int, stride: int) -> nn.Module:
        """Returns ReLU, depthwise and pointwise convolution, BN; twice for ``sep_conv``."""
        if kind == "dil_conv":
            return self._pair(size, channels, stride, 2)
        return nn.Sequential(*self._pair(size, channels, stride, 1), *self._pair(size, channels, 1, 1))

    def _pair(self, size: int, channels: int, stride: int, dilation: int) -> nn.Sequential:
        padding = dilation * (size - 1) // 2
        return nn.Sequential(
            nn.ReLU(),
            DepthwiseConv2d(channels, size, stride=stride, padding=padding, dilation=dilation),
            nn.Conv2d(channels, channels, 1, bias=False),
            self.norm(channels),
        )

    def reduce(self, channels_in: int, channels_out: int) -> nn.Module:
        """Returns ReLU, two 1x1 stride-2 convolutions, BN."""
        return _real_reduce(self, channels_in, channels_out)

    def preprocess(self, channels_in: int, channels_out: int) -> nn.Module:
        """Returns ReLU, 1x1 convolution, BN."""
        return _real_preprocess(self, channels_in, channels_out)


FAMILIES: Mapping[str, type[Family]] = {cls.name: cls for cls in (Bats, DartsBinary, DartsReal, Bnas)}
