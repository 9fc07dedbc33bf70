"""Labelled images in folders: a sub-folder a class, decoded once into uint8 and kept in the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nichenas.core.context import Environment
from nichenas.core.data.array_files import cached_arrays
from nichenas.core.data.array_files import reason_of
from nichenas.core.data.root import fingerprint
from nichenas.core.data.splits import stratified
from nichenas.core.errors import DataError
from nichenas.core.files import write_cache
from nichenas.core.seeds import numpy_generator

IMAGE_FILES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp", ".tif", ".tiff")
TEST_SHARE = 0.2  # of data that come without a test split
DECODING = 2  # counts up whenever a file may be decoded to other pixels than before
Split = tuple[NDArray[np.uint8], NDArray[np.int64]]  # (n, height, width, channels), (n,)


def load_folder(
    path: Path, size: int | None, environment: Environment, labelled: bool
) -> tuple[Split, Split, list[str], list[str]]:
    """Returns training and test images, the names of the classes, and notes on how the folder was used.

    Args:
        path: with a sub-folder a class; or with ``train`` and ``test`` (or ``val``), each with a sub-folder a class.
        size: pixels a side that images are scaled and cropped to; none where all have one size.
        labelled: whether there must be classes; if not, a folder without sub-folders holds one.

    Raises:
        DataError: for folders without images, images that cannot be decoded or differ in size, and test images of
            classes that the training images lack.
    """
    train = path / "train" if (path / "train").is_dir() else path
    test = next((path / part for part in ("test", "val") if train != path and (path / part).is_dir()), None)
    classes = _folders(train)
    if not labelled and not classes:
        classes = ["."]  # all images are of one class
    if labelled and len(classes) < 2:
        raise DataError(f"{train}: holds {len(classes)} sub-folders; wanted: one a class, at least two")
    notes = []
    others = [name for name in _folders(path) if train != path and path / name not in (train, test)]
    if others:
        notes.append(f"folders beside 'train' that are not used: {', '.join(others)}")
    if size is not None:
        notes.append(f"images are scaled to {size} pixels at the shorter side and cropped at the centre")
    first = _decoded(train, classes, size, environment)
    empty = [name for label, name in enumerate(classes) if not (first[1] == label).any()]
    if empty:
        raise DataError(f"{train}: no images in {', '.join(empty[:5])}; remove what is no class")
    if test is None:
        notes.append(f"there are no test images: {TEST_SHARE:.0%} of all are, the same ones for every run")
        return *divided(*first), classes, notes
    unknown = [name for name in _folders(test) if name not in classes]
    if unknown:
        raise DataError(f"{test}: holds {', '.join(unknown[:5])}, which {train} does not; classes: {_listed(classes)}")
    second = _decoded(test, classes, size, environment)
    missing = [name for label, name in enumerate(classes) if not (second[1] == label).any()]
    if missing:
        notes.append(f"classes without test images: {_listed(missing)}")
    if first[0].shape[1:] != second[0].shape[1:]:
        raise DataError(f"{test}: images of {second[0].shape[1:3]}, those of {train} of {first[0].shape[1:3]}")
    return first, second, classes, notes


def divided(x: NDArray[np.uint8], y: NDArray[np.int64]) -> tuple[Split, Split]:
    """Splits test data off; the same for every run, so that runs are compared on the same images."""
    rest, test = stratified(torch.from_numpy(y), TEST_SHARE, numpy_generator(0, "test split"))
    return (x[rest.numpy()], y[rest.numpy()]), (x[test.numpy()], y[test.numpy()])


def _folders(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _decoded(folder: Path, classes: list[str], size: int | None, environment: Environment) -> Split:
    """Returns all images of a folder, from the cache where they were decoded before."""
    files = [
        (file, label)
        for label, name in enumerate(classes)
        if (folder / name).is_dir()
        for file in sorted((folder / name).rglob("*"))
        if file.suffix.lower() in IMAGE_FILES
    ]
    if not files:
        raise DataError(f"{folder}: no images in its sub-folders; known kinds: {', '.join(IMAGE_FILES)}")
    key = fingerprint((file for file, _ in files), repr((size, classes, DECODING)))  # labels follow from the classes
    kept = environment.cache / "images" / f"{key}.npz"
    held = cached_arrays(kept) or {}
    if held.keys() >= {"x", "y"}:
        return held["x"], held["y"]
    x = np.stack([_decode(file, size) for file, _ in files]) if size else _same_size(files)
    y = np.array([label for _, label in files], dtype=np.int64)
    write_cache(kept, lambda stream: np.savez(stream, x=x, y=y))
    return x, y


def _same_size(files: list[tuple[Path, int]]) -> NDArray[np.uint8]:
    images = []
    for file, _ in files:
        images.append(_decode(file, None))
        if images[-1].shape != images[0].shape:
            high, wide = images[-1].shape[:2]
            raise DataError(
                f"{file}: {wide} x {high} pixels, the first image has {images[0].shape[1]} x {images[0].shape[0]}; "
                "give domain.image_size to bring all to one size"
            )
    return np.stack(images)


def _decode(file: Path, size: int | None) -> NDArray[np.uint8]:
    from PIL import Image
    from PIL import ImageOps

    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode[0] in "IF":  # converting them would cut off all that is above 255
                raise DataError(
                    f"{file}: its pixels are {'floats' if image.mode == 'F' else 'of more than 8 bits'}; "
                    "save it with 8 bits a channel"
                )
            if "A" in image.mode or "transparency" in image.info:
                opaque = Image.new("RGBA", image.size, "white")
                opaque.alpha_composite(image.convert("RGBA"))
                image = opaque
            image = image.convert("RGB")
    except DataError:
        raise
    except Exception as error:  # decoders raise nearly anything
        raise DataError(f"{file}: cannot be decoded ({reason_of(error)})") from None
    if size:
        width, height = image.size
        factor = size / min(width, height)
        image = image.resize(
            (max(size, round(width * factor)), max(size, round(height * factor))), Image.Resampling.BILINEAR
        )
        left, top = (image.width - size) // 2, (image.height - size) // 2
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image, dtype=np.uint8)
