"""Domains, strategies and schedulers with one defect each; the contracts must find every one.

Not collected with the other tests: ``test_contracts.py`` runs it and looks at what fails.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import nn

from nichenas.core.capabilities.batching import BatchedEvaluation
from nichenas.core.capabilities.datasets import NamedDatasets
from nichenas.core.capabilities.exporting import ExportedNetwork
from nichenas.core.capabilities.exporting import Exporting
from nichenas.core.capabilities.precomputed import PrecomputedResults
from nichenas.core.capabilities.precomputed import UntrainedScore
from nichenas.core.capabilities.probing import Probe
from nichenas.core.capabilities.probing import Probing
from nichenas.core.context import Context
from nichenas.core.errors import CandidateFailure
from nichenas.core.fidelity import Fidelity
from nichenas.core.schedulers.halving import Halving
from nichenas.core.space import Architecture
from nichenas.core.strategies import Evolution
from nichenas.core.strategies import RandomSearch
from nichenas.core.testing.baselines_contract import BaselinesContract
from nichenas.core.testing.batching_contract import BatchingContract
from nichenas.core.testing.costing_contract import CostingContract
from nichenas.core.testing.datasets_contract import DatasetsContract
from nichenas.core.testing.domain_contract import DomainContract
from nichenas.core.testing.exporting_contract import ExportingContract
from nichenas.core.testing.fidelity_contract import FidelityContract
from nichenas.core.testing.inheritance_contract import InheritanceContract
from nichenas.core.testing.offspring_contract import OffspringContract
from nichenas.core.testing.one_shot_contract import OneShotContract
from nichenas.core.testing.one_shot_strategy_contract import OneShotStrategyContract
from nichenas.core.testing.precomputed_contract import PrecomputedContract
from nichenas.core.testing.probing_contract import ProbingContract
from nichenas.core.testing.scheduler_contract import SchedulerContract
from nichenas.core.testing.strategy_contract import StrategyContract
from nichenas.core.testing.toy import ToyDomain
from nichenas.core.testing.toy_one_shot import ToyOneShotDomain
from nichenas.core.testing.toy_one_shot import ToyShared
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Retrained
from nichenas.core.trial import Trial


class ToyContract(DomainContract, FidelityContract, InheritanceContract, BaselinesContract, CostingContract):
    data = Path()


# Domains


class GlobalRandomness(ToyDomain):
    def evaluate(self, proposal: Proposal, context: Context) -> Measurement:
        measured = super().evaluate(proposal, context)
        return dataclasses.replace(measured, values={**measured.values, "luck": float(torch.rand(()))})


class TestGlobalRandomness(ToyContract):
    target = f"{__name__}:GlobalRandomness"


class LacksObjective(ToyDomain):
    def evaluate(self, proposal: Proposal, context: Context) -> Measurement:
        return Measurement({"qality": super().evaluate(proposal, context).values["quality"]})


class TestLacksObjective(ToyContract):
    target = f"{__name__}:LacksObjective"


class UnguardedTestData(ToyDomain):
    def retrain(self, architecture: Architecture, context: Context) -> Retrained:
        return Retrained({"quality": 0.5}, {"quality": 0.5})


class TestUnguardedTestData(ToyContract):
    target = f"{__name__}:UnguardedTestData"


class ForgetsItsState(ToyDomain):
    def _continued(self, context: Context) -> tuple[int, float]:
        return super()._continued(context)[0], 0.0


class TestForgetsItsState(ToyContract):
    target = f"{__name__}:ForgetsItsState"


class IgnoresWeights(ToyDomain):
    def evaluate(self, proposal: Proposal, context: Context) -> Measurement:
        context.inherited = {}
        return super().evaluate(proposal, context)


class TestIgnoresWeights(ToyContract):
    target = f"{__name__}:IgnoresWeights"


class TestForgetsAContract(DomainContract, FidelityContract, InheritanceContract, CostingContract):
    target = "nichenas.core.testing.toy:ToyDomain"
    data = Path()


class Everything(ToyDomain, BatchedEvaluation, PrecomputedResults, Probing, Exporting, NamedDatasets):
    """The capabilities that the toy domain lacks, without a defect."""

    simulated_time = True

    @classmethod
    def datasets(cls) -> Mapping[str, str]:
        return {"toy": "drawn numbers"}

    def evaluate(self, proposal: Proposal, context: Context) -> Measurement:
        measured = super().evaluate(proposal, context)
        return dataclasses.replace(measured, simulated_seconds=60.0 * proposal.fidelity["epochs"])

    def evaluate_many(
        self, proposals: Sequence[Proposal], contexts: Sequence[Context]
    ) -> list[Measurement | CandidateFailure]:
        found: list[Measurement | CandidateFailure] = []
        for proposal, context in zip(proposals, contexts, strict=True):
            try:
                found.append(self.evaluate(proposal, context))
            except MemoryError as error:
                found.append(CandidateFailure("out of memory", str(error)))
        return found

    def precomputed_scores(self, architecture: Architecture) -> Mapping[str, UntrainedScore]:
        return {"size": UntrainedScore(float(len(architecture)), 0.1)}

    def best_known(self) -> float | None:
        return 2.0

    def network(self, context: Context) -> nn.Module:
        with context.seeded("network"):
            return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    def probe(self, architecture: Architecture, context: Context) -> Probe:
        network, inputs = self.network(context), torch.randn(8, 3, generator=context.torch("probe"))
        return Probe(network, inputs, network, lambda outputs: outputs.square().mean(), 20.0)

    def retrain(self, architecture: Architecture, context: Context) -> Retrained:
        found = super().retrain(architecture, context)
        return dataclasses.replace(found, weights=self.network(Context(0)).state_dict())

    def export(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> ExportedNetwork:
        network = self.network(Context(0))
        network.load_state_dict(dict(weights))
        return ExportedNetwork(network.eval(), torch.zeros(2, 3))


class EverythingContract(
    ToyContract, BatchingContract, PrecomputedContract, ProbingContract, ExportingContract, DatasetsContract
):
    pass


class TestEverything(EverythingContract):
    target = f"{__name__}:Everything"


class LosesFailures(Everything):
    def evaluate_many(
        self, proposals: Sequence[Proposal], contexts: Sequence[Context]
    ) -> list[Measurement | CandidateFailure]:
        return [found for found in super().evaluate_many(proposals, contexts) if isinstance(found, Measurement)]


class TestLosesFailures(EverythingContract):
    target = f"{__name__}:LosesFailures"


class UnknownSeconds(Everything):
    def evaluate(self, proposal: Proposal, context: Context) -> Measurement:
        return dataclasses.replace(super().evaluate(proposal, context), simulated_seconds=None)

    def best_known(self) -> float | None:
        return 0.1


class TestUnknownSeconds(EverythingContract):
    target = f"{__name__}:UnknownSeconds"


class ExportsInTraining(Everything):
    def export(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> ExportedNetwork:
        exported = super().export(architecture, weights)
        exported.network.train()
        return exported


class TestExportsInTraining(EverythingContract):
    target = f"{__name__}:ExportsInTraining"


class ProbesDiffer(Everything):
    def probe(self, architecture: Architecture, context: Context) -> Probe:
        return super().probe(architecture, Context(random.randrange(10**6)))


class TestProbesDiffer(EverythingContract):
    target = f"{__name__}:ProbesDiffer"


class ToyLosses(ToyShared):
    gated_loss = "c"


class WrongGate(ToyOneShotDomain):
    def shared_training(self, context: Context) -> ToyShared:
        return ToyLosses(self, context)


class TestWrongGate(ToyContract, OneShotContract):
    target = f"{__name__}:WrongGate"


# Strategies and schedulers


class Unseeded(RandomSearch):
    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.rng.bit_generator.advance(random.randrange(1, 10**6))  # type: ignore[attr-defined]


class TestUnseeded(StrategyContract, OneShotStrategyContract):
    strategy = Unseeded


class Minimises(Evolution):
    def score(self, trial: Trial) -> float:
        return -super().score(trial)


class TestMinimises(StrategyContract, OneShotStrategyContract, OffspringContract):
    strategy = Minimises


class TestForgetsOffspring(StrategyContract, OneShotStrategyContract):
    strategy = Evolution


class Parents(Evolution):
    def offspring(self, parents: Sequence[Architecture]) -> list[Proposal]:
        return [Proposal(parent) for parent in parents]


class TestParents(StrategyContract, OneShotStrategyContract, OffspringContract):
    strategy = Parents


class GivesUpAll(Halving):
    def next_round(self) -> list[Proposal]:
        self._obsolete += [trial.number for trial in self._members]
        return super().next_round()


class TestGivesUpAll(SchedulerContract):
    scheduler = GivesUpAll


class Restarts(Halving):
    def promote(self, trial: Trial, end: int) -> Proposal:
        return dataclasses.replace(super().promote(trial, end), start=0.0)


class TestRestarts(SchedulerContract):
    scheduler = Restarts


class LosesSetting(Halving):
    def fidelity(self, end: int) -> Fidelity:
        return Fidelity(epochs=super().fidelity(end)["epochs"])


class TestLosesSetting(SchedulerContract):
    scheduler = LosesSetting
