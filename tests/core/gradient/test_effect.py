"""Whether a search did anything: the figures against hand-made ones, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp
from torch import Tensor
from torch import nn

from nichenas.core.context import Environment
from nichenas.core.gradient.discretisation import Discretisation
from nichenas.core.gradient.effect import EffectSettings
from nichenas.core.gradient.effect import GradientNoise
from nichenas.core.gradient.effect import effect_statements
from nichenas.core.gradient.effect import late_share
from nichenas.core.gradient.effect import search_effect
from nichenas.core.gradient.options import GradientOptions
from nichenas.core.gradient.supernet import ResourceTable
from nichenas.core.methods.gradient_loop import GradientLoop
from nichenas.core.session.session import Session
from nichenas.core.testing.toy_supernet import Points
from nichenas.core.testing.toy_supernet import ToySupernetDomain
from nichenas.core.testing.toy_supernet import ToySupernetSettings
from tests.core.gradient.toy import toy

RULE = Discretisation(edges=1)


def mixtures() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    learned = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.1, 0.6, 0.2, 0.1]], dtype=torch.float64)
    return {"cell": learned}, {"cell": torch.full((2, 4), 0.25, dtype=torch.float64)}


def points(count: int = 40, batch: int = 16) -> Points:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return Points(inputs, torch.randint(0, 4, (count,), generator=generator), batch)


def measured(**settings: Any) -> tuple[dict[str, Any], Any]:
    supernet, *_ = toy()
    given = EffectSettings(**{"random": 20, **settings})
    rng = np.random.default_rng(0)
    return search_effect(
        supernet, points(), *mixtures(), RULE, lambda mix: RULE.kept(mix, supernet.groups), rng, given
    ), supernet


def accuracy(supernet: nn.Module, table: Tensor, source: Points) -> float:
    """Every operation runs here, also those that count nothing."""
    with torch.no_grad():
        outputs = supernet(source.inputs, {"cell": table.expand(2, 2, 4)})
    return float((outputs.argmax(1) == source.targets).double().mean())


def test_scores_are_those_of_the_tables() -> None:
    found, supernet = measured()
    learned, flat = (one["cell"] for one in mixtures())
    source = points()
    edges, operations, derived = learned.clone(), torch.zeros(2, 4), torch.zeros(2, 4)
    edges[0] = 0  # the stronger operation of the two edges is on the second
    operations[0, 3] = operations[1, 1] = derived[1, 1] = 1
    for name, table in (
        ("mixture", learned),
        ("uniform", flat),
        ("edges", edges),
        ("operations", operations.double()),
        ("derived", derived.double()),
    ):
        assert found[name] == pytest.approx(accuracy(supernet, table, source)), name
    assert found["samples"] == 40
    difference, error = found["difference"]
    assert difference == pytest.approx(found["mixture"] - found["uniform"])
    assert 0 < error < 0.2


def test_random_architectures_are_of_the_form_of_the_derived_one() -> None:
    """Each runs one operation other than none on one edge, so its score is one of six."""
    found, supernet = measured(random=80)
    possible = set()
    for edge in range(2):
        for operation in (1, 2, 3):
            table = torch.zeros(2, 4, dtype=torch.float64)
            table[edge, operation] = 1
            possible.add(round(accuracy(supernet, table, points()), 9))
    assert {round(score, 9) for score in found["random"]} == possible
    scores = np.array(found["random"])
    beaten = np.mean((scores < found["derived"]) + 0.5 * (scores == found["derived"]))
    assert found["beaten"] == pytest.approx(beaten)


def test_no_more_samples_than_wanted_are_read() -> None:
    assert measured(samples=17)[0]["samples"] == 32  # whole batches of 16
    assert measured(samples=16)[0]["samples"] == 16


def test_gradients_are_tested_as_scipy_does() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(0.25, 1.0, (30, 10, 40))
    noise = GradientNoise()
    for draw in draws:
        noise.record({"cell": torch.from_numpy(draw).float()})
    expected = (ttest_1samp(draws.astype(np.float32), 0).pvalue < 0.05).mean()
    assert 0.1 < expected < 0.5
    assert noise.epoch() == pytest.approx(expected)
    assert noise.epoch() is None  # it started over


def test_of_mere_noise_one_gradient_in_twenty_is_distinguished() -> None:
    rng = np.random.default_rng(1)
    noise = GradientNoise()
    for _ in range(5):
        noise.record({"cell": torch.from_numpy(rng.normal(0, 1, (100, 100))).float()})
    assert noise.epoch() == pytest.approx(0.05, abs=0.01)


def test_gradients_that_never_were_do_not_count() -> None:
    noise = GradientNoise()
    for value in (1.0, 1.1, 0.9, 1.0):
        noise.record({"cell": torch.tensor([[value, 0.0]])})
    assert noise.epoch() == 1.0
    for _ in range(3):  # too few batches to test anything
        noise.record({"cell": torch.ones(1, 2)})
    assert noise.epoch() is None


def test_the_late_epochs_count() -> None:
    assert late_share([0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.2, 0.4]) == pytest.approx(0.3)
    assert late_share([0.9, None, None, None]) is None
    assert late_share([]) is None


EFFECT = {
    "mixture": 0.9,
    "uniform": 0.8,
    "difference": [0.1, 0.02],
    "edges": 0.85,
    "operations": 0.7,
    "derived": 0.6,
    "random": [0.5, 0.55, 0.4] * 10,
    "beaten": 1.0,
    "samples": 200,
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "So the search did something"),
        ({"beaten": 0.9}, "So the search improved the mixture, but"),
        ({"difference": [0.1, 0.06]}, "So the derived architecture is better than chance has it, although"),
        ({"difference": [-0.1, 0.02], "beaten": 0.4}, "nothing shows that the search did better than chance"),
    ],
)
def test_the_conclusion(changes: dict[str, Any], words: str) -> None:
    assert words in effect_statements({**EFFECT, **changes}, 0.07)[-1]


def test_where_less_is_better() -> None:
    """A loss that the search lowered."""
    losses = {**EFFECT, "difference": [-0.1, 0.02], "beaten": 0.0}
    assert "So the search did something" in effect_statements(losses, None, better=-1)[-1]
    assert "better than 100% of 30" in effect_statements(losses, None, better=-1)[1]


def test_gradients_are_told_where_they_were_tested() -> None:
    assert any("7% of the architecture parameters" in line for line in effect_statements(EFFECT, 0.07))
    assert not any("architecture parameters have" in line for line in effect_statements(EFFECT, None))


def searched(**options: Any) -> Session:
    domain = ToySupernetDomain(ToySupernetSettings(), Environment(Path("none"), Path("none")))
    domain.prepare()
    session = Session(domain=domain, seed=0)
    made = GradientOptions.model_validate({"batch": 8, "discretise": {"edges": 2}, **options})
    GradientLoop(session, made, 4).run()
    return session


@pytest.mark.parametrize("step", ["first-order", "second-order", "single-level"])
@pytest.mark.parametrize("relaxation", ["softmax", "sigmoid", "single-path"])
def test_every_search_measures_its_effect(step: str, relaxation: str) -> None:
    session = searched(step=step, relaxation=relaxation)
    effect = session.journal.meta("effect")
    assert len(effect["random"]) == 60
    *_, trial = session.journal.trials()
    assert trial.measurement is not None
    assert 0 <= trial.measurement.diagnostics["distinguished"] <= 1
    name = next(name for name in trial.measurement.values if "discretised" in name)
    assert effect["derived"] == pytest.approx(trial.measurement.values[name])
    assert effect["mixture"] == pytest.approx(trial.measurement.values["quality[supernet]"])


@pytest.mark.parametrize("count", [1, 19])
def test_few_random_architectures_tell_nothing(count: int) -> None:
    with pytest.raises(ValueError, match="fewer than 20 random architectures tell nothing"):
        EffectSettings(random=count)


def test_terms_without_data_are_no_signal() -> None:
    """A cost has the same gradient in every batch; it must not count as distinguished from noise."""

    class Priced(ToySupernetDomain):
        def resources(self) -> dict[str, ResourceTable]:
            return {"macs": ResourceTable({"cell": torch.arange(4, dtype=torch.float64).expand(2, 4)})}

    def share(weight: float) -> float:
        domain = Priced(ToySupernetSettings(), Environment(Path("none"), Path("none")))
        domain.prepare()
        session = Session(domain=domain, seed=0)
        given = {"batch": 8, "resources": [{"kind": "macs", "weight": weight}]}
        GradientLoop(session, GradientOptions.model_validate(given), 1).run()
        (trial,) = session.journal.trials()
        assert trial.measurement is not None
        return float(trial.measurement.diagnostics["distinguished"])

    assert share(1000.0) < 1.0
    assert share(1e-9) == pytest.approx(share(0.0), abs=0.26)


def test_a_search_that_goes_on_is_measured_again() -> None:
    session = searched()
    loop = GradientLoop(session, GradientOptions.model_validate({"batch": 8}), 4)
    assert session.journal.meta("effect")["epochs"] == 4
    session.journal.set_meta("effect", {**session.journal.meta("effect"), "epochs": 3})
    loop._epoch = 4
    loop.run()
    assert session.journal.meta("effect")["epochs"] == 4


def test_the_effect_can_be_left_out() -> None:
    assert searched(effect={"random": 0}).journal.meta("effect") is None
