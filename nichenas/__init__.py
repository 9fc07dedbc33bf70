"""Neural architecture search for binary networks, GANs and graph neural networks.

What scripts, notebooks and authors of domains, strategies or methods import stands here::

    import nichenas

    run = nichenas.search("gnn/digits-knn", trials=20)
    print(run.result.test, run.report)

Names are imported when they are first used, so ``import nichenas`` does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING
from typing import Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from nichenas.core.api import Comparison as Comparison
    from nichenas.core.api import Run as Run
    from nichenas.core.api import compare as compare
    from nichenas.core.api import load_run as load_run
    from nichenas.core.api import search as search
    from nichenas.core.capabilities.baselines import Baselines as Baselines
    from nichenas.core.capabilities.batching import BatchedEvaluation as BatchedEvaluation
    from nichenas.core.capabilities.datasets import NamedDatasets as NamedDatasets
    from nichenas.core.capabilities.exporting import ExportedNetwork as ExportedNetwork
    from nichenas.core.capabilities.exporting import Exporting as Exporting
    from nichenas.core.capabilities.fidelity import ReducedFidelity as ReducedFidelity
    from nichenas.core.capabilities.inheritance import ShareKey as ShareKey
    from nichenas.core.capabilities.inheritance import WeightInheritance as WeightInheritance
    from nichenas.core.capabilities.precomputed import PrecomputedResults as PrecomputedResults
    from nichenas.core.capabilities.precomputed import UntrainedScore as UntrainedScore
    from nichenas.core.capabilities.probing import Probe as Probe
    from nichenas.core.capabilities.probing import Probing as Probing
    from nichenas.core.context import Context as Context
    from nichenas.core.context import Environment as Environment
    from nichenas.core.context import Limits as Limits
    from nichenas.core.context import TestData as TestData
    from nichenas.core.domain import Domain as Domain
    from nichenas.core.errors import CandidateFailure as CandidateFailure
    from nichenas.core.errors import ConfigError as ConfigError
    from nichenas.core.errors import DataError as DataError
    from nichenas.core.errors import NichenasError as NichenasError
    from nichenas.core.errors import RunFolderError as RunFolderError
    from nichenas.core.errors import SearchDiverged as SearchDiverged
    from nichenas.core.errors import UserError as UserError
    from nichenas.core.execution.executors import Executor as Executor
    from nichenas.core.fidelity import FULL as FULL
    from nichenas.core.fidelity import Factor as Factor
    from nichenas.core.fidelity import Fidelity as Fidelity
    from nichenas.core.gate import checked_measurement as checked_measurement
    from nichenas.core.gradient.supernet import DifferentiableSupernet as DifferentiableSupernet
    from nichenas.core.gradient.supernet import EdgeGroup as EdgeGroup
    from nichenas.core.gradient.supernet import Supernet as Supernet
    from nichenas.core.methods import METHODS as METHODS
    from nichenas.core.methods import Method as Method
    from nichenas.core.methods import MethodSettings as MethodSettings
    from nichenas.core.methods.sections import Section as Section
    from nichenas.core.methods.sections import search_section as search_section
    from nichenas.core.methods.trial_loop import TrialLoop as TrialLoop
    from nichenas.core.objectives import Objective as Objective
    from nichenas.core.proxies.zero_cost import ZERO_COST as ZERO_COST
    from nichenas.core.schedulers import SCHEDULERS as SCHEDULERS
    from nichenas.core.schedulers import Scheduler as Scheduler
    from nichenas.core.schedulers.base import SynchronousScheduler as SynchronousScheduler
    from nichenas.core.session.budget import Budget as Budget
    from nichenas.core.session.results import RetrainedResult as RetrainedResult
    from nichenas.core.session.results import RunResult as RunResult
    from nichenas.core.session.session import Session as Session
    from nichenas.core.session.state import SearchState as SearchState
    from nichenas.core.settings import Settings as Settings
    from nichenas.core.sharing.one_shot import SharedTraining as SharedTraining
    from nichenas.core.sharing.one_shot import SharedWeights as SharedWeights
    from nichenas.core.space import Architecture as Architecture
    from nichenas.core.space import Choice as Choice
    from nichenas.core.space import SearchSpace as SearchSpace
    from nichenas.core.strategies import STRATEGIES as STRATEGIES
    from nichenas.core.strategies import OneShotStrategy as OneShotStrategy
    from nichenas.core.strategies import ProducesOffspring as ProducesOffspring
    from nichenas.core.strategies import Strategy as Strategy
    from nichenas.core.trial import Drawing as Drawing
    from nichenas.core.trial import Measurement as Measurement
    from nichenas.core.trial import Proposal as Proposal
    from nichenas.core.trial import Retrained as Retrained
    from nichenas.core.trial import Trial as Trial

# Module to what is imported from it; the list above, which type checkers read, has the same names (tested).
_MODULES = {
    "api": ("Comparison", "Run", "compare", "load_run", "search"),
    "capabilities.baselines": ("Baselines",),
    "capabilities.batching": ("BatchedEvaluation",),
    "capabilities.datasets": ("NamedDatasets",),
    "capabilities.exporting": ("ExportedNetwork", "Exporting"),
    "capabilities.fidelity": ("ReducedFidelity",),
    "capabilities.inheritance": ("ShareKey", "WeightInheritance"),
    "capabilities.precomputed": ("PrecomputedResults", "UntrainedScore"),
    "capabilities.probing": ("Probe", "Probing"),
    "context": ("Context", "Environment", "Limits", "TestData"),
    "domain": ("Domain",),
    "errors": (
        "CandidateFailure",
        "ConfigError",
        "DataError",
        "NichenasError",
        "RunFolderError",
        "SearchDiverged",
        "UserError",
    ),
    "execution.executors": ("Executor",),
    "fidelity": ("FULL", "Factor", "Fidelity"),
    "gate": ("checked_measurement",),
    "gradient.supernet": ("DifferentiableSupernet", "EdgeGroup", "Supernet"),
    "methods": ("METHODS", "Method", "MethodSettings"),
    "methods.sections": ("Section", "search_section"),
    "methods.trial_loop": ("TrialLoop",),
    "objectives": ("Objective",),
    "proxies.zero_cost": ("ZERO_COST",),
    "schedulers": ("SCHEDULERS", "Scheduler"),
    "schedulers.base": ("SynchronousScheduler",),
    "session.budget": ("Budget",),
    "session.results": ("RetrainedResult", "RunResult"),
    "session.session": ("Session",),
    "session.state": ("SearchState",),
    "settings": ("Settings",),
    "sharing.one_shot": ("SharedTraining", "SharedWeights"),
    "space": ("Architecture", "Choice", "SearchSpace"),
    "strategies": ("STRATEGIES", "OneShotStrategy", "ProducesOffspring", "Strategy"),
    "trial": ("Drawing", "Measurement", "Proposal", "Retrained", "Trial"),
}
_HOMES = {name: f"nichenas.core.{module}" for module, names in _MODULES.items() for name in names}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nichenas' has no attribute '{name}'")
    found = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
