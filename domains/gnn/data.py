"""Graph data sets for node classification: citation graphs, PPI, embedded digits, any PyG data set by name.

Raw files are read from the data root in PyG's own layout; what PyG derives from them goes into the cache, so
that a data root may be read-only.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import shutil
import tempfile
from collections.abc import Callable
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
from torch_geometric.datasets import Planetoid

from nichenas.core.context import Environment
from nichenas.core.context import TestData
from nichenas.core.data.root import fingerprint
from nichenas.core.errors import ConfigError
from nichenas.core.errors import DataError
from nichenas.core.errors import unknown_name_message
from nichenas.core.seeds import numpy_generator
from nichenas.domains.gnn.graph import Graph
from nichenas.domains.gnn.raw_files import PLANETOID
from nichenas.domains.gnn.raw_files import check_planetoid
from nichenas.domains.gnn.raw_files import planetoid_files

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
    known = {name.lower(): name for name in KNOWN}
    name = known.get(dataset.lower(), dataset)
    if name == "digits-knn":
        if options:
            raise ConfigError(f"domain.dataset_options: digits-knn takes none, not '{next(iter(options))}'")
        return _transductive(name, _digits(), bool(normalize), environment)
    if name == "PPI":
        return _ppi(bool(normalize), environment)
    if name in PLANETOID:
        data = _planetoid(name, options, environment)
        return _transductive(name, data, normalize is not False, environment)
    if "." not in dataset:
        allowed = f"{', '.join(KNOWN)}, or the dotted name of a PyG InMemoryDataset"
        raise ConfigError(
            f"domain.dataset: {unknown_name_message('data set', dataset, KNOWN).split(';')[0]}; allowed: {allowed}"
        )
    return _transductive(name, _by_dotted_name(name, dict(options), environment), bool(normalize), environment)


def _planetoid(name: str, options: Options, environment: Environment) -> Data:
    raw = environment.data_root / name / "raw"
    if not raw.is_dir():
        _download(lambda: Planetoid(str(environment.data_root), name), name, raw, planetoid_files(raw, name))
    check_planetoid(raw, name)
    arguments = {key: value for key, value in options.items() if key != "index"}
    key = fingerprint(planetoid_files(raw, name), repr(sorted(arguments.items())))
    return _cached(
        Planetoid, {"root": str(environment.data_root), "name": name, **arguments}, environment.cache, key, name
    )[0]


def _ppi(normalize: bool, environment: Environment) -> NodeTask:
    root = environment.data_root / "PPI"
    parts = ("feats.npy", "graph_id.npy", "graph.json", "labels.npy")
    files = [root / "raw" / f"{split}_{part}" for split in ("train", "valid", "test") for part in parts]
    if not (root / "raw").is_dir():
        _download(lambda: PPI(str(root)), "PPI", root / "raw", files)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise DataError(f"PPI: missing in {root / 'raw'}: {', '.join(missing)}")
    key = fingerprint(files)

    def graphs(split: str) -> list[LabelledNodes]:
        dataset = _cached(PPI, {"root": str(root), "split": split}, environment.cache, key, "PPI")
        return [_labelled(data, normalize, environment.device) for data in (dataset[i] for i in range(len(dataset)))]

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
    column = int(options.pop("split_index", 0))
    root = environment.data_root / class_name
    existed = root.exists()
    try:
        with _quiet():
            dataset = _cached(
                cls, {"root": str(root), **options}, environment.cache, fingerprint([], repr(options)), class_name
            )
    except TypeError as error:
        raise ConfigError(f"domain.dataset_options: {class_name} does not take these ({error})") from None
    except DataError:
        if not existed:
            shutil.rmtree(root, ignore_errors=True)
        raise
    data = dataset[0]
    for mask in ("train_mask", "val_mask", "test_mask"):
        if mask in data and data[mask].dim() == 2:
            if not 0 <= column < data[mask].shape[1]:
                raise ConfigError(
                    f"domain.dataset_options.split_index: {column} is not among 0 .. {data[mask].shape[1] - 1}"
                )
            data[mask] = data[mask][:, column]
    return data


def _cached(cls: type[InMemoryDataset], arguments: dict[str, Any], cache: Path, key: str, name: str) -> InMemoryDataset:
    """Returns a PyG data set whose processed files lie in the cache; they appear there whole or not at all."""
    raw = Path(arguments["root"]) / (name if cls is Planetoid else ".") / "raw"
    final = cache / "gnn" / f"{name}-{key}"

    def make(folder: Path) -> InMemoryDataset:
        subclass = type(cls.__name__, (cls,), {"processed_dir": property(lambda self: str(folder))})
        try:
            with _quiet():
                made = subclass(**arguments)
        except (TypeError, AssertionError):
            raise
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"{name}: not under {raw.parent} and not to be downloaded, or damaged ({reason}); "
                f"put its original raw files into {raw}"
            ) from None
        assert isinstance(made, InMemoryDataset)
        return made

    if not final.is_dir():
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=".making-", dir=final.parent))
        except OSError as error:
            raise DataError(
                f"the cache {cache} cannot be written ({error.strerror}); set NICHENAS_CACHE to a folder that can"
            ) from None
        try:
            make(folder)
            with contextlib.suppress(OSError):  # another process was faster
                folder.rename(final)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return make(final)


def _download(make: Callable[[], object], name: str, raw: Path, files: Sequence[Path]) -> None:
    """Lets PyG download the raw files; leaves nothing behind when that fails."""
    existed = raw.parent.exists()
    try:
        with _quiet():
            make()
    except Exception as error:
        if not existed:
            shutil.rmtree(raw.parent, ignore_errors=True)
        names = ", ".join(file.name for file in files)
        raise DataError(
            f"{name}: not under {raw.parent.parent} and not to be downloaded ({type(error).__name__}); "
            f"name another folder with --data-root, or put these files into {raw}: {names}"
        ) from None


@contextlib.contextmanager
def _quiet() -> Any:
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        yield


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
    masks = {name: torch.zeros(nodes, dtype=torch.bool) for name in ("train_mask", "val_mask", "test_mask")}
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


def _transductive(name: str, data: Data, normalize: bool, environment: Environment) -> NodeTask:
    if data.x is None or data.y is None:
        raise DataError(f"{name}: has no node features or no node labels; node classification needs both")
    if any(mask not in data for mask in ("train_mask", "val_mask", "test_mask")):
        if data.y.dim() != 1:
            raise DataError(f"{name}: has no split, and one cannot be drawn for several labels a node")
        data = _split(data, environment.seed, {"train": 20, "validation": 30})
    whole = _labelled(data, normalize, environment.device)
    parts = {
        mask: whole.subset(data[mask].nonzero().flatten().to(environment.device))
        for mask in ("train_mask", "val_mask", "test_mask")
    }
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
