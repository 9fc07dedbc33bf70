"""The seconds of a search over all sessions of its run."""

from __future__ import annotations

import time


class Clock:
    """Counts the seconds in which something new is done; replaying a journal costs the search nothing.

    Args:
        before: seconds of earlier sessions.
    """

    def __init__(self, before: float = 0.0) -> None:
        self._before = before
        self._started: float | None = None

    def start(self) -> None:
        """Lets the seconds count from now on; further calls do nothing."""
        if self._started is None:
            self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds of all sessions."""
        return self._before + (0.0 if self._started is None else time.perf_counter() - self._started)
