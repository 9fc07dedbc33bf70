"""What must hold of a graph before it is used; indices outside it would be read from foreign memory, or crash."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch_geometric.data import Data

from nichenas.core.data.array_files import check_sparse_parts
from nichenas.core.errors import DataError

MASKS = ("train_mask", "val_mask", "test_mask")


def check_graph(name: str, data: Data) -> None:
    """Checks features, labels, edges and masks of a graph for node classification.

    Raises:
        DataError: with the first thing that is missing or does not fit.
    """
    if data.x is None or data.y is None:
        raise DataError(f"{name}: has no node features or no node labels; node classification needs both")
    if data.edge_index is None:
        raise DataError(f"{name}: has no edge_index")
    for key in ("x", "y", "edge_index", *(mask for mask in MASKS if mask in data)):
        if not isinstance(data[key], Tensor) or data[key].layout is not torch.strided:
            raise DataError(f"{name}: {key} is not a dense tensor")
    x, y, edges, nodes = data.x, data.y, data.edge_index, int(data.num_nodes or 0)
    if x.dim() != 2 or 0 in x.shape or len(x) != nodes:
        raise DataError(f"{name}: x is {tuple(x.shape)}; wanted: a row of features for each of {nodes} nodes")
    if y.dim() not in (1, 2) or 0 in y.shape or len(y) != nodes:
        raise DataError(
            f"{name}: y is {tuple(y.shape)}; wanted: a class, or a row of labels, for each of {nodes} nodes"
        )
    if edges.dim() != 2 or len(edges) != 2 or edges.dtype not in (torch.int64, torch.int32):
        raise DataError(f"{name}: edge_index is {edges.dtype} {tuple(edges.shape)}; wanted: int64 (2, edges)")
    if edges.numel() and not 0 <= int(edges.min()) <= int(edges.max()) < nodes:
        raise DataError(
            f"{name}: edge_index names nodes from {int(edges.min())} to {int(edges.max())}, of {nodes} (numbers count "
            "from 0)"
        )
    for key in ("x", "y"):
        if not torch.isfinite(data[key]).all():
            raise DataError(f"{name}: {key} holds numbers that are not finite")
    if y.numel() == nodes and y.is_floating_point() and (y != y.round()).any():
        raise DataError(
            f"{name}: the labels in y are not whole numbers; only classification is supported, not regression"
        )
    if y.numel() == nodes and int(y.max()) >= nodes:
        raise DataError(f"{name}: y names the class {int(y.max())}, of {nodes} nodes")
    for mask in MASKS:
        if mask in data and (data[mask].dim() not in (1, 2) or len(data[mask]) != nodes):
            raise DataError(f"{name}: {mask} is {tuple(data[mask].shape)}; wanted: ({nodes},) or ({nodes}, splits)")
    columns = {data[mask].shape[1] for mask in MASKS if mask in data and data[mask].dim() == 2}
    if len(columns) > 1:
        raise DataError(f"{name}: masks of {' and '.join(map(str, sorted(columns)))} splits")


def check_split(name: str, y: Tensor, masks: Mapping[str, Tensor]) -> None:
    """Checks that every part of a split has nodes, all of them labelled.

    Raises:
        DataError: for one that does not.
    """
    for (one, first), (other, second) in itertools.combinations(masks.items(), 2):
        both = int((first & second).sum())
        if both:
            raise DataError(f"{name}: {both} nodes are both in {one} and in {other}")
    for mask, nodes in masks.items():
        labels = y[nodes.nonzero().flatten()]
        if len(labels) == 0:
            raise DataError(f"{name}: {mask} marks no node")
        if int(labels.min()) < 0:
            raise DataError(f"{name}: {mask} marks nodes without a label")


def check_archives(folder: Path) -> None:
    """Checks the sparse matrices in all ``.npz`` files below a data set's folder, before PyG converts them.

    Raises:
        DataError: naming the file that is damaged.
    """
    for file in sorted(folder.rglob("*.npz")):
        check_sparse_parts(file)
