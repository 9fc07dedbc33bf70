"""The ``ray`` executor: jobs in actors of a Ray cluster (the ``ray`` extra). Ray core only, not Ray Tune."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import torch

from nichenas.core.domain import Domain
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import ConfigError
from nichenas.core.execution.allocator import keep_freed_memory
from nichenas.core.execution.executors import EXECUTORS
from nichenas.core.execution.executors import Executor
from nichenas.core.execution.executors import ExecutorSetup
from nichenas.core.execution.jobs import Job
from nichenas.core.execution.jobs import Result
from nichenas.core.execution.jobs import job_size
from nichenas.core.execution.jobs import run_job


class _Actor:
    def __init__(self, make_domain: Callable[[], Domain], device: str) -> None:
        torch.set_num_threads(1)
        keep_freed_memory()
        self._domain = make_domain()
        self._device = torch.device(device)

    def run(self, job: Job) -> list[Result]:
        return run_job(self._domain, job, self._device)


@EXECUTORS.register("ray")
class RayExecutor(Executor):
    """Does jobs in ``workers`` actors; an actor that dies costs its job's candidates a failed trial.

    Uses the cluster that ``RAY_ADDRESS`` names, else starts one on this machine.

    Args:
        workers: number of actors, one CPU each.
        make_domain: picklable; called once in every actor, where the data must be found under the same path.
        device: where networks are trained.

    Raises:
        ConfigError: when Ray is not installed.
    """

    def __init__(self, workers: int, make_domain: Callable[[], Domain], device: torch.device) -> None:
        try:
            import ray
        except ImportError:
            raise ConfigError(
                "run.executor: 'ray' needs the package ray; install it with: pip install 'nichenas[ray]'"
            ) from None
        self._ray: Any = ray
        self._started = not ray.is_initialized()
        if self._started:
            ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
        gpus = 1 / workers if device.type == "cuda" else 0
        self._new = lambda: ray.remote(num_cpus=1, num_gpus=gpus)(_Actor).remote(make_domain, str(device))
        self.capacity = workers
        self._idle = deque(self._new() for _ in range(workers))
        self._running: dict[Any, tuple[int, Any, int, float]] = {}

    @classmethod
    def create(cls, setup: ExecutorSetup) -> RayExecutor:
        """Returns an executor with as many actors as are wanted."""
        return cls(setup.workers, setup.make_domain, setup.device)

    def submit(self, ticket: int, job: Job) -> None:
        """Hands a job to an idle actor."""
        actor = self._idle.popleft()
        self._running[actor.run.remote(job)] = (ticket, actor, job_size(job), time.monotonic())

    def wait(self) -> tuple[int, list[Result]]:
        """Waits for any actor and returns its job's results."""
        (done,), _ = self._ray.wait(list(self._running), num_returns=1)
        ticket, actor, size, since = self._running.pop(done)
        try:
            results: list[Result] = self._ray.get(done)
        except self._ray.exceptions.RayActorError as error:
            actor = self._new()
            took = (time.monotonic() - since) / size
            results = [Result(CandidateFailure("worker died", type(error).__name__), took)] * size
        self._idle.append(actor)
        return ticket, results

    def close(self) -> None:
        """Ends all actors, and the cluster if this executor started it."""
        for actor in [*self._idle, *(entry[1] for entry in self._running.values())]:
            self._ray.kill(actor)
        if self._started:
            self._ray.shutdown()
