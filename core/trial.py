"""Proposals, what is measured of them, and what a retraining gives: what strategies, domains and core share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import torch
from torch import Tensor

from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import RunFolderError
from nichenas.core.errors import TestDataError
from nichenas.core.fidelity import FULL
from nichenas.core.fidelity import Fidelity
from nichenas.core.objectives import Objective
from nichenas.core.space import Architecture


@dataclass(frozen=True)
class Proposal:
    """What a strategy wants measured.

    Attributes:
        parent: number of the trial whose training is continued.
        tag: the strategy's own remark, as JSON; kept in the journal, read by nobody else.
        horizon: share of the full epochs that the learning rate's schedule is laid out for; by default the
            fidelity's. A training in several parts has the same horizon in all of them.
        start: share of the full epochs that the parent had been trained for; 0 without a parent.
        rung: which part of its training this is, from 1, where a scheduler divides trainings.
        repeat_of: number of the trial whose architecture is measured again, with other randomness.
        repeat: which measurement of its architecture this is; 0 is the first.
        stop_below: (epoch, value) pairs: the training stops early where its best value is below one of them by then.
            Values of the primary objective, turned so that larger is better; not kept in the journal, since they follow
            from the trials before.
    """

    architecture: Architecture
    fidelity: Fidelity = FULL
    parent: int | None = None
    tag: Mapping[str, Any] = field(default_factory=dict)
    horizon: float | None = None
    start: float = 0.0
    rung: int | None = None
    repeat_of: int | None = None
    repeat: int = 0
    stop_below: tuple[tuple[int, float], ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Measurement:
    """What came out of training one architecture, on validation data.

    Attributes:
        values: one an objective, by name; further names are kept and reported.
        curve: the primary objective over training, as (epoch, value).
        peak_memory: bytes the candidate was estimated or measured to need; 0 where not known.
        diagnostics: records worth keeping, as JSON; who wrote them reads them.
        scalars: figures worth a curve over the trials, by name.
        weights: trained tensors by name, only where they are shared; never written to the journal.
        epochs: trained for this measurement, without the parent's; none where the domain does not count them, and then
            those of the fidelity are charged to a budget.
        stopped: whether the training stopped early, since it was behind others; its values are of what it had reached.
        simulated_seconds: that the training would have taken, where it was looked up in a table that knows; the core
            measures the seconds that really passed.
    """

    values: Mapping[str, float]
    curve: tuple[tuple[int, float], ...] = ()
    peak_memory: int = 0
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)
    epochs: int | None = None
    simulated_seconds: float | None = None
    stopped: bool = False


@dataclass(frozen=True)
class Trial:
    """A proposal with its measurement, or with the reason why there is none.

    Attributes:
        seconds: that measuring it took, failed or not.
        epochs: that it is charged; 0 where the domain does not count them.
        stage: of a search in stages; only trials of one stage can be compared.
        final: whether the outcome of its stage was chosen from trials such as this one.
        record: what the search method keeps of it, as JSON; read by the method alone.
    """

    number: int
    proposal: Proposal
    measurement: Measurement | None = None
    failure: str | None = None
    detail: str = ""
    seconds: float = field(default=0.0, compare=False)
    epochs: int = 0
    stage: int = 0
    final: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether there is no measurement."""
        return self.measurement is None

    @property
    def training_seconds(self) -> float:
        """Seconds of training: those that a table tells, where it was looked up, else those that passed."""
        simulated = None if self.measurement is None else self.measurement.simulated_seconds
        return self.seconds if simulated is None else simulated

    def value(self, objective: Objective) -> float:
        """Returns the value of an objective; the trial must not have failed."""
        assert self.measurement is not None
        return self.measurement.values[objective.name]


def mean_trial(trials: Sequence[Trial]) -> Trial:
    """Returns the first of several measurements of one architecture with the mean of their values.

    Where one of them failed it is a failure: an architecture that trains only at times cannot be relied on.
    """
    first = trials[0]
    failed = next((trial for trial in trials if trial.measurement is None), None)
    if failed is not None:
        return dataclasses.replace(first, measurement=None, failure=failed.failure, detail=failed.detail)
    measured = [trial.measurement for trial in trials if trial.measurement is not None]
    names = [name for name in measured[0].values if all(name in one.values for one in measured)]
    values = {name: sum(one.values[name] for one in measured) / len(measured) for name in names}
    return dataclasses.replace(first, measurement=dataclasses.replace(measured[0], values=values))


@dataclass(frozen=True)
class Retrained:
    """One full training of an architecture or a baseline with one seed.

    Attributes:
        validation: metrics on validation data at the chosen epoch.
        test: the same metrics on test data, at the same epoch.
        weights: the trained tensors at that epoch.
        seconds: that it took; set by the core.
    """

    validation: Mapping[str, float]
    test: Mapping[str, float]
    weights: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Drawing:
    """An architecture as a graph, for the report.

    Attributes:
        nodes: identifier to label; a label may have several lines.
        edges: (from, to, label) by identifier; the graph must have no cycle.
    """

    nodes: Mapping[str, str]
    edges: Sequence[tuple[str, str, str]]


def as_failure(error: Exception) -> CandidateFailure:
    """Returns the failure that an exception of an evaluation stands for.

    Raises:
        TestDataError: that one ends the run, since no figure of it could be trusted.
        RunFolderError: so does a checkpoint that is missing or damaged: the candidate is not to blame.
    """
    if isinstance(error, (TestDataError, RunFolderError)):
        raise error
    if isinstance(error, CandidateFailure):
        return error
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return CandidateFailure("out of memory", str(error).splitlines()[0] if str(error) else "")
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):  # torch's CPU allocator
        return CandidateFailure("out of memory", str(error).splitlines()[0])
    if isinstance(error, FloatingPointError):
        return CandidateFailure("diverged", str(error))
    return CandidateFailure("error", f"{type(error).__name__}: {error}")
