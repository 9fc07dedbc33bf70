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
from nichenas.core.data.array_files import load_npz
from nichenas.core.data.array_files import reason_of
from nichenas.core.data.image_folders import Split
from nichenas.core.data.image_folders import divided
from nichenas.core.data.image_folders import load_folder
from nichenas.core.data.images import Images
from nichenas.core.data.images import ImageTask
from nichenas.core.data.images import identity_of
from nichenas.core.data.images import scaled
from nichenas.core.data.splits import stratified
from nichenas.core.errors import ConfigError
from nichenas.core.errors import DataError
from nichenas.core.errors import unknown_name_message
from nichenas.core.seeds import numpy_generator

KNOWN: Mapping[str, str] = {
    "digits": "embedded: 1,797 images of 8 x 8, 10 classes (a fifth of every class is test data)",
    "CIFAR10": "60,000 colour images of 32 x 32, 10 classes (torchvision)",
    "CIFAR100": "60,000 colour images of 32 x 32, 100 classes (torchvision)",
    "FashionMNIST": "70,000 grey images of 28 x 28, 10 classes (torchvision)",
    "STL10": "13,000 colour images of 96 x 96, 10 classes; 100,000 more without labels (torchvision)",
}
FEW = 50  # validation images, with fewer of which nothing can be ranked


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
            train, test, classes = _npz(path, labelled)
        else:
            train, test, classes, notes = load_folder(path, size, environment, labelled)
        name = path.stem
    rng = numpy_generator(environment.seed, "validation split")
    high, wide = train[0].shape[1:3]
    if size is not None and (high, wide) != (size, size):
        cropped = "" if high == wide else ", cropped at the centre"
        notes.append(f"images of {wide} x {high} pixels are brought to {size} x {size}{cropped}")
        name = f"{name} at {size} pixels"
    whole, held = _images(train, size, upsample), _images(test, size, upsample)
    if upsample > 1 and dataset.lower() not in known:
        side = whole.pixels.shape[-1]
        notes.append(f"images are enlarged {upsample} times, to {side} x {side} pixels (domain.upsample)")
    identity = identity_of(whole, held)
    if limit is not None and limit < len(whole):
        whole = whole.subset(stratified(whole.labels, limit / len(whole), rng)[1])
        name = f"{name} ({limit} training images)"
    rest, chosen = stratified(whole.labels, validation, rng)
    if len(chosen) == 0 or len(rest) == 0:
        raise DataError(f"{dataset}: {len(whole)} training images leave none for validation; give more of them")
    training, validating = whole.subset(rest), whole.subset(chosen)
    without = [one for label, one in enumerate(classes) if not bool((validating.labels == label).any())]
    if without and labelled:
        notes.append(f"classes without validation images: {len(without)} of {len(classes)}, such as {without[0]}")
    if len(validating) < FEW:
        notes.append(f"{len(validating)} validation images are too few to rank candidates by")
    pixels = training.pixels.transpose(0, 1).flatten(1).double() / 255
    mean, std = pixels.mean(1), pixels.std(1).clamp(min=1e-3)
    return ImageTask(
        name,
        tuple(classes),
        train=training,
        validation=validating,
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


def _digits() -> tuple[Split, Split, list[str]]:
    from sklearn.datasets import load_digits

    data = load_digits()
    x = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
    train, test = divided(x, data.target.astype(np.int64))
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


def _npz(path: Path, labelled: bool) -> tuple[Split, Split, list[str]]:
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
    if labelled and count < 2:
        raise DataError(f"{path}: y_train holds one class alone; wanted: two at least")
    if int(train[1].max()) >= count or int(test[1].max()) >= count:
        raise DataError(
            f"{path}: y_train must hold every class from 0 to the largest, and y_test no other; y_train has {count}, "
            f"from {int(train[1].min())} to {int(train[1].max())} (np.unique(y, return_inverse=True)[1] numbers them)"
        )
    names = arrays.get("class_names")
    if names is not None and names.shape != (count,):
        raise DataError(f"{path}: class_names has the shape {names.shape}; there are {count} classes")
    return train, test, [str(i) for i in range(count)] if names is None else [str(name) for name in names]


def _checked(path: Path, part: str, x: NDArray[Any], y: NDArray[Any]) -> Split:
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim == 4 and x.shape[-1] not in (1, 3) and x.shape[1] in (1, 3):
        x = x.transpose(0, 2, 3, 1)
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or x.dtype != np.uint8 or 0 in x.shape:
        raise DataError(
            f"{path}: x_{part} is {x.dtype} {x.shape}; wanted: uint8 (n, height, width) or with 1 or 3 channels"
            + (" (images in [0, 1]: (255 * x).round().astype('uint8'))" if x.dtype.kind == "f" else "")
        )
    labels = y.reshape(-1).astype(np.int64) if y.dtype.kind in "iu" else np.empty(0, np.int64)
    if len(labels) != len(x) or labels.min() < 0:
        raise DataError(
            f"{path}: y_{part} must be {len(x)} class numbers from 0, one an image; it is {y.dtype} {y.shape}"
            + (" (names: np.unique(y, return_inverse=True)[1])" if y.dtype.kind in "USO" else "")
            + (" (one-hot rows: y.argmax(1))" if y.ndim == 2 and y.shape[1] > 1 else "")
        )
    return np.ascontiguousarray(x), labels
