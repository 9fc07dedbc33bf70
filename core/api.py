"""Searching from Python: what scripts and notebooks call, with results as objects and plain tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

from nichenas.core.commands.compare import ComparisonDesign
from nichenas.core.commands.compare import run_compare
from nichenas.core.commands.search import run_search
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.config import RawConfig
from nichenas.core.config import read_raw
from nichenas.core.errors import ConfigError
from nichenas.core.errors import did_you_mean
from nichenas.core.errors import unknown_name_message
from nichenas.core.report.comparison_summary import ComparisonSummary
from nichenas.core.session.record import RunRecord
from nichenas.core.session.results import RunResult
from nichenas.core.space import Architecture
from nichenas.core.trial import Trial

Row = dict[str, Any]  # a row of a table: column to value; pandas.DataFrame(rows) reads a list of them
SECTIONS = ("domain", "search", "retrain", "run", "proxies")


@dataclass(frozen=True)
class Run:
    """A run folder, finished or not.

    Attributes:
        folder: where it is.
    """

    folder: Path

    @cached_property
    def record(self) -> RunRecord:
        """All that the folder holds, as it was when this was first asked for."""
        return RunRecord.read(self.folder)

    @property
    def result(self) -> RunResult | None:
        """The result; none while the run is not finished."""
        return self.record.result

    @property
    def best(self) -> Architecture:
        """The chosen architecture of a finished run; of another one the best so far.

        Raises:
            ValueError: when nothing was measured yet.
        """
        if self.record.result is not None:
            return self.record.result.chosen
        objective = self.record.searched
        good = [trial for trial in self.record.final if not trial.failed]
        if not good:
            raise ValueError(f"'{self.folder}': nothing was measured yet")
        return max(good, key=lambda trial: objective.sign * trial.value(objective)).proposal.architecture

    @property
    def trials(self) -> Sequence[Trial]:
        """Every trial, in the order of completion."""
        return self.record.trials

    @property
    def report(self) -> Path:
        """The HTML page."""
        return self.folder / "report.html"

    def table(self) -> list[Row]:
        """Returns a row a trial: number, what was measured or why not, seconds, epochs, and the choices.

        Columns of choices and values have prefixes, ``choice/`` and ``value/``.
        """
        return [
            {
                "number": trial.number,
                "failure": trial.failure,
                "detail": trial.detail,
                "seconds": trial.seconds,
                "epochs": trial.epochs,
                "parent": trial.proposal.parent,
                "stage": trial.stage,
                **{f"fidelity/{name}": share for name, share in trial.proposal.fidelity.items()},
                **({} if trial.measurement is None else _prefixed("value", trial.measurement.values)),
                **_prefixed("choice", trial.proposal.architecture),
            }
            for trial in self.trials
        ]

    def final_table(self) -> list[Row]:
        """Returns a row an architecture or baseline that was trained in full: mean, std and n of every metric."""
        rows = []
        for entry in () if self.result is None else self.result.trainings:
            row: Row = {"label": entry.label, "trial": entry.trial, "failed": len(entry.failures)}
            for part in ("validation", "test"):
                for name, figures in getattr(entry, part).items():
                    row.update(_prefixed(f"{part}/{name}", figures))
            rows.append(row)
        return rows


@dataclass(frozen=True)
class Comparison:
    """A comparison that is finished.

    Attributes:
        folder: where it is; it holds a run folder an arm and seed.
        summary: means, intervals and p-values.
    """

    folder: Path
    summary: ComparisonSummary

    @property
    def report(self) -> Path:
        """The HTML page."""
        return self.folder / "report.html"

    def table(self) -> list[Row]:
        """Returns a row an arm: what stands in ``comparison.json``."""
        rows: list[Row] = self.summary.to_dict()["strategies"]
        return rows


def search(
    config: str | Path | Mapping[str, Any],
    *,
    out: str | Path | None = None,
    resume: bool = False,
    data_root: str | Path | None = None,
    quiet: bool = True,
    **overrides: Any,
) -> Run:
    """Searches, retrains the best, and writes result and report, as ``nichenas search`` does.

    Args:
        config: path of a YAML file, name of a shipped configuration such as ``gnn/cora``, or a mapping.
        out: the run folder; ``runs/<name>`` by default.
        resume: continue the run in the folder.
        data_root: folder of the data sets.
        quiet: show no progress.
        overrides: ``seed=3``, ``name="mine"``; a section's values as a mapping, ``retrain={"seeds": 0}``; any other key
            is one of the ``search`` section: ``trials=20``, ``strategy="evolution"``.

    Raises:
        UserError: for anything that the user can fix; nothing is written then.
    """
    raw = _raw(config, overrides)
    resolved = raw.resolve()
    folder = Path(out) if out is not None else Path("runs") / resolved.config.name
    with _torch_as_usual():
        run_search(resolved, folder, RunOptions(_text(data_root), quiet, resume))
    return Run(folder)


def load_run(folder: str | Path) -> Run:
    """Returns a run that is there already, finished or not.

    Raises:
        RunFolderError: when the folder holds no run.
    """
    run = Run(Path(folder))
    _ = run.record
    return run


def compare(
    config: str | Path | Mapping[str, Any],
    strategies: Sequence[str],
    *,
    schedules: Sequence[str] = (),
    sharing: Sequence[str] = (),
    seeds: int = 5,
    jobs: int = 1,
    out: str | Path | None = None,
    data_root: str | Path | None = None,
    quiet: bool = True,
    **overrides: Any,
) -> Comparison:
    """Compares strategies and schedulers at equal budget over several seeds, as ``nichenas compare`` does.

    Args:
        config: as in :func:`search`.
        strategies: names, or dotted paths.
        schedules: names of schedulers, each with a proxy setting behind a colon if wanted, ``full:c0r0s0e7``.
        sharing: rules for inheriting weights, such as ``none`` and ``homogeneous``.
        seeds: runs of each.
        jobs: runs at a time, each in a process of its own; a script that asks for several must call this below
            ``if __name__ == "__main__":``.
        out: the folder; ``runs/compare-<name>`` by default.
        overrides: as in :func:`search`.

    Raises:
        UserError: for anything that the user can fix.
    """
    raw = _raw(config, overrides)
    folder = Path(out) if out is not None else Path("runs") / f"compare-{raw.values.get('name', 'run')}"
    design = ComparisonDesign(strategies, seeds, schedules, sharing)
    with _torch_as_usual():
        summary = run_compare(raw, design, folder, RunOptions(_text(data_root), quiet), jobs=jobs)
    return Comparison(folder, summary)


def _raw(config: str | Path | Mapping[str, Any], overrides: Mapping[str, Any]) -> RawConfig:
    sections: dict[str, dict[str, Any]] = {"search": {}}
    plain: dict[str, Any] = {}
    if isinstance(config, Mapping):
        config = _plain_values(config)
    for key, value in _plain_values(overrides).items():
        if isinstance(value, Mapping) and key not in SECTIONS and did_you_mean(key, SECTIONS):
            raise ConfigError(unknown_name_message("section", key, SECTIONS))
        if key in SECTIONS and isinstance(value, Mapping):
            sections.setdefault(key, {}).update(value)
        elif key in ("name", "seed"):
            plain[key] = value
        else:
            sections["search"][key] = value
    return read_raw(config if isinstance(config, Mapping) else str(config), top=plain, sections=sections)


def _plain_values(value: Any) -> Any:
    """Returns what stands in a file: paths as text, numbers of numpy as Python's."""
    if isinstance(value, Mapping):
        return {key: _plain_values(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_values(part) for part in value]
    if isinstance(value, PurePath):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


@contextlib.contextmanager
def _torch_as_usual() -> Iterator[None]:
    """Leaves modes of the caller that trainings cannot work in: no gradients, mixed precision, another float type."""
    before = torch.get_default_dtype()
    with contextlib.ExitStack() as stack:
        stack.callback(torch.set_default_dtype, before)
        torch.set_default_dtype(torch.float32)
        for mode in (torch.inference_mode(False), torch.enable_grad()):
            stack.enter_context(mode)
        for device in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


def _prefixed(prefix: str, values: Mapping[str, Any]) -> Row:
    return {f"{prefix}/{name}": value for name, value in values.items()}


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)
