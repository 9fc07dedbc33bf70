"""Every strategy against the shipped contract."""

from __future__ import annotations

import pytest

from nichenas.core.strategies import Conservative
from nichenas.core.strategies import Evolution
from nichenas.core.strategies import ForestSearch
from nichenas.core.strategies import LocalSearch
from nichenas.core.strategies import OptunaSampler
from nichenas.core.strategies import RandomSearch
from nichenas.core.strategies import Reinforce
from nichenas.core.testing.offspring_contract import OffspringContract
from nichenas.core.testing.one_shot_strategy_contract import OneShotStrategyContract
from nichenas.core.testing.strategy_contract import StrategyContract


class TestRandom(StrategyContract, OneShotStrategyContract):
    strategy = RandomSearch


class TestEvolution(StrategyContract, OneShotStrategyContract, OffspringContract):
    strategy = Evolution
    options = {"population": 10, "tournament": 4}


class TestLocal(StrategyContract, OneShotStrategyContract):
    strategy = LocalSearch


class TestForest(StrategyContract, OneShotStrategyContract):
    strategy = ForestSearch


class TestForestWithRepetition(StrategyContract, OneShotStrategyContract):
    strategy = ForestSearch
    options = {"deduplicate": False, "first": 2, "trees": 2, "pool": 5}
    repeats = True


class TestReinforce(StrategyContract, OneShotStrategyContract):
    strategy = Reinforce


class TestConservative(StrategyContract, OneShotStrategyContract):
    strategy = Conservative


class TestConservativeFaithful(StrategyContract, OneShotStrategyContract):
    strategy = Conservative
    options = {"deduplicate": False, "guide": "argmax", "classes": 2}
    repeats = True


class OptunaContract(StrategyContract, OneShotStrategyContract):
    strategy = OptunaSampler
    repeats = True

    @pytest.fixture(autouse=True)
    def _needs_optuna(self) -> None:
        pytest.importorskip("optuna")


class TestOptunaTPE(OptunaContract):
    options = {"sampler": "TPE"}


class TestOptunaNSGAII(OptunaContract):
    options = {"sampler": "NSGAIISampler", "arguments": {"population_size": 8}}
