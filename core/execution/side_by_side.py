"""Whole runs side by side, each in a process of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any
from typing import NoReturn

import torch

from nichenas.core.errors import Interrupted
from nichenas.core.errors import NichenasError
from nichenas.core.execution.executors import cpu_count
from nichenas.core.execution.processes import end_with_parent

PATIENCE = 0.5  # seconds until a process that has not ended is interrupted again
READY = "ready"


@dataclass(frozen=True)
class Call:
    """One of the calls.

    Attributes:
        name: for messages.
        arguments: picklable.
    """

    name: str
    arguments: tuple[Any, ...]


@dataclass
class _Running:
    index: int
    process: BaseProcess
    ready: bool = False


def side_by_side(
    function: Callable[..., None],
    calls: Sequence[Call],
    jobs: int,
    *,
    on_start: Callable[[int], None] = lambda index: None,
) -> Iterator[int]:
    """Makes calls of a function, at most ``jobs`` at a time; yields the index of each that has ended.

    Every call has a process of its own, which ends with this one; torch's threads are divided between them. An error
    ends the others as an interrupt does.

    Args:
        function: picklable.
        on_start: is told the index of every call that begins.

    Raises:
        NichenasError: what a call raised, with its name, or that a process ended without an answer.
        Interrupted: on Ctrl-C, once all calls that had begun have ended.
        RuntimeError: for an error of any other kind, with its traceback.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, function.__module__])
    together = max(1, min(jobs, len(calls)))
    threads = max(1, min(torch.get_num_threads(), cpu_count() // together))
    waiting, running = deque(enumerate(calls)), dict[Connection, _Running]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                index, call = waiting.popleft()
                ours, theirs = context.Pipe()
                process: BaseProcess = context.Process(target=_work, args=(theirs, function, call.arguments, threads))
                process.start()
                theirs.close()
                running[ours] = _Running(index, process)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has ended: seen below
                    ours.send(READY)  # only what is known here may begin: an interrupt can come while a process starts
                on_start(index)
            for pipe in multiprocessing.connection.wait(list(running)):
                assert isinstance(pipe, Connection)
                if _has_ended(pipe, running[pipe], calls):
                    yield running.pop(pipe).index
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted with {len(running)} runs under way") from None
    finally:
        _interrupt_all([one.process for one in running.values()])


def _interrupt_all(processes: Sequence[BaseProcess]) -> None:
    """Interrupts all processes at once, and returns when they have ended."""
    while alive := [process for process in processes if process.is_alive()]:
        for process in alive:  # again each time: an interrupt that comes before a process listens to it is lost
            if process.pid is not None:
                os.kill(process.pid, signal.SIGINT)
        multiprocessing.connection.wait([process.sentinel for process in alive], PATIENCE)


def _has_ended(pipe: Connection, one: _Running, calls: Sequence[Call]) -> bool:
    """Returns whether a call has ended, and raises what it raised."""
    name = calls[one.index].name
    try:
        answer = pipe.recv()
    except (EOFError, ConnectionResetError):
        one.process.join()
        hint = "" if one.ready else "; a script must call this below if __name__ == '__main__':, and be a file"
        raise NichenasError(f"{name}: the process ended with exit code {one.process.exitcode}{hint}") from None
    if not one.ready and answer == READY:
        one.ready = True
        return False
    if answer is None:
        one.process.join()
        return True
    try:
        error = pipe.recv()
    except Exception:  # an error that can be sent need not be one that can be made again
        error = NichenasError(answer)
    one.process.join()
    if isinstance(error, NichenasError) and not isinstance(error, Interrupted):
        error.args = (f"{name}: {answer}",)
    raise error


def _work(pipe: Connection, function: Callable[..., None], arguments: tuple[Any, ...], threads: int) -> None:
    signal.signal(signal.SIGINT, _interrupt_once)
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    answer: Exception | None = None
    try:
        pipe.send(READY)
        pipe.recv()
        function(*arguments)
    except EOFError:  # nobody waits for this one
        return
    except NichenasError as error:
        answer = error
    except KeyboardInterrupt:
        answer = Interrupted("interrupted before the run had begun")
    except Exception:
        answer = RuntimeError(f"a run failed:\n{traceback.format_exc()}")
    pipe.send(None if answer is None else str(answer))
    if answer is not None:
        try:
            pipe.send(answer)
        except Exception:  # that of a part from elsewhere may hold anything
            pipe.send(NichenasError(str(answer)))


def _interrupt_once(number: int, frame: FrameType | None) -> NoReturn:
    """Lets only the first interrupt count: a terminal sends one to every process, and the parent another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
