from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from nichenas.core.context import Environment
from nichenas.core.context import Limits
from nichenas.core.domain_lookup import DomainRecipe
from nichenas.core.errors import CandidateFailure
from nichenas.core.execution.executors import ProcessExecutor
from nichenas.core.execution.executors import SerialExecutor
from nichenas.core.execution.executors import WorkerError
from nichenas.core.execution.jobs import EvaluationJob
from nichenas.core.execution.jobs import RetrainingJob
from nichenas.core.search import executors
from nichenas.core.space import Architecture
from nichenas.core.testing.toy import ToySettings
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Retrained

CPU = torch.device("cpu")
GOOD = Architecture({"c0": 1, "c1": 1, "c2": 1, "c3": 1})
BAD = Architecture({"c0": 3, "c1": 1, "c2": 1, "c3": 1})


def recipe(**settings: object) -> DomainRecipe:
    return DomainRecipe(
        "nichenas.core.testing.toy:ToyDomain", ToySettings.model_validate(settings), Environment(Path("."), Path("."))
    )


def job(*architectures: Architecture, first: int = 0, **limits: float) -> EvaluationJob:
    return EvaluationJob(0, first, tuple(Proposal(a) for a in architectures), Limits(**limits))


def test_processes_measure_what_serial_measures() -> None:
    serial = SerialExecutor(recipe()(), CPU)
    with ProcessExecutor(2, recipe(), CPU) as processes:
        for executor in (serial, processes):
            executor.submit(0, job(GOOD, BAD))
        (_, one), (_, other) = serial.wait(), processes.wait()
        assert one == other
        assert all(isinstance(result, Measurement) for result in one)
        for executor in (serial, processes):
            executor.submit(1, RetrainingJob(0, GOOD, keep_weights=True))
        (_, (here,)), (_, (there,)) = serial.wait(), processes.wait()
        assert isinstance(here, Retrained)
        assert isinstance(there, Retrained)
        assert here == there
        assert torch.equal(here.weights["w"], there.weights["w"])


def test_inherited_and_kept_weights_cross_the_pipe() -> None:
    inherited = {"layer0.weight": torch.tensor([1.0, 2.0])}
    shared = EvaluationJob(0, 0, (Proposal(GOOD),), inherited=(inherited,), keep_weights=True)
    serial = SerialExecutor(recipe()(), CPU)
    serial.submit(0, shared)
    (expected,) = serial.wait()[1]
    with ProcessExecutor(1, recipe(), CPU) as processes:
        processes.submit(0, shared)
        (found,) = processes.wait()[1]
    assert isinstance(found, Measurement)
    assert isinstance(expected, Measurement)
    assert found.values == expected.values
    assert set(found.weights) == set(expected.weights)
    assert all(torch.equal(found.weights[name], expected.weights[name]) for name in found.weights)


def test_a_workers_death_is_a_failed_candidate_and_the_rest_goes_on() -> None:
    with ProcessExecutor(2, recipe(misbehave="die"), CPU) as processes:
        processes.submit(0, job(BAD))
        processes.submit(1, job(GOOD, first=1))
        results = dict(processes.wait() for _ in range(2))
        (failure,) = results[0]
        assert isinstance(failure, CandidateFailure)
        assert (failure.reason, failure.detail) == ("worker died", "exit code 7")
        assert isinstance(results[1][0], Measurement)
        for ticket in (2, 3):
            processes.submit(ticket, job(GOOD, first=ticket))
        assert {processes.wait()[0] for _ in range(2)} == {2, 3}


def test_a_hanging_worker_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "GRACE_SECONDS", 4.0)
    with ProcessExecutor(1, recipe(misbehave="hang"), CPU) as processes:
        started = time.monotonic()
        processes.submit(0, job(BAD, seconds=0.1))
        (failure,) = processes.wait()[1]
        assert isinstance(failure, CandidateFailure)
        assert failure.reason == "limit:seconds"
        assert time.monotonic() - started < 30
        processes.submit(1, job(GOOD))
        assert isinstance(processes.wait()[1][0], Measurement)


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_limits_on_seconds_are_kept(executor: str) -> None:
    made = recipe(sleep=5.0)
    with SerialExecutor(made(), CPU) if executor == "serial" else ProcessExecutor(1, made, CPU) as running:
        running.submit(0, job(GOOD, seconds=0.05))
        (failure,) = running.wait()[1]
    assert isinstance(failure, CandidateFailure)
    assert failure.reason == "limit:seconds"


def test_a_read_of_test_data_ends_the_run() -> None:
    with ProcessExecutor(1, recipe(misbehave="test"), CPU) as processes:
        processes.submit(0, job(BAD))
        with pytest.raises(WorkerError, match="test data was read"):
            processes.wait()


def test_ray_measures_what_serial_measures() -> None:
    pytest.importorskip("ray")
    from nichenas.core.execution.ray_executor import RayExecutor

    serial = SerialExecutor(recipe()(), CPU)
    with RayExecutor(2, recipe(misbehave="die"), CPU) as cluster:
        for executor in (serial, cluster):
            executor.submit(0, job(GOOD))
        assert serial.wait() == cluster.wait()
        cluster.submit(1, job(BAD))
        ((_, (failure,)),) = [cluster.wait()]
        assert isinstance(failure, CandidateFailure)
        assert failure.reason == "worker died"
