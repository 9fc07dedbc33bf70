"""Costs as a term of the loss, and as a limit."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nichenas.core.context import Environment
from nichenas.core.errors import ConfigError
from nichenas.core.gradient.discretisation import Discretisation
from nichenas.core.gradient.discretisation import one_hot
from nichenas.core.gradient.options import GradientOptions
from nichenas.core.gradient.resources import Resources
from nichenas.core.gradient.resources import ResourceSettings
from nichenas.core.gradient.supernet import EdgeGroup
from nichenas.core.gradient.supernet import ResourceTable
from nichenas.core.gradient.supernet import dense_edges
from nichenas.core.methods.gradient_loop import GradientLoop
from nichenas.core.session.session import Session
from nichenas.core.testing.toy_supernet import ToySupernetDomain
from nichenas.core.testing.toy_supernet import ToySupernetSettings

NAMES = ("none", "skip", "small", "large")
GROUP = EdgeGroup("cell", dense_edges(2), NAMES, none="none", skip="skip")  # 2 edges into node 2, 3 into node 3
PRICES = torch.tensor([0.0, 1.0, 10.0, 100.0], dtype=torch.float64).expand(5, 4)
TABLES = {"macs": ResourceTable({"cell": PRICES}, rest=7.0), "parameters": ResourceTable({"cell": PRICES / 2})}
RULE = Discretisation()


def resources(*given: dict[str, Any]) -> Resources:
    return Resources(tuple(ResourceSettings.model_validate(one) for one in given), TABLES)


def mixture(seed: int = 0) -> dict[str, Tensor]:
    table = np.random.default_rng(seed).dirichlet(np.ones(4), 5)
    return {"cell": torch.from_numpy(table)}


UNIFORM = {"cell": torch.full((5, 4), 0.25, dtype=torch.float64)}


def cost(kept: Any) -> float:
    return float(TABLES["macs"].expected(one_hot(kept, (GROUP,), UNIFORM)))


def test_expected_cost_by_hand() -> None:
    assert float(TABLES["macs"].expected(UNIFORM)) == pytest.approx(7 + 5 * 111 / 4)
    single = {"cell": torch.zeros(5, 4, dtype=torch.float64)}
    single["cell"][0, 3] = single["cell"][4, 1] = 1
    assert float(TABLES["macs"].expected(single)) == 108


def test_the_term_is_a_share_of_the_uniform_mixtures_cost() -> None:
    table = mixture()["cell"].requires_grad_()
    found = resources({"kind": "macs", "weight": 0.3}).term({"cell": table}, UNIFORM)
    assert found is not None
    assert float(found) == pytest.approx(0.3 * (7 + float((table * PRICES).sum())) / (7 + 5 * 111 / 4))
    found.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(table.grad, 0.3 * PRICES / (7 + 5 * 111 / 4))


def test_a_target_is_not_undercut() -> None:
    expected = float(TABLES["macs"].expected(mixture()))
    below = resources({"kind": "macs", "weight": 2.0, "target": expected * 2}).term(mixture(), UNIFORM)
    above = resources({"kind": "macs", "weight": 2.0, "target": expected / 2}).term(mixture(), UNIFORM)
    assert float(below or 0) == 0
    assert above is not None
    assert float(above) == pytest.approx(2.0)


def test_without_a_weight_there_is_no_term() -> None:
    assert resources({"kind": "macs", "most": 50}).term(mixture(), UNIFORM) is None
    assert resources().term(mixture(), UNIFORM) is None


@pytest.mark.parametrize("seed", range(8))
def test_limits_are_kept_and_form_too(seed: int) -> None:
    free = RULE.kept(mixture(seed), (GROUP,))
    cheapest = 7 + 4
    for most in (400.0, 120.0, 60.0, cheapest):
        kept = resources({"kind": "macs", "most": most}).within(free, mixture(seed), (GROUP,), RULE)
        assert cost(kept) <= most
        targets = [GROUP.edges[edge][1] for edge, _ in kept["cell"]]
        assert targets == [2, 2, 3, 3]
        assert len({edge for edge, _ in kept["cell"]}) == 4
        assert "none" not in {operation for _, operation in kept["cell"]}
        if cost(free) <= most:
            assert kept == free


@pytest.mark.parametrize("seed", range(8))
def test_a_limit_costs_little_more_likelihood_than_it_must(seed: int) -> None:
    """Against the best of all architectures within the limit."""
    table = mixture(seed)["cell"].numpy()

    def likelihood(kept: Any) -> float:
        return float(sum(np.log(table[edge, NAMES.index(operation)]) for edge, operation in kept["cell"]))

    everything = []
    for pair in itertools.combinations((2, 3, 4), 2):
        for names in itertools.product(NAMES[1:], repeat=4):
            kept = {"cell": tuple(zip((0, 1, *pair), names, strict=True))}
            if cost(kept) <= 60:
                everything.append(likelihood(kept))
    free = RULE.kept(mixture(seed), (GROUP,))
    found = likelihood(resources({"kind": "macs", "most": 60}).within(free, mixture(seed), (GROUP,), RULE))
    worse = sum(one > found + 1e-9 for one in everything) / len(everything)
    assert worse < 0.15, worse


def test_edges_may_be_dropped_where_none_competes() -> None:
    rule = Discretisation(rule="all-edges")
    kept = resources({"kind": "macs", "most": 9}).within(rule.kept(mixture(), (GROUP,)), mixture(), (GROUP,), rule)
    assert cost(kept) <= 9
    assert "none" not in {operation for _, operation in kept["cell"]}
    paired = Discretisation(keep_none=True)
    kept = resources({"kind": "macs", "most": 9}).within(paired.kept(mixture(), (GROUP,)), mixture(), (GROUP,), paired)
    assert cost(kept) <= 9
    assert len(kept["cell"]) == 4  # the form of this rule has two edges a node, none among their operations


def test_two_limits_hold_together() -> None:
    both = resources({"kind": "macs", "most": 300}, {"kind": "parameters", "most": 30})
    kept = both.within(RULE.kept(mixture(1), (GROUP,)), mixture(1), (GROUP,), RULE)
    assert cost(kept) <= 67
    assert both.costs(one_hot(kept, (GROUP,), UNIFORM))["parameters"] <= 30


def test_one_limit_is_not_met_at_the_cost_of_another() -> None:
    """What saves parameters costs multiply-adds, but there is an operation that keeps to both limits."""
    group = EdgeGroup("cell", dense_edges(1), ("none", "a", "b", "c"), none="none")
    prices = {"parameters": [0.0, 10.0, 1.0, 2.0], "macs": [0.0, 1.0, 10.0, 4.0]}
    tables = {
        kind: ResourceTable({"cell": torch.tensor(row, dtype=torch.float64).expand(2, 4)})
        for kind, row in prices.items()
    }
    limits = (ResourceSettings(kind="parameters", most=4), ResourceSettings(kind="macs", most=8))
    likes = {"cell": torch.tensor([[0.05, 0.9, 0.04, 0.01]] * 2, dtype=torch.float64)}
    kept = Resources(limits, tables).within({"cell": ((0, "a"), (1, "a"))}, likes, (group,), RULE)
    assert [operation for _, operation in kept["cell"]] == ["c", "c"]


def test_an_edge_is_dropped_for_what_dropping_it_loses() -> None:
    group = EdgeGroup("cell", ((0, 3), (1, 3), (2, 3)), ("none", "a", "b"), inputs=3, none="none")
    table = torch.tensor([[0.01, 0.5, 0.49], [0.39, 0.6, 0.01], [0.98, 0.01, 0.01]], dtype=torch.float64)
    prices = ResourceTable({"cell": torch.tensor([0.0, 10.0, 10.0], dtype=torch.float64).expand(3, 3)})
    rule = Discretisation(rule="all-edges")
    made = Resources((ResourceSettings(kind="macs", most=10),), {"macs": prices})
    kept = made.within(rule.kept({"cell": table}, (group,)), {"cell": table}, (group,), rule)
    assert kept["cell"] == ((0, "a"),)


def test_costs_are_exact() -> None:
    table = ResourceTable({"cell": torch.tensor([[123456802.0, 0.0]], dtype=torch.float64)})
    assert float(table.expected({"cell": torch.tensor([[1.0, 0.0]])})) == 123456802


def test_a_kind_that_costs_nothing_is_refused() -> None:
    free = {"binary_macs": ResourceTable({"cell": torch.zeros(5, 4, dtype=torch.float64)}, rest=3.0)}
    with pytest.raises(ConfigError, match="no operation costs any binary_macs here"):
        Resources((ResourceSettings(kind="binary_macs", weight=1),), free)


def test_what_cannot_be_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"no architecture with at most 10 macs was found; the cheapest has 11 macs"):
        resources({"kind": "macs", "most": 10}).within(RULE.kept(mixture(), (GROUP,)), mixture(), (GROUP,), RULE)
    with pytest.raises(ConfigError, match=r"unknown kind 'mac' \(did you mean 'macs'\?\)"):
        resources({"kind": "mac"})
    with pytest.raises(ConfigError, match="'macs' is there twice"):
        resources({"kind": "macs"}, {"kind": "macs", "weight": 1})
    with pytest.raises(ConfigError, match="does not count the costs"):
        Resources((ResourceSettings(kind="macs"),), {})


class Priced(ToySupernetDomain):
    """The toy whose operations cost as they stand."""

    def resources(self) -> dict[str, ResourceTable]:
        prices = torch.arange(4, dtype=torch.float64).expand(2, 4)
        return {"macs": ResourceTable({"cell": prices}, rest=1.0)}


def searched(**settings: Any) -> list[Any]:
    domain = Priced(ToySupernetSettings(), Environment(Path("none"), Path("none")))
    domain.prepare()
    session = Session(domain=domain, seed=0)
    options = {"batch": 8, "architecture": {"lr": 0.1}, "resources": [{"kind": "macs", **settings}]}
    GradientLoop(session, GradientOptions.model_validate(options), 8).run()
    return [trial.measurement for trial in session.journal.trials()]


def test_searches_mind_costs() -> None:
    free, heavy = searched()[-1], searched(weight=20.0)[-1]
    assert heavy.diagnostics["expected"]["macs"] < free.diagnostics["expected"]["macs"] - 0.5
    assert heavy.values["macs"] == 3  # two edges, each with the cheapest operation that is one
    assert all(measured.values["macs"] <= 4 for measured in searched(most=4.0))
