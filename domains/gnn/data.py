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
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data import InMemoryDataset
from torch_geometric.datasets import PPI
from torch_geometric.utils import to_undirected

from nichenas.core.context import Environment
from nichenas.core.context import TestData
from nichenas.core.data.root import content_identity
from nichenas.core.errors import ConfigError
from nichenas.core.errors import DataError
from nichenas.core.errors import unknown_name_message
from nichenas.domains.gnn.checks import MASKS
from nichenas.domains.gnn.checks import check_archives
from nichenas.domains.gnn.checks import check_graph
from nichenas.domains.gnn.checks import check_split
from nichenas.domains.gnn.csv_graphs import EDGES as EDGES_FILE
from nichenas.domains.gnn.graph import Graph
from nichenas.domains.gnn.labels import UNLABELLED
from nichenas.domains.gnn.own_graphs import READERS
from nichenas.domains.gnn.own_graphs import find_own
from nichenas.domains.gnn.own_graphs import load_own
from nichenas.domains.gnn.pyg_data import Source
from nichenas.domains.gnn.raw_files import PLANETOID
from nichenas.domains.gnn.raw_files import SafePlanetoid
from nichenas.domains.gnn.raw_files import check_ppi
from nichenas.domains.gnn.raw_files import planetoid_files
from nichenas.domains.gnn.raw_files import ppi_files
from nichenas.domains.gnn.splits import draw_split
from nichenas.domains.gnn.splits import overlap_note
from nichenas.domains.gnn.splits import unknown_classes_note

Options = Mapping[str, str | int | float | bool]

KNOWN = {
    "Cora": "citation graph, 2,708 nodes, 7 classes (Planetoid, public split)",
    "CiteSeer": "citation graph, 3,327 nodes, 6 classes (Planetoid, public split)",
    "PubMed": "citation graph, 19,717 nodes, 3 classes (Planetoid, public split)",
    "PPI": "24 protein graphs, 121 labels a node, inductive (micro-F1)",
    "digits-knn": "embedded: 1,797 digit images in a nearest-neighbour graph, 10 labels a class",
}

DIGITS_NEIGHBOURS = 10
DRAWN = 20, 500  # training nodes a class and validation nodes in all, at most, where a data set has no split
DIGITS = 10, 200


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

    @cached_property
    def density(self) -> float:
        """The share of the features that are not zero."""
        return int(torch.count_nonzero(self.x)) / self.x.numel()

    def subset(self, nodes: Tensor) -> LabelledNodes:
        """Returns the same graph with only some of its nodes labelled, ``(n,)``, sorted."""
        return LabelledNodes(self.graph, self.x, nodes, self.labels[nodes])


@dataclass(frozen=True)
class Split:
    """Labelled nodes to train with, to select by, and to report; the last open only inside a retraining."""

    train: Sequence[LabelledNodes]
    validation: Sequence[LabelledNodes]
    test: TestData[Sequence[LabelledNodes]]


@dataclass(frozen=True)
class NodeTask:
    """A data set, split once or several times.

    Attributes:
        features: width of the node features.
        outputs: number of classes, or of labels a node.
        multilabel: whether nodes have several labels or one class.
        splits: at least one.
        notes: what users should know of the data as they are used.
        identity: changes with what is in the data; empty where it is not known.
        classes: names of the outputs.
        names: of the nodes of a single graph; empty of several graphs.
    """

    name: str
    features: int
    outputs: int
    multilabel: bool
    splits: Sequence[Split]
    notes: Sequence[str] = ()
    identity: str = ""
    classes: Sequence[str] = ()
    names: Sequence[str] = ()

    @property
    def metric(self) -> str:
        """What is measured unless the user wants something else."""
        return "micro_f1" if self.multilabel else "accuracy"

    @property
    def train(self) -> Sequence[LabelledNodes]:
        """Training nodes of the first split."""
        return self.splits[0].train

    @property
    def validation(self) -> Sequence[LabelledNodes]:
        """Validation nodes of the first split."""
        return self.splits[0].validation

    @property
    def test(self) -> TestData[Sequence[LabelledNodes]]:
        """Test nodes of the first split."""
        return self.splits[0].test


def load_task(dataset: str, options: Options, normalize: bool | None, environment: Environment) -> NodeTask:
    """Loads a data set.

    Args:
        dataset: one of :data:`KNOWN`, in any case; a user's own file or folder, here or in the data root (see
            :mod:`~nichenas.domains.gnn.own_graphs`); or the dotted name of a PyG ``InMemoryDataset``.
        options: further arguments of the data set's class; ``split_index`` picks one of several splits; ``directed``
            leaves the edges of a user's own graph as they are, which are otherwise used both ways.
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
        if options:
            raise ConfigError(f"domain.dataset_options: PPI takes none, not '{next(iter(options))}'")
        return _ppi(bool(normalize), environment)
    if name in PLANETOID:
        data = _planetoid(name, options, environment)
        return _transductive(name, data, normalize is not False, environment, root / name)
    path = find_own(dataset, environment)
    if path is not None:
        return _own(path, dict(options), bool(normalize), environment)
    if not dataset:
        allowed = f"{', '.join(KNOWN)}, a file or a folder"
        raise ConfigError(f"domain.dataset: is missing; allowed: {allowed} (--dataset FILE)")
    for folder in (Path(dataset), root / dataset):
        if folder.is_dir() and "." not in dataset:
            raise ConfigError(f"domain.dataset: the folder '{folder}' has no {EDGES_FILE}")
    if Path(dataset).suffix in (*READERS, ".csv", ".json", ".txt") or "/" in dataset:
        looked = f"looked in '{environment.data_root}' and here"
        raise ConfigError(
            f"domain.dataset: '{dataset}' is no graph; allowed: {', '.join(READERS)}, or a folder with edges.csv "
            f"({looked})"
        )
    if "." not in dataset:
        allowed = f"{', '.join(KNOWN)}, a file or folder, or the dotted name of a PyG InMemoryDataset"
        raise ConfigError(
            f"domain.dataset: {unknown_name_message('data set', dataset, KNOWN).split(';')[0]}; allowed: {allowed}"
        )
    data = _by_dotted_name(name, dict(options), environment)
    return _transductive(name, data, bool(normalize), environment, root / name.rpartition(".")[2])


def _planetoid(name: str, options: Options, environment: Environment) -> Data:
    root, own = environment.data_root, dict(options)
    column = own.pop("split_index", None)
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
        splits=[Split(train, graphs("val"), TestData(graphs("test")))],
    )


def _by_dotted_name(name: str, options: dict[str, Any], environment: Environment) -> Data:
    module_name, _, class_name = name.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"domain.dataset: '{name}' cannot be imported ({error})") from None
    if not (isinstance(cls, type) and issubclass(cls, InMemoryDataset)):
        raise ConfigError(f"domain.dataset: '{name}' is not a PyG InMemoryDataset")
    column = options.pop("split_index", None)
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
    """Returns a graph with one of its splits, where it has several and one is named.

    Raises:
        ConfigError: for a split that there is not, also of a graph that has one, or that a split is made for.
    """
    if column is None:
        return data
    split = [mask for mask in MASKS if mask in data and data[mask].dim() == 2]
    splits = min((data[mask].shape[1] for mask in split), default=1)
    if isinstance(column, (bool, str, float)) or not 0 <= column < splits:
        held = f"0 .. {splits - 1}" if splits > 1 else "0, since the graph has no more than one split"
        raise ConfigError(f"domain.dataset_options.split_index: {column} is not among {held}")
    for mask in split:
        data[mask] = data[mask][:, column]
    return data


def _own(path: Path, options: dict[str, Any], normalize: bool, environment: Environment) -> NodeTask:
    column, directed = options.pop("split_index", None), options.pop("directed", False)
    for name in options:
        message = unknown_name_message("option", name, ("split_index", "directed"), quote=False)
        raise ConfigError(f"domain.dataset_options.{name}: {message}")
    if not isinstance(directed, bool):
        raise ConfigError(f"domain.dataset_options.directed: true or false, not {directed!r}")
    data = _column(load_own(path), column)
    check_graph(str(path), data)
    notes = []
    if not directed:
        both = to_undirected(data.edge_index, num_nodes=len(data.x))
        if both.shape[1] != data.edge_index.unique(dim=1).shape[1]:
            notes.append("edges are used both ways; dataset_options={directed: true} leaves them as they are")
        data.edge_index = both
    if "weighted" in data:
        notes.append("weights and attributes of edges are not used")
    missing = 0 if data.y.dim() == 2 else int((data.y == UNLABELLED).sum())
    if missing:
        notes.append(f"{missing:,} of {len(data.y):,} nodes have no label; they are in no part of the split")
    return _transductive(str(path), data, normalize, environment, notes=notes)


def _digits() -> Data:
    """Returns scikit-learn's digits as a graph: every image and its nearest images, joined both ways.

    Ten labels a class, as in the work on learning graphs for such data (LDS-GNN); neighbours come from the
    pixels alone, no label is used.
    """
    from sklearn.datasets import load_digits
    from sklearn.neighbors import kneighbors_graph
    from threadpoolctl import threadpool_limits

    digits = load_digits()
    pixels = digits.data / 16.0
    with threadpool_limits(1):  # which of two images at the same distance is taken depends on the number of threads
        near = kneighbors_graph(pixels, DIGITS_NEIGHBOURS)
    row, col = (near + near.T).nonzero()
    data = Data(
        x=torch.from_numpy(pixels).float(),
        y=torch.from_numpy(digits.target).long(),
        edge_index=torch.stack([torch.from_numpy(col).long(), torch.from_numpy(row).long()]),
    )
    return draw_split(data, 0, *DIGITS, balanced=True)


def _transductive(
    name: str,
    data: Data,
    normalize: bool,
    environment: Environment,
    root: Path | None = None,
    notes: Sequence[str] = (),
) -> NodeTask:
    where = f"{name} in '{root}'" if root else name
    check_graph(where, data)
    told = list(notes)
    if any(mask not in data for mask in MASKS):
        if data.y.dim() != 1:
            raise DataError(f"{where}: has no split, and one cannot be drawn for several labels a node")
        try:
            data = draw_split(data, environment.seed, *DRAWN)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        sizes = ", ".join(f"{int(data[mask].sum()):,}" for mask in MASKS)
        told.append(f"a split was made by class with the run's seed, since there is none: {sizes} nodes")
    whole = _labelled(data, normalize, environment.device)
    columns = max(data[mask].shape[1] if data[mask].dim() == 2 else 1 for mask in MASKS)
    if columns > 1:
        told.append(f"{columns} splits: final trainings take all in turn, one a seed{overlap_note(data)}")
    multilabel = whole.labels.dim() == 2
    outputs = whole.labels.shape[1] if multilabel else int(whole.labels.max()) + 1
    classes = data.classes if "classes" in data else [str(number) for number in range(outputs)]
    splits = []
    for column in range(columns):
        masks = {mask: data[mask][:, column] if data[mask].dim() == 2 else data[mask] for mask in MASKS}
        check_split(where, data.y, masks)
        if column == 0:
            told += unknown_classes_note(data.y, masks, classes)
        train, validation, test = (
            whole.subset(mask.nonzero().flatten().to(environment.device)) for mask in masks.values()
        )
        splits.append(Split([train], [validation], TestData([test])))
    return NodeTask(
        name=name,
        features=data.x.shape[1],
        outputs=outputs,
        multilabel=multilabel,
        splits=splits,
        notes=told,
        classes=classes,
        names=data.names if "names" in data else [str(number) for number in range(len(data.x))],
        identity=content_identity(data[name].cpu().numpy() for name in ("x", "edge_index", "y", *MASKS)),
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
