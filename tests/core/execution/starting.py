"""A domain whose start-up in a worker can be slow or fail; in the process of the search it is as good as any."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

from nichenas.core.errors import DataError
from nichenas.core.testing.toy import ToyDomain
from nichenas.core.testing.toy import ToySettings

TARGET = f"{__name__}:StartingDomain"


class StartingSettings(ToySettings):
    """The ``domain`` section.

    Attributes:
        load: seconds that a worker takes to start.
        fails: how workers fail to start: ``exit``, ``kill``, ``error`` or ``data``; empty for not at all.
        times: how many starts fail; by default all.
        starts: file with a byte for every start of a worker.
    """

    load: float = 0.0
    fails: str = ""
    times: int = 1000
    starts: Path | None = None


class StartingDomain(ToyDomain):
    """The toy domain, made with difficulty."""

    Settings = StartingSettings
    settings: StartingSettings

    def prepare(self) -> None:
        """Does in a worker what the settings say."""
        super().prepare()
        if not in_worker():
            return
        started = 0
        if self.settings.starts is not None:
            with self.settings.starts.open("ab") as file:
                file.write(b".")
            started = self.settings.starts.stat().st_size
        time.sleep(self.settings.load)
        if started > self.settings.times:
            return
        if self.settings.fails == "exit":
            os._exit(5)
        if self.settings.fails == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.settings.fails == "error":
            raise ValueError("the table has\nno rows")
        if self.settings.fails == "data":
            raise DataError("'table.npz' is missing; put it under --data-root")


def in_worker() -> bool:
    """Returns whether this process is a worker of an executor."""
    return multiprocessing.parent_process() is not None or "RAY_JOB_ID" in os.environ
