"""Labelled images as uint8 tensors: splits, fractions, batches with augmentation done a batch at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nichenas.core.context import TestData
from nichenas.core.data.splits import stratified
from nichenas.core.errors import DataError


@dataclass(frozen=True)
class Images:
    """Labelled images.

    Attributes:
        pixels: ``(n, channels, height, width)`` uint8.
        labels: ``(n,)`` int64.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Tensor) -> Images:
        """Returns some of the images, in the order of the indices, ``(k,)``."""
        return Images(self.pixels[indices], self.labels[indices])

    def to(self, device: torch.device) -> Images:
        """Returns the images on a device."""
        return Images(self.pixels.to(device), self.labels.to(device))


@dataclass(frozen=True)
class ImageTask:
    """A data set, split; the test part opens only inside a retraining.

    Attributes:
        name: as it stands in results, with whatever sets it apart from the plain data set.
        classes: their names.
        mean: of the training images' channels, in [0, 1].
        std: likewise.
        notes: what users should know of how the images are used, a sentence each.
        identity: changes when an image or a label of the data set does.
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    validation: Images
    test: TestData[Images]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...] = ()
    identity: str = ""

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.train.pixels.shape[1]

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.train.pixels.shape[-1]


def identity_of(*parts: Images) -> str:
    """Returns 16 hexadecimal digits that change with any pixel or label."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        for tensor in (part.pixels, part.labels):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def resize(images: Images, size: int) -> Images:
    """Returns square images brought to ``size`` pixels a side, bilinearly; made smaller, they are smoothed first."""
    if images.pixels.shape[-2:] == (size, size):
        return images
    return Images(_interpolated(images.pixels, size, size), images.labels)


def scaled(pixels: Tensor, size: int) -> Tensor:
    """Returns images, ``(n, channels, height, width)`` uint8, with ``size`` pixels at the shorter side, cropped at the
    centre to a square.
    """  # noqa: D205
    height, width = pixels.shape[-2:]
    factor = size / min(height, width)
    high, wide = max(size, round(height * factor)), max(size, round(width * factor))
    if (high, wide) != (height, width):
        pixels = _interpolated(pixels, high, wide)
    top, left = (high - size) // 2, (wide - size) // 2
    return pixels[..., top : top + size, left : left + size]


def _interpolated(pixels: Tensor, height: int, width: int) -> Tensor:
    parts = [
        F.interpolate(part.float(), size=(height, width), mode="bilinear", align_corners=False, antialias=True)
        for part in pixels.split(4096)
    ]
    return torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in parts])


def subsample(images: Images, share: float, size: int, rng: np.random.Generator) -> Images:
    """Returns a stratified part of the images at another resolution; the images themselves where nothing is reduced.

    Args:
        share: of the images that is kept, at least one of them.
        size: pixels a side.
        rng: decides which; the same draws give the same part.
    """
    if share < 1:
        chosen = stratified(images.labels, share, rng)[1]
        images = images.subset(chosen if len(chosen) else torch.zeros(1, dtype=torch.int64))
    return resize(images, size)


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images at random.

    Attributes:
        crop: pixels of zero padding on every side before a crop of the old size; 0 for none.
        flip: whether half of the images are mirrored.
        cutout: side of a square set to the mean (DeVries and Taylor 2017); 0 for none.
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0


def to_float(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Returns normalised images, ``(n, channels, height, width)`` float32, from uint8 ones."""
    offset = torch.tensor(mean, device=pixels.device).view(-1, 1, 1)
    factor = torch.tensor(std, device=pixels.device).view(-1, 1, 1)
    return (pixels.float() / 255 - offset) / factor


def augment(pixels: Tensor, augmentation: Augmentation, rng: np.random.Generator) -> Tensor:
    """Crops and mirrors a batch, every image its own way, with one gather.

    Args:
        pixels: ``(n, channels, height, width)`` uint8.

    Returns:
        The same shape and type.
    """
    count, _, height, width = pixels.shape
    if not augmentation.crop and not augmentation.flip:
        return pixels
    pad = augmentation.crop
    if pad:
        pixels = F.pad(pixels, (pad,) * 4)
    top, left = rng.integers(0, 2 * pad + 1, (2, count))
    rows = torch.from_numpy(top[:, None] + np.arange(height))
    columns = left[:, None] + np.arange(width)
    if augmentation.flip:
        columns = np.where((rng.random(count) < 0.5)[:, None], columns[:, ::-1], columns)
    rows, columns_ = rows.to(pixels.device), torch.from_numpy(columns).to(pixels.device)
    samples = torch.arange(count, device=pixels.device)
    return pixels.permute(0, 2, 3, 1)[samples[:, None, None], rows[:, :, None], columns_[:, None, :]].permute(
        0, 3, 1, 2
    )


def cut_out(images: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """Sets a square of every normalised image to zero; it may reach over the border.

    Args:
        images: ``(n, channels, height, width)`` float; changed in place.
        side: of the square.
    """
    count, _, height, width = images.shape
    y = rng.integers(0, height, count)[:, None] - side // 2
    x = rng.integers(0, width, count)[:, None] - side // 2
    rows = (np.arange(height) >= y) & (np.arange(height) < y + side)
    columns = (np.arange(width) >= x) & (np.arange(width) < x + side)
    mask = torch.from_numpy(rows[:, None, :, None] & columns[:, None, None, :]).to(images.device)
    return images.masked_fill_(mask, 0.0)


class Batches:
    """Normalised batches of a set of images.

    Args:
        images: all of them; moved to the device whole.
        batch: images in a batch; a shorter last one is left out in training.
        augmentation: in training.
    """

    def __init__(
        self,
        images: Images,
        batch: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        augmentation: Augmentation | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if len(images) == 0:
            raise DataError("a split of the data set is empty; leave it more images")
        self.images = images.to(torch.device(device))
        self.batch = min(batch, len(images))
        self.mean, self.std = mean, std
        self.augmentation = augmentation or Augmentation()

    def __len__(self) -> int:
        return len(self.images) // self.batch

    def train_batches(self, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields one epoch of augmented batches, ``(batch, ...)`` images and ``(batch,)`` labels."""
        order = torch.from_numpy(rng.permutation(len(self.images))).to(self.images.labels.device)
        for start in range(0, len(self) * self.batch, self.batch):
            part = self.images.subset(order[start : start + self.batch])
            images = to_float(augment(part.pixels, self.augmentation, rng), self.mean, self.std)
            if self.augmentation.cutout:
                cut_out(images, self.augmentation.cutout, rng)
            yield images.contiguous(), part.labels

    def eval_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields all images once, unchanged."""
        for start in range(0, len(self.images), self.batch):
            pixels = self.images.pixels[start : start + self.batch]
            yield to_float(pixels, self.mean, self.std), self.images.labels[start : start + self.batch]
