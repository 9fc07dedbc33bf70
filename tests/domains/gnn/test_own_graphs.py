"""Graphs that users bring: every format gives the same graph, and what cannot be used is one clear line."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from torch_geometric.data import Data

from nichenas.core.capabilities.predicting import Predictions
from nichenas.core.cli import main
from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.context import open_test_data
from nichenas.core.errors import ConfigError
from nichenas.core.errors import DataError
from nichenas.core.trial import Proposal
from nichenas.domains.gnn import GNNDomain
from nichenas.domains.gnn.data import NodeTask
from nichenas.domains.gnn.data import load_task
from nichenas.domains.gnn.own_graphs import load_own
from nichenas.domains.gnn.settings import GNNSettings

NODES = 90


@pytest.fixture
def arrays() -> dict[str, np.ndarray[Any, Any]]:
    """A directed graph with self-loops, duplicates, isolated nodes, and three classes."""
    rng = np.random.default_rng(0)
    x = (rng.random((NODES, 6)) * (rng.random((NODES, 6)) < 0.5)).astype(np.float32)
    edges = rng.integers(0, NODES - 5, (2, 300))
    edges[:, :3] = edges[0, :3]
    edges[:, 10] = edges[:, 11]
    return {"edge_index": edges, "x": x, "y": np.arange(NODES) % 3}


def environment(root: Path = Path("none"), seed: int = 0) -> Environment:
    return Environment(root, root / "cache", seed=seed)


def sparse_parts(name: str, matrix: Any) -> dict[str, Any]:
    made = scipy.sparse.csr_matrix(matrix)
    parts = {"data": made.data, "indices": made.indices, "indptr": made.indptr, "shape": np.array(made.shape)}
    return {f"{name}_{part}": value for part, value in parts.items()}


def adjacency(arrays: dict[str, Any]) -> np.ndarray[Any, Any]:
    matrix = np.zeros((NODES, NODES), np.float32)
    matrix[tuple(arrays["edge_index"])] = 1
    return matrix


def write_csv(folder: Path, arrays: dict[str, Any], split: bool = False) -> Path:
    folder.mkdir()
    names = [f"n{index}" for index in range(NODES)]
    order = np.random.default_rng(1).permutation(NODES)  # the order of labels is not that of features

    def write(name: str, heading: list[str], rows: Any) -> None:
        with (folder / name).open("w", newline="") as opened:
            csv.writer(opened).writerows([heading, *rows])

    write("features.csv", ["node", *"abcdef"], ([names[i], *arrays["x"][i]] for i in range(NODES)))
    write("labels.csv", ["node", "class"], ([names[i], f"class {arrays['y'][i]}"] for i in order))
    write("edges.csv", ["from", "to"], ([names[a], names[b]] for a, b in arrays["edge_index"].T))
    if split:
        parts = ["train", "validation", "test"]
        write("split.csv", ["node", "part"], ([names[i], parts[i // 30]] for i in range(NODES)))
    return folder


def as_npz(**changes: Callable[[dict[str, Any]], Any]) -> Callable[[Path, dict[str, Any]], Path]:
    def write(folder: Path, arrays: dict[str, Any]) -> Path:
        made = dict(arrays)
        for name, make in changes.items():
            found = make(arrays)
            del made[name]
            made.update(found)
        np.savez(folder / "graph.npz", **made)
        return folder / "graph.npz"

    return write


def as_pt(folder: Path, arrays: dict[str, Any]) -> Path:
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    torch.save(Data(**tensors), folder / "graph.pt")
    return folder / "graph.pt"


FORMATS = {
    "npz": as_npz(),
    "edges a row each": as_npz(edge_index=lambda a: {"edges": a["edge_index"].T.astype(np.int32)}),
    "dense adjacency": as_npz(edge_index=lambda a: {"adj": adjacency(a)}),
    "sparse adjacency": as_npz(edge_index=lambda a: sparse_parts("adj_matrix", adjacency(a))),
    "sparse features": as_npz(x=lambda a: sparse_parts("attr", a["x"])),
    "other names": as_npz(x=lambda a: {"node_features": a["x"]}, y=lambda a: {"labels": a["y"].astype(np.float64)}),
    "labels with gaps": as_npz(y=lambda a: {"y": 10 * a["y"][:, None] + 7}),
    "names of classes": as_npz(y=lambda a: {"y": np.array(["ant", "bee", "cat"])[a["y"]]}),
    "pt": as_pt,
    "csv": lambda folder, arrays: write_csv(folder / "graph", arrays),
}


@pytest.mark.parametrize("form", list(FORMATS))
def test_every_format_gives_the_same_graph(form: str, arrays: dict[str, Any], tmp_path: Path) -> None:
    task = load_task(str(FORMATS[form](tmp_path, arrays)), {}, None, environment())
    (part,) = task.train
    both = adjacency(arrays) + adjacency(arrays).T + np.eye(NODES)
    found = torch.zeros(NODES, NODES)
    found[part.graph.row, part.graph.col] = 1
    assert torch.equal(found, torch.from_numpy((both > 0).astype(np.float32)))
    torch.testing.assert_close(part.x, torch.from_numpy(arrays["x"]))
    assert (task.features, task.outputs, task.metric) == (6, 3, "accuracy")
    assert torch.equal(part.labels, torch.from_numpy(arrays["y"])[part.nodes])
    assert any("made" in note and "split" in note for note in task.notes)
    assert any("both ways" in note for note in task.notes)


def parts_of(task: NodeTask, split: int = 0) -> list[list[int]]:
    with open_test_data():
        test = task.splits[split].test.read()
    return [part.nodes.tolist() for (part,) in (task.splits[split].train, task.splits[split].validation, test)]


def test_a_split_is_made_by_class_with_the_seed(arrays: dict[str, Any], tmp_path: Path) -> None:
    path = str(as_npz()(tmp_path, arrays))
    train, validation, test = parts_of(load_task(path, {}, None, environment()))
    assert sorted(train + validation + test) == list(range(NODES))
    for part in (train, validation, test):  # a fifth of every class for each of the first two, at most 20 and 30
        assert np.bincount(arrays["y"][part]).tolist() == [len(part) // 3] * 3
    assert parts_of(load_task(path, {}, None, environment())) == [train, validation, test]
    assert parts_of(load_task(path, {}, None, environment(seed=1))) != [train, validation, test]


def test_masks_are_taken_as_they_are(arrays: dict[str, Any], tmp_path: Path) -> None:
    masks = {name: np.arange(NODES) // 30 == i for i, name in enumerate(("train_mask", "val_mask", "test_mask"))}
    task = load_task(str(as_npz()(tmp_path, {**arrays, **masks})), {}, None, environment())
    expected = [list(range(30)), list(range(30, 60)), list(range(60, 90))]
    assert parts_of(task) == expected
    assert not any("split" in note for note in task.notes)
    assert parts_of(load_task(str(write_csv(tmp_path / "csv", arrays, True)), {}, None, environment())) == expected
    assert parts_of(load_task(str(as_pt(tmp_path, {**arrays, **masks})), {}, None, environment())) == expected


def test_several_splits_are_taken_in_turn(arrays: dict[str, Any], tmp_path: Path) -> None:
    rolled = [np.roll(np.arange(NODES) // 30, 10 * split) for split in range(4)]
    names = ("train_masks", "val_masks", "test_masks")
    masks = {name: np.stack([one == i for one in rolled]) for i, name in enumerate(names)}
    path = str(as_npz()(tmp_path, {**arrays, **masks}))
    task = load_task(path, {}, None, environment())
    assert len(task.splits) == 4
    for split, one in enumerate(rolled):
        assert parts_of(task, split) == [np.flatnonzero(one == i).tolist() for i in range(3)]
    assert parts_of(load_task(path, {"split_index": 2}, None, environment())) == parts_of(task, 2)
    with pytest.raises(ConfigError, match=r"4 is not among 0 \.\. 3"):
        load_task(path, {"split_index": 4}, None, environment())

    settings = GNNSettings.model_validate({"dataset": path, "epochs": 4, "patience": None, "space": "wide"})
    of = GNNDomain(settings, environment())
    architecture = of.known["GCN"]
    first, again = (of.evaluate(Proposal(architecture, repeat=r), Context(0, 5, repeat=r)) for r in (0, 1))
    assert first.values == again.values  # a search has one split, so that its measurements can be compared
    with open_test_data():
        four, none = (of.retrain(architecture, Context(0, repeat=repeat)) for repeat in (1, 5))
        assert four.test == none.test  # split 1 again, with the same seed
        assert (
            of.train_baseline("GCN", Context(0, repeat=1)).test != of.train_baseline("GCN", Context(0, repeat=2)).test
        )


def test_a_graph_of_one_split_has_no_second(
    arrays: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = {name: np.arange(NODES) // 30 == i for i, name in enumerate(("train_mask", "val_mask", "test_mask"))}
    columns = {name: mask[:, None] for name, mask in masks.items()}
    for held in (arrays, {**arrays, **masks}, {**arrays, **columns}):
        path = str(as_npz()(tmp_path, held))
        first = parts_of(load_task(path, {"split_index": 0}, None, environment()))
        assert first == parts_of(load_task(path, {}, None, environment()))
        for wrong in (1, -1, 0.0, "0", True):
            with pytest.raises(ConfigError, match=r"split_index: .* is not among 0, since the graph has") as caught:
                load_task(path, {"split_index": wrong}, None, environment())
            assert "\n" not in str(caught.value)
    words = [f"domain.dataset={path}", "domain.dataset_options={split_index: 3}", "--out", str(tmp_path / "run")]
    assert main(["search", "gnn/own-graph", *words]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert told == ["nichenas: " + str(caught.value).replace("True", "3")]


def test_nodes_without_a_label_are_in_no_part(arrays: dict[str, Any], tmp_path: Path) -> None:
    y = arrays["y"].astype(np.float64)
    y[::5] = np.nan
    negative = np.where(np.isnan(y), -1, y).astype(np.int64)
    for labels in (y, negative, np.where(np.isnan(y), "", y.astype(str))):
        task = load_task(str(as_npz()(tmp_path, {**arrays, "y": labels})), {}, None, environment())
        train, validation, test = parts_of(task)
        assert sorted(train + validation + test) == [node for node in range(NODES) if node % 5]
        assert task.outputs == 3
        assert any("18 of 90 nodes have no label" in note for note in task.notes)


def test_several_labels_a_node_with_masks(arrays: dict[str, Any], tmp_path: Path) -> None:
    y = np.stack([arrays["y"] == 0, arrays["x"][:, 0] > 0.1], 1).astype(np.int64)
    masks = {name: np.arange(NODES) // 30 == i for i, name in enumerate(("train_mask", "val_mask", "test_mask"))}
    task = load_task(str(as_npz()(tmp_path, {**arrays, "y": y, **masks})), {}, None, environment())
    assert (task.outputs, task.metric) == (2, "micro_f1")


def test_directed_graphs_stay_so_where_it_is_asked_for(arrays: dict[str, Any], tmp_path: Path) -> None:
    task = load_task(str(as_npz()(tmp_path, arrays)), {"directed": True}, None, environment())
    graph = task.train[0].graph
    expected = set(map(tuple, arrays["edge_index"].T.tolist())) | {(node, node) for node in range(NODES)}
    assert set(zip(graph.col.tolist(), graph.row.tolist(), strict=True)) == expected
    assert not any("both ways" in note for note in task.notes)


@pytest.mark.parametrize(("changes", "message"), [
    ({"y": np.zeros(NODES, np.int64)}, "the same class"),
    ({"y": np.linspace(0, 1, NODES)}, "only classification is supported, not regression"),
    ({"y": np.arange(NODES - 1) % 3}, "features of 90 nodes and labels of 89"),
    ({"x": np.full((NODES, 2), np.nan, np.float32)}, "x holds numbers that are not finite"),
    ({"x": np.zeros(NODES, np.float32)}, r"x is float32 \(90,\); wanted: numbers, \(nodes, features\)"),
    ({"edge_index": np.full((2, 4), NODES)}, "edge_index names nodes from 90 to 90, of 90"),
    ({"edge_index": np.full((2, 4), 0.5)}, "wanted: whole numbers"),
    (dict.fromkeys(("train_mask", "val_mask", "test_mask"), np.arange(NODES) < 40), "40 nodes are both in train_mask"),
    ({"train_idx": np.arange(9)}, "'train_idx' is not read; give train_mask"),
    ({"y": np.full(NODES, np.nan)}, "no node has a label"),
    ({"train_mask": np.ones(NODES, bool)}, "has no val_mask"),
    ({"train_mask": np.ones(7, bool)}, r"train_mask is \(7,\), of 90 nodes"),
    ({"y": np.array(["a"] * 89 + ["b"])}, "class of 1 node"),
])  # fmt: skip
def test_what_cannot_be_used_is_one_line(
    changes: dict[str, Any], message: str, arrays: dict[str, Any], tmp_path: Path
) -> None:
    path = as_npz()(tmp_path, {**arrays, **changes})
    with pytest.raises(DataError, match=message) as caught:
        load_task(str(path), {}, None, environment())
    assert "graph.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("made", "message"), [
    (lambda d: {"x": d["x"], "edge_index": d["edge_index"], "y": d["y"][:1]}, "graph-level tasks are not supported"),
    (lambda d: {"x": d["x"], "edge_index": d["edge_index"]}, "has no y"),
    (lambda d: {**d, "edge_label_index": d["edge_index"]}, "link prediction is not supported"),
])  # fmt: skip
def test_other_tasks_are_refused(made: Any, message: str, arrays: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load_own(as_pt(tmp_path, made(arrays)))


def test_files_that_hold_something_else(arrays: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=arrays["x"], y=arrays["y"])
    with pytest.raises(DataError, match=r"holds no edges; .* wanted, not x, y"):
        load_own(tmp_path / "a.npz")
    torch.save([Data(), Data()], tmp_path / "list.pt")
    with pytest.raises(DataError, match="holds 2 objects; save a single PyG Data"):
        load_own(tmp_path / "list.pt")
    torch.save({"code": Path("x")}, tmp_path / "code.pt")
    with pytest.raises(DataError, match="cannot be read as a PyG Data without running code"):
        load_own(tmp_path / "code.pt")
    with pytest.raises(ConfigError, match=r"nowhere\.npz' is no graph; allowed: \.npz, \.pt"):
        load_task("nowhere.npz", {}, None, environment())
    folder = write_csv(tmp_path / "csv", arrays)
    (folder / "edges.csv").write_text("from,to\nn0,n999\n")
    with pytest.raises(DataError, match=r"edges.csv: line 2: the node 'n999' is not among those of features.csv"):
        load_own(folder)
    (folder / "edges.csv").write_text("from,to\nn0\n")
    with pytest.raises(DataError, match="line 2 has 1 columns, not 2"):
        load_own(folder)


def test_roc_auc(arrays: dict[str, Any], tmp_path: Path) -> None:
    from sklearn.metrics import roc_auc_score

    from nichenas.domains.gnn.training import score_and_loss

    generator = torch.Generator().manual_seed(0)
    outputs, labels = torch.randn(50, 2, generator=generator), torch.arange(50) % 2
    expected = roc_auc_score(labels, outputs.softmax(1)[:, 1])
    assert score_and_loss([(outputs[:20], labels[:20]), (outputs[20:], labels[20:])], "roc_auc")[0] == pytest.approx(
        expected
    )
    path = str(as_npz()(tmp_path, {**arrays, "y": arrays["y"] % 2}))
    settings = {"dataset": path, "epochs": 3, "metric": "roc_auc", "space": "wide"}
    of = GNNDomain(GNNSettings.model_validate(settings), environment())
    assert of.objectives[0].name == "roc_auc"
    assert 0 <= of.evaluate(Proposal(of.known["GCN"]), Context(0)).values["roc_auc"] <= 1
    three = GNNSettings.model_validate({**settings, "dataset": str(as_npz()(tmp_path, arrays))})
    with pytest.raises(ConfigError, match=r"domain\.metric: roc_auc needs two classes, not 3"):
        GNNDomain(three, environment()).prepare()


def test_labels_in_text_are_read_as_in_numbers(arrays: dict[str, Any], tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "csv", arrays)
    rows = [f"n{i},{'-1' if i % 5 == 0 else 'NaN' if i % 5 == 1 else arrays['y'][i]}" for i in range(NODES)]
    (folder / "labels.csv").write_text("\n".join(["node,class", *rows]) + "\n")
    data = load_own(folder)
    expected = np.where(np.arange(NODES) % 5 < 2, -1, arrays["y"])
    assert data.y.tolist() == expected.tolist()
    (folder / "labels.csv").write_text("\n".join(["node,class", *(f"n{i},0.{i}1" for i in range(NODES))]) + "\n")
    with pytest.raises(DataError, match="only classification is supported, not regression"):
        load_own(folder)


@pytest.mark.parametrize("name", ["edges.csv", "features.csv", "labels.csv", "split.csv"])
def test_a_missing_line_of_headings_is_told(name: str, arrays: dict[str, Any], tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "csv", arrays, split=True)
    lines = (folder / name).read_text().splitlines()
    (folder / name).write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(DataError, match=f"{name}: the first line must be headings"):
        load_own(folder)


def test_a_node_that_stands_twice_is_told(arrays: dict[str, Any], tmp_path: Path) -> None:
    for name in ("features.csv", "labels.csv", "split.csv"):
        folder = write_csv(tmp_path / name[:-4], arrays, split=True)
        lines = (folder / name).read_text().splitlines()
        (folder / name).write_text("\n".join([*lines, lines[1]]) + "\n")
        with pytest.raises(DataError, match=f"{name}: line 92: the node '.*' stands there twice"):
            load_own(folder)


@pytest.mark.parametrize("change", [
    lambda d: d.update(x=d["x"].clone().requires_grad_()),
    lambda d: d.update(x=d["x"].bfloat16()),
    lambda d: d.update(x=d["x"].to_sparse()),
    lambda d: d.update(adj=torch.eye(NODES).to_sparse_csr(), edge_attr=torch.zeros(300, 2).bfloat16(), name="mine"),
])  # fmt: skip
def test_tensors_of_every_kind(change: Any, arrays: dict[str, Any], tmp_path: Path) -> None:
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    change(tensors)
    torch.save(Data(**tensors), tmp_path / "graph.pt")
    task = load_task(str(tmp_path / "graph.pt"), {}, None, environment())
    torch.testing.assert_close(task.train[0].x, torch.from_numpy(arrays["x"]), rtol=0.01, atol=0.01)
    assert any("attributes of edges" in note for note in task.notes) == ("edge_attr" in tensors)


@pytest.mark.parametrize("empty", [0, 10])
@pytest.mark.parametrize("classes", [2, 3])
def test_one_hot_labels_are_classes(arrays: dict[str, Any], tmp_path: Path, classes: int, empty: int) -> None:
    """Of two columns too; nodes without any 1 have no label."""
    labels = np.arange(NODES) % classes
    hot = np.eye(classes, dtype=int)[labels]
    hot[:empty] = 0
    task = load_task(str(as_npz()(tmp_path, {**arrays, "y": hot})), {}, None, environment())
    assert (task.multilabel, task.outputs) == (False, classes)
    assert any(f"{empty} of 90 nodes have no label" in note for note in task.notes) == bool(empty)
    hot[-1] = 1
    masks = {name: np.arange(NODES) // 30 == i for i, name in enumerate(("train_mask", "val_mask", "test_mask"))}
    task = load_task(str(as_npz()(tmp_path, {**arrays, **masks, "y": hot})), {}, None, environment())
    assert task.multilabel


@pytest.mark.parametrize("name", ["idx_train", "train_idx", "train_index", "split"])
@pytest.mark.parametrize("kind", ["npz", "pt"])
def test_a_split_in_another_form_is_not_replaced(arrays: dict[str, Any], tmp_path: Path, name: str, kind: str) -> None:
    given = {**arrays, name: np.arange(20)}
    path = as_npz()(tmp_path, given) if kind == "npz" else as_pt(tmp_path, given)
    with pytest.raises(DataError, match=f"'{name}' is not read; give train_mask, val_mask, test_mask"):
        load_task(str(path), {}, None, environment())


def test_masks_of_several_splits_in_a_pyg_file(arrays: dict[str, Any], tmp_path: Path) -> None:
    parts = np.stack([np.roll(np.arange(NODES) // 30, 10 * split) for split in range(3)])
    masks = {name: parts == i for i, name in enumerate(("train_masks", "val_masks", "test_masks"))}
    task = load_task(str(as_pt(tmp_path, {**arrays, **masks})), {}, None, environment())
    assert parts_of(task, 1) == [np.flatnonzero(parts[1] == i).tolist() for i in range(3)]


def test_names_with_minus_one_for_unknown(arrays: dict[str, Any], tmp_path: Path) -> None:
    names = np.array(["ant", "bee", "-1"])[arrays["y"]]
    task = load_task(str(as_npz()(tmp_path, {**arrays, "y": names})), {}, None, environment())
    assert task.outputs == 2
    assert any("30 of 90 nodes have no label" in note for note in task.notes)


def test_classes_that_only_test_nodes_have_are_told(arrays: dict[str, Any], tmp_path: Path) -> None:
    masks = {name: np.arange(NODES) // 30 == i for i, name in enumerate(("train_mask", "val_mask", "test_mask"))}
    labels = arrays["y"].copy()
    labels[:60] %= 2
    path = as_npz()(tmp_path, {**arrays, **masks, "y": labels})
    told = "test nodes have classes that no training node has: 2"
    assert told in load_task(str(path), {}, None, environment()).notes


def test_files_that_are_no_graphs(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("x,y")
    np.savez(tmp_path / "objects.npz", y=np.array(["a", None]))
    (tmp_path / "mine").mkdir()
    for name, message in (
        ("text.npz", r"cannot be read as .npz \(it is no archive of arrays\)"),
        ("objects.npz", r"holds Python objects.*astype\(str\)"),
        ("mine", "domain.dataset: the folder '.*mine' has no edges.csv"),
    ):
        with pytest.raises((DataError, ConfigError), match=message):
            load_task(str(tmp_path / name), {}, None, environment())


def test_a_search_without_any_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["search", "gnn/own-graph"]) == 2
    assert "domain.dataset: is missing; allowed: " in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_data_that_change_end_a_run(arrays: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = as_npz()(tmp_path, arrays)
    run = tmp_path / "run"
    short = ["domain.epochs=3", "search.trials=3", "search.start.known=false"]
    final = ["retrain.seeds=2", "retrain.baselines=false"]
    command = ["search", "gnn/own-graph", "--dataset", str(path), "--out", str(run), *short, *final]
    assert main(command) == 0
    assert main(["retrain", str(run), "--seeds", "3"]) == 0
    as_npz()(tmp_path, {**arrays, "x": arrays["x"] + 1})
    for again in (["retrain", str(run), "--seeds", "4"], [*command, "--resume", "search.trials=5"]):
        capsys.readouterr()
        assert main(again) == 2
        assert "the data are not those that the run was started with" in capsys.readouterr().err


def test_predictions_of_all_nodes_by_their_names(
    arrays: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nodes and classes have the names of the files; the same weights predict as in the final training."""
    arrays["x"] = arrays["x"] + 3 * np.eye(6, dtype=np.float32)[arrays["y"]]
    folder = write_csv(tmp_path / "csv", arrays)
    lines = (folder / "labels.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join(lines[:-9]) + "\n")  # nine nodes without a label
    run = str(tmp_path / "run")
    own = ["domain.epochs=40", "search.trials=3", "retrain.seeds=2", "retrain.baselines=false"]
    assert main(["search", "gnn/own-graph", "--dataset", str(folder), "--out", run, *own]) == 0
    capsys.readouterr()
    assert main(["predict", run]) == 0
    assert "predictions.csv (90 rows)" in capsys.readouterr().out
    with (tmp_path / "run" / "best" / "predictions.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    columns = ["p(class 0)", "p(class 1)", "p(class 2)"]
    assert list(rows[0]) == ["node", "predicted", *columns]
    assert [row["node"] for row in rows] == [f"n{index}" for index in range(NODES)]
    for row in rows:
        values = [float(row[column]) for column in columns]
        assert sum(values) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == f"class {int(np.argmax(values))}"
    right = [row["predicted"] == f"class {label}" for row, label in zip(rows, arrays["y"], strict=True)]
    assert np.mean(right) > 0.7
    (folder / "edges.csv").write_text("\n".join((folder / "edges.csv").read_text().splitlines()[:-20]) + "\n")
    assert main(["predict", run, "--out", str(tmp_path / "again.csv")]) == 2
    assert "the data are not those that the run was started with" in capsys.readouterr().err
    assert not (tmp_path / "again.csv").exists()


def test_predictions_of_several_labels() -> None:
    found = Predictions("node", ["a", "b"], ["x", "y", "z"], torch.tensor([[0.9, 0.6, 0.1], [0.2, 0.3, 0.4]]), False)
    assert found.labels() == ["x;y", ""]
    assert Predictions("node", ["a", "b"], ["x", "y", "z"], found.probabilities).labels() == ["x", "z"]


def test_validation_nodes_are_drawn_in_proportion(tmp_path: Path) -> None:
    """As test nodes are, while training has as many of every class."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(3), [3000, 900, 100]))
    arrays = {"edge_index": rng.integers(0, 4000, (2, 8000)), "x": rng.normal(size=(4000, 4)), "y": labels}
    train, validation, test = parts_of(load_task(str(as_npz()(tmp_path, arrays)), {}, None, environment()))
    counts = [np.bincount(labels[part], minlength=3).tolist() for part in (train, validation, test)]
    assert counts[0] == [20, 20, 20]
    assert counts[1] == [375, 112, 12]
    assert counts[2] == [2605, 768, 68]


def test_endings_of_files_in_capitals(arrays: dict[str, Any], tmp_path: Path) -> None:
    path = as_npz()(tmp_path, arrays)
    path.rename(tmp_path / "GRAPH.NPZ")
    assert load_task(str(tmp_path / "GRAPH.NPZ"), {}, None, environment()).outputs == 3
