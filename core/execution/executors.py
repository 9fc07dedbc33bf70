"""Executors: where jobs are done. ``serial`` does them in this process, ``processes`` in W others."""

from __future__ import annotations

import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import threading
import time
import traceback
from abc import ABC
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any
from typing import ClassVar

import numpy as np
import torch

from nichenas.core.domain import Domain
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import NichenasError
from nichenas.core.execution.allocator import keep_freed_memory
from nichenas.core.execution.jobs import EvaluationJob
from nichenas.core.execution.jobs import Job
from nichenas.core.execution.jobs import Result
from nichenas.core.execution.jobs import job_size
from nichenas.core.execution.jobs import run_job
from nichenas.core.registry import Registry

GRACE = 2.0  # a worker that overruns its limit by this factor, and by GRACE_SECONDS, is ended
GRACE_SECONDS = 10.0


class WorkerError(NichenasError):
    """A worker could not start, or broke outside of a candidate."""


@dataclass(frozen=True)
class ExecutorSetup:
    """What executors are made from.

    Attributes:
        domain: prepared, in this process.
        make_domain: picklable; makes the same domain in a worker.
        workers: how many are wanted.
        device: where networks are trained.
    """

    domain: Domain
    make_domain: Callable[[], Domain]
    workers: int
    device: torch.device


class Executor(ABC):
    """Does jobs and hands back their results; jobs are distinguished by a ticket of the caller's.

    Attributes:
        parallel: whether it can have several workers.
        capacity: how many jobs it can do at the same time.
    """

    parallel: ClassVar[bool] = True
    capacity: int = 1

    @classmethod
    @abstractmethod
    def create(cls, setup: ExecutorSetup) -> Executor:
        """Returns the executor that a configuration asks for."""

    @abstractmethod
    def submit(self, ticket: int, job: Job) -> None:
        """Takes a job; at most :attr:`capacity` may be unfinished."""

    @abstractmethod
    def wait(self) -> tuple[int, list[Result]]:
        """Returns the ticket and results of the next job that is finished, one result a proposal."""

    def close(self) -> None:  # noqa: B027  (there need not be anything to end)
        """Ends whatever is still running."""

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


EXECUTORS: Registry[type[Executor]] = Registry("executor", "nichenas.executors", Executor)


@EXECUTORS.register("serial")
class SerialExecutor(Executor):
    """Does jobs one after another in this process, when their result is waited for."""

    parallel = False

    def __init__(self, domain: Domain, device: torch.device) -> None:
        self._domain = domain
        self._device = device
        self._jobs: deque[tuple[int, Job]] = deque()

    @classmethod
    def create(cls, setup: ExecutorSetup) -> SerialExecutor:
        """Returns an executor in this process."""
        return cls(setup.domain, setup.device)

    def submit(self, ticket: int, job: Job) -> None:
        """Takes a job."""
        self._jobs.append((ticket, job))

    def wait(self) -> tuple[int, list[Result]]:
        """Does the oldest job and returns its results."""
        ticket, job = self._jobs.popleft()
        return ticket, run_job(self._domain, job, self._device)


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    ticket: int | None = None
    job: Job | None = None
    since: float = 0.0


@EXECUTORS.register("processes")
class ProcessExecutor(Executor):
    """Does jobs in ``workers`` processes, each with its own copy of the domain.

    A worker that dies, or overruns its limit on seconds without noticing, costs the candidates of its job a
    failed trial and is replaced. Workers end when this process does, however it ends.

    Args:
        workers: number of processes; torch threads are divided between them.
        make_domain: picklable; called once in every worker.
        device: where networks are trained.
    """

    def __init__(self, workers: int, make_domain: Callable[[], Domain], device: torch.device) -> None:
        self.capacity = workers
        self._make_domain = make_domain
        self._device = device
        self._threads = max(1, cpu_count() // workers)
        self._processes = multiprocessing.get_context("forkserver")
        # Modules are imported once, in the process that the workers are forked from.
        module = getattr(make_domain, "module", type(make_domain).__module__)
        self._processes.set_forkserver_preload(["nichenas.core.execution.executors", module])
        self._workers = [self._start() for _ in range(workers)]
        self._done: deque[tuple[int, list[Result]]] = deque()

    @classmethod
    def create(cls, setup: ExecutorSetup) -> ProcessExecutor:
        """Returns an executor with as many processes as are wanted."""
        return cls(setup.workers, setup.make_domain, setup.device)

    def _start(self) -> _Worker:
        ours, theirs = self._processes.Pipe()
        process = self._processes.Process(
            target=_work, args=(theirs, self._make_domain, str(self._device), self._threads, os.getpid()), daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def submit(self, ticket: int, job: Job) -> None:
        """Hands a job to an idle worker; one that died while idle is replaced first."""
        position = next(i for i, worker in enumerate(self._workers) if worker.ticket is None)
        worker = self._workers[position]
        try:
            worker.pipe.send(_pack_job(job))
        except (BrokenPipeError, ConnectionResetError):
            self._raise_start_error(worker)
            worker = self._workers[position] = self._start()
            worker.pipe.send(_pack_job(job))
        worker.ticket, worker.job, worker.since = ticket, job, time.monotonic()

    def wait(self) -> tuple[int, list[Result]]:
        """Waits for any worker and returns its job's results."""
        while not self._done:
            busy = [worker for worker in self._workers if worker.ticket is not None]
            deadlines = [d for d in map(_deadline, busy) if d is not None]
            timeout = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
            ready = multiprocessing.connection.wait([worker.pipe for worker in busy], timeout)
            for position, worker in enumerate(self._workers):
                if worker.ticket is None:
                    continue
                deadline = _deadline(worker)
                if worker.pipe in ready:
                    self._collect(position)
                elif deadline is not None and time.monotonic() > deadline:
                    self._give_up(position, CandidateFailure("limit:seconds", "the worker did not stop by itself"))
        return self._done.popleft()

    def _collect(self, position: int) -> None:
        worker = self._workers[position]
        assert worker.ticket is not None
        try:
            answer = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join(1.0)
            code = worker.process.exitcode
            how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            self._give_up(position, CandidateFailure("worker died", how))
            return
        if isinstance(answer, str):
            raise WorkerError(answer)
        self._done.append((worker.ticket, [_unpack(result) for result in answer]))
        worker.ticket = worker.job = None

    def _give_up(self, position: int, failure: CandidateFailure) -> None:
        worker = self._workers[position]
        assert worker.ticket is not None
        _end(worker)
        assert worker.job is not None
        took = (time.monotonic() - worker.since) / job_size(worker.job)
        self._done.append((worker.ticket, [Result(failure, took)] * job_size(worker.job)))
        self._workers[position] = self._start()

    def _raise_start_error(self, worker: _Worker) -> None:
        answer = worker.pipe.recv() if worker.pipe.poll() else None
        if isinstance(answer, str):
            raise WorkerError(answer)

    def close(self) -> None:
        """Ends all workers."""
        for worker in self._workers:
            _end(worker)


def _end(worker: _Worker) -> None:
    worker.pipe.close()
    worker.process.terminate()
    worker.process.join(2.0)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()


def _deadline(worker: _Worker) -> float | None:
    if worker.job is None or worker.job.limits.seconds is None:
        return None
    return worker.since + job_size(worker.job) * worker.job.limits.seconds * GRACE + GRACE_SECONDS


def cpu_count() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work(pipe: Connection, make_domain: Callable[[], Domain], device: str, threads: int, parent: int) -> None:
    """A worker's life: make the domain, then do jobs until the pipe closes."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    torch.set_num_threads(threads)
    keep_freed_memory()
    try:
        domain = make_domain()
        while True:
            job = _unpack_job(pipe.recv())
            pipe.send([_pack(result) for result in run_job(domain, job, torch.device(device))])
    except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        return
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error} (in a worker)\n{traceback.format_exc()}")


def _end_with_parent(parent: int) -> None:
    while _alive(parent):
        time.sleep(0.5)
    os._exit(1)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


# Tensors cross the pipe as arrays: torch would pass file handles, which an ended worker leaves dangling.


def _arrays(tensors: Any) -> dict[str, Any]:
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def _tensors(arrays: Any) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def _pack_job(job: Job) -> Job:
    if isinstance(job, EvaluationJob):
        return _with(job, inherited=tuple(_arrays(tensors) for tensors in job.inherited))
    return job


def _unpack_job(job: Job) -> Job:
    if isinstance(job, EvaluationJob):
        return _with(job, inherited=tuple(_tensors(arrays) for arrays in job.inherited))
    return job


def _pack(result: Result) -> Result:
    outcome = result.outcome
    if isinstance(outcome, CandidateFailure):
        return result
    return _with(result, outcome=_with(outcome, weights=_arrays(outcome.weights)))


def _unpack(result: Result) -> Result:
    outcome = result.outcome
    if isinstance(outcome, CandidateFailure):
        return result
    return _with(result, outcome=_with(outcome, weights=_tensors(outcome.weights)))


def _with(part: Any, **changes: Any) -> Any:
    return dataclasses.replace(part, **changes)
