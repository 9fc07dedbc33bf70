"""The tabular domain: evaluations are look-ups in tables of trained architectures."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Literal

import numpy as np

from nichenas.core.capabilities.datasets import NamedDatasets
from nichenas.core.capabilities.fidelity import ReducedFidelity
from nichenas.core.capabilities.precomputed import PrecomputedResults
from nichenas.core.capabilities.precomputed import UntrainedScore
from nichenas.core.context import Context
from nichenas.core.context import TestData
from nichenas.core.domain import Domain
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import ConfigError
from nichenas.core.errors import unknown_name_message
from nichenas.core.fidelity import Fidelity
from nichenas.core.objectives import Objective
from nichenas.core.settings import Settings
from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.core.trial import Drawing
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Retrained
from nichenas.domains.tabular.table import Columns
from nichenas.domains.tabular.tables import BENCHMARKS
from nichenas.domains.tabular.tables import benchmark
from nichenas.domains.tabular.tables import load

UNITS = {"latency": "s"}


class TabularSettings(Settings):
    """The ``domain`` section of a configuration.

    Attributes:
        dataset: name of a table.
        score: score of untrained networks that drives the search in place of the accuracy, where the table has it; it
            is charged the seconds that it took.
        objectives: further ones, all to be minimised, of what the table knows.
    """

    dataset: str = "nas-bench-201-cifar10"
    score: str | None = None
    objectives: tuple[Literal["latency", "parameters", "flops"], ...] = ()


class TabularDomain(Domain, ReducedFidelity, PrecomputedResults, NamedDatasets):
    """Looks trained architectures up. The search sees validation figures, retraining reads the test column.

    Where a table knows what training took, these seconds are the measurements' own and are charged to the budget. Where
    it has learning curves, trials can be measured after any epoch.
    """

    Settings = TabularSettings
    resumable = True
    settings: TabularSettings

    @classmethod
    def datasets(cls) -> Mapping[str, str]:
        """Returns the tables that are known by name."""
        return {name: known.about for name, known in BENCHMARKS.items()}

    def prepare(self) -> None:
        """Reads the table.

        Raises:
            ConfigError: when it lacks an objective.
            DataError: when its file is missing or damaged.
        """
        table = load(self.settings.dataset, self.environment.data_root, self.environment.cache)
        for name in self.settings.objectives:
            if name not in table.further:
                has = ", ".join(table.further) or "none"
                raise ConfigError(f"domain.objectives: '{name}' is not in the table; it has: {has}")
        if self.settings.score is not None and self.settings.score not in table.scores:
            raise ConfigError(f"domain.score: {unknown_name_message('score', self.settings.score, table.scores)}")
        self._test: TestData[Columns] = TestData(table.test)
        self._table = dataclasses.replace(table, test={})
        took = table.score_seconds.get(self.settings.score) if self.settings.score else table.seconds
        self._seconds = np.zeros(len(table)) if took is None else took
        self.simulated_time = took is not None
        if table.curves is not None and self.settings.score is None:
            self.factors = ("epochs",)

    @cached_property
    def space(self) -> SearchSpace:
        """The space that the table covers."""
        made = benchmark(self.settings.dataset).space
        return made() if made is not None else SearchSpace([Choice("cell", tuple(self._table.rows))])

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """The table's validation figure, or the score, and costs if wanted."""
        first = Objective(self.settings.score or next(iter(self._table.validation)))
        return (first, *(Objective(name, "minimize", UNITS.get(name, "")) for name in self.settings.objectives))

    def row(self, architecture: Architecture) -> int:
        """Returns the row of an architecture.

        Raises:
            CandidateFailure: when it is no network, or the table lacks it.
        """
        key = benchmark(self.settings.dataset).key(architecture)
        if key is None:
            raise CandidateFailure("invalid", "no operation is left")
        if key not in self._table.rows:
            raise CandidateFailure("invalid", f"the table lacks {key}")
        return self._table.rows[key]

    def evaluate(self, proposal: Proposal, context: Context) -> Measurement:
        """Looks up validation figures and costs, after as many epochs as the fidelity says."""
        row, fidelity = self.row(proposal.architecture), proposal.fidelity
        values = {name: float(column[row]) for name, column in self._columns.items()}
        if self.settings.score is not None and math.isnan(values[self.settings.score]):
            raise CandidateFailure("no score", f"the table has no {self.settings.score} of it")
        curve: tuple[tuple[int, float], ...] = ()
        if self._table.curves is not None and self.settings.score is None:
            epochs = self.resolve_fidelity(fidelity)["epochs"]
            values[self.objectives[0].name] = float(self._table.curves[row, epochs - 1])
            curve = ((epochs, values[self.objectives[0].name]),)
        seconds = float(self._seconds[row]) * (fidelity["epochs"] - proposal.start)
        return Measurement(values, curve, simulated_seconds=seconds if self.simulated_time else None)

    @cached_property
    def _columns(self) -> Columns:
        """What a look-up tells: the score that drives the search, validation figures, and what else is known."""
        score = self.settings.score
        driving = {} if score is None else {score: self._table.scores[score]}
        return {**driving, **self._table.further, **self._table.validation}

    def resolve_fidelity(self, fidelity: Fidelity) -> Mapping[str, int]:
        """Returns epochs, where the table has learning curves."""
        if self._table.curves is None or self.settings.score is not None:
            return {}
        return {"epochs": max(1, round(self._table.curves.shape[1] * fidelity["epochs"]))}

    def precomputed_scores(self, architecture: Architecture) -> Mapping[str, UntrainedScore]:
        """Returns the table's scores of untrained networks and their seconds."""
        row, table = self.row(architecture), self._table
        return {
            name: UntrainedScore(float(column[row]), float(table.score_seconds[name][row]))
            for name, column in table.scores.items()
            if np.isfinite(column[row])
        }

    def best_known(self) -> float:
        """Returns the largest figure of the table that the search could find."""
        name = self.objectives[0].name
        return float(np.nanmax((self._table.scores if self.settings.score else self._table.validation)[name]))

    def retrain(self, architecture: Architecture, context: Context) -> Retrained:
        """Looks up validation and test figures; they are means of trainings already, so seeds change nothing."""
        row = self.row(architecture)
        test = self._test.read()
        if not test:
            raise CandidateFailure("no test figures", "the table has none; set retrain.seeds to 0")
        return Retrained(
            {name: float(column[row]) for name, column in self._table.validation.items()},
            {name: float(column[row]) for name, column in test.items()},
        )

    def draw(self, architecture: Architecture) -> Drawing:
        """Returns the choices, one below the other."""
        nodes = {name: f"{name}: {value}".replace("+", "\n+") for name, value in architecture.items()}
        names = list(nodes)
        return Drawing(nodes, [(a, b, "") for a, b in itertools.pairwise(names)])
