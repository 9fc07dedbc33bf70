"""Raw files of the known graph data sets, read without executing anything in them, and checked one by one.

Seven of Planetoid's eight files are Python-2 pickles, which could execute anything, and name no error by its file; PyG
would trust their sparse matrices. So they are read here, and PyG is handed what came out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.datasets import Planetoid
from torch_geometric.utils import coalesce
from torch_geometric.utils import index_to_mask
from torch_geometric.utils import remove_self_loops

from nichenas.core.data.array_files import load_npy
from nichenas.core.data.array_files import load_npz
from nichenas.core.data.array_files import reason_of
from nichenas.core.data.pickles import load_pickle
from nichenas.core.errors import DataError

PLANETOID = {"Cora": "cora", "CiteSeer": "citeseer", "PubMed": "pubmed"}
PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
VALIDATION = 500  # nodes of the public split, those after the training nodes
PPI_PARTS = ("feats.npy", "graph_id.npy", "graph.json", "labels.npy")
SPLITS = ("train", "valid", "test")


def planetoid_files(folder: Path, name: str) -> list[Path]:
    """Returns the paths of the eight raw files of a Planetoid data set.

    Args:
        folder: the data set's ``raw`` folder.
        name: ``Cora``, ``CiteSeer`` or ``PubMed``.
    """
    return [folder / f"ind.{PLANETOID[name]}.{part}" for part in PARTS]


def ppi_files(folder: Path) -> list[Path]:
    """Returns the paths of PPI's twelve raw files in its ``raw`` folder."""
    return [folder / f"{split}_{part}" for split in SPLITS for part in PPI_PARTS]


def check_present(name: str, folder: Path, files: Sequence[Path]) -> None:
    """Checks that the files of a data set are there.

    Raises:
        DataError: naming those that are not.
    """
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise DataError(f"{name}: missing in {folder}: {', '.join(missing)}")


class SafePlanetoid(Planetoid):
    """PyG's Planetoid, whose raw files are read by :func:`read_planetoid`."""

    def process(self) -> None:
        """Writes what PyG itself would write."""
        folder = Path(self.raw_dir)
        data = read_planetoid(folder, self.name)
        if self.split == "geom-gcn":
            names = ("train_mask", "val_mask", "test_mask")
            files = [folder / f"{self.name.lower()}_split_0.6_0.2_{index}.npz" for index in range(10)]
            splits = [load_npz(file, names) for file in files]
            for name in names:
                data[name] = torch.stack([torch.from_numpy(split[name]) for split in splits], dim=1)
        self.save([data], self.processed_paths[0])


def read_planetoid(folder: Path, name: str) -> Data:
    """Returns the graph that eight raw files hold, exactly as PyG reads it.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    files = dict(zip(PARTS, planetoid_files(folder, name), strict=True))
    check_present(name, folder, list(files.values()))
    matrices = {part: _matrix(files[part]) for part in ("x", "tx", "allx", "y", "ty", "ally")}
    for part, other, axis in (
        *(("x", "y", 0), ("tx", "ty", 0), ("allx", "ally", 0)),
        *(("x", "allx", 1), ("tx", "allx", 1), ("y", "ally", 1), ("ty", "ally", 1)),
    ):
        one, two = matrices[part].shape[axis], matrices[other].shape[axis]
        if one != two:
            raise DataError(
                f"{name}: {files[part].name} has {one} {('rows', 'columns')[axis]} but {files[other].name} has {two}; "
                f"replace both with the original files in {folder}"
            )
    dense = {part: torch.from_numpy(_dense(matrix)).float() for part, matrix in matrices.items()}
    test = _test_index(files["test.index"], len(dense["allx"]), len(dense["tx"]), gaps=name == "CiteSeer")
    order = test.sort()[0]
    if name == "CiteSeer":  # isolated nodes are missing in its test files; they have no features and the first class
        for part in ("tx", "ty"):
            rows = torch.zeros(int(order[-1] - order[0]) + 1, dense[part].shape[1])
            rows[order - order[0]] = dense[part]
            dense[part] = rows
    x = torch.cat([dense["allx"], dense["tx"]])
    y = torch.cat([dense["ally"], dense["ty"]]).max(dim=1)[1]
    x[test], y[test] = x[order], y[order]
    edges = _edges(files["graph"], len(y))
    train, nodes = len(dense["y"]), len(y)
    if train + VALIDATION > nodes:
        raise DataError(f"{name}: {nodes} nodes are too few for {train} of training and {VALIDATION} of validation")
    data = Data(x=x, edge_index=coalesce(remove_self_loops(edges)[0], num_nodes=nodes, sort_by_row=False), y=y)
    data.train_mask = index_to_mask(torch.arange(train), size=nodes)
    data.val_mask = index_to_mask(torch.arange(train, train + VALIDATION), size=nodes)
    data.test_mask = index_to_mask(test, size=nodes)
    return data


def _damaged(file: Path, reason: str) -> DataError:
    return DataError(f"{file}: damaged ({reason}); replace it with the original file")


def _unpickled(file: Path) -> Any:
    try:
        return load_pickle(file)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise _damaged(file, reason_of(error)) from None


def _matrix(file: Path) -> Any:
    """Returns a matrix of numbers, dense or sparse."""
    value = _unpickled(file)
    if not (hasattr(value, "toarray") or isinstance(value, np.ndarray)) or len(value.shape) != 2:
        raise _damaged(file, "not a matrix")
    if 0 in value.shape:
        raise _damaged(file, f"a matrix of {value.shape[0]} x {value.shape[1]}")
    if not np.isfinite(value.data if hasattr(value, "toarray") else value).all():
        raise _damaged(file, "numbers that are not finite")
    return value


def _dense(matrix: Any) -> NDArray[Any]:
    dense: NDArray[Any] = matrix.toarray() if hasattr(matrix, "toarray") else matrix
    return dense


def _test_index(file: Path, first: int, count: int, gaps: bool) -> Tensor:
    """Returns the numbers of the test nodes in the order of their rows, ``(count,)`` int64.

    Args:
        first: the smallest of them.
        gaps: whether some numbers may be left out.
    """
    try:
        index = [int(line) for line in file.read_text(encoding="ascii").split()]
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise _damaged(file, reason_of(error)) from None
    end = first + count * (2 if gaps else 1)
    if len(index) != count or len(set(index)) != count or min(index) != first or max(index) >= end:
        raise _damaged(file, f"not {count} different numbers of nodes from {first}")
    return torch.tensor(index)


def _edges(file: Path, nodes: int) -> Tensor:
    """Returns source and destination of every edge, ``(2, edges)`` int64."""
    graph = _unpickled(file)
    if not isinstance(graph, dict):
        raise _damaged(file, "not a dictionary of neighbours")
    pairs = []
    for node, neighbours in graph.items():
        if not isinstance(neighbours, list):
            raise _damaged(file, f"neighbours of type {type(neighbours).__name__}")
        pairs += [(node, neighbour) for neighbour in neighbours]
    _check_nodes(file, pairs, nodes)
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).t().contiguous()


def _check_nodes(file: Path, pairs: Sequence[tuple[object, ...]], nodes: int) -> None:
    for pair in pairs:
        for number in pair:
            if type(number) is not int or not 0 <= number < nodes:
                raise _damaged(file, f"it names a node that is none of {nodes}")


def check_ppi(folder: Path) -> None:
    """Checks that PPI's raw files can be read and fit together.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    for split in SPLITS:
        feats, ids, graph, labels = (folder / f"{split}_{part}" for part in PPI_PARTS)
        arrays = {file: load_npy(file) for file in (feats, ids, labels)}
        count = len(arrays[ids]) if arrays[ids].ndim else 0
        for file, array in arrays.items():
            wanted = 1 if file is ids else 2
            if array.ndim != wanted or array.dtype.kind not in ("iu" if file is ids else "biuf") or len(array) != count:
                raise _damaged(file, f"{array.dtype} {array.shape}, where {ids.name} has {count} nodes")
            if not np.isfinite(array).all():
                raise _damaged(file, "numbers that are not finite")
        numbers = np.unique(arrays[ids].astype(np.int64))
        if count == 0 or int(numbers[-1]) - int(numbers[0]) != len(numbers) - 1:
            raise _damaged(ids, "not graphs that are numbered one after the other")
        _check_links(graph, count)


def _check_links(file: Path, nodes: int) -> None:
    try:
        held: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        pairs: list[tuple[Any, ...]] = [(link["source"], link["target"]) for link in held["links"]]
        pairs += [(node["id"],) for node in held["nodes"]]
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(file, reason_of(error)) from None
    _check_nodes(file, pairs, nodes)
