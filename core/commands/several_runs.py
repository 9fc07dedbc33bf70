"""Runs that belong together: those that are not finished are run or continued, some at a time if wanted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nichenas.core.commands.retrain import train_given
from nichenas.core.commands.search import SearchFailed
from nichenas.core.commands.search import run_search
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.commands.sessions import prepare_domain
from nichenas.core.config import RawConfig
from nichenas.core.config import ResolvedConfig
from nichenas.core.errors import ConfigError
from nichenas.core.errors import Interrupted
from nichenas.core.execution.side_by_side import Call
from nichenas.core.execution.side_by_side import side_by_side
from nichenas.core.report.terminal import print_notes
from nichenas.core.session.results import RunResult
from nichenas.core.space import Architecture


@dataclass(frozen=True)
class PlannedRun:
    """A search, or the training of a given architecture.

    Attributes:
        name: of the arm that it belongs to.
        given: what is trained; none for a search.
    """

    name: str
    resolved: ResolvedConfig
    folder: Path
    given: Architecture | None = None

    @property
    def finished(self) -> bool:
        """Whether the folder holds the result of this very run."""
        done = RunResult.read_if_finished(self.folder)
        if done is None or done.config_hash != self.resolved.hash:
            return False
        return self.given is None or done.key == self.given.key


def with_seed(resolved: ResolvedConfig, seed: int, *, baselines: bool) -> ResolvedConfig:
    """Returns a configuration with another seed, and without baselines if another run trains them.

    Baselines depend on the retraining's seeds alone, so one run trains them for all.
    """
    retrain = {} if baselines else {"retrain": {"baselines": False}}
    return resolved.raw.changed(**retrain).replaced(seed=seed).resolve()


def check_jobs(jobs: int) -> None:
    """Refuses a number of runs at a time that is none.

    Raises:
        ConfigError: then.
    """
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ConfigError(f"--jobs: a whole number of runs at a time, at least 1, not {jobs!r}")


def finish_all(
    runs: Sequence[PlannedRun], options: RunOptions, jobs: int, what: str, *, allow_failures: bool = False
) -> None:
    """Runs or continues those that are not finished.

    Args:
        jobs: how many go on at a time, each in a process of its own.
        what: they belong to, as it reads in "the same command continues the ...".
        allow_failures: whether a search in which no candidate could be measured leaves its folder without a result.

    Raises:
        Interrupted: on Ctrl-C.
        SearchFailed: when no candidate of a search could be measured, unless that is allowed.
    """
    todo = [run for run in runs if not run.finished]

    def show(run: PlannedRun, end: str = "") -> None:
        if not options.quiet:
            print(f"{run.name}, seed {run.resolved.config.seed}: {run.folder}{end}", flush=True)

    try:
        if jobs == 1:
            for run in todo:
                show(run)
                _run(run.resolved, run.folder, run.given, options, allow_failures)
        else:
            if todo:  # data are downloaded and kernels built once, not by several runs at the same time
                prepare_domain(todo[0].resolved, options.data)
            # Progress of several runs cannot share a terminal.
            quiet = dataclasses.replace(options, quiet=True)
            calls = [
                Call(str(run.folder), (run.resolved.raw, run.folder, run.given, quiet, allow_failures)) for run in todo
            ]
            for index in side_by_side(_run_raw, calls, jobs, on_start=lambda index: show(todo[index])):
                show(todo[index], " is finished")
    except Interrupted as error:
        error.advice = f"the same command continues the {what}"
        raise


def _run_raw(
    raw: RawConfig, folder: Path, given: Architecture | None, options: RunOptions, allow_failures: bool
) -> None:
    _run(raw.resolve(), folder, given, options, allow_failures)


def _run(
    resolved: ResolvedConfig, folder: Path, given: Architecture | None, options: RunOptions, allow_failures: bool
) -> None:
    if given is not None:
        train_given(resolved, given, folder, options)
        return
    try:
        run_search(resolved, folder, options)
    except SearchFailed as error:
        if not allow_failures:
            raise
        if not options.quiet:
            print_notes([f"{folder}: {error}"])
