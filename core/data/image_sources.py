"""Where labelled images come from: embedded digits, torchvision's data sets, folders, ``.npz`` files.

Everything is decoded once into uint8; what had to be decoded from files goes into the cache as one ``.npz``.
"""

from __future__ import annotations

import contextlib
import io
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from nichenas.core.context import Environment
from nichenas.core.context import TestData
from nichenas.core.data.array_files import cached_arrays
from nichenas.core.data.array_files import load_npz
from nichenas.core.data.array_files import reason_of
from nichenas.core.data.images import Images
from nichenas.core.data.images import ImageTask
from nichenas.core.data.images import identity_of
from nichenas.core.data.images import scaled
from nichenas.core.data.root import fingerprint
from nichenas.core.data.splits import stratified
from nichenas.core.errors import ConfigError
from nichenas.core.errors import DataError
from nichenas.core.errors import unknown_name_message
from nichenas.core.files import write_cache
from nichenas.core.seeds import numpy_generator

KNOWN: Mapping[str, str] = {
    "digits": "embedded: 1,797 images of 8 x 8, 10 classes (a fifth of every class is test data)",
    "CIFAR10": "60,000 colour images of 32 x 32, 10 classes (torchvision)",
    "CIFAR100": "60,000 colour images of 32 x 32, 100 classes (torchvision)",
    "FashionMNIST": "70,000 grey images of 28 x 28, 10 classes (torchvision)",
    "STL10": "13,000 colour images of 96 x 96, 10 classes; 100,000 more without labels (torchvision)",
}
IMAGE_FILES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp", ".tif", ".tiff")
TEST_SHARE = 0.2  # of data that come without a test split
Split = tuple[NDArray[np.uint8], NDArray[np.int64]]  # (n, height, width, channels), (n,)


def load_images(
    dataset: str,
    environment: Environment,
    validation: float = 0.1,
    upsample: int = 1,
    size: int | None = None,
    limit: int | None = None,
    labelled: bool = True,
) -> ImageTask:
    """Loads a data set and splits validation data off its training data, every class in proportion.

    Args:
        dataset: one of :data:`KNOWN`, in any case; or a folder or ``.npz`` file, relative to the data root or the
            working folder. A folder holds one sub-folder a class, or ``train`` and ``test`` (or ``val``) with
            one sub-folder a class each; an ``.npz`` holds ``x_train, y_train, x_test, y_test``.
        validation: share of the training data.
        upsample: factor by which images are enlarged, bilinearly, after they were brought to ``size``.
        size: pixels a side; images are scaled to it at the shorter side, smoothed where they become smaller, and
            cropped at the centre. None for the size that they have.
        limit: at most so many training images (validation included), every class in proportion.
        labelled: whether labels are needed. If not, training images without one are taken too: STL-10's, those of a
            folder without sub-folders; they have the label of a class of their own.

    Raises:
        ConfigError: for a data set that is not known.
        DataError: when files are missing, damaged, or cannot be downloaded.
    """
    known = {name.lower(): name for name in KNOWN}
    name = known.get(dataset.lower(), dataset)
    notes: list[str] = []
    if name == "digits":
        train, test, classes = _digits()
    elif name in KNOWN:
        train, test, classes = _torchvision(name, environment, labelled)
    else:
        path = _find(dataset, environment)
        if path.suffix == ".npz":
            train, test, classes = _npz(path)
        else:
            train, test, classes = _folder(path, size, environment, labelled)
            if not any((path / part).is_dir() for part in ("test", "val")) or not (path / "train").is_dir():
                notes.append(f"there are no test images: {TEST_SHARE:.0%} of all are, the same ones for every run")
        name = path.stem
    rng = numpy_generator(environment.seed, "validation split")
    if size is not None and train[0].shape[1:3] != (size, size):
        high, wide = train[0].shape[1:3]
        notes.append(f"images of {wide} x {high} pixels are brought to {size} x {size}")
        name = f"{name} at {size} pixels"
    whole, held = _images(train, size, upsample), _images(test, size, upsample)
    identity = identity_of(whole, held)
    if limit is not None and limit < len(whole):
        whole = whole.subset(stratified(whole.labels, limit / len(whole), rng)[1])
        name = f"{name} ({limit} training images)"
    rest, chosen = stratified(whole.labels, validation, rng)
    if len(chosen) == 0 or len(rest) == 0:
        raise DataError(f"{dataset}: {len(whole)} training images leave none for validation; give more of them")
    training = whole.subset(rest)
    pixels = training.pixels.transpose(0, 1).flatten(1).double() / 255
    mean, std = pixels.mean(1), pixels.std(1).clamp(min=1e-3)
    return ImageTask(
        name,
        tuple(classes),
        train=training,
        validation=whole.subset(chosen),
        test=TestData(held),
        mean=tuple(round(v, 6) for v in mean.tolist()),
        std=tuple(round(v, 6) for v in std.tolist()),
        notes=tuple(notes),
        identity=identity,
    )


def _images(split: Split, size: int | None, upsample: int) -> Images:
    pixels = torch.from_numpy(np.ascontiguousarray(split[0])).permute(0, 3, 1, 2)
    if size is not None:
        pixels = scaled(pixels, size)
    if upsample > 1:
        large = F.interpolate(pixels.float(), scale_factor=upsample, mode="bilinear", align_corners=False)
        pixels = large.round().clamp(0, 255).to(torch.uint8)
    return Images(pixels.contiguous(), torch.from_numpy(split[1]))


def _divide(x: NDArray[np.uint8], y: NDArray[np.int64]) -> tuple[Split, Split]:
    """Splits test data off; the same for every run, so that runs are compared on the same images."""
    rest, test = stratified(torch.from_numpy(y), TEST_SHARE, numpy_generator(0, "test split"))
    return (x[rest.numpy()], y[rest.numpy()]), (x[test.numpy()], y[test.numpy()])


def _digits() -> tuple[Split, Split, list[str]]:
    from sklearn.datasets import load_digits

    data = load_digits()
    x = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
    train, test = _divide(x, data.target.astype(np.int64))
    return train, test, [str(i) for i in range(10)]


def _torchvision(name: str, environment: Environment, labelled: bool) -> tuple[Split, Split, list[str]]:
    from torchvision import datasets

    cls: Any = getattr(datasets, name)
    if name == "STL10":
        return _stl10(cls, environment, labelled)
    if name == "FashionMNIST":
        _check_idx_files(environment.data_root / name / "raw")
    parts: list[Split] = []
    classes: list[str] = []
    for train in (True, False):
        data = _open_torchvision(cls, name, environment.data_root, train=train)
        x, y = np.asarray(data.data), np.asarray(data.targets, dtype=np.int64)
        if len(x) != len(y):
            raise DataError(f"{name}: {len(x)} images with {len(y)} labels in '{environment.data_root}'")
        parts.append((x[..., None] if x.ndim == 3 else x, y))
        classes = list(data.classes)
    return parts[0], parts[1], classes


def _check_idx_files(folder: Path) -> None:
    """Checks FashionMNIST's files, as far as they are there: torchvision knows checksums of the archives alone.

    Raises:
        DataError: naming the file that is damaged.
    """
    for part in ("train", "t10k"):
        for file, sizes in (
            (folder / f"{part}-images-idx3-ubyte", (None, 28, 28)),
            (folder / f"{part}-labels-idx1-ubyte", (None,)),
        ):
            if not file.is_file():
                continue
            try:
                held = file.read_bytes()
            except OSError as error:
                raise DataError(f"{file}: cannot be read ({error.strerror})") from None
            start = 4 + 4 * len(sizes)
            found = struct.unpack(f">{len(sizes)}I", held[4:start]) if len(held) >= start else ()
            good = held[:4] == bytes((0, 0, 8, len(sizes))) and found[1:] == sizes[1:]
            if not good or len(held) != start + math.prod(found):
                raise DataError(f"{file}: damaged (its header does not fit); replace it with the original file")
            if len(sizes) == 1 and max(held[start:], default=0) > 9:
                raise DataError(f"{file}: damaged (labels above 9); replace it with the original file")


def _stl10(cls: Any, environment: Environment, labelled: bool) -> tuple[Split, Split, list[str]]:
    train = _open_torchvision(cls, "STL10", environment.data_root, split="train" if labelled else "train+unlabeled")
    test = _open_torchvision(cls, "STL10", environment.data_root, split="test")
    classes = list(train.classes)
    labels = np.asarray(train.labels, dtype=np.int64)
    if (labels < 0).any():
        labels = np.where(labels < 0, len(classes), labels)
        classes.append("no label")
    pixels = [np.ascontiguousarray(part.data.transpose(0, 2, 3, 1)) for part in (train, test)]
    return (pixels[0], labels), (pixels[1], np.asarray(test.labels, dtype=np.int64)), classes


def _open_torchvision(cls: Any, name: str, root: Path, **part: Any) -> Any:
    reason = ""
    for download in (False, True):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                return cls(root, download=download, **part)
        except Exception as error:  # of nearly any type where files are damaged
            reason = reason_of(error)
    where = {
        "FashionMNIST": "FashionMNIST/raw/*-ubyte",
        "CIFAR10": "cifar-10-batches-py/",
        "STL10": "stl10_binary/*.bin",
    }
    raise DataError(
        f"{name}: incomplete or damaged in '{root}', and cannot be downloaded ({reason}); put torchvision's files at "
        f"'{root}/{where.get(name, 'cifar-100-python/')}', or name another folder with --data-root"
    )


def _find(dataset: str, environment: Environment) -> Path:
    for path in (environment.data_root / dataset, Path(dataset).expanduser()):
        if path.is_dir() or (path.is_file() and path.suffix == ".npz"):
            return path.resolve()
    hint = unknown_name_message("data set", dataset, KNOWN)
    raise ConfigError(
        f"domain.dataset: {hint}, or a folder or .npz file (looked in '{environment.data_root}' and here)"
    )


def _npz(path: Path) -> tuple[Split, Split, list[str]]:
    arrays = load_npz(path)
    wanted = ("x_train", "y_train", "x_test", "y_test")
    missing = [key for key in wanted if key not in arrays]
    if missing:
        raise DataError(f"{path}: holds no '{missing[0]}'; wanted: {', '.join(wanted)}")
    parts = [_checked(path, part, arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("train", "test")]
    (train, test) = parts
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(f"{path}: x_train has images of {train[0].shape[1:]}, x_test of {test[0].shape[1:]}")
    count = len(np.unique(train[1]))
    if int(train[1].max()) >= count or int(test[1].max()) >= count:
        raise DataError(f"{path}: y_train must hold every class from 0 to the largest, and y_test no other")
    names = arrays.get("class_names")
    named = names is not None and names.shape == (count,)
    return train, test, [str(n) for n in names] if named and names is not None else [str(i) for i in range(count)]


def _checked(path: Path, part: str, x: NDArray[Any], y: NDArray[Any]) -> Split:
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim == 4 and x.shape[-1] not in (1, 3) and x.shape[1] in (1, 3):
        x = x.transpose(0, 2, 3, 1)
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or x.dtype != np.uint8 or 0 in x.shape:
        raise DataError(
            f"{path}: x_{part} is {x.dtype} {x.shape}; wanted: uint8 (n, height, width) or with 1 or 3 channels"
        )
    labels = y.reshape(-1).astype(np.int64) if y.dtype.kind in "iu" else np.empty(0, np.int64)
    if len(labels) != len(x) or labels.min() < 0:
        raise DataError(
            f"{path}: y_{part} must be {len(x)} class numbers from 0, one an image; it is {y.dtype} {y.shape}"
        )
    return np.ascontiguousarray(x), labels


def _folder(path: Path, size: int | None, environment: Environment, labelled: bool) -> tuple[Split, Split, list[str]]:
    train = path / "train" if (path / "train").is_dir() else path
    test = next((path / part for part in ("test", "val") if train != path and (path / part).is_dir()), None)
    classes = sorted(p.name for p in train.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not labelled and not classes:
        classes = ["."]  # all images are of one class
    if labelled and len(classes) < 2:
        raise DataError(f"{train}: holds {len(classes)} sub-folders; wanted: one a class, at least two")
    first = _decoded(train, classes, size, environment)
    if test is None:
        return *_divide(*first), classes
    second = _decoded(test, classes, size, environment)
    if first[0].shape[1:] != second[0].shape[1:]:
        raise DataError(f"{test}: images of {second[0].shape[1:3]}, those of {train} of {first[0].shape[1:3]}")
    return first, second, classes


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
    kept = environment.cache / "images" / f"{fingerprint((file for file, _ in files), str(size))}.npz"
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

    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
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
