"""A user's own graph: an ``.npz`` file, a PyG ``Data`` in a ``.pt`` file, or a folder of CSV files.

Names are those that people use; what a file holds is checked before anything uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data

from nichenas.core.context import Environment
from nichenas.core.data.array_files import csr_from_parts
from nichenas.core.data.array_files import load_npz
from nichenas.core.data.array_files import reason_of
from nichenas.core.errors import DataError
from nichenas.domains.gnn.checks import MASKS
from nichenas.domains.gnn.csv_graphs import EDGES as EDGES_FILE
from nichenas.domains.gnn.csv_graphs import load_csv
from nichenas.domains.gnn.labels import labels_of

Array = NDArray[Any]

EDGES = ("edge_index", "edges", "edge_list")
ADJACENCY = ("adj", "adj_matrix", "adjacency")  # as matrices, or as the parts of sparse ones
FEATURES = ("x", "features", "node_features", "attr", "attr_matrix")
LABELS = ("y", "labels", "node_labels", "label")
SPLITS = {
    "train_mask": ("train_mask", "train_masks"),
    "val_mask": ("val_mask", "val_masks", "valid_mask", "validation_mask", "validation_masks"),
    "test_mask": ("test_mask", "test_masks"),
}
WEIGHTS = ("edge_weight", "edge_attr", "edge_weights")
PARTS = ("data", "indices", "indptr", "shape")
MOST = 2**31  # features as a dense matrix; more would not leave room to train in


def find_own(dataset: str, environment: Environment) -> Path | None:
    """Returns the file or folder that a data set's name says, here or in the data root; none where there is none."""
    for path in (Path(dataset), environment.data_root / dataset):
        if (path.is_file() and path.suffix.lower() in READERS) or (path.is_dir() and (path / EDGES_FILE).is_file()):
            return path
    return None


def load_own(path: Path) -> Data:
    """Returns the graph of a file or folder, with masks where it has them; of several splits, a column a split.

    Nodes without a label have the class -1.

    Raises:
        DataError: with the first thing that is missing or does not fit.
    """
    return load_csv(path) if path.is_dir() else READERS[path.suffix.lower()](path)


def _npz(path: Path) -> Data:
    arrays = load_npz(path)
    edges, weighted = _edges(path, arrays)
    x = _features(path, arrays)
    name = _first(arrays, LABELS)
    if name is None:
        raise DataError(f"{path}: holds no labels; one of {', '.join(LABELS)} is wanted, not {_held(arrays)}")
    y, classes = labels_of(str(path), arrays[name])
    data = Data(x=x, edge_index=edges, y=y, classes=classes)
    for mask, names in SPLITS.items():
        found = _first(arrays, names)
        if found is not None:
            data[mask] = _mask(path, found, arrays[found], len(data.y))
    _check_no_other_split(path, arrays, data)
    if weighted or any(name in arrays for name in WEIGHTS):
        data.weighted = True
    return _whole(path, data)


def _check_no_other_split(path: Path, held: Mapping[str, Any], data: Data) -> None:
    """Refuses a split in another form, which would be replaced by one that is made."""
    other = [
        name
        for name in held
        if name not in EDGES
        and (name.endswith(("_idx", "_index")) or name.startswith("idx_") or "split" in name.lower())
    ]
    if other and "train_mask" not in data:
        raise DataError(f"{path}: '{other[0]}' is not read; give {', '.join(MASKS)}, true or false for every node")


def _first(arrays: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in arrays), None)


def _held(arrays: Mapping[str, Any]) -> str:
    return ", ".join(sorted(arrays)[:12]) or "nothing"


def _sparse(path: Path, arrays: Mapping[str, Array], name: str) -> Any:
    """Returns the sparse matrix whose parts are ``<name>_data`` and so on, or without a name for ``name`` empty."""
    keys = [f"{name}_{part}" if name else part for part in PARTS]
    if not set(keys) <= set(arrays):
        return None
    try:
        return csr_from_parts(*(arrays[key] for key in keys))
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{path}: {name or 'the sparse matrix'}: damaged ({reason_of(error)})") from None


def _edges(path: Path, arrays: Mapping[str, Array]) -> tuple[torch.Tensor, bool]:
    """Returns the edges, ``(2, e)``, and whether a matrix gives them other values than 1."""
    name = _first(arrays, EDGES)
    if name is not None:
        pairs = arrays[name]
        if pairs.ndim == 2 and pairs.shape[1] == 2 and pairs.shape[0] != 2:
            pairs = pairs.T
        if pairs.dtype.kind == "f" and (pairs == np.round(pairs)).all():
            pairs = pairs.astype(np.int64)
        if pairs.ndim != 2 or len(pairs) != 2 or pairs.dtype.kind not in "iu":
            raise DataError(f"{path}: {name} is {pairs.dtype} {pairs.shape}; wanted: whole numbers, (2, edges)")
        return torch.from_numpy(pairs.astype(np.int64)), False
    for name in (*ADJACENCY, ""):
        matrix = _sparse(path, arrays, name)
        if matrix is None and name in arrays:
            matrix = arrays[name]
        if matrix is not None:
            if len(matrix.shape) != 2 or matrix.shape[0] != matrix.shape[1]:
                raise DataError(f"{path}: {name or 'the matrix'} is {matrix.shape}; wanted: (nodes, nodes)")
            row, column = matrix.nonzero()
            weighted = bool((matrix[row, column] != 1).any())
            return torch.from_numpy(np.stack([row, column]).astype(np.int64)), weighted
    raise DataError(
        f"{path}: holds no edges; {EDGES[0]} (2, edges) or a matrix {ADJACENCY[0]} is wanted, not {_held(arrays)}"
    )


def _features(path: Path, arrays: Mapping[str, Array]) -> torch.Tensor:
    for name in FEATURES:
        matrix = _sparse(path, arrays, name)
        if matrix is not None:
            if 4 * matrix.shape[0] * matrix.shape[1] > MOST:
                raise DataError(f"{path}: {name} of {matrix.shape} takes more than {MOST >> 30} GiB as a dense matrix")
            return torch.from_numpy(matrix.toarray().astype(np.float32))
        if name in arrays:
            x = arrays[name]
            if x.ndim != 2 or x.dtype.kind not in "biuf":
                raise DataError(f"{path}: {name} is {x.dtype} {x.shape}; wanted: numbers, (nodes, features)")
            return torch.from_numpy(x.astype(np.float32))
    raise DataError(f"{path}: holds no node features; one of {', '.join(FEATURES)} is wanted, not {_held(arrays)}")


def _mask(path: Path, name: str, given: Array, nodes: int) -> torch.Tensor:
    """Returns ``(nodes,)``, or ``(nodes, splits)``; either order of the latter is taken."""
    if given.dtype.kind not in "buif" or not np.isin(given, (0, 1)).all() or given.ndim not in (1, 2):
        raise DataError(f"{path}: {name} is {given.dtype} {given.shape}; wanted: true or false for every node")
    if given.ndim == 2 and given.shape[0] != nodes:
        given = given.T
    if len(given) != nodes:
        raise DataError(f"{path}: {name} is {given.shape}, of {nodes} nodes")
    return torch.from_numpy(np.ascontiguousarray(given.astype(bool)))


def _whole(path: Path, data: Data) -> Data:
    if len(data.x) != len(data.y):
        raise DataError(f"{path}: features of {len(data.x)} nodes and labels of {len(data.y)}")
    missing = [mask for mask in MASKS if mask not in data]
    if missing and len(missing) < len(MASKS):
        raise DataError(f"{path}: has no {missing[0]}; all of {', '.join(MASKS)} are wanted, or none")
    return data


def _pt(path: Path) -> Data:
    from torch_geometric.data.data import DataEdgeAttr
    from torch_geometric.data.data import DataTensorAttr
    from torch_geometric.data.storage import EdgeStorage
    from torch_geometric.data.storage import GlobalStorage
    from torch_geometric.data.storage import NodeStorage

    parts = [Data, DataEdgeAttr, DataTensorAttr, GlobalStorage, NodeStorage, EdgeStorage]
    try:
        with torch.serialization.safe_globals(parts):
            held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch's own message advises to run it.
        raise DataError(
            f"{path}: cannot be read as a PyG Data without running code in it ({type(error).__name__})"
        ) from None
    if isinstance(held, (list, tuple)):
        raise DataError(f"{path}: holds {len(held)} objects; save a single PyG Data, one graph")
    fields = held.to_dict() if isinstance(held, Data) else held
    if not isinstance(fields, Mapping):
        raise DataError(f"{path}: holds a {type(held).__name__}; a PyG Data is wanted")
    if "edge_label_index" in fields:
        raise DataError(f"{path}: has edge_label_index; link prediction is not supported, only node classification is")
    missing = [name for name in ("edge_index", "x", "y") if name not in fields]
    if missing:
        raise DataError(
            f"{path}: has no {missing[0]}, but {_held(fields)} (graph-level and link-level tasks are not supported)"
        )
    masks = {mask: found for mask, names in SPLITS.items() if (found := _first(fields, names)) is not None}
    wanted = {name: name for name in ("edge_index", "x", "y")} | masks
    arrays = {name: _array(path, theirs, fields[theirs]) for name, theirs in wanted.items()}
    if arrays["y"].ndim == 0 or (len(arrays["y"]) == 1 and len(arrays["x"]) > 1):
        raise DataError(f"{path}: y is of the graph; graph-level tasks are not supported, only node classification is")
    edges, _ = _edges(path, arrays)
    y, classes = labels_of(str(path), arrays["y"])
    data = Data(x=_features(path, arrays), edge_index=edges, y=y, classes=classes)
    for mask in MASKS:
        if mask in arrays:
            data[mask] = _mask(path, mask, arrays[mask], len(data.y))
    _check_no_other_split(path, fields, data)
    if any(name in fields for name in WEIGHTS):
        data.weighted = True
    return _whole(path, data)


def _array(path: Path, name: str, held: Any) -> Array:
    if not isinstance(held, torch.Tensor):
        raise DataError(f"{path}: {name} is a {type(held).__name__}; a tensor is wanted")
    held = held.detach()
    held = held if held.layout is torch.strided else held.to_dense()
    array: Array = (held.float() if held.dtype in (torch.bfloat16, torch.float16) else held).numpy()
    return array


READERS: Mapping[str, Callable[[Path], Data]] = {".npz": _npz, ".pt": _pt, ".pth": _pt}
