"""Splits of a graph's nodes as boolean masks: made where there is none, and what users should know of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data

from nichenas.core.errors import DataError
from nichenas.core.seeds import numpy_generator
from nichenas.domains.gnn.checks import MASKS


def draw_split(data: Data, seed: int, train: int, validation: int, balanced: bool = False) -> Data:
    """Adds masks: some nodes a class for training, some for validation, the rest for testing.

    Of a small class a fifth each at most. Nodes without a label are in no part. Validation nodes are drawn in
    proportion to the classes, so that what is best on them is what is best on test nodes.

    Args:
        train: a class.
        validation: in all.
        balanced: as many validation nodes of every class.

    Raises:
        DataError: for a class of fewer than three nodes.
    """
    rng = numpy_generator(seed, "split")
    nodes = int(data.num_nodes or 0)
    masks = {name: torch.zeros(nodes, dtype=torch.bool) for name in MASKS}
    classes = [label for label in data.y.unique() if label >= 0]
    labelled = int((data.y >= 0).sum())
    for label in classes:
        members = (data.y == label).nonzero().flatten().numpy()
        if len(members) < len(MASKS):
            few = f"{len(members)} node{'s' * (len(members) != 1)} (class {int(label)})"
            cure = f"give {', '.join(MASKS)}, or leave these nodes without a label"
            raise DataError(f"no split can be made with a class of {few}; {cure}")
        rng.shuffle(members)
        share = max(1, len(members) // 5)
        first = min(train, share)
        wanted = validation // len(classes) if balanced else max(1, round(validation * len(members) / labelled))
        second = first + min(wanted, share)
        masks["train_mask"][members[:first]] = True
        masks["val_mask"][members[first:second]] = True
        masks["test_mask"][members[second:]] = True
    for name, mask in masks.items():
        data[name] = mask
    return data


def overlap_note(data: Data) -> str:
    """Returns what to say where test nodes of some split are labelled in another."""
    train, validation, test = (data[mask].reshape(len(data[mask]), -1).any(1) for mask in MASKS)
    seen = bool((test & (train | validation)).any())
    return "; nodes that one tests others train on or validate" if seen else ""


def unknown_classes_note(y: Tensor, masks: Mapping[str, Tensor], names: Sequence[str]) -> list[str]:
    """Returns what to say where test nodes have classes that no training node has.

    Args:
        y: classes ``(nodes,)``; of several labels a node nothing is said.
        names: of the classes.
    """
    if y.dim() != 1:
        return []
    unknown = sorted(set(y[masks["test_mask"]].tolist()) - set(y[masks["train_mask"]].tolist()))
    named = ", ".join(names[label] for label in unknown)
    return [f"test nodes have classes that no training node has: {named}"] if unknown else []
