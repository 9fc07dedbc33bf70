"""From the trials of a study to how well every setting ranks its architectures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nichenas.core.capabilities.fidelity import ReducedFidelity
from nichenas.core.capabilities.fidelity import sizes
from nichenas.core.domain import Domain
from nichenas.core.fidelity import Fidelity
from nichenas.core.objectives import Objective
from nichenas.core.proxies.consistency import Consistency
from nichenas.core.proxies.consistency import cheapest
from nichenas.core.proxies.consistency import consistency
from nichenas.core.proxies.consistency import difference
from nichenas.core.proxies.study_settings import REPEATED
from nichenas.core.proxies.study_summary import REPEATED_ONCE
from nichenas.core.proxies.study_summary import Difference
from nichenas.core.proxies.study_summary import Study
from nichenas.core.proxies.study_summary import StudyRow
from nichenas.core.proxies.study_summary import StudySummary
from nichenas.core.proxies.untrained import UntrainedScores
from nichenas.core.seeds import numpy_generator
from nichenas.core.trial import Trial


@dataclass(frozen=True, kw_only=True)
class StudyDesign:
    """What is studied.

    Attributes:
        seed: of the study; the bootstrap's resamples come from it.
        settings: fidelities by name, the full setting first.
        objective: what architectures are ranked by.
        min_correlation: rank correlation from which a proxy is good enough.
        device: as it reads in a report.
    """

    name: str
    seed: int
    settings: Mapping[str, Fidelity]
    objective: Objective
    min_correlation: float
    device: str

    @property
    def full(self) -> str:
        """Name of the full setting."""
        return next(iter(self.settings))

    @property
    def reduced(self) -> list[str]:
        """Names of the settings below the full one."""
        return [name for name in self.settings if name not in (self.full, REPEATED)]


class Measured:
    """The trials of a study by architecture and setting.

    Args:
        trials: of the study's journal, which may be a larger study's.
        count: architectures of this study.

    Attributes:
        members: trials by the architecture's place in the sample, then by setting.
    """

    def __init__(self, trials: Sequence[Trial], count: int) -> None:
        self.members: dict[int, dict[str, Trial]] = {}
        for trial in trials:
            member, setting = int(trial.proposal.tag["member"]), str(trial.proposal.tag["setting"])
            if member < count:
                name = REPEATED if setting == REPEATED_ONCE else setting
                self.members.setdefault(member, {})[name] = trial

    def value(self, member: int, setting: str, objective: Objective) -> float | None:
        """Returns what was measured; none where it failed, or was not measured yet."""
        trial = self.members[member].get(setting)
        return None if trial is None or trial.failed else trial.value(objective)

    def seconds(self, setting: str) -> float | None:
        """Returns the mean seconds of a training; none where none succeeded."""
        trials = [by_setting[setting] for by_setting in self.members.values() if setting in by_setting]
        return _mean([trial.training_seconds for trial in trials if not trial.failed])


def analyse(domain: Domain, design: StudyDesign, measured: Measured, untrained: UntrainedScores) -> Study:
    """Returns how well settings and scores of untrained networks rank the architectures of a study."""
    objective = design.objective
    table = _Table(design, objective, _rows(domain, design, measured, untrained))
    reduced, repeated = design.reduced, [name for name in design.settings if name == REPEATED]
    bounds = table.bounds(list(design.settings))
    proxies = {name: table.consistency(name, bounds) for name in (*reduced, *repeated)}
    scores = {name: table.consistency(name) for name in untrained.names}
    cost = {name: _cost(domain, design.settings[name]) for name in reduced}
    seconds = {name: measured.seconds(name) for name in design.settings}
    score_seconds = {name: _score_seconds(untrained, name) for name in scores}
    ranking = {name: one for name, one in (proxies | scores).items() if one is not None and name != REPEATED}
    known = {name: found for name, found in (seconds | score_seconds).items() if found is not None}
    count = sum(value is not None for value in table.column(design.full))
    summary = StudySummary(
        name=design.name,
        metric=objective.name,
        architectures=len(table.rows),
        measured=count,
        full=design.full,
        sizes={name: dict(sizes(domain, fidelity)) for name, fidelity in design.settings.items()},
        seconds=seconds,
        cost=cost,
        proxies=proxies,
        differences=table.differences(reduced),
        zero_cost=scores,
        zero_cost_seconds=score_seconds,
        failed_probes=untrained.failed,
        min_correlation=design.min_correlation,
        cheapest=cheapest(ranking, cost, design.min_correlation, count),
        cheapest_by_seconds=cheapest(ranking, known, design.min_correlation, count),
        device=design.device,
    )
    return Study(summary, table.rows)


def _rows(domain: Domain, design: StudyDesign, measured: Measured, untrained: UntrainedScores) -> tuple[StudyRow, ...]:
    """Returns a row for every architecture whose full training has ended."""
    rows = []
    for member, by_setting in sorted(measured.members.items()):
        if design.full in by_setting:
            architecture = by_setting[design.full].proposal.architecture
            values = {name: measured.value(member, name, design.objective) for name in design.settings}
            own = untrained.by_member.get(member, {})
            scores = {name: own[name].value if name in own else None for name in untrained.names}
            rows.append(StudyRow(member, domain.space.canonical(architecture).key, {**values, **scores}))
    return tuple(rows)


class _Table:
    """The rows of a study by column, larger is better in all of them."""

    def __init__(self, design: StudyDesign, objective: Objective, rows: tuple[StudyRow, ...]) -> None:
        self.design, self.objective, self.rows = design, objective, rows

    def column(self, name: str) -> list[float | None]:
        """Returns a setting's values or a score, one for every row."""
        sign = self.objective.sign if name in self.design.settings else 1.0
        values = [row.values.get(name) for row in self.rows]
        return [None if value is None else sign * value for value in values]

    def bounds(self, names: Sequence[str]) -> tuple[float, float] | None:
        """Returns the least and the largest value of some columns; none where they hold nothing."""
        values = [value for name in names for value in self.column(name) if value is not None]
        return (min(values), max(values)) if values else None

    def consistency(self, name: str, bounds: tuple[float, float] | None = None) -> Consistency | None:
        """Returns how well a column ranks the architectures as the full setting does."""
        return consistency(self.column(self.design.full), self.column(name), self._resamples(name), bounds)

    def differences(self, names: Sequence[str]) -> tuple[Difference, ...]:
        """Returns by how much the correlations of every two columns differ."""
        full = self.column(self.design.full)
        found = []
        for one, other in itertools.combinations(names, 2):
            gap = difference(full, self.column(one), self.column(other), self._resamples(one, other))
            if gap is not None:
                found.append(Difference(one, other, gap))
        return tuple(found)

    def _resamples(self, *names: str) -> np.random.Generator:
        # By the names that the columns had first, so that a study has the intervals that it always had.
        words = [REPEATED_ONCE if name == REPEATED else name for name in names]
        return numpy_generator(self.design.seed, " ".join(["bootstrap", *words]))


def _cost(domain: Domain, fidelity: Fidelity) -> float:
    assert isinstance(domain, ReducedFidelity)  # others have no reduced settings
    return domain.relative_cost(fidelity)


def _score_seconds(untrained: UntrainedScores, name: str) -> float | None:
    return _mean([scores[name].seconds for scores in untrained.by_member.values() if name in scores])


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else None
