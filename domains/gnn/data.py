"""Graph data sets for node classification: citation graphs, PPI, embedded digits, any PyG data set by name.

Raw files are read from the data root in PyG's own layout; what PyG derives from them goes into the cache, so
that a data root may be read-only.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data import InMemoryDataset
from torch_geometric.datasets import PPI

from nichenas.core.context import Environment
from nichenas.core.context import TestData
from nichenas.core.errors import ConfigError
from nichenas.core.errors import DataError
from nichenas.core.errors import unknown_name_message
from nichenas.core.seeds import numpy_generator
from nichenas.domains.gnn.checks import MASKS
from nichenas.domains.gnn.checks import check_archives
from nichenas.domains.gnn.checks import check_graph
from nichenas.domains.gnn.checks import check_split
from nichenas.domains.gnn.graph import Graph
from nichenas.domains.gnn.pyg_data import Source
from nichenas.domains.gnn.raw_files import PLANETOID
from nichenas.domains.gnn.raw_files import SafePlanetoid
from nichenas.domains.gnn.raw_files import check_ppi
from nichenas.domains.gnn.raw_files import planetoid_files
from nichenas.domains.gnn.raw_files import ppi_files

Options = Mapping[str, str | int | float | bool]

KNOWN = {
    "Cora": "citation graph, 2,708 nodes, 7 classes (Planetoid, public split)",
    "CiteSeer": "citation graph, 3,327 nodes, 6 classes (Planetoid, public split)",
    "PubMed": "citation graph, 19,717 nodes, 3 classes (Planetoid, public split)",
    "PPI": "24 protein graphs, 121 labels a node, inductive (micro-F1)",
    "digits-knn": "embedded: 1,797 digit images in a nearest-neighbour graph, 10 labels a class",
}

DIGITS_NEIGHBOURS = 10
DIGITS_PER_CLASS = {"train": 10, "validation": 20}


@dataclass(frozen=True)
class LabelledNodes:
    """Some nodes of a graph with their labels.

    Attributes:
        x: features of all nodes of the graph, ``(all nodes, features)``.
        nodes: the labelled ones, sorted, ``(n,)``.
        labels: of these, classes ``(n,)`` int64 or 0/1 labels ``(n, labels)`` float32.
    """

    graph: Graph
    x: Tensor
    nodes: Tensor
    labels: Tensor

    def subset(self, nodes: Tensor) -> LabelledNodes:
        """Returns the same graph with only some of its nodes labelled, ``(n,)``, sorted."""
        return LabelledNodes(self.graph, self.x, nodes, self.labels[nodes])


@dataclass(frozen=True)
class NodeTask:
    """A data set, split; the test part opens only inside a retraining.

    Attributes:
        features: width of the node features.
        outputs: number of classes, or of labels a node.
        multilabel: whether nodes have several labels (scored by micro-F1) or one class (accuracy).
    """

    name: str
    features: int
    outputs: int
    multilabel: bool
    train: Sequence[LabelledNodes]
    validation: Sequence[LabelledNodes]
    test: TestData[Sequence[LabelledNodes]]


def load_task(dataset: str, options: Options, normalize: bool | None, environment: Environment) -> NodeTask:
    """Loads a data set.

    Args:
        dataset: one of :data:`KNOWN`, in any case, or the dotted name of a PyG ``InMemoryDataset``.
        options: further arguments of the data set's class; ``split`` picks a column where masks have several.
        normalize: whether the features of every node are scaled to sum 1; none for the data set's custom.

    Raises:
        ConfigError: for an unknown data set or option.
        DataError: when files are missing, damaged, or cannot be downloaded.
    """
    known, root = {name.lower(): name for name in KNOWN}, environment.data_root
    name = known.get(dataset.lower(), dataset)
    if name == "digits-knn":
        if options:
            raise ConfigError(f"domain.dataset_options: digits-knn takes none, not '{next(iter(options))}'")
        return _transductive(name, _digits(), bool(normalize), environment)
    if name == "PPI":
        return _ppi(bool(normalize), environment)
    if name in PLANETOID:
        data = _planetoid(name, options, environment)
        return _transductive(name, data, normalize is not False, environment, root / name)
    if "." not in dataset:
        allowed = f"{', '.join(KNOWN)}, or the dotted name of a PyG InMemoryDataset"
        raise ConfigError(
            f"domain.dataset: {unknown_name_message('data set', dataset, KNOWN).split(';')[0]}; allowed: {allowed}"
        )
    data = _by_dotted_name(name, dict(options), environment)
    return _transductive(name, data, bool(normalize), environment, root / name.rpartition(".")[2])


def _planetoid(name: str, options: Options, environment: Environment) -> Data:
    root, own = environment.data_root, dict(options)
    column = own.pop("split_index", 0)
    raw = root / name / ("geom-gcn" if str(own.get("split")).lower() == "geom-gcn" else "") / "raw"
    source = Source(
        SafePlanetoid,
        name,
        raw=raw,
        arguments={"root": str(root), "name": name, **own},
        files=planetoid_files(raw, name),
    )
    return _column(source.load(environment.cache)[0], column)


def _ppi(normalize: bool, environment: Environment) -> NodeTask:
    root = environment.data_root / "PPI"
    files = ppi_files(root / "raw")

    def graphs(split: str) -> list[LabelledNodes]:
        arguments = {"root": str(root), "split": split}
        source = Source(
            PPI, "PPI", raw=root / "raw", arguments=arguments, files=files, check=lambda: check_ppi(root / "raw")
        )
        dataset = source.load(environment.cache)
        found = [dataset[i] for i in range(len(dataset))]
        for number, data in enumerate(found):
            check_graph(f"PPI in '{root}': {split} graph {number}", data)
        return [_labelled(data, normalize, environment.device) for data in found]

    train = graphs("train")
    return NodeTask(
        name="PPI",
        features=train[0].x.shape[1],
        outputs=train[0].labels.shape[1],
        multilabel=True,
        train=train,
        validation=graphs("val"),
        test=TestData(graphs("test")),
    )


def _by_dotted_name(name: str, options: dict[str, Any], environment: Environment) -> Data:
    module_name, _, class_name = name.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"domain.dataset: '{name}' cannot be imported ({error})") from None
    if not (isinstance(cls, type) and issubclass(cls, InMemoryDataset)):
        raise ConfigError(f"domain.dataset: '{name}' is not a PyG InMemoryDataset")
    column = options.pop("split_index", 0)
    root = environment.data_root / class_name
    existed = root.exists()
    source = Source(
        cls,
        class_name,
        raw=root / "raw",
        arguments={"root": str(root), **options},
        files=(),
        check=lambda: check_archives(root),
    )
    try:
        dataset = source.load(environment.cache)
    except (ConfigError, DataError):
        if not existed:
            shutil.rmtree(root, ignore_errors=True)
        raise
    if len(dataset) == 0:
        raise DataError(f"{name} in '{root}': holds no graph")
    return _column(dataset[0], column)


def _column(data: Data, column: Any) -> Data:
    """Returns a graph with one of its splits, where it has several."""
    for mask in MASKS:
        if mask in data and data[mask].dim() == 2:
            if isinstance(column, (str, float)) or not 0 <= column < data[mask].shape[1]:
                raise ConfigError(
                    f"domain.dataset_options.split_index: {column} is not among 0 .. {data[mask].shape[1] - 1}"
                )
            data[mask] = data[mask][:, int(column)]
    return data


def _digits() -> Data:
    """Returns scikit-learn's digits as a graph: every image and its nearest images, joined both ways.

    Ten labels a class, as in the work on learning graphs for such data (LDS-GNN); neighbours come from the
    pixels alone, no label is used.
    """
    from sklearn.datasets import load_digits
    from sklearn.neighbors import kneighbors_graph

    digits = load_digits()
    pixels = digits.data / 16.0
    near = kneighbors_graph(pixels, DIGITS_NEIGHBOURS)
    row, col = (near + near.T).nonzero()
    data = Data(
        x=torch.from_numpy(pixels).float(),
        y=torch.from_numpy(digits.target).long(),
        edge_index=torch.stack([torch.from_numpy(col).long(), torch.from_numpy(row).long()]),
    )
    return _split(data, 0, DIGITS_PER_CLASS)


def _split(data: Data, seed: int, per_class: Mapping[str, int]) -> Data:
    """Adds masks: so many nodes a class for training and validation, the rest for testing."""
    rng = numpy_generator(seed, "split")
    nodes = int(data.num_nodes or 0)
    masks = {name: torch.zeros(nodes, dtype=torch.bool) for name in MASKS}
    for label in data.y.unique():
        members = (data.y == label).nonzero().flatten().numpy()
        rng.shuffle(members)
        first, second = per_class["train"], per_class["train"] + per_class["validation"]
        masks["train_mask"][members[:first]] = True
        masks["val_mask"][members[first:second]] = True
        masks["test_mask"][members[second:]] = True
    for name, mask in masks.items():
        data[name] = mask
    return data


def _transductive(
    name: str, data: Data, normalize: bool, environment: Environment, root: Path | None = None
) -> NodeTask:
    where = f"{name} in '{root}'" if root else name
    check_graph(where, data)
    if any(mask not in data for mask in MASKS):
        if data.y.dim() != 1:
            raise DataError(f"{where}: has no split, and one cannot be drawn for several labels a node")
        data = _split(data, environment.seed, {"train": 20, "validation": 30})
    check_split(where, data)
    whole = _labelled(data, normalize, environment.device)
    parts = {mask: whole.subset(data[mask].nonzero().flatten().to(environment.device)) for mask in MASKS}
    multilabel = whole.labels.dim() == 2
    return NodeTask(
        name=name,
        features=data.x.shape[1],
        outputs=whole.labels.shape[1] if multilabel else int(whole.labels.max()) + 1,
        multilabel=multilabel,
        train=[parts["train_mask"]],
        validation=[parts["val_mask"]],
        test=TestData([parts["test_mask"]]),
    )


def _labelled(data: Data, normalize: bool, device: torch.device) -> LabelledNodes:
    """Returns a graph with all its nodes labelled."""
    nodes = int(data.num_nodes or 0)
    x = data.x.float()
    if normalize:
        x = x / x.sum(1, keepdim=True).clamp(min=1.0)
    labels = data.y.long().flatten() if data.y.dim() == 1 or data.y.shape[1] == 1 else data.y.float()
    graph = Graph(data.edge_index.to(device), nodes)
    return LabelledNodes(graph, x.to(device), torch.arange(nodes, device=device), labels.to(device))
