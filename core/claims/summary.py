"""What a study of claims found: ``claims.json`` and ``runs.csv``, written and read here alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter
from pydantic import ValidationError

from nichenas.core.claims.decisions import ClaimResult
from nichenas.core.errors import RunFolderError
from nichenas.core.files import read_json
from nichenas.core.files import write_csv
from nichenas.core.files import write_json
from nichenas.core.proxies.study_summary import StudySummary
from nichenas.core.report.comparison import Interval
from nichenas.core.report.comparison import interval
from nichenas.core.session.results import RetrainedResult
from nichenas.core.session.results import RunResult

SUMMARY = "claims.json"
RUNS = "runs.csv"


@dataclass(frozen=True)
class GateResult:
    """Whether two trainings of the same architectures rank them alike, and so would means of several.

    A run's figure is the mean of several trainings; how well two such means agree follows from how well two trainings
    do (Spearman 1910, Brown 1910).

    Attributes:
        arm: in whose settings they were trained.
        planned: random architectures.
        architectures: those of which both trainings succeeded.
        correlation: Spearman's; none where it is not defined, as for equal values.
        low: of its 95% bootstrap interval.
        high: likewise.
        trainings: that a run's figure is the mean of.
        needed: of their means, from which on the gate is passed.
    """

    arm: str
    planned: int
    architectures: int
    correlation: float | None
    low: float | None
    high: float | None
    trainings: int
    needed: float

    @property
    def of_means(self) -> float | None:
        """The correlation that means of :attr:`trainings` have by Spearman and Brown's formula."""
        if self.correlation is None or self.correlation <= 0:
            return self.correlation
        return self.trainings * self.correlation / (1 + (self.trainings - 1) * self.correlation)

    @property
    def passed(self) -> bool:
        """Whether anything may be compared."""
        return self.of_means is not None and self.of_means >= self.needed

    @classmethod
    def of(cls, arm: str, study: StudySummary, trainings: int, needed: float) -> GateResult:
        """Returns the gate of a study in which full trainings were repeated."""
        found = study.repeated
        if found is None:
            return cls(arm, study.architectures, 0, None, None, None, trainings, needed)
        values = (found.spearman.value, found.spearman.low, found.spearman.high)
        rho, low, high = (value if np.isfinite(value) else None for value in values)
        return cls(arm, study.architectures, found.count, rho, low=low, high=high, trainings=trainings, needed=needed)

    def sentence(self) -> str:
        """Returns the gate in words."""
        failed = "" if self.architectures == self.planned else f" ({self.architectures} of them without a failure)"
        what = f"Gate, {self.arm}: {self.planned} random architectures trained twice{failed}"
        if self.correlation is None or self.of_means is None:
            return f"{what} have no rank correlation: not passed, {self.needed:g} is needed."
        inside = "" if self.low is None else f" (95% interval {self.low:.2f} to {self.high:.2f})"
        verdict = "passed" if self.passed else f"not passed, {self.needed:g} is needed"
        means = ""
        if self.trainings > 1:
            means = f", so means of {self.trainings} trainings with about {self.of_means:.2f}"
        return f"{what} rank alike with Spearman {self.correlation:.2f}{inside}{means}: {verdict}."


@dataclass(frozen=True)
class RunRow:
    """One run of an arm, or one control.

    Attributes:
        seed: of the run.
        key: of the architecture that was trained in full; empty where there was none.
        validation: mean of its full trainings; none where all failed.
        test: likewise.
        reported: mean of the domain's primary objective on test data, where another figure decides.
        trainings: that succeeded.
        seconds: of the search; 0 for a control.
        costs: of the architecture, by name; what was measured too.
        beaten: share of random architectures that a gradient search's outcome is better than in the supernet.
        note: what is not as it should be.
    """

    arm: str
    seed: int
    key: str = ""
    validation: float | None = None
    test: float | None = None
    reported: float | None = None
    trainings: int = 0
    seconds: float = 0.0
    costs: Mapping[str, float] = field(default_factory=dict)
    beaten: float | None = None
    note: str = ""

    @classmethod
    def of(
        cls, arm: str, seed: int, result: RunResult, costs: Mapping[str, float], figure: str, note: str = ""
    ) -> RunRow:
        """Returns the row of a finished run.

        Args:
            figure: that decides.
        """

        def mean(part: Mapping[str, Mapping[str, float]], name: str = figure) -> float | None:
            return part[name]["mean"] if name in part else None

        chosen = next((row for row in result.retrained if row.label == result.key), None)
        effect = result.further.get("effect")
        return cls(
            arm,
            seed,
            result.key,
            validation=None if chosen is None else mean(chosen.validation),
            test=mean(result.test),
            reported=mean(result.test, result.metric) if figure != result.metric else None,
            trainings=int(result.test[figure]["n"]) if figure in result.test else 0,
            seconds=result.seconds,
            costs=dict(costs),
            beaten=effect.get("beaten") if isinstance(effect, Mapping) else None,
            note=note,
        )


@dataclass(frozen=True)
class ArmRow:
    """Mean figures of an arm or a control over its runs.

    Attributes:
        control: what it is a control of; empty for an arm.
        runs: that have a test figure; the means are of these.
        reported: the domain's primary objective on test data, where another figure decides.
        seconds: mean of a search.
        costs: means, by name.
        beaten: mean.
        notes: of its runs.
    """

    name: str
    control: str
    runs: int
    validation: Interval | None
    test: Interval | None
    reported: Interval | None
    seconds: float
    costs: Mapping[str, float]
    beaten: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class BaselineRow:
    """A baseline, trained with the seeds of the first search's network.

    Attributes:
        trainings: that succeeded.
    """

    name: str
    validation: float
    test: float
    trainings: int
    reported: float | None


@dataclass(frozen=True, kw_only=True)
class ClaimsSummary:
    """A study.

    Attributes:
        metric: figure of full trainings that decides, on test data.
        reported: the domain's primary objective.
        base: the configuration that arms are changes of.
        seeds: searches of every arm.
        trainings: of every found architecture.
        arms: arms, then controls; empty where a gate was not passed.
        claims: the first is the primary one.
    """

    name: str
    metric: str
    reported: str
    base: str
    device: str
    seeds: int
    trainings: int
    gates: tuple[GateResult, ...]
    arms: tuple[ArmRow, ...]
    baselines: tuple[BaselineRow, ...]
    claims: tuple[ClaimResult, ...]

    @property
    def gates_passed(self) -> bool:
        """Whether anything was searched."""
        return all(gate.passed for gate in self.gates)

    @property
    def cost_names(self) -> tuple[str, ...]:
        """Names of all costs that an arm has."""
        return tuple(dict.fromkeys(name for arm in self.arms for name in arm.costs))

    def write(self, folder: Path, rows: Sequence[RunRow]) -> None:
        """Writes both files."""
        write_json(folder / SUMMARY, dataclasses.asdict(self))
        if rows:
            costs = dict.fromkeys(cost for row in rows for cost in row.costs)
            flat = [{**dataclasses.asdict(row), **{cost: row.costs.get(cost) for cost in costs}} for row in rows]
            write_csv(folder / RUNS, [{key: value for key, value in row.items() if key != "costs"} for row in flat])

    @classmethod
    def read(cls, folder: Path) -> ClaimsSummary:
        """Reads the summary of a study's folder.

        Raises:
            RunFolderError: when it is missing, damaged, or no such summary.
        """
        found = read_json(folder / SUMMARY)
        try:
            return TypeAdapter(cls).validate_python(found)
        except ValidationError:
            raise RunFolderError(f"{folder / SUMMARY}: not the summary of a study") from None


def arm_row(name: str, control: str, rows: Sequence[RunRow]) -> ArmRow:
    """Returns the means over an arm's runs."""
    good = [row for row in rows if row.test is not None]

    def spread(part: str) -> Interval | None:
        values = [value for row in good if (value := getattr(row, part)) is not None]
        return interval(values) if values else None

    def mean(values: Sequence[float]) -> float:
        return float(np.mean(values)) if values else 0.0

    names = dict.fromkeys(cost for row in good for cost in row.costs)
    beaten = [row.beaten for row in good if row.beaten is not None]
    return ArmRow(
        name,
        control,
        runs=len(good),
        validation=spread("validation"),
        test=spread("test"),
        reported=spread("reported"),
        seconds=mean([row.seconds for row in good]),
        costs={cost: mean([row.costs[cost] for row in good if cost in row.costs]) for cost in names},
        beaten=mean(beaten) if beaten else None,
        notes=tuple(f"{name}, seed {row.seed}: {row.note}" for row in rows if row.note),
    )


def baseline_rows(baselines: Sequence[RetrainedResult], metric: str, reported: str) -> tuple[BaselineRow, ...]:
    """Returns the baselines that could be trained."""
    return tuple(
        BaselineRow(
            row.label,
            row.validation[metric]["mean"],
            row.test[metric]["mean"],
            int(row.test[metric]["n"]),
            row.test[reported]["mean"] if metric != reported else None,
        )
        for row in baselines
        if metric in row.test
    )
