"""The tabular domain: evaluations are look-ups in tables of trained architectures."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import cached_property
from typing import Literal

from core.context import Context
from core.context import TestData
from core.domain import Domain
from core.domain import Drawing
from core.domain import Measurement
from core.domain import Proposal
from core.domain import Retrained
from core.domain import Settings
from core.errors import CandidateFailure
from core.errors import ConfigError
from core.objectives import Objective
from core.space import Architecture
from core.space import SearchSpace
from domains.tabular.tables import BENCHMARKS
from domains.tabular.tables import Columns
from domains.tabular.tables import Table
from domains.tabular.tables import benchmark
from domains.tabular.tables import load

UNITS = {"latency": "s"}


class TabularSettings(Settings):
    """The ``domain`` section of a configuration.

    Attributes:
        dataset: name of a table.
        objectives: further ones, all to be minimised, of what the table knows.
    """

    dataset: str = "nas-bench-201-cifar10"
    objectives: tuple[Literal["latency", "parameters", "flops"], ...] = ()


class TabularDomain(Domain):
    """Looks trained architectures up. The search sees validation figures, retraining reads the test column."""

    Settings = TabularSettings
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
        self._test: TestData[Columns] = TestData(table.test)
        self._table = Table(table.rows, table.validation, {}, table.further)

    @cached_property
    def space(self) -> SearchSpace:
        """The space that the table covers."""
        return benchmark(self.settings.dataset).space()

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The table's validation figure, and costs if wanted."""
        first = Objective(next(iter(self._table.validation)))
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
        """Looks up validation figures and costs."""
        row = self.row(proposal.architecture)
        columns = {**self._table.validation, **self._table.further}
        return Measurement({name: float(column[row]) for name, column in columns.items()})

    def optimum(self) -> float:
        """Returns the largest validation figure of the table."""
        return float(self._table.validation[self.objectives[0].name].max())

    def retrain(self, architecture: Architecture, context: Context) -> Retrained:
        """Looks up validation and test figures; they are means of trainings already, so seeds change nothing."""
        row = self.row(architecture)
        test = self._test.read()
        return Retrained(
            {name: float(column[row]) for name, column in self._table.validation.items()},
            {name: float(column[row]) for name, column in test.items()},
        )

    def draw(self, architecture: Architecture) -> Drawing:
        """Returns the choices, one below the other."""
        nodes = {name: f"{name}: {value}" for name, value in architecture.items()}
        names = list(nodes)
        return Drawing(nodes, [(a, b, "") for a, b in itertools.pairwise(names)])
