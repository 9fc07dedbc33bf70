"""What executors with workers share: jobs wait for a worker that is ready, dead workers are replaced, deadlines kept.

A worker begins by making its own domain, which may take as long as loading the data does. A job is handed to a worker
only when that is done, so start-up counts against no candidate, and a worker that dies while it starts takes no job
with it. One that dies on a job costs the job's candidates a failed trial.
"""

from __future__ import annotations

import logging
import time
import traceback
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic
from typing import TypeVar

from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import UserError
from nichenas.core.errors import one_line
from nichenas.core.errors import shortened
from nichenas.core.execution.executors import Executor
from nichenas.core.execution.executors import WorkerError
from nichenas.core.execution.jobs import Job
from nichenas.core.execution.jobs import Result
from nichenas.core.execution.jobs import job_size

log = logging.getLogger(__name__)

GRACE = 2.0  # a worker that overruns its limit by this factor, and by GRACE_SECONDS, is ended
GRACE_SECONDS = 10.0
TRIES = 3  # to start a worker, in a row


@dataclass(frozen=True)
class Broken:
    """An exception in a worker that no candidate accounts for.

    Attributes:
        message: one line.
        by_user: whether the user can fix it.
        trace: the traceback.
    """

    message: str
    by_user: bool
    trace: str


@dataclass(frozen=True)
class Died:
    """A worker is gone.

    Attributes:
        how: it ended, such as ``exit code 7`` or ``signal 9``.
    """

    how: str


Answer = list[Result] | Broken | Died | None  # of a worker: results of its job, what went wrong; None when it is ready


@dataclass(eq=False)
class Worker:
    """What the pool knows of a worker.

    Attributes:
        attempt: to start it, from 1; those before failed.
        ready: whether it has made its domain.
        ticket: of its job.
        since: when it was handed the job, by the monotonic clock.
        used: whether it was ever handed a job.
    """

    attempt: int = 1
    ready: bool = False
    ticket: int | None = None
    job: Job | None = None
    since: float = 0.0
    used: bool = False

    @property
    def deadline(self) -> float | None:
        """When it is ended for not keeping the limit of its job; none without a job, or a limit."""
        if self.job is None or self.job.limits.seconds is None:
            return None
        return self.since + job_size(self.job) * self.job.limits.seconds * GRACE + GRACE_SECONDS


W = TypeVar("W", bound=Worker)


class WorkerPool(Executor, Generic[W]):
    """Base of executors with several workers, each with its own copy of the domain.

    A worker that dies on a job, or overruns the limit on seconds without noticing, costs the job's candidates a failed
    trial and is replaced. One that cannot start ends the run: at once where the user can fix it, else after
    :data:`TRIES` tries in a row.

    Args:
        workers: how many.
    """

    def __init__(self, workers: int) -> None:
        self.capacity = workers
        self._waiting: deque[tuple[int, Job]] = deque()  # for a worker that is ready
        self._done: deque[tuple[int, list[Result]]] = deque()
        self._workers: list[W] = [self._start(1) for _ in range(workers)]

    @abstractmethod
    def _start(self, attempt: int) -> W:
        """Starts a worker and returns it without waiting until it is ready."""

    @abstractmethod
    def _send(self, worker: W, job: Job) -> bool:
        """Hands a job to a ready worker; returns whether it was there to take it."""

    @abstractmethod
    def _answers(self, timeout: float | None) -> Sequence[tuple[W, Answer]]:
        """Waits for answers of workers that start or do a job; none where none comes in time.

        Args:
            timeout: seconds; none to wait until there is one.
        """

    @abstractmethod
    def _stop(self, workers: Iterable[W]) -> None:
        """Ends workers, whatever they do; those that have ended are put away."""

    def _exit_of(self, worker: W) -> str:
        """Returns how a worker ended, such as ``exit code 7``; empty where that is not known."""
        return ""

    def submit(self, ticket: int, job: Job) -> None:
        """Takes a job, and hands it to an idle worker that is ready, if there is one."""
        self._waiting.append((ticket, job))
        self._hand_out()

    def wait(self) -> tuple[int, list[Result]]:
        """Waits for any worker and returns its job's results.

        Raises:
            UserError: when a worker cannot start for a reason that the user can fix.
            WorkerError: when a worker cannot start, or breaks outside of a candidate.
        """
        while not self._done:
            deadlines = [worker.deadline for worker in self._workers if worker.deadline is not None]
            timeout = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
            for worker, answer in self._answers(timeout):
                self._take(worker, answer)
            for worker in list(self._workers):
                if worker.deadline is not None and time.monotonic() > worker.deadline:
                    self._give_up(worker, CandidateFailure("limit:seconds", "the worker did not stop by itself"))
            self._hand_out()
        return self._done.popleft()

    def close(self) -> None:
        """Ends all workers."""
        self._stop(self._workers)

    def _hand_out(self) -> None:
        for worker in list(self._workers):
            if not self._waiting:
                return
            if worker.ready and worker.job is None:
                ticket, job = self._waiting[0]
                if self._send(worker, job):
                    self._waiting.popleft()
                    worker.ticket, worker.job, worker.since, worker.used = ticket, job, time.monotonic(), True
                else:
                    self._died(worker, self._exit_of(worker) or "it ended while it was idle")

    def _take(self, worker: W, answer: Answer) -> None:
        if answer is None:
            worker.ready = True
        elif isinstance(answer, Died):
            self._died(worker, answer.how)
        elif isinstance(answer, Broken):
            self._broke(worker, answer)
        else:
            assert worker.ticket is not None
            self._done.append((worker.ticket, answer))
            worker.ticket = worker.job = None

    def _died(self, worker: W, how: str) -> None:
        if worker.job is not None:
            self._give_up(worker, CandidateFailure("worker died", how))
        elif worker.used:
            self._replace(worker, 1)
        elif worker.attempt < TRIES:
            log.warning("a worker could not start (%s); it is started again", how)
            self._replace(worker, worker.attempt + 1)
        else:
            raise WorkerError(f"a worker could not start, {TRIES} times in a row: {how}")

    def _broke(self, worker: W, broken: Broken) -> None:
        if broken.by_user:
            raise UserError(f"{broken.message} (in a worker)")
        log.error("%s", broken.trace)
        if worker.ready:
            raise WorkerError(f"a worker broke: {broken.message}")
        self._died(worker, ", ".join(part for part in (self._exit_of(worker), broken.message) if part))

    def _give_up(self, worker: W, failure: CandidateFailure) -> None:
        assert worker.ticket is not None
        assert worker.job is not None
        size = job_size(worker.job)
        took = (time.monotonic() - worker.since) / size
        self._done.append((worker.ticket, [Result(failure, took)] * size))
        self._replace(worker, 1)

    def _replace(self, worker: W, attempt: int) -> None:
        self._stop([worker])
        self._workers[self._workers.index(worker)] = self._start(attempt)


def answer_of(work: Callable[[], list[Result] | None]) -> list[Result] | Broken | None:
    """Returns what a worker answers: the outcome of its work, or the exception that ended it."""
    try:
        return work()
    except Exception as error:
        return broken(error)


def broken(error: Exception) -> Broken:
    """Returns an exception in a form that travels to another process whatever its class."""
    text = shortened(one_line(str(error)), 500)
    by_user = isinstance(error, UserError)
    name = type(error).__name__
    message = text if by_user and text else f"{name}: {text}" if text else name
    return Broken(message, by_user, "".join(traceback.format_exception(error)).rstrip())
