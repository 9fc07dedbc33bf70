"""TensorBoard curves of a search."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nichenas.core.session.state import SearchState
from nichenas.core.trial import Trial


class Curves:
    """Writes TensorBoard events: every trial's values, the best so far, and the strategy's own figures.

    Args:
        folder: of the event files.
        diagnostics: returns further figures about the search, such as a strategy's entropy.
    """

    def __init__(self, folder: Path, diagnostics: Callable[[], Mapping[str, float]] | None = None) -> None:
        self._folder = folder
        self._diagnostics = diagnostics or dict
        self._writer: Any = None

    def on_trial(self, trial: Trial, state: SearchState, replayed: bool) -> None:
        """Writes one step; trials of the journal were written when they were made."""
        if replayed:
            return
        if self._writer is None:  # imported late: it takes seconds, and short runs need not wait for it
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=trial.number)  # type: ignore[no-untyped-call]
        now = time.time()
        values = {"best/score": state.best_score, "trials/failed": float(state.failed)}
        if trial.measurement is not None:
            values.update({f"trial/{name}": value for name, value in trial.measurement.values.items()})
            values["trial/seconds"] = trial.seconds
            values.update(trial.measurement.scalars)
        values.update({f"strategy/{name}": value for name, value in self._diagnostics().items()})
        for name, value in values.items():
            self._writer.add_scalar(name, value, trial.number, walltime=now)

    def close(self) -> None:
        """Writes what is left."""
        if self._writer is not None:
            self._writer.close()
