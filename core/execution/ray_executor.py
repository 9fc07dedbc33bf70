"""The ``ray`` executor: jobs in actors of a Ray cluster (the ``ray`` extra). Ray core only, not Ray Tune."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.errors import one_line
from nichenas.core.execution.allocator import keep_freed_memory
from nichenas.core.execution.executors import EXECUTORS
from nichenas.core.execution.executors import ExecutorSetup
from nichenas.core.execution.jobs import Job
from nichenas.core.execution.jobs import run_job
from nichenas.core.execution.pool import Answer
from nichenas.core.execution.pool import Died
from nichenas.core.execution.pool import Worker
from nichenas.core.execution.pool import WorkerPool
from nichenas.core.execution.pool import answer_of


class _Actor:
    """A worker on the cluster; it answers as :mod:`nichenas.core.execution.pool` expects."""

    def prepare(self, make_domain: Callable[[], Domain], device: str) -> Answer:
        torch.set_num_threads(1)
        keep_freed_memory()
        self._device = torch.device(device)

        def work() -> None:
            self._domain = make_domain()

        return answer_of(work)

    def run(self, job: Job) -> Answer:
        return answer_of(lambda: run_job(self._domain, job, self._device))


@dataclass(eq=False, kw_only=True)
class _Remote(Worker):
    actor: Any
    pending: Any  # reference to the answer that is expected


@EXECUTORS.register("ray")
class RayExecutor(WorkerPool[_Remote]):
    """Does jobs in ``workers`` actors.

    Uses the cluster that ``RAY_ADDRESS`` names, else starts one on this machine. Actors that the cluster has no room
    for take no jobs; the others do them.

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
        self._make_domain, self._device = make_domain, str(device)
        gpus = 1 / workers if device.type == "cuda" else 0
        self._remote = ray.remote(num_cpus=1, num_gpus=gpus)(_Actor)
        super().__init__(workers)

    @classmethod
    def create(cls, setup: ExecutorSetup) -> RayExecutor:
        """Returns an executor with as many actors as are wanted."""
        return cls(setup.workers, setup.make_domain, setup.device)

    def _start(self, attempt: int) -> _Remote:
        actor = self._remote.remote()
        return _Remote(attempt, actor=actor, pending=actor.prepare.remote(self._make_domain, self._device))

    def _send(self, worker: _Remote, job: Job) -> bool:
        worker.pending = worker.actor.run.remote(job)
        return True

    def _answers(self, timeout: float | None) -> list[tuple[_Remote, Answer]]:
        expected = {worker.pending: worker for worker in self._workers if not worker.ready or worker.job is not None}
        found, _ = self._ray.wait(list(expected), num_returns=1, timeout=timeout)
        return [(expected[reference], self._answer(reference)) for reference in found]

    def _answer(self, reference: Any) -> Answer:
        try:
            answer: Answer = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            # An actor's death is told with its identifiers first; how it came about stands last.
            return Died(f"{type(error).__name__}: {one_line(str(error).rpartition('exit detail: ')[2])}")
        return answer

    def _stop(self, workers: Iterable[_Remote]) -> None:
        for worker in workers:
            self._ray.kill(worker.actor)

    def close(self) -> None:
        """Ends all actors, and the cluster if this executor started it."""
        super().close()
        if self._started:
            self._ray.shutdown()
