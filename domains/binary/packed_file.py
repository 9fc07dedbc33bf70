"""Packed networks in a file of their own: what is searched, as bits, run without the code that trained it.

A file holds plain values and tensors alone, so that reading it executes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import nn

from nichenas.core.errors import DataError
from nichenas.domains.binary.convolution import binarize
from nichenas.domains.binary.genotypes import Cell
from nichenas.domains.binary.genotypes import Genotype
from nichenas.domains.binary.model import CellNetwork
from nichenas.domains.binary.operations import FAMILIES
from nichenas.domains.binary.packed import pack

FORMAT, VERSION = "nichenas packed network", 1


class PackedClassifier(nn.Module):
    """An image classifier on bits, with the normalisation of its images.

    Attributes:
        network: which is given normalised images.
        classes: names of the outputs.
        image: channels, height and width of the images that it was trained on.
    """

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor, classes: list[str], image: list[int]) -> None:
        super().__init__()
        self.network, self.classes, self.image = network, classes, tuple(image)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", mean.view(-1, 1, 1))
        self.register_buffer("std", std.view(-1, 1, 1))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Returns logits, ``(batch, classes)``, of images in [0, 1], ``(batch, channels, height, width)``.

        Raises:
            ValueError: for images of another number of channels, or of whole numbers.
        """
        if images.dim() != 4 or images.shape[1] != self.image[0] or not images.is_floating_point():
            wanted = f"(batch, {self.image[0]}, height, width) of real numbers in [0, 1]"
            raise ValueError(f"images are {images.dtype} {tuple(images.shape)}; wanted: {wanted}")
        normalised = (images - self.mean) / self.std
        return self.network(normalised.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]


def packed_contents(
    network: CellNetwork, genotype: Genotype, built: Mapping[str, Any], task: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what a file holds.

    Args:
        network: of the genotype, trained, everything binary that is to be, without an auxiliary classifier.
        built: ``family`` (its name), ``groups``, ``scale``, ``channels``, ``cells``, ``stem``, and how binary the
            network is: ``activations`` and ``weights``.
        task: ``classes``, ``image``, ``mean`` and ``std``.

    Raises:
        ValueError: when nothing of the network can be packed.
    """
    cells = {"normal": genotype.normal, "reduction": genotype.reduction}
    found = {
        **{name: [cell.operations, cell.concat] for name, cell in cells.items()},
        "each": [[cell.operations, cell.concat] for cell in genotype.each],
    }
    state = dict(pack(network).state_dict())
    return {
        "format": FORMAT,
        "version": VERSION,
        "network": {**built, "genotype": found},
        "task": dict(task),
        "state": state,
        "checksum": checksum(state),
    }


def checksum(state: Mapping[str, Tensor]) -> str:
    """Returns 16 hexadecimal digits that change with any name, type, shape or value."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _network(built: Mapping[str, Any], classes: int, channels_in: int) -> CellNetwork:
    def cell(parts: Any) -> Cell:
        operations, concat = parts
        return Cell(tuple((str(name), int(node)) for name, node in operations), tuple(int(node) for node in concat))

    held = built["genotype"]
    each = tuple(cell(parts) for parts in held["each"])
    network = CellNetwork(
        FAMILIES[built["family"]](affine=True, groups=built["groups"], scale=built["scale"]),
        Genotype(cell(held["normal"]), cell(held["reduction"]), each),
        channels=built["channels"],
        cells=built["cells"],
        classes=classes,
        channels_in=channels_in,
        stem=built["stem"],
    )
    binarize(network, built["activations"], float(built["weights"]))
    return network


def load_packed(file: str | Path) -> PackedClassifier:
    """Returns the network of a file that ``nichenas export RUN --packed FILE`` wrote, in evaluation mode.

    Raises:
        DataError: when the file cannot be read, or is none of these.
    """
    try:
        held = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(held, dict) or held.get("format") != FORMAT:
            raise ValueError("it is no packed network")
        if held["version"] != VERSION:
            raise ValueError(f"its version is {held['version']}, not {VERSION}")
        task = held["task"]
        if held.get("checksum") not in (None, checksum(held["state"])):  # files of earlier versions have none
            raise ValueError("its weights are damaged")
        packed = pack(_network(held["network"], len(task["classes"]), int(task["image"][0])))
        packed.load_state_dict(held["state"])
        mean, std = torch.tensor(task["mean"]), torch.tensor(task["std"])
        channels, height, width = (int(size) for size in task["image"])
        if not (mean.shape == std.shape == (channels,) and bool((std > 0).all()) and min(height, width) > 0):
            raise ValueError("the normalisation of its images does not fit")
        if not all(isinstance(name, str) for name in task["classes"]) or isinstance(task["classes"], str):
            raise ValueError("the names of its classes are none")
        if not all(bool(part.isfinite().all()) for part in held["state"].values()):
            raise ValueError("its weights are not finite")
    except Exception as error:  # a damaged file can raise nearly anything
        reason = str(error).splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{file}: cannot be read as a packed network ({reason})") from None
    return PackedClassifier(packed, mean, std, list(task["classes"]), list(task["image"])).eval()
