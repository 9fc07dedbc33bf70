"""Executors: what they measure, what deaths and limits cost, and when they end the run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nichenas.core import cli
from nichenas.core.context import Environment
from nichenas.core.context import Limits
from nichenas.core.domain_lookup import DomainRecipe
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import TestDataError
from nichenas.core.errors import UserError
from nichenas.core.execution import pool
from nichenas.core.execution.executors import EXECUTORS
from nichenas.core.execution.executors import Executor
from nichenas.core.execution.executors import SerialExecutor
from nichenas.core.execution.executors import WorkerError
from nichenas.core.execution.jobs import EvaluationJob
from nichenas.core.execution.jobs import Result
from nichenas.core.execution.jobs import RetrainingJob
from nichenas.core.execution.processes import ProcessExecutor
from nichenas.core.execution.ray_executor import RayExecutor
from nichenas.core.methods.trial_loop import TrialLoop
from nichenas.core.session.budget import Budget
from nichenas.core.session.journal import Journal
from nichenas.core.session.session import Session
from nichenas.core.space import Architecture
from nichenas.core.strategies import STRATEGIES
from nichenas.core.testing.toy import ToySettings
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Retrained
from tests.conftest import toy_config
from tests.core.execution.starting import TARGET
from tests.core.execution.starting import StartingSettings

CPU = torch.device("cpu")
GOOD = Architecture({"c0": 1, "c1": 1, "c2": 1, "c3": 1})
BAD = Architecture({"c0": 3, "c1": 1, "c2": 1, "c3": 1})

Make = Callable[[int, DomainRecipe], Executor]


def recipe(**settings: object) -> DomainRecipe:
    return DomainRecipe(
        "nichenas.core.testing.toy:ToyDomain", ToySettings.model_validate(settings), Environment(Path("."), Path("."))
    )


def starting(**settings: object) -> DomainRecipe:
    return DomainRecipe(TARGET, StartingSettings.model_validate(settings), Environment(Path("."), Path(".")))


def job(*architectures: Architecture, first: int = 0, **limits: float) -> EvaluationJob:
    return EvaluationJob(
        seed=0, first=first, proposals=tuple(Proposal(a) for a in architectures), limits=Limits(**limits)
    )


def serial(workers: int, made: DomainRecipe) -> Executor:
    return SerialExecutor(made(), CPU)


def processes(workers: int, made: DomainRecipe) -> Executor:
    return ProcessExecutor(workers, made, CPU)


def ray(workers: int, made: DomainRecipe) -> Executor:
    pytest.importorskip("ray")
    return RayExecutor(workers, made, CPU)


every = pytest.mark.parametrize("make", [serial, processes, ray])
with_workers = pytest.mark.parametrize("make", [processes, ray])


def done(executor: Executor, *jobs: EvaluationJob | RetrainingJob) -> list[list[Result]]:
    """Returns the results of jobs, in their order."""
    for ticket, work in enumerate(jobs):
        executor.submit(ticket, work)
    found = dict(executor.wait() for _ in jobs)
    return [found[ticket] for ticket in range(len(jobs))]


def only(executor: Executor, work: EvaluationJob | RetrainingJob) -> Result:
    ((result,),) = done(executor, work)
    return result


def failure(result: Result) -> CandidateFailure:
    assert isinstance(result.outcome, CandidateFailure)
    return result.outcome


# What is measured


@with_workers
def test_workers_measure_what_serial_measures(make: Make) -> None:
    here = serial(1, recipe())
    with make(2, recipe()) as there:
        (ours,), (theirs,) = done(here, job(GOOD, BAD)), done(there, job(GOOD, BAD))
        assert [result.outcome for result in ours] == [result.outcome for result in theirs]
        assert all(isinstance(result.outcome, Measurement) for result in ours)
        full = RetrainingJob(seed=0, subject=GOOD, keep_weights=True)
        mine, their = only(here, full).outcome, only(there, full).outcome
    assert isinstance(mine, Retrained)
    assert isinstance(their, Retrained)
    assert (mine.validation, mine.test) == (their.validation, their.test)
    assert torch.equal(mine.weights["w"], their.weights["w"])


def test_inherited_and_kept_weights_cross_the_pipe() -> None:
    inherited = {"layer0.weight": torch.tensor([1.0, 2.0])}
    shared = EvaluationJob(seed=0, first=0, proposals=(Proposal(GOOD),), inherited=(inherited,), keep_weights=True)
    expected = only(serial(1, recipe()), shared).outcome
    with processes(1, recipe()) as executor:
        found = only(executor, shared).outcome
    assert isinstance(found, Measurement)
    assert isinstance(expected, Measurement)
    assert found.values == expected.values
    assert set(found.weights) == set(expected.weights)
    assert all(torch.equal(found.weights[name], expected.weights[name]) for name in found.weights)


def test_more_weights_than_a_pipe_holds_wait_for_a_worker_that_starts() -> None:
    inherited = {"layer0.weight": torch.ones(1_000_000)}
    shared = EvaluationJob(seed=0, first=0, proposals=(Proposal(GOOD),), inherited=(inherited,))
    with processes(1, starting(load=1.0)) as executor:
        began = time.monotonic()
        executor.submit(0, shared)
        assert time.monotonic() - began < 0.8  # the search is not held up
        assert isinstance(executor.wait()[1][0].outcome, Measurement)


# What a candidate can do


@with_workers
def test_a_workers_death_is_a_failed_candidate_and_the_rest_continues(make: Make) -> None:
    with make(2, recipe(misbehave="die")) as executor:
        (died,), (fine,) = done(executor, job(BAD), job(GOOD, first=1))
        assert failure(died).reason == "worker died"
        how = "exit code 7" if make is processes else "ActorDiedError: Worker unexpectedly exits"
        assert failure(died).detail.startswith(how)
        assert "\n" not in failure(died).detail
        assert isinstance(fine.outcome, Measurement)
        more = done(executor, job(GOOD, first=2), job(GOOD, first=3))
        assert all(isinstance(result.outcome, Measurement) for (result,) in more)


@with_workers
def test_every_candidate_may_kill_its_worker(make: Make) -> None:
    with make(1, recipe(misbehave="die")) as executor:
        for first in range(pool.TRIES + 1):
            assert failure(only(executor, job(BAD, first=first))).reason == "worker died"
        assert isinstance(only(executor, job(GOOD)).outcome, Measurement)


def test_a_worker_that_died_while_idle_is_replaced() -> None:
    with processes(1, recipe()) as executor:
        assert isinstance(only(executor, job(GOOD)).outcome, Measurement)
        for _ in range(pool.TRIES + 1):
            process = executor._workers[0].process  # type: ignore[attr-defined]
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            assert isinstance(only(executor, job(GOOD)).outcome, Measurement)


@with_workers
def test_a_hanging_worker_is_ended(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "GRACE_SECONDS", 1.0)
    with make(1, recipe(misbehave="hang")) as executor:
        result = only(executor, job(BAD, seconds=0.1))
        assert failure(result).reason == "limit:seconds"
        assert 1.2 <= result.seconds < 4.0
        assert isinstance(only(executor, job(GOOD)).outcome, Measurement)


@every
def test_limits_on_seconds_are_kept(make: Make) -> None:
    with make(1, recipe(sleep=30.0)) as executor:
        result = only(executor, job(GOOD, seconds=0.05))
    assert failure(result).reason == "limit:seconds"


def test_a_read_of_test_data_ends_the_run() -> None:
    with pytest.raises(TestDataError):
        done(serial(1, recipe(misbehave="test")), job(BAD))
    with processes(1, recipe(misbehave="test")) as executor:
        executor.submit(0, job(BAD))
        with pytest.raises(WorkerError, match=r"^a worker broke: TestDataError: test data was read [^\n]*$"):
            executor.wait()


# What is charged


@every
def test_failures_are_charged_their_seconds(make: Make) -> None:
    with make(1, recipe(sleep=30.0)) as executor:
        ((one, other),) = done(executor, job(GOOD, BAD, seconds=0.3))
    assert failure(one).reason == failure(other).reason == "limit:seconds"
    assert 0.3 <= one.seconds < 1.0
    assert 0.3 <= other.seconds < 1.0


@every
def test_measurements_are_charged_their_seconds(make: Make) -> None:
    with make(1, recipe(sleep=0.2)) as executor:
        ((one, other),) = done(executor, job(GOOD, BAD))
    assert 0.2 <= one.seconds < 0.6
    assert 0.2 <= other.seconds < 0.6


@with_workers
def test_a_death_is_charged_from_when_the_job_began(make: Make) -> None:
    with make(1, starting(load=1.5, misbehave="die")) as executor:
        result = only(executor, job(BAD))
    assert failure(result).reason == "worker died"
    assert 0 < result.seconds < 1.0


@pytest.mark.parametrize("make", [serial, processes])
def test_failed_trials_keep_their_seconds(make: Make) -> None:
    made = recipe(sleep=30.0)
    domain = made()
    with make(1, made) as executor:
        session = Session(domain=domain, executor=executor, limits=Limits(0.1))
        strategy = STRATEGIES["random"](domain.space, domain.objectives, 0)
        state = TrialLoop(session, strategy, Budget(3)).run()
    trials = list(session.journal.trials())
    assert [trial.failure for trial in trials] == ["limit:seconds"] * 3
    assert all(0.1 <= trial.seconds < 0.5 for trial in trials)
    assert state.training_seconds == pytest.approx(sum(trial.seconds for trial in trials))


# How workers start


@with_workers
def test_a_slow_start_counts_against_no_candidate(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "GRACE_SECONDS", 1.0)
    with make(1, starting(load=2.5)) as executor:
        result = only(executor, job(GOOD, seconds=0.1))
        assert isinstance(result.outcome, Measurement)
        assert result.seconds < 1.0
        # A worker that replaces another has as much time.
        if isinstance(executor, ProcessExecutor):
            executor._workers[0].process.kill()
            executor._workers[0].process.join()
            assert isinstance(only(executor, job(GOOD, seconds=0.1)).outcome, Measurement)


@with_workers
@pytest.mark.parametrize(
    ("fails", "cause"), [("exit", "exit code 5"), ("kill", "signal 9"), ("error", "ValueError: the table has no rows")]
)
def test_a_worker_that_cannot_start_ends_the_run(make: Make, fails: str, cause: str, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    with make(1, starting(fails=fails, starts=starts)) as executor:
        executor.submit(0, job(GOOD))
        with pytest.raises(WorkerError, match=r"^a worker could not start, 3 times in a row: [^\n]*$") as caught:
            executor.wait()
    if make is processes or fails == "error":  # Ray does not tell exit codes
        assert cause in str(caught.value)
    if make is processes and fails == "error":
        assert "exit code 1, " in str(caught.value)
    assert starts.stat().st_size == 3


@with_workers
@pytest.mark.parametrize("fails", ["exit", "error"])
def test_a_start_that_fails_twice_costs_nothing(make: Make, fails: str, tmp_path: Path) -> None:
    with make(1, starting(fails=fails, times=2, starts=tmp_path / "starts")) as executor:
        assert isinstance(only(executor, job(GOOD)).outcome, Measurement)


@with_workers
def test_what_the_user_can_fix_is_said_at_once(make: Make, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    with make(1, starting(fails="data", starts=starts)) as executor:
        executor.submit(0, job(GOOD))
        with pytest.raises(UserError, match=r"^'table\.npz' is missing; put it under --data-root \(in a worker\)$"):
            executor.wait()
    assert starts.stat().st_size == 1


@pytest.mark.parametrize(
    ("fails", "code", "says"),
    [
        ("exit", 1, "a worker could not start, 3 times in a row: exit code 5"),
        ("data", 2, "'table.npz' is missing; put it under --data-root (in a worker)"),
    ],
)
def test_a_search_whose_workers_cannot_start_loses_no_trial(
    fails: str, code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    file = configuration(tmp_path, domain={"kind": TARGET, "fails": fails}, run={"executor": "processes", "workers": 2})
    assert cli.main(["search", str(file), "--out", str(out), "--quiet"]) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nichenas: ")]
    assert lines == [f"nichenas: {says}"]
    with Journal(out / "journal.sqlite", read_only=True) as journal:
        assert list(journal.trials()) == []


# Executors of others


OUTSIDE = '''
from nichenas.core.execution.executors import EXECUTORS
from nichenas.core.execution.executors import Executor
from nichenas.core.execution.jobs import run_job


class Backwards(Executor):
    """Does the youngest of up to four jobs first."""

    capacity = 4

    def __init__(self, domain, device):
        self.domain, self.device, self.jobs = domain, device, []

    @classmethod
    def create(cls, setup):
        print("workers:", setup.workers)
        return cls(setup.domain, setup.device)

    def submit(self, ticket, job):
        self.jobs.append((ticket, job))

    def wait(self):
        ticket, job = self.jobs.pop()
        return ticket, run_job(self.domain, job, self.device)
'''


def configuration(folder: Path, **sections: Any) -> Path:
    import yaml

    file = folder / "toy.yaml"
    file.write_text(yaml.safe_dump(toy_config(**sections)))
    return file


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Installs a distribution with an executor, outside of this repository."""
    (tmp_path / "elsewhere_executor.py").write_text(OUTSIDE)
    (tmp_path / "elsewhere-1.0.dist-info").mkdir()
    (tmp_path / "elsewhere-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1")
    (tmp_path / "elsewhere-1.0.dist-info" / "entry_points.txt").write_text(
        "[nichenas.executors]\nbackwards = elsewhere_executor:Backwards\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    vars(EXECUTORS).pop("_installed", None)  # what was found before
    yield
    vars(EXECUTORS).pop("_installed", None)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("name", ["elsewhere_executor.Backwards", "elsewhere_executor:Backwards", "backwards"])
def test_an_executor_of_another_package_is_used(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {}
    for executor, workers in (("serial", 1), (name, 3)):
        # Random search learns nothing from trials, so that the window does not matter.
        file, out = configuration(tmp_path, run={"executor": executor, "workers": workers}), tmp_path / executor
        assert cli.main(["search", str(file), "--out", str(out), "--quiet"]) == 0
        with Journal(out / "journal.sqlite", read_only=True) as journal:
            found[executor] = [(t.number, t.proposal, t.measurement) for t in journal.trials()]
    assert "workers: 3" in capsys.readouterr().out
    assert found["serial"] == found[name]
    assert len(found["serial"]) == 20


def test_a_path_to_no_executor_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = configuration(tmp_path, run={"executor": "pathlib.Path"})
    assert cli.main(["search", str(file), "--out", str(tmp_path / "run"), "--quiet"]) == 2
    assert "run.executor: 'pathlib:Path' is not a subclass of Executor" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
