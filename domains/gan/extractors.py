"""Networks whose features and classes the figures of generated images are made from.

``FID`` and ``IS`` without a further word mean the Inception network of the original code with its own weights. Figures
from another network carry its name, such as ``FID[digits-cnn]``: a small classifier, trained once on the data set's
own training images and kept in the cache with its accuracy and the hash of its weights.
"""

from __future__ import annotations

import contextlib
import hashlib
from abc import ABC
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from nichenas.core.checkpoint import read_checkpoint
from nichenas.core.checkpoint import write_checkpoint
from nichenas.core.context import Context
from nichenas.core.data.images import Images
from nichenas.core.errors import DataError
from nichenas.core.errors import RunFolderError
from nichenas.core.gradient.optimizers import set_learning_rate

INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"  # pytorch-fid's; its name ends with its hash
INCEPTION_CLASSES = 1008
CLASSIFIER_VERSION = 1  # part of the key in the cache: raise it whenever the classifier or its training changes
WIDTH = 64  # features of the small classifier
STEPS = 2000  # of its training, or
EPOCHS = 5  # over large data sets
BATCH = 64
EXTRACT = 256  # images in a batch of extraction


class Extractor(ABC):
    """A frozen network.

    Attributes:
        name: as it stands in the names of figures; empty for the original Inception.
        width: of its features.
        classes: of its logits.
        fingerprint: hash of its weights, 16 hexadecimal digits.
    """

    name: str
    width: int
    classes: int
    fingerprint: str

    @abstractmethod
    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features ``(n, width)`` and logits ``(n, classes)`` of uint8 images ``(n, 1 or 3, h, w)``."""


class Classifier(nn.Module):
    """Three convolutions and two linear layers; its features are those between the linear layers.

    They are scaled by one number so that their mean square over the training images is 1.
    """

    scale: Tensor

    def __init__(self, channels: int, classes: int, size: int) -> None:
        super().__init__()
        self.size = size
        side = max(1, size // 4)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(side),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(64 * side * side, WIDTH),
            nn.ReLU(),
        )
        self.head = nn.Linear(WIDTH, classes)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features and logits of images in [0, 1], which are brought to the classifier's size."""
        if images.shape[-1] != self.size:
            images = F.interpolate(images, size=(self.size, self.size), mode="bilinear", align_corners=False)
        features = self.body(2 * images - 1)
        return features * self.scale, self.head(features)


class ClassifierExtractor(Extractor):
    """The small classifier of one data set.

    Args:
        name: of it.
        network: trained; it is frozen here.
        accuracy: on images that it was not trained on, none of them test images.
    """

    def __init__(self, name: str, network: Classifier, accuracy: float) -> None:
        self.name, self.accuracy = name, accuracy
        self.network = network.eval().requires_grad_(False)
        self.width, self.classes = WIDTH, network.head.out_features
        self.fingerprint = hash_of(network.state_dict())

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features and logits; see :class:`Extractor`."""
        return self.network(pixels.float() / 255)


def load_classifier(
    name: str, train: Images, held_out: Images, classes: int, cache: Path, device: torch.device
) -> ClassifierExtractor:
    """Returns the classifier of a data set from the cache, or trains it and leaves it there.

    Args:
        train: what it is trained on; the only images that decide it.
        held_out: what its accuracy is measured on.
        cache: folder of derived files.
    """
    channels, size = train.pixels.shape[1], train.pixels.shape[-1]
    key = f"{CLASSIFIER_VERSION} {classes} {image_hash(train)} {image_hash(held_out)}"
    file = cache / "gan" / f"classifier-{hashlib.sha256(key.encode()).hexdigest()[:16]}.pt"

    def fresh() -> Classifier:
        with Context(0).seeded("classifier weights"):
            return Classifier(channels, classes, size).to(device)

    if file.exists():
        try:
            held, kept = read_checkpoint(file, device), fresh()
            kept.load_state_dict(held["network"])
            found = ClassifierExtractor(name, kept, float(held["accuracy"]))
            if found.fingerprint == held["hash"]:
                return found
        except (RunFolderError, RuntimeError, KeyError):
            pass  # a damaged file of the cache is made again
    network = fresh()
    _train(network, train, device)
    made = ClassifierExtractor(name, network, _accuracy(network, held_out, device))
    with contextlib.suppress(OSError):  # a cache that cannot be written is no error
        write_checkpoint(file, {"network": network.state_dict(), "accuracy": made.accuracy, "hash": made.fingerprint})
    return made


def _train(network: Classifier, images: Images, device: torch.device) -> None:
    epochs = max(EPOCHS, -(-STEPS * BATCH // len(images)))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    draws = Context(0).torch("classifier batches")
    network.train()
    with Context(0, device=device).seeded("classifier dropout"):
        for epoch in range(epochs):
            order = torch.randperm(len(images), generator=draws)
            set_learning_rate(optimizer, 1e-3 * (1 - epoch / epochs))
            for indices in order.split(BATCH):
                part = images.subset(indices).to(device)
                _, logits = network(part.pixels.float() / 255)
                loss = F.cross_entropy(logits, part.labels)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
    network.eval()
    with torch.no_grad():
        squares = [
            network(part.to(device).float() / 255)[0].double().square().mean(1).cpu()
            for part in images.pixels.split(EXTRACT)
        ]
        network.scale.fill_(float(torch.cat(squares).mean().clamp(min=1e-12).rsqrt()))


@torch.no_grad()
def _accuracy(network: Classifier, images: Images, device: torch.device) -> float:
    right = 0
    for indices in torch.arange(len(images)).split(EXTRACT):
        part = images.subset(indices).to(device)
        right += int((network(part.pixels.float() / 255)[1].argmax(1) == part.labels).sum())
    return right / len(images)


class InceptionExtractor(Extractor):
    """The Inception network of the original FID code, through pytorch-fid.

    Features are those of its last average pooling; logits are these times the last layer's weights *without* its bias,
    as in the original Inception Score code.

    Args:
        weights: file; by default where torch keeps downloads.
        device: where it runs.

    Raises:
        DataError: when there is no such file, or it is something else. Nothing is put in its place.
    """

    def __init__(self, weights: Path | None, device: torch.device) -> None:
        from pytorch_fid import inception

        file = find_inception(weights)

        def from_file(*_: Any, **__: Any) -> Mapping[str, Any]:
            return state

        try:
            state: Mapping[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            # The class fetches its weights when it is made; it is handed those of the file instead.
            with mock.patch.object(inception, "load_state_dict_from_url", from_file):
                network = inception.InceptionV3((3,), resize_input=True, normalize_input=True)
            last = state["fc.weight"]
            assert last.shape == (INCEPTION_CLASSES, 2048)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{file}: not the weights of pytorch-fid's Inception ({reason})") from None
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        genuine = digest.startswith(INCEPTION_FILE.removesuffix(".pth").rpartition("-")[2])
        self.name = "" if genuine else f"inception-{digest[:8]}"
        self.fingerprint = digest[:16]
        self.width, self.classes = 2048, INCEPTION_CLASSES
        self.network = network.eval().to(device)
        self._last = last.to(device)

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features and logits; see :class:`Extractor`. Grey images are repeated."""
        if pixels.shape[1] == 1:
            pixels = pixels.expand(-1, 3, -1, -1)
        features = self.network(pixels.float() / 255)[0][:, :, 0, 0]
        return features, features @ self._last.T


def find_inception(weights: Path | None) -> Path:
    """Returns the file of Inception's weights.

    Raises:
        DataError: when it is not there.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    file = weights or cached
    if not file.is_file():
        where = f"'{file}' is not there" if weights else f"it is not in torch's cache ('{cached}')"
        raise DataError(
            f"FID and IS need pytorch-fid's {INCEPTION_FILE}, and {where}; name the file with --inception-weights, "
            "or choose domain.extractor=classifier, whose figures have another name"
        )
    return file


def hash_of(tensors: Mapping[str, Tensor]) -> str:
    """Returns 16 hexadecimal digits that change with any of the tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def image_hash(images: Images) -> str:
    """Returns 16 hexadecimal digits that change with any pixel or label."""
    return hash_of({"pixels": images.pixels, "labels": images.labels})


__all__ = ["ClassifierExtractor", "Extractor", "InceptionExtractor", "find_inception", "load_classifier"]
