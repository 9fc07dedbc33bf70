"""Candidates that are trained on several splits at once: figures are means, and nothing crosses from split to split."""

from __future__ import annotations

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
from nichenas.core.space import Architecture
from nichenas.core.trial import Proposal
from nichenas.domains.gnn import GNNDomain
from nichenas.domains.gnn.calibration import calibrated_brier
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
def test_figures_are_means_over_the_splits(graph: str, name: str) -> None:
    """The epoch that counts is one for all splits, so splits of their own are compared by their curves."""
    of = domain(graph, search_splits=SPLITS, select="loss")
    found = of.evaluate(Proposal(of.known[name]), Context(0, 5))
    curves = []
    for split in range(SPLITS):
        alone = domain(graph, dataset_options={"split_index": split}, select="loss")
        training = alone._training(alone.known[name], Context(0, 5), part=split)  # the draws of this part
        curve = []
        for _ in range(6):
            training.advance()
            curve.append(training.validate()["score"])
        curves.append(curve)
    assert [value for _, value in found.curve] == pytest.approx(np.mean(curves, 0))
    assert len({tuple(curve) for curve in curves}) == SPLITS
    assert found.values["accuracy"] == pytest.approx(np.mean(curves, 0)[found.diagnostics["best_epoch"] - 1])


def test_the_criterion_is_the_mean_at_the_epoch_that_counts(graph: str) -> None:
    of = domain(graph, search_splits=SPLITS)
    found = of.evaluate(Proposal(of.known["GCN"]), Context(0, 5, keep_weights=True))
    epoch = found.diagnostics["best_epoch"]
    values = []
    for split in range(SPLITS):
        alone = domain(graph, dataset_options={"split_index": split}, epochs=epoch)
        training = alone._training(alone.known["GCN"], Context(0, 5), part=split)
        for _ in range(epoch):
            training.advance()
        for key, tensor in training.network.state_dict().items():
            torch.testing.assert_close(found.weights[f"{split}.{key}"], tensor)
        values.append(calibrated_brier(training.outputs()))
    assert found.values["calibrated_brier"] == pytest.approx(np.mean(values))


def test_one_split_is_as_if_nothing_were_said(graph: str) -> None:
    of, one = domain(graph), domain(graph, search_splits=1)
    results = [each.evaluate(Proposal(each.known["GCN"]), Context(0, 5, keep_weights=True)) for each in (of, one)]
    assert results[0].values == results[1].values
    assert list(results[0].weights) == list(of.share_keys(of.known["GCN"]))


def test_a_network_inherits_only_from_its_own_split(graph: str) -> None:
    of = domain(graph, search_splits=2)
    architecture = of.known["GCN"]
    keys = of.share_keys(architecture)
    kept = of.evaluate(Proposal(architecture), Context(0, 5, keep_weights=True)).weights
    assert set(kept) == set(keys)
    assert len({(key.layer, key.role) for key in keys.values()}) == len(keys)
    trainings = [of._training(architecture, Context(0, 6, inherited=kept), split=part, part=part) for part in range(2)]
    for part, training in enumerate(trainings):
        for name, tensor in training.network.state_dict().items():
            torch.testing.assert_close(tensor, kept[f"{part}.{name}"])


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
    assert three.memory(architecture) - one.memory(architecture) == 2 * 4 * 4 * weights


def test_what_is_searched_is_said(graph: str) -> None:
    assert "the first of 3 splits" in domain(graph).notes[-1]
    assert "2 of 3 splits" in domain(graph, search_splits=2).notes[-1]
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
