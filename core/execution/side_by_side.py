"""Whole runs side by side, each in a process of its own."""

from __future__ import annotations

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


def side_by_side(call: Callable[..., None], arguments: Sequence[tuple[Any, ...]], jobs: int) -> Iterator[int]:
    """Calls a function with each tuple of arguments, at most ``jobs`` at a time; yields the index of each that ended.

    Every call has a process of its own, which ends with this one; torch threads are divided between them. An error
    ends the others as an interrupt does.

    Args:
        call: picklable, as are the arguments.

    Raises:
        NichenasError: what a call raised.
        Interrupted: on Ctrl-C, once all calls that had begun have ended.
        RuntimeError: for a process that died, or an error of any other kind, with its traceback.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, call.__module__])
    threads = max(1, cpu_count() // jobs)
    waiting, running = deque(enumerate(arguments)), dict[Connection, tuple[int, BaseProcess]]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                index, given = waiting.popleft()
                ours, theirs = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(target=_call, args=(theirs, call, given, threads, os.getpid()))
                process.start()
                theirs.close()
                running[ours] = index, process
            for pipe in multiprocessing.connection.wait(list(running)):
                assert isinstance(pipe, Connection)
                index, process = running.pop(pipe)
                _outcome(pipe, process)
                yield index
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted with {len(running)} runs under way") from None
    finally:
        for _, process in running.values():
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGINT)
        for _, process in running.values():
            process.join()


def _outcome(pipe: Connection, process: BaseProcess) -> None:
    try:
        error = pipe.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"a run ended without an answer (exit code {process.exitcode})") from None
    process.join()
    if error is not None:
        raise error


def _call(pipe: Connection, call: Callable[..., None], given: tuple[Any, ...], threads: int, parent: int) -> None:
    signal.signal(signal.SIGINT, _interrupt_once)
    threading.Thread(target=end_with_parent, args=(parent,), daemon=True).start()
    torch.set_num_threads(threads)
    try:
        call(*given)
        pipe.send(None)
    except NichenasError as error:
        pipe.send(error)
    except KeyboardInterrupt:
        pipe.send(Interrupted("interrupted before the run had begun"))
    except Exception:
        pipe.send(RuntimeError(f"a run failed:\n{traceback.format_exc()}"))


def _interrupt_once(number: int, frame: FrameType | None) -> NoReturn:
    """Lets only the first interrupt count: a terminal sends one to every process, and the parent another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
