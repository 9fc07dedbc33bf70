"""The discriminator, fixed by hand, and how it grows with the generator (AutoGAN, Gong et al. 2019)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from nichenas.domains.gan.generator import initialise

HALVING = 2  # the first blocks that halve the resolution


class ResidualBlock(nn.Module):
    """Two convolutions 3x3 with a shortcut.

    Args:
        first: whether its input is the image: then no ReLU comes before the first convolution.
        halve: whether it halves the resolution, by average pooling.
        plain: run the shortcut's 1x1 convolution before pooling rather than after; the result is the same, since a
            mean commutes with a linear map.
    """

    def __init__(self, inputs: int, channels: int, first: bool, halve: bool, plain: bool) -> None:
        super().__init__()
        self.first, self.halve, self.plain = first, halve, plain
        self.conv1 = nn.Conv2d(inputs, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, channels, 1) if halve else None

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``(n, channels, h, w)``, or half of h and w."""
        h = self.conv1(x if self.first else F.relu(x))
        h = self.conv2(F.relu(h))
        if self.shortcut is None:
            return h + x
        if self.plain and not self.first:
            return F.avg_pool2d(h, 2) + F.avg_pool2d(self.shortcut(x), 2)
        return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))


class Discriminator(nn.Module):
    """Scores of images; one for every stage of a growing generator.

    Of its blocks, stage s runs the first s + 1 of all but the last, and the last. All blocks are there from the start,
    so a growth step brings in a block as it was initialised and changes no weight.

    Args:
        cells: of the generator at its full size.
        normalise: whether weights are divided by their spectral norm (Miyato et al. 2018); initialised before that,
            since the norm is taken again in every pass.
    """

    def __init__(
        self, cells: int, channels: int, image_channels: int = 3, normalise: bool = True, plain: bool = False
    ) -> None:
        super().__init__()
        blocks = [
            ResidualBlock(
                image_channels if i == 0 else channels, channels, first=i == 0, halve=i < HALVING, plain=plain
            )
            for i in range(cells)
        ]
        self.blocks = nn.ModuleList([*blocks, ResidualBlock(channels, channels, first=False, halve=False, plain=plain)])
        self.head = nn.Linear(channels, 1, bias=False)
        initialise(self)
        if normalise:
            for module in list(self.modules()):
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    spectral_norm(module)

    def path(self, stage: int) -> list[int]:
        """Returns the indices of the blocks that a stage runs."""
        return [*range(stage + 1), len(self.blocks) - 1]

    def forward(self, images: Tensor, stage: int) -> Tensor:
        """Returns one score an image, ``(n,)``.

        Args:
            images: ``(n, image channels, h, w)``.
        """
        x = images
        for index in self.path(stage):
            x = self.blocks[index](x)
        return self.head(F.relu(x).sum((2, 3)))[:, 0]


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Returns ``mean(relu(1 - D(x))) + mean(relu(1 + D(G(z))))`` for scores of real and generated images."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """Returns ``-mean(D(G(z)))``."""
    return -fake.mean()
