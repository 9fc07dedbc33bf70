"""The result of a run: what ``result.json`` holds, written and read here alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from nichenas.core.errors import RunFolderError
from nichenas.core.files import read_json
from nichenas.core.files import write_json
from nichenas.core.space import Architecture

RESULT = "result.json"
Statistics = Mapping[str, Mapping[str, float]]  # metric to mean, std (of the sample) and n


@dataclass(frozen=True)
class RetrainedResult:
    """All full trainings of one architecture or baseline.

    Attributes:
        label: the architecture's key, or the baseline's name.
        architecture: empty for a baseline.
        trial: that measured the architecture in the search; none for a baseline, or one that was given.
        known: name that the architecture is known by, if any.
        failures: reasons of the trainings that failed.
    """

    label: str
    validation: Statistics
    test: Statistics
    failures: tuple[str, ...] = ()
    architecture: Mapping[str, Any] = field(default_factory=dict)
    trial: int | None = None
    known: str = ""


@dataclass(frozen=True)
class RunResult:
    """What a finished run found.

    Attributes:
        metric: primary objective of full trainings.
        searched: primary objective of the search; of a supernet it has another name.
        unit: what a row of the journal is: ``trial`` or ``epoch``.
        architecture: the chosen one: that with the best mean validation value over the seeds of its retraining.
        key: its key.
        trial: that measured it in the search.
        validation: what the search measured of it.
        test: of its full trainings; empty without any.
        failures: of trials, by reason.
        seconds: of the search.
        epochs: trained by all trials; none where the domain does not count them.
        simulated_seconds: that trainings which were looked up would have taken.
        stopped: why a gradient search ended: ``epochs``, ``seconds``, ``stable architecture`` or ``skip collapse``.
        best_known: the best validation value of the whole space, where a table knows it.
        better_baselines: those that are better on validation data than the chosen one, by what it was chosen by.
        further: what else the search method tells.
    """

    name: str
    metric: str
    searched: str
    unit: str
    architecture: Mapping[str, Any]
    key: str
    trial: int | None
    validation: Mapping[str, float]
    test: Statistics
    retrained: tuple[RetrainedResult, ...]
    baselines: tuple[RetrainedResult, ...]
    trials: int
    failed: int
    failures: Mapping[str, int]
    seconds: float
    order: str
    device: str
    config_hash: str
    epochs: int | None = None
    simulated_seconds: float | None = None
    stopped: str | None = None
    best_known: float | None = None
    better_baselines: tuple[str, ...] = ()
    further: Mapping[str, Any] = field(default_factory=dict)

    @property
    def chosen(self) -> Architecture:
        """The chosen architecture."""
        return Architecture(self.architecture)

    @property
    def trainings(self) -> tuple[RetrainedResult, ...]:
        """All full trainings: architectures first, then baselines."""
        return (*self.retrained, *self.baselines)

    def name_of(self, entry: RetrainedResult) -> str:
        """Returns what one of the trainings is called in tables."""
        name = entry.label if entry.trial is None else f"{self.unit} {entry.trial}"
        return f"{name}, {entry.known}" if entry.known else name

    def to_dict(self) -> dict[str, Any]:
        """Returns the result as JSON; what is not known is left out."""
        whole = dataclasses.asdict(self)
        for row in (*whole["retrained"], *whole["baselines"]):
            row["failures"] = list(row["failures"])
        whole["better_baselines"] = list(self.better_baselines)
        for name in ("epochs", "simulated_seconds", "stopped", "best_known", "better_baselines", "further"):
            if whole[name] in (None, {}, []):
                del whole[name]
        return whole

    def write(self, folder: Path) -> None:
        """Writes the file into a run folder."""
        write_json(folder / RESULT, self.to_dict())

    @classmethod
    def read(cls, folder: Path) -> RunResult:
        """Reads the file of a run folder.

        Raises:
            RunFolderError: when it is missing, damaged, or not the result of a run.
        """
        found = read_json(folder / RESULT)
        try:
            # Until journal version 1 the best value of a table had another name; "order" could be missing.
            fields = {"order": "strict", **found}
            if "optimum" in fields:
                fields["best_known"] = fields.pop("optimum")
            fields["better_baselines"] = tuple(fields.get("better_baselines", ()))
            for part in ("retrained", "baselines"):
                fields[part] = tuple(
                    RetrainedResult(**{**row, "failures": tuple(row["failures"])}) for row in fields[part]
                )
            return cls(**fields)
        except (TypeError, KeyError, AttributeError):
            raise RunFolderError(f"{folder / RESULT}: not the result of a run") from None

    @classmethod
    def read_if_finished(cls, folder: Path) -> RunResult | None:
        """Reads the file of a run folder; none where the run is not finished."""
        return cls.read(folder) if (folder / RESULT).exists() else None
