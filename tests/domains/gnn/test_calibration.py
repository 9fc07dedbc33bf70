"""The criterion that graph networks are ranked by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.context import open_test_data
from nichenas.core.data.root import cache_folder
from nichenas.core.training.calibration import SHARPEST
from nichenas.core.training.calibration import calibrated_brier
from nichenas.core.training.calibration import calibrated_loss
from nichenas.core.training.calibration import temperature_of
from nichenas.core.trial import Proposal
from nichenas.domains.gnn.domain import GNNDomain
from nichenas.domains.gnn.settings import GNNSettings
from nichenas.domains.gnn.training import outputs_of


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def informed(strength: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Returns logits of 300 nodes that know the class more or less well, and the classes."""
    labels = torch.randint(0, 4, (300,), generator=torch.Generator().manual_seed(9))
    return strength * torch.nn.functional.one_hot(labels, 4) + draws(300, 4, seed=seed), labels


def test_it_equals_the_formula_at_the_best_temperature() -> None:
    logits, labels = informed(1.0)
    temperatures = np.exp(np.linspace(-2, 2, 4001))
    smoothed = (300 * torch.nn.functional.one_hot(labels, 4) + 1) / 304
    losses = [float(torch.nn.functional.cross_entropy(logits / t, smoothed)) for t in temperatures]
    predicted = (logits / temperatures[int(np.argmin(losses))]).softmax(1)
    expected = sum(
        (predicted[i, c] - (1.0 if labels[i] == c else 0.0)) ** 2 for i in range(300) for c in range(4)
    ) / len(labels)
    assert calibrated_brier([(logits, labels)]) == pytest.approx(float(expected), abs=1e-5)
    halves = [(logits[:120], labels[:120]), (logits[120:], labels[120:])]
    assert calibrated_brier(halves) == calibrated_brier([(logits, labels)])


@pytest.mark.parametrize("strength", [-0.5, 0.0, 0.3, 1.0, 8.0, 40.0])
def test_the_temperature_is_that_of_the_lowest_loss(strength: float) -> None:
    """Also where it is at a bound: of networks that know nothing, are always right, or always wrong."""
    logits, labels = informed(strength)
    for scale in (1.0, 1e-4, 1e4):
        graph = [(scale * logits, labels)]
        varies = float((scale * (logits - logits.mean(1, keepdim=True))).square().mean().sqrt())
        temperatures = varies * np.exp(np.linspace(-SHARPEST, SHARPEST, 4001))
        smoothed = (300 * torch.nn.functional.one_hot(labels, 4) + 1) / 304
        losses = [float(torch.nn.functional.cross_entropy(scale * logits / t, smoothed)) for t in temperatures]
        assert calibrated_loss(graph) == pytest.approx(min(losses), rel=1e-4, abs=1e-7)
        if 0 < strength < 2:
            assert np.log(temperature_of(graph) / temperatures[int(np.argmin(losses))]) == pytest.approx(0, abs=0.005)


def test_the_loss_of_labels_that_a_node_may_have_several_of() -> None:
    logits, labels = draws(50, 3), (draws(50, 3, seed=1) > 0).double()
    temperature = temperature_of([(logits, labels)])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits / temperature, (50 * labels + 1) / 52)
    assert calibrated_loss([(logits, labels)]) == pytest.approx(float(expected))
    assert np.isnan(calibrated_loss([(logits.log(), labels)]))  # a network that has diverged


def test_few_nodes_that_are_all_right_are_still_distinguished() -> None:
    """A larger margin is better, and the loss cannot fall to nothing."""
    labels = torch.arange(6) % 3
    losses, briers = [], []
    for margin in (0.5, 1.0, 2.0, 8.0):
        logits = margin * torch.nn.functional.one_hot(labels, 3) + 0.3 * draws(6, 3)
        losses.append(calibrated_loss([(logits, labels)]))
        briers.append(calibrated_brier([(logits, labels)]))
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == len(losses)
    assert losses[-1] > 0.5  # the entropy of the smoothed labels at least
    assert len(set(briers)) == len(briers)


def test_one_node_of_huge_logits_does_not_decide() -> None:
    logits, labels = informed(1.0)
    logits[0] = 1e4 * torch.nn.functional.one_hot(labels[0], 4)
    smoothed = (300 * torch.nn.functional.one_hot(labels, 4) + 1) / 304
    temperatures = np.exp(np.linspace(-4, 10, 4001))
    least = min(float(torch.nn.functional.cross_entropy(logits / t, smoothed)) for t in temperatures)
    assert calibrated_loss([(logits, labels)]) == pytest.approx(least, rel=1e-4)
    logits[1, (labels[1] + 1) % 4] = -torch.inf
    assert np.isfinite(calibrated_loss([(logits, labels)]))


def test_calibration_does_not_count_and_knowledge_does() -> None:
    logits, labels = informed(1.0)
    for scale in (1e-3, 0.1, 7.0, 1e3):
        assert calibrated_brier([(scale * logits, labels)]) == pytest.approx(
            calibrated_brier([(logits, labels)]), abs=1e-6
        )
    constant = torch.zeros(8, 4), torch.arange(8) % 4
    assert calibrated_brier([constant]) == pytest.approx(0.75)
    scores = [calibrated_brier([informed(strength)]) for strength in (0.0, 0.5, 1.0, 2.0, 40.0)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(0.75, abs=0.02)  # four classes, no knowledge
    assert scores[-1] == pytest.approx(0.0, abs=1e-3)


def test_it_distinguishes_what_is_equally_often_right() -> None:
    """Better odds on the nodes that are wrong, the same class in front."""
    logits, labels = informed(0.7)
    better = logits + 0.3 * torch.nn.functional.one_hot(labels, 4) * (logits.argmax(1) != labels)[:, None]
    same = better.argmax(1) == logits.argmax(1)
    better = torch.where(same[:, None], better, logits)
    assert calibrated_brier([(better, labels)]) < calibrated_brier([(logits, labels)])


def test_several_labels_count_as_two_classes_each() -> None:
    logits, labels = draws(50, 3), (draws(50, 3, seed=1) > 0).double()
    as_classes = torch.stack([torch.zeros_like(logits), logits], -1).reshape(-1, 2)
    expected = calibrated_brier([(as_classes, labels.long().flatten())])
    assert calibrated_brier([(logits, labels)]) == pytest.approx(expected, abs=1e-4)  # smoothed by 50 nodes, not 150


def domain(**settings: Any) -> GNNDomain:
    given = {"dataset": "digits-knn", "space": "wide", "epochs": 12, "select": "loss", **settings}
    made = GNNDomain(GNNSettings.model_validate(given), Environment(Path("none"), cache_folder()))
    made.prepare()
    return made


@pytest.mark.parametrize("name", ["GCN", "SSGC", "GRAND"])
def test_the_domain_measures_it_at_the_epoch_that_counts(name: str) -> None:
    plain, of = domain(), domain(criterion="calibrated_brier")
    assert plain.criterion is None
    assert of.criterion is not None
    architecture = of.known[name]
    measured, before = (
        of.evaluate(Proposal(architecture), Context(5)),
        plain.evaluate(Proposal(architecture), Context(5)),
    )
    value = measured.values["calibrated_brier"]
    assert {**before.values, "calibrated_brier": value} == measured.values
    assert not measured.weights
    with open_test_data():
        full = of.retrain(architecture, Context(5, keep_weights=True))
    assert full.validation["calibrated_brier"] == value
    assert set(full.test) == {"accuracy", "loss"}
    network = of.family.network(architecture, torch.Generator())
    network.load_state_dict(full.weights)
    network.eval()
    (piece,) = of.pieces(architecture, "validation")
    assert calibrated_brier([(network(piece.field, piece.features), piece.labels)]) == value


@pytest.mark.parametrize("pyg", [False, True])
def test_the_epoch_of_the_lowest_calibrated_loss(pyg: bool) -> None:
    name = "GraphSAGE, 15 layers"
    of = domain(select="calibrated_loss", patience=None, pyg_baselines=pyg, epochs=60)
    with open_test_data():
        found = of.train_baseline(name, Context(5, keep_weights=True))
        other = domain(select="loss", patience=None, pyg_baselines=pyg, epochs=60).train_baseline(name, Context(5))
    assert other.validation["loss"] <= found.validation["loss"]
    if not pyg:
        network = of.family.network(of.known[name], torch.Generator())
        network.load_state_dict(found.weights)
        kept = calibrated_loss(outputs_of(network, of.pieces(of.known[name], "validation")))
        training = of._training(of.known[name], Context(5))
        losses = []
        for _ in range(60):
            training.advance()
            losses.append(training.validate()["calibrated_loss"])
        assert kept == pytest.approx(min(losses))


def test_patience_waits_for_the_loss_that_is_chosen_by() -> None:
    of = domain(select="calibrated_loss", patience=3)
    training = of._training(of.known["GCN"], Context(5))
    before, after = (
        {"score": 0.6, "loss": 1.0, "calibrated_loss": 0.5},
        {"score": 0.5, "loss": 2.0, "calibrated_loss": 0.4},
    )
    assert training.better(after, before)
    assert not training.better(before, after)
    curves = {"score": [0.5, 0.5, 0.5, 0.5, 0.5], "loss": [1.0, 2.0, 3.0, 4.0, 5.0]}
    for calibrated, stops in (([1.0, 0.9, 0.8, 0.7, 0.6], False), ([1.0, 0.9, 0.9, 0.9, 0.9], True)):
        for name, values in {**curves, "calibrated_loss": calibrated}.items():
            training.history.curves[name] = list(enumerate(values, 1))
        training.history.validated = 5
        assert training.stops() == stops


def test_rows_that_say_nothing_do_not_decide_the_temperature() -> None:
    """A network that is constant on most samples is calibrated by the others."""
    logits, labels = informed(3.0)
    logits[:200] = 0.25
    temperatures = np.exp(np.linspace(-2, 2, 2001))
    smoothed = (300 * torch.nn.functional.one_hot(labels, 4) + 1) / 304
    losses = [float(torch.nn.functional.cross_entropy(logits / t, smoothed)) for t in temperatures]
    assert calibrated_loss([(logits, labels)]) < losses[1000] - 1e-4  # that of the temperature 1
    assert temperature_of([(logits, labels)]) == pytest.approx(temperatures[int(np.argmin(losses))], rel=2e-3)
