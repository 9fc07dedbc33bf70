"""The ``processes`` executor: jobs in other processes of this machine."""

from __future__ import annotations

import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import sys
import threading
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import torch

from nichenas.core.domain import Domain
from nichenas.core.errors import CandidateFailure
from nichenas.core.execution.allocator import keep_freed_memory
from nichenas.core.execution.executors import EXECUTORS
from nichenas.core.execution.executors import ExecutorSetup
from nichenas.core.execution.executors import cpu_count
from nichenas.core.execution.jobs import EvaluationJob
from nichenas.core.execution.jobs import Job
from nichenas.core.execution.jobs import Result
from nichenas.core.execution.jobs import run_job
from nichenas.core.execution.pool import Answer
from nichenas.core.execution.pool import Died
from nichenas.core.execution.pool import Worker
from nichenas.core.execution.pool import WorkerPool
from nichenas.core.execution.pool import broken

PATIENCE = 2.0  # seconds that a process has to end when it is asked to


@dataclass(eq=False, kw_only=True)
class _Process(Worker):
    process: BaseProcess
    pipe: Connection


@EXECUTORS.register("processes")
class ProcessExecutor(WorkerPool[_Process]):
    """Does jobs in ``workers`` processes. They end when this process does, however it ends.

    Args:
        workers: number of processes; torch threads are divided between them.
        make_domain: picklable; called once in every worker.
        device: where networks are trained.
    """

    def __init__(self, workers: int, make_domain: Callable[[], Domain], device: torch.device) -> None:
        self._make_domain = make_domain
        self._device = device
        self._threads = max(1, min(cpu_count(), torch.get_num_threads()) // workers)
        self._processes = multiprocessing.get_context("forkserver")
        # Modules are imported once, in the process that the workers are forked from.
        module = getattr(make_domain, "module", type(make_domain).__module__)
        self._processes.set_forkserver_preload([__name__, module])
        super().__init__(workers)

    @classmethod
    def create(cls, setup: ExecutorSetup) -> ProcessExecutor:
        """Returns an executor with as many processes as are wanted."""
        return cls(setup.workers, setup.make_domain, setup.device)

    def _start(self, attempt: int) -> _Process:
        ours, theirs = self._processes.Pipe()
        process = self._processes.Process(
            target=_work, args=(theirs, self._make_domain, str(self._device), self._threads), daemon=True
        )
        process.start()
        theirs.close()
        return _Process(attempt, process=process, pipe=ours)

    def _send(self, worker: _Process, job: Job) -> bool:
        if worker.pipe.poll():  # an idle worker has nothing to say; what can be read is the end of its pipe
            return False
        try:
            worker.pipe.send(_pack_job(job))
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def _answers(self, timeout: float | None) -> list[tuple[_Process, Answer]]:
        expected = {worker.pipe: worker for worker in self._workers if not worker.ready or worker.job is not None}
        found = multiprocessing.connection.wait(list(expected), timeout)
        return [(worker, self._answer(worker)) for pipe, worker in expected.items() if pipe in found]

    def _answer(self, worker: _Process) -> Answer:
        try:
            answer = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            return Died(self._exit_of(worker))
        return [_unpack(result) for result in answer] if isinstance(answer, list) else answer

    def _exit_of(self, worker: _Process) -> str:
        worker.process.join(1.0)
        code = worker.process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"

    def _stop(self, workers: Iterable[_Process]) -> None:
        workers = list(workers)
        for worker in workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in workers:
            worker.process.join(PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


def _work(pipe: Connection, make_domain: Callable[[], Domain], device: str, threads: int) -> None:
    """A worker's life: make the domain, say so, then do jobs until the pipe closes."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    keep_freed_memory()
    try:
        try:
            domain = make_domain()
        except Exception as error:
            pipe.send(broken(error))
            sys.exit(1)
        pipe.send(None)
        while True:
            job = _unpack_job(pipe.recv())
            try:
                answer = [_pack(result) for result in run_job(domain, job, torch.device(device))]
            except Exception as error:
                pipe.send(broken(error))
                sys.exit(1)
            pipe.send(answer)
    except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        return  # the parent has closed the pipe


def end_with_parent() -> None:
    """Ends this process once its parent has ended, reaped or not; for a thread of its own."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


# Tensors cross the pipe as bytes and types: torch would pass file handles, which an ended worker leaves dangling.


def _arrays(tensors: Any) -> dict[str, Any]:
    found = {}
    for name, tensor in tensors.items():
        held = tensor.detach().cpu().contiguous()
        found[name] = (held.reshape(-1).view(torch.uint8).numpy(), held.dtype, tuple(held.shape))
    return found


def _tensors(arrays: Any) -> dict[str, torch.Tensor]:
    return {
        name: torch.from_numpy(np.array(held)).view(dtype).reshape(shape)
        for name, (held, dtype, shape) in arrays.items()
    }


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
