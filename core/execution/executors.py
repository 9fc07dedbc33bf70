"""Executors: where jobs are done. The base of all, their registry, and ``serial``, which does them in this process."""

from __future__ import annotations

import os
from abc import ABC
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from nichenas.core.domain import Domain
from nichenas.core.errors import NichenasError
from nichenas.core.execution.jobs import Job
from nichenas.core.execution.jobs import Result
from nichenas.core.execution.jobs import run_job
from nichenas.core.registry import Registry


class WorkerError(NichenasError):
    """A worker could not start, or broke outside of a candidate; one line that says how."""


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

    A new one is registered by name, installed under the entry point group ``nichenas.executors``, or named by its
    dotted path in ``run.executor``.

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
        """Returns the ticket and results of the next job that is finished, one result a proposal.

        Raises:
            UserError: when a worker cannot start for a reason that the user can fix.
            WorkerError: when workers cannot start, or break outside of a candidate.
        """

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


def cpu_count() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
