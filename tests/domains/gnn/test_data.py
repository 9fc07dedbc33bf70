"""Data sets: real ones where they are there, small ones made in their formats, damaged ones."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from threadpoolctl import threadpool_limits
from torch_geometric.io.planetoid import read_planetoid_data

from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.context import open_test_data
from nichenas.core.errors import ConfigError
from nichenas.core.errors import DataError
from nichenas.core.errors import TestDataError
from nichenas.core.trial import Proposal
from nichenas.domains.gnn import GNNDomain
from nichenas.domains.gnn.data import load_task
from nichenas.domains.gnn.features import SparseFeatures
from nichenas.domains.gnn.raw_files import planetoid_files
from nichenas.domains.gnn.raw_files import read_planetoid
from nichenas.domains.gnn.settings import GNNSettings
from tests.domains.gnn import made_dataset


def environment(root: Path, cache: Path | None = None, seed: int = 0) -> Environment:
    return Environment(root, cache or Path(os.environ["NICHENAS_CACHE"]), seed=seed)


def write_planetoid(root: Path, name: str = "Cora", nodes: int = 560, features: int = 12, classes: int = 3) -> Path:
    """Writes a small data set in Planetoid's eight files and returns its raw folder."""
    rng = np.random.default_rng(0)
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    test, train = 12, 9
    y = np.eye(classes)[rng.integers(classes, size=nodes)]
    x = scipy.sparse.csr_matrix((rng.random((nodes, features)) < 0.3).astype(np.float32))
    values = {
        "x": x[:train],
        "y": y[:train],
        "allx": x[: nodes - test],
        "ally": y[: nodes - test],
        "tx": x[nodes - test :],
        "ty": y[nodes - test :],
        "graph": {i: [int(j) for j in rng.integers(nodes, size=3)] for i in range(nodes)},
    }
    files = planetoid_files(raw, name)
    for file, part in zip(files, ("x", "tx", "allx", "y", "ty", "ally", "graph"), strict=False):
        file.write_bytes(pickle.dumps(values[part], protocol=4))
    files[-1].write_text("".join(f"{i}\n" for i in rng.permutation(np.arange(nodes - test, nodes))))
    return raw


@pytest.mark.parametrize(
    ("name", "nodes", "features", "classes", "edges", "train"),
    [("Cora", 2708, 1433, 7, 10556, 140), ("CiteSeer", 3327, 3703, 6, 9104, 120)],
)
def test_citation_graphs_have_their_known_sizes(
    data: Path, tmp_path: Path, name: str, nodes: int, features: int, classes: int, edges: int, train: int
) -> None:
    before = sorted(str(p) for p in data.rglob("*"))
    task = load_task(name.lower(), {}, None, environment(data, tmp_path))
    assert (task.features, task.outputs, task.multilabel) == (features, classes, False)
    graph = task.train[0].graph
    assert graph.nodes == nodes
    assert graph.edge_index.shape[1] == edges + nodes
    assert (len(task.train[0].nodes), len(task.validation[0].nodes)) == (train, 500)
    with pytest.raises(TestDataError):
        task.test.read()
    with open_test_data():
        assert len(task.test.read()[0].nodes) == 1000
    sums = task.train[0].x.sum(1)
    assert torch.allclose(sums[sums > 0], torch.ones(()))
    assert sorted(str(p) for p in data.rglob("*")) == before, "a data root must not be written"


def test_sparse_features_are_kept_sparse(data: Path) -> None:
    domain = GNNDomain(GNNSettings(dataset="Cora"), environment(data))  # type: ignore[call-arg]
    domain.prepare()
    for split in ("train", "validation"):
        (piece,) = domain.pieces(domain.space.sample(np.random.default_rng(0)), split)
        assert isinstance(piece.features, SparseFeatures)


def test_a_small_planetoid_is_read_like_the_real_one(tmp_path: Path) -> None:
    write_planetoid(tmp_path)
    task = load_task("Cora", {}, None, environment(tmp_path, tmp_path / "cache"))
    assert (task.features, task.outputs) == (12, 3)
    assert len(task.train[0].nodes) == 9


@pytest.mark.parametrize("name", ["Cora", "CiteSeer", "PubMed"])
def test_raw_files_are_read_as_pyg_reads_them(tmp_path: Path, name: str) -> None:
    same_as_pyg(write_planetoid(tmp_path, name), name)


@pytest.mark.parametrize("name", ["Cora", "CiteSeer"])
def test_real_raw_files_are_read_as_pyg_reads_them(data: Path, name: str) -> None:
    same_as_pyg(data / name / "raw", name)


def same_as_pyg(raw: Path, name: str) -> None:
    found, expected = read_planetoid(raw, name), read_planetoid_data(str(raw), name)
    assert sorted(found.keys()) == sorted(expected.keys())
    for key in sorted(expected.keys()):
        assert found[key].dtype == expected[key].dtype
        assert torch.equal(found[key], expected[key])


@pytest.mark.parametrize("part", ["x", "allx", "graph", "ty"])
def test_a_damaged_file_is_named(tmp_path: Path, part: str) -> None:
    raw = write_planetoid(tmp_path)
    file = raw / f"ind.cora.{part}"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"ind\.cora\.{part}: damaged"):
        load_task("Cora", {}, None, environment(tmp_path, tmp_path / "cache"))


def test_a_missing_file_is_named_with_its_place(tmp_path: Path) -> None:
    raw = write_planetoid(tmp_path)
    (raw / "ind.cora.graph").unlink()
    (raw / "ind.cora.test.index").unlink()
    with pytest.raises(DataError, match=r"missing in .*Cora/raw: ind\.cora\.graph, ind\.cora\.test\.index"):
        load_task("Cora", {}, None, environment(tmp_path, tmp_path / "cache"))


def test_files_that_do_not_fit_together_are_named(tmp_path: Path) -> None:
    raw = write_planetoid(tmp_path)
    (raw / "ind.cora.ally").write_bytes(pickle.dumps(np.zeros((5, 3)), protocol=4))
    with pytest.raises(DataError, match=r"ind\.cora\.allx has 548 rows but ind\.cora\.ally has 5"):
        read_planetoid(raw, "Cora")


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("graph", {0: [10**9]}, r"ind.cora.graph: damaged \(it names a node that is none of 560\)"),
        ("graph", {-1: [0]}, "it names a node that is none of 560"),
        ("graph", {0: ["1"]}, "it names a node that is none of 560"),
        ("graph", {0: 1}, "neighbours of type int"),
        ("graph", [[1]], "not a dictionary of neighbours"),
        ("tx", np.full((12, 12), np.nan), r"ind.cora.tx: damaged \(numbers that are not finite\)"),
        ("tx", np.zeros((12, 13)), "ind.cora.tx has 13 columns but ind.cora.allx has 12"),
        ("y", np.zeros((9, 0)), "ind.cora.y: damaged .a matrix of 9 x 0"),
        ("ty", np.zeros(12), "ind.cora.ty: damaged .not a matrix"),
    ],
)
def test_values_that_do_not_belong_in_a_file(tmp_path: Path, part: str, value: object, message: str) -> None:
    raw = write_planetoid(tmp_path)
    (raw / f"ind.cora.{part}").write_bytes(pickle.dumps(value, protocol=4))
    with pytest.raises(DataError, match=message):
        load_task("Cora", {}, None, environment(tmp_path, tmp_path / "cache"))


@pytest.mark.parametrize("name", ["Cora", "CiteSeer"])
@pytest.mark.parametrize("change", ["", "548 548", "9999999999", "-1", "\u0663", "x"])
def test_numbers_of_test_nodes_are_checked(tmp_path: Path, name: str, change: str) -> None:
    raw = write_planetoid(tmp_path, name)
    file = planetoid_files(raw, name)[-1]
    file.write_text("\n".join([change, *file.read_text().split()[1:]]), encoding="utf-8")
    with pytest.raises(DataError, match=r"test\.index: damaged"):
        read_planetoid(raw, name)


def test_sparse_matrices_whose_indices_are_outside(tmp_path: Path) -> None:
    """scipy would write outside its memory when it makes such a matrix dense."""
    raw = write_planetoid(tmp_path)
    matrix = pickle.loads((raw / "ind.cora.allx").read_bytes())
    matrix.indices[5] = 2**30
    (raw / "ind.cora.allx").write_bytes(pickle.dumps(matrix, protocol=4))
    with pytest.raises(DataError, match=r"ind\.cora\.allx: damaged \(columns from 0 to 1073741824, of 12\)"):
        load_task("Cora", {}, None, environment(tmp_path, tmp_path / "cache"))


def test_other_splits_of_planetoid(tmp_path: Path) -> None:
    raw = write_planetoid(tmp_path)
    place = environment(tmp_path, tmp_path / "cache")
    assert len(load_task("Cora", {"split": "full"}, None, place).train[0].nodes) == 560 - 500 - 12
    with pytest.raises(ConfigError, match=r"domain.dataset_options: Cora does not take these"):
        load_task("Cora", {"split": "half"}, None, place)
    with pytest.raises(ConfigError, match=r"domain.dataset_options: .*unexpected keyword argument 'splits'"):
        load_task("Cora", {"splits": "full"}, None, place)
    folder = tmp_path / "Cora" / "geom-gcn" / "raw"
    shutil.copytree(raw, folder)
    masks = np.arange(560) % 3
    for index in range(10):
        held = {f"{part}_mask": np.roll(masks == i, index) for i, part in enumerate(("train", "val", "test"))}
        np.savez(folder / f"cora_split_0.6_0.2_{index}.npz", **held)
    task = load_task("Cora", {"split": "geom-gcn", "split_index": 1}, None, place)
    assert task.train[0].nodes.tolist() == list(range(1, 560, 3))
    with pytest.raises(ConfigError, match=r"split_index: 10 is not among 0 \.\. 9"):
        load_task("Cora", {"split": "geom-gcn", "split_index": 10}, None, place)
    (folder / "ind.cora.x").write_bytes(b"no")
    with pytest.raises(DataError, match=r"geom-gcn/raw/ind\.cora\.x: damaged"):
        load_task("Cora", {"split": "geom-gcn"}, None, place)


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    write_planetoid(tmp_path)
    place = environment(tmp_path, tmp_path / "cache")
    before = load_task("Cora", {}, None, place)
    (file,) = (tmp_path / "cache").rglob("data.pt")
    file.write_bytes(file.read_bytes()[:1000])
    after = load_task("Cora", {}, None, place)
    assert torch.equal(before.train[0].x, after.train[0].x)
    assert file.stat().st_size > 1000


def test_raw_files_cannot_execute_anything(tmp_path: Path) -> None:
    raw = write_planetoid(tmp_path)

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'owned'}",)

    (raw / "ind.cora.graph").write_bytes(pickle.dumps(Evil(), protocol=4))
    with pytest.raises(DataError, match=r"ind\.cora\.graph: damaged .*does not belong"):
        load_task("Cora", {}, None, environment(tmp_path, tmp_path / "cache"))
    assert not (tmp_path / "owned").exists()


def test_a_replaced_file_is_not_served_from_the_cache(tmp_path: Path) -> None:
    write_planetoid(tmp_path)
    cache = tmp_path / "cache"
    assert load_task("Cora", {}, None, environment(tmp_path, cache)).features == 12
    shutil.rmtree(tmp_path / "Cora")
    write_planetoid(tmp_path, features=9)
    assert load_task("Cora", {}, None, environment(tmp_path, cache)).features == 9


def test_no_data_and_no_network_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("torch_geometric.datasets.planetoid.fs.cp", no_network, raising=False)
    monkeypatch.setattr("torch_geometric.datasets.planetoid.download_url", no_network, raising=False)
    monkeypatch.setattr("torch_geometric.datasets.ppi.download_url", no_network, raising=False)
    for name in ("PubMed", "PPI"):
        with pytest.raises(DataError, match="put these files into") as caught:
            load_task(name, {}, None, environment(tmp_path, tmp_path / "cache"))
        assert "\n" not in str(caught.value)
        assert not (tmp_path / name).exists()


def write_ppi(root: Path) -> None:
    """Writes small inductive graphs with several labels a node, in PPI's files."""
    raw = root / "PPI" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, first, graphs in (("train", 1, 3), ("valid", 21, 2), ("test", 23, 2)):
        sizes = [12, 15, 11][:graphs]
        ids = np.concatenate([np.full(size, first + i) for i, size in enumerate(sizes)])
        count = len(ids)
        links = []
        for graph in range(first, first + graphs):
            members = np.flatnonzero(ids == graph)
            links += [{"source": int(a), "target": int(b)} for a, b in rng.choice(members, size=(30, 2))]
        x = rng.normal(size=(count, 50))
        np.save(raw / f"{split}_feats.npy", x)
        np.save(raw / f"{split}_graph_id.npy", ids)
        np.save(raw / f"{split}_labels.npy", (x[:, :6] > 0).astype(np.int64))
        nodes = [{"id": i} for i in range(count)]
        graph_json = {"directed": False, "multigraph": False, "graph": {}, "nodes": nodes, "links": links}
        (raw / f"{split}_graph.json").write_text(json.dumps(graph_json))


def test_ppi_is_inductive_and_scored_by_micro_f1(tmp_path: Path) -> None:
    write_ppi(tmp_path)
    settings = GNNSettings(dataset="ppi", layers=3, epochs=60, dropout=0.0, weight_decay=0.0, learning_rate=0.02)  # type: ignore[call-arg]
    domain = GNNDomain(settings, environment(tmp_path, tmp_path / "cache"))
    domain.prepare()
    task = domain.task
    assert (task.features, task.outputs, task.multilabel) == (50, 6, True)
    assert (len(task.train), len(task.validation)) == (3, 2)
    assert [objective.name for objective in domain.objectives] == ["micro_f1"]
    layer = {"hidden": 16, "attention": "const", "heads": 2, "aggregate": "mean", "combine": "mlp", "activation": "elu"}
    values = {f"layer{i}.{key}": value for i in (1, 2, 3) for key, value in layer.items()}
    values["layer3.activation"] = "linear"
    architecture = domain.space.architecture(values)  # type: ignore[arg-type]
    measured = domain.evaluate(Proposal(architecture), Context(0))
    assert measured.values["micro_f1"] > 0.6
    with open_test_data():
        assert domain.retrain(architecture, Context(0)).test["micro_f1"] > 0.55
    with pytest.raises(ConfigError, match="dataset_options: PPI takes none, not 'split_index'"):
        load_task("PPI", {"split_index": 1}, None, environment(tmp_path, tmp_path / "cache"))


def test_micro_f1_is_scikit_learns() -> None:
    from sklearn.metrics import f1_score

    from nichenas.domains.gnn.training import counts

    generator = torch.Generator().manual_seed(0)
    outputs, labels = torch.randn(40, 6, generator=generator), (torch.rand(40, 6, generator=generator) > 0.6).float()
    hits, total = counts(outputs, labels)
    expected = f1_score(labels.numpy(), (outputs > 0).numpy(), average="micro")
    assert float(hits / total) == pytest.approx(expected)


def test_any_pyg_dataset_by_dotted_name(tmp_path: Path) -> None:
    task = load_task("tests.domains.gnn.made_dataset.Made", {"size": 50}, None, environment(tmp_path, tmp_path / "c"))
    assert (task.name, task.features, task.outputs) == ("tests.domains.gnn.made_dataset.Made", 4, 2)
    assert len(task.train[0].nodes) == 10
    second = load_task(
        "tests.domains.gnn.made_dataset.Made",
        {"size": 50, "split_index": 1},
        None,
        environment(tmp_path, tmp_path / "c"),
    )
    assert len(second.train[0].nodes) == 12
    for options, message in (({"split_index": 7}, "is not among 0 .. 1"), ({"sise": 3}, "does not take these")):
        with pytest.raises(ConfigError, match=message):
            load_task("tests.domains.gnn.made_dataset.Made", options, None, environment(tmp_path, tmp_path / "c"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edge_index": torch.tensor([[0, 1], [1, 40]])}, "edge_index names nodes from 0 to 40, of 40"),
        ({"edge_index": torch.tensor([[0, -1], [1, 3]])}, "edge_index names nodes from -1 to 3, of 40"),
        ({"edge_index": torch.zeros(3, 2, dtype=torch.int64)}, r"edge_index is torch.int64 \(3, 2\)"),
        ({"edge_index": torch.zeros(2, 2)}, "edge_index is torch.float32"),
        ({"edge_index": None}, "has no edge_index"),
        ({"x": torch.full((40, 3), torch.nan)}, "x holds numbers that are not finite"),
        ({"x": torch.eye(40).to_sparse()}, "x is not a dense tensor"),
        ({"x": torch.zeros(40)}, r"x is \(40,\); wanted: a row of features for each of 40 nodes"),
        ({"x": None}, "has no node features"),
        ({"y": torch.zeros(39)}, r"y is \(39,\)"),
        ({"y": torch.full((40,), 10**12)}, "y names the class 1000000000000, of 40 nodes"),
        ({"y": torch.full((40,), -1)}, "train_mask marks nodes without a label"),
        ({"val_mask": torch.zeros(40, dtype=torch.bool)}, "val_mask marks no node"),
        ({"test_mask": torch.zeros(39, dtype=torch.bool)}, r"test_mask is \(39,\); wanted: \(40,\)"),
    ],
)
def test_graphs_of_users_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    monkeypatch.setattr(made_dataset, "CHANGES", changes)
    with pytest.raises(DataError, match=rf"^tests.domains.gnn.made_dataset.Made in '{tmp_path}/Made': {message}"):
        load_task("tests.domains.gnn.made_dataset.Made", {}, None, environment(tmp_path, tmp_path / "cache"))


def test_a_set_by_dotted_name_is_of_its_own_data_root(tmp_path: Path) -> None:
    for size, root in ((50, tmp_path / "a"), (60, tmp_path / "b")):
        raw = root / "Sized" / "raw"
        raw.mkdir(parents=True)
        (raw / "size.txt").write_text(str(size))
        task = load_task("tests.domains.gnn.made_dataset.Sized", {}, None, environment(root, tmp_path / "cache"))
        assert task.train[0].graph.nodes == size


def test_digits_graph_is_the_nearest_neighbours(tmp_path: Path) -> None:
    task = load_task("digits-knn", {}, None, environment(tmp_path, tmp_path))
    graph = task.train[0].graph
    assert (graph.nodes, task.features, task.outputs) == (1797, 64, 10)
    assert graph.degree.min() >= 11  # ten neighbours and itself
    again = load_task("digits-knn", {}, None, environment(tmp_path, tmp_path, seed=5))
    assert torch.equal(task.train[0].nodes, again.train[0].nodes)  # the split belongs to the data set
    with threadpool_limits(4):  # some images are at the same distance
        threaded = load_task("digits-knn", {}, None, environment(tmp_path, tmp_path))
    assert torch.equal(graph.col, threaded.train[0].graph.col)
    with pytest.raises(ConfigError, match="takes none"):
        load_task("digits-knn", {"k": 3}, None, environment(tmp_path, tmp_path))
