"""What a training of a generator leaves to be looked at: grids of samples, a strip of interpolations, curves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from nichenas.core.files import atomic_write
from nichenas.domains.gan.adversaries import as_pixels
from nichenas.domains.gan.generator import Generator

GRID = (8, 8)  # rows and columns of a grid
STRIP = (6, 10)  # pairs of ends, and pictures from one to the other
SMALLEST = 400  # pixels: smaller pictures are enlarged by whole factors


def grid(pixels: Tensor, columns: int, gap: int = 1) -> Tensor:
    """Returns one uint8 picture ``(channels, h, w)`` of many, ``(n, channels, h, w)``, row by row."""
    count, channels, height, width = pixels.shape
    rows = -(-count // columns)
    picture = torch.full((channels, rows * (height + gap) - gap, columns * (width + gap) - gap), 255, dtype=torch.uint8)
    for index, image in enumerate(pixels):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        picture[:, top : top + height, left : left + width] = image
    return picture


def write_png(file: Path, picture: Tensor) -> None:
    """Writes a picture, ``(1 or 3, h, w)`` uint8, atomically; small ones are enlarged."""
    from PIL import Image

    factor = max(1, SMALLEST // max(picture.shape[1:]))
    array = picture.permute(1, 2, 0).repeat_interleave(factor, 0).repeat_interleave(factor, 1).numpy()
    image = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    atomic_write(file, lambda stream: image.save(stream, format="PNG"))


@torch.no_grad()
def sample_grid(generator: Generator, z: Tensor) -> Tensor:
    """Returns a grid of images made from noise, ``(n, latent)``; the generator runs as it is."""
    return grid(as_pixels(generator(z)).cpu(), GRID[1])


@torch.no_grad()
def interpolation_strip(generator: Generator, ends: Tensor) -> Tensor:
    """Returns rows of images from one point of the latent space to another.

    The way is along the great circle: a straight line would lead through points of small norm, which normal noise in
    many dimensions never has.

    Args:
        ends: ``(rows, 2, latent)``.
    """
    steps = torch.linspace(0, 1, STRIP[1], device=ends.device)
    start, end = ends[:, 0], ends[:, 1]
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=1)
    angle = cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos()[:, None, None]
    along = steps[None, :, None]
    points = (torch.sin((1 - along) * angle) * start[:, None] + torch.sin(along * angle) * end[:, None]) / angle.sin()
    return grid(as_pixels(generator(points.flatten(0, 1))).cpu(), STRIP[1])


def write_curves(file: Path, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """Writes figures over the steps of a training as JSON."""
    atomic_write(file, lambda stream: stream.write(json.dumps({"step": dict(curves)}).encode()))
