"""Candidates that are trained on several splits at once: figures are means, and nothing crosses from split to split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nichenas.core.cli import main
from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.errors import ConfigError
from nichenas.core.fidelity import Fidelity
from nichenas.core.sharing.homogeneous import HomogeneousStore
from nichenas.core.space import Architecture
from nichenas.core.training.calibration import calibrated_brier
from nichenas.core.training.loop import Part
from nichenas.core.training.loop import train
from nichenas.core.trial import Proposal
from nichenas.domains.gnn import GNNDomain
from nichenas.domains.gnn.settings import GNNSettings

NODES = 90
SPLITS = 3


@pytest.fixture
def graph(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    labels = np.arange(NODES) % 3
    features = rng.normal(size=(NODES, 6)) + np.eye(6)[labels]
    part = np.stack([rng.permutation(NODES) // 30 for _ in range(SPLITS)])
    masks = {name: part == i for i, name in enumerate(("train_masks", "val_masks", "test_masks"))}
    np.savez(tmp_path / "graph.npz", edge_index=rng.integers(0, NODES, (2, 300)), x=features, y=labels, **masks)
    return str(tmp_path / "graph.npz")


def domain(graph: str, **settings: Any) -> GNNDomain:
    given = {"dataset": graph, "epochs": 6, "patience": None, "space": "wide", "criterion": "calibrated_brier"}
    return GNNDomain(GNNSettings.model_validate({**given, **settings}), Environment(Path("none"), Path("none")))


@pytest.mark.parametrize("name", ["GCN", "GRAND"])
@pytest.mark.parametrize("select", ["score", "loss", "calibrated_loss"])
def test_figures_are_means_over_the_splits(graph: str, name: str, select: str) -> None:
    """They equal those of the splits alone, each with its own epoch that counts and its own early end."""
    given: dict[str, Any] = {"select": select, "epochs": 30, "patience": 4}
    of = domain(graph, search_splits=SPLITS, **given)
    found = of.evaluate(Proposal(of.known[name]), Context(0, 5))
    alone = []
    for split in range(SPLITS):
        one = domain(graph, dataset_options={"split_index": split}, **given)
        training = one._training(one.known[name], Context(0, 5), member=split)  # the draws of this member
        alone.append((train(training, Context(0, 5), Part.whole(30)), training))
    histories = [history for history, _ in alone]
    for figure, theirs in (("accuracy", "score"), ("loss", "loss")):
        assert found.values[figure] == pytest.approx(np.mean([history.values[theirs] for history in histories]))
    assert ("calibrated_loss" in found.values) == (select == "calibrated_loss")
    assert len({history.validated for history in histories}) > 1
    assert found.diagnostics["epochs"] == max(history.validated for history in histories)
    assert found.diagnostics["best_epoch"] == round(np.mean([history.unit for history in histories]))
    for history, training in alone:
        training.network.load_state_dict(history.weights)
    expected = np.mean([calibrated_brier(training.outputs()) for _, training in alone])
    assert found.values["calibrated_brier"] == pytest.approx(expected)
    for epoch, value in found.curve:
        highest = [max(v for e, v in history.curves["score"] if e <= epoch) for history in histories]
        assert value == pytest.approx(np.mean(highest))


def test_one_split_is_as_if_nothing_were_said(graph: str) -> None:
    of, one = domain(graph), domain(graph, search_splits=1)
    results = [each.evaluate(Proposal(each.known["GCN"]), Context(0, 5, keep_weights=True)) for each in (of, one)]
    assert results[0].values == results[1].values
    assert list(results[0].weights) == list(of.share_keys(of.known["GCN"]))


@pytest.mark.parametrize("space", ["wide", "agnn"])
def test_a_network_inherits_only_from_its_own_split(graph: str, space: str) -> None:
    given = {"space": "agnn", "batch_norm": True, "skip": True} if space == "agnn" else {}
    of = domain(graph, search_splits=2, **given)
    wanted = of.known["GCN, 12 layers"] if space == "wide" else of.space.sample(np.random.default_rng(0))
    keys = of.share_keys(wanted)
    kept = of.evaluate(Proposal(wanted), Context(0, 5, keep_weights=True)).weights
    assert set(kept) == set(keys)
    store = HomogeneousStore(of.sharing_rules["homogeneous"] if space == "agnn" else ())
    store.update(0, 0.5, keys, kept)
    inherited = store.inherit(keys)
    one = domain(graph, **given)
    alone = HomogeneousStore(store.attributes)
    alone.update(0, 0.5, one.share_keys(wanted), {name: torch.zeros(()) for name in one.share_keys(wanted)})
    # What is never shared is not with several splits either.
    assert {name[2:] for name in inherited} == set(alone.inherit(one.share_keys(wanted)))
    assert not any("norm" in name or "skip" in name for name in inherited)
    for number in range(2):
        network = of._training(wanted, Context(0, 6, inherited=inherited), split=number, member=number).network
        for name, tensor in network.state_dict().items():
            if f"{number}.{name}" in inherited:
                torch.testing.assert_close(tensor, kept[f"{number}.{name}"])


def test_a_training_in_two_parts_equals_one_in_one_go(graph: str, tmp_path: Path) -> None:
    of = domain(graph, search_splits=2, epochs=6)
    architecture = Architecture(of.known["GRAND"])
    whole = of.evaluate(Proposal(architecture), Context(0, 5))
    half = Fidelity(epochs=0.5)
    of.evaluate(Proposal(architecture, fidelity=half, horizon=1.0), Context(0, 5, checkpoint_out=tmp_path / "half.pt"))
    rest = of.evaluate(Proposal(architecture), Context(0, 5, checkpoint_in=tmp_path / "half.pt"))
    assert rest.values == whole.values
    assert rest.curve == whole.curve


def test_more_splits_than_there_are(graph: str) -> None:
    with pytest.raises(ConfigError, match=r"domain\.search_splits: 4, but the data have 3 splits"):
        domain(graph, search_splits=4).prepare()
    with pytest.raises(ConfigError, match=r"domain\.search_splits: 2, but the data have 1 split$"):
        domain(graph, search_splits=2, dataset_options={"split_index": 1}).prepare()


def test_memory_counts_every_network(graph: str) -> None:
    one, three = domain(graph), domain(graph, search_splits=3)
    architecture = one.known["GCN"]
    weights = one.evaluate(Proposal(architecture), Context(0, 5)).values["parameters"]
    assert three.evaluate(Proposal(architecture), Context(0, 5)).values["parameters"] == weights
    assert three.memory(architecture) - one.memory(architecture) >= 2 * 5 * 4 * weights


def test_what_is_searched_is_said(graph: str, tmp_path: Path) -> None:
    assert "the first of 3 splits" in domain(graph).notes[-1]
    assert "2 of 3 splits" in domain(graph, search_splits=2).notes[-1]
    assert any("nodes that one tests others train on or validate" in note for note in domain(graph).notes)
    arrays = dict(np.load(graph))
    tested = arrays["test_masks"][0]
    for mask in ("train_masks", "val_masks"):
        arrays[mask] = arrays[mask] & ~tested
    arrays["test_masks"] = np.stack([tested] * SPLITS)
    np.savez(tmp_path / "fixed.npz", **arrays)
    assert not any("nodes that one tests" in note for note in domain(str(tmp_path / "fixed.npz")).notes)
    assert not any("splits" in note for note in domain(graph, dataset_options={"split_index": 0}).notes)


@pytest.mark.parametrize("sharing", ["none", "homogeneous"])
def test_a_search_over_splits(graph: str, tmp_path: Path, sharing: str) -> None:
    own = ["domain.epochs=4", "domain.search_splits=3", "search.trials=5", "search.start.known=false"]
    own.append(f"search.sharing={sharing}")
    final = [
        "retrain.finalists=2",
        "retrain.screening=1",
        "retrain.top=1",
        "retrain.seeds=3",
        "retrain.baselines=false",
    ]
    command = ["search", "gnn/own-graph", "--dataset", graph, "--out", str(tmp_path / "run"), *own, *final]
    assert main(command) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert set(result["validation"]) == {"accuracy", "loss", "calibrated_loss", "calibrated_brier", "parameters"}
    assert result["test"]["accuracy"]["n"] == 3


def test_early_stops_compare_means_over_splits(graph: str) -> None:
    of = domain(graph, search_splits=2, epochs=10)
    found = of.evaluate(Proposal(of.known["GCN"]), Context(0, 5))
    at = dict(found.curve)[4]
    for least, stopped in ((at, False), (at + 1e-6, True)):
        again = of.evaluate(Proposal(of.known["GCN"]), Context(0, 5, stop_below=((4, least),)))
        assert again.stopped == stopped
        assert again.epochs == (4 if stopped else 10)


def test_two_classes_by_the_area_under_the_curve(graph: str) -> None:
    arrays = dict(np.load(graph))
    arrays["y"] = (arrays["y"] > 0).astype(int)
    path = str(Path(graph).with_name("two.npz"))
    np.savez(path, **arrays)
    of = domain(path, search_splits=SPLITS, metric="roc_auc")
    of.prepare()
    assert 0 < of.evaluate(Proposal(of.known["GCN"]), Context(0, 5)).values["roc_auc"] < 1


def test_looks_at_every_second_epoch(graph: str) -> None:
    of = domain(graph, search_splits=2, epochs=7, validate_every=2)
    assert [epoch for epoch, _ in of.evaluate(Proposal(of.known["GCN"]), Context(0, 5)).curve] == [2, 4, 6, 7]
