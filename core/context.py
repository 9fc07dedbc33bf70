"""What one evaluation may use: its randomness, its limits, inherited weights; and the guard of test data."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Generic
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import TestDataError
from nichenas.core.seeds import numpy_generator
from nichenas.core.seeds import torch_generator

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """What one candidate may use before it is cut off and counted as failed.

    Attributes:
        seconds: of training; none means no limit.
        memory_mb: as the domain estimates or measures it; none means no limit.
    """

    seconds: float | None = None
    memory_mb: float | None = None


@dataclass(frozen=True)
class Environment:
    """Where a domain runs.

    Attributes:
        data_root: folder of the data sets; read, and written only by downloads.
        cache: folder for files derived from them.
        device: where networks are trained.
        seed: of the run; splits that are drawn come from it.
    """

    data_root: Path
    cache: Path
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seed: int = 0


class Context:
    """What one evaluation may use: its randomness, its limits and the weights that it inherits.

    Args:
        seed: of the run, or of the retraining.
        trial: number of the trial.
        inherited: tensors to start from, by name.
        keep_weights: whether the measurement should carry the trained tensors.
        checkpoints: folder of this training alone, to continue from after a restart; if None, nothing is kept.
        artifacts: folder of this training alone for what people may look at, such as pictures; if None, nothing is
            kept.
        checkpoint_in: checkpoint of the parent, whose training this one continues.
        checkpoint_out: where to leave a checkpoint from which this training may be continued.
        repeat: which of several measurements, or full trainings, of the same thing this is; a domain with several
            splits of its data can take them in turn.
        stop_below: when it stops early; see :class:`~nichenas.core.trial.Proposal`.
    """

    def __init__(
        self,
        seed: int,
        trial: int = 0,
        device: torch.device | str = "cpu",
        *,
        limits: Limits | None = None,
        inherited: Mapping[str, Tensor] | None = None,
        keep_weights: bool = False,
        checkpoints: Path | None = None,
        artifacts: Path | None = None,
        checkpoint_in: Path | None = None,
        checkpoint_out: Path | None = None,
        repeat: int = 0,
        stop_below: Sequence[tuple[int, float]] = (),
    ) -> None:
        self.seed = seed
        self.trial = trial
        self.device = torch.device(device)
        self.limits = limits or Limits()
        self.inherited = inherited or {}
        self.keep_weights = keep_weights
        self.checkpoints = checkpoints
        self.artifacts = artifacts
        self.checkpoint_in = checkpoint_in
        self.checkpoint_out = checkpoint_out
        self.repeat = repeat
        self.stop_below = stop_below
        self.started = time.perf_counter()

    def numpy(self, purpose: str, trial: int | None = None) -> np.random.Generator:
        """Returns the numpy generator of a purpose, of this trial unless another is named."""
        return numpy_generator(self.seed, purpose, self.trial if trial is None else trial)

    def torch(self, purpose: str, trial: int | None = None, device: torch.device | str = "cpu") -> torch.Generator:
        """Returns the torch generator of a purpose, of this trial unless another is named."""
        return torch_generator(self.seed, purpose, self.trial if trial is None else trial, device)

    @contextlib.contextmanager
    def seeded(self, purpose: str) -> Iterator[None]:
        """Lets torch's initialisers draw from this context's seed; the global generator is put back afterwards."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.torch(purpose).initial_seed())
            yield

    @property
    def seconds(self) -> float:
        """Seconds since the evaluation began."""
        return time.perf_counter() - self.started

    def check_seconds(self, together: int = 1) -> None:
        """Ends the evaluation if it has used up its time; call it once an epoch.

        Args:
            together: how many candidates share the time that has passed.

        Raises:
            CandidateFailure: with reason ``limit:seconds``.
        """
        if self.limits.seconds is not None and self.seconds > together * self.limits.seconds:
            raise CandidateFailure("limit:seconds", f"more than {self.limits.seconds:g} s")

    def check_memory(self, needed: int) -> None:
        """Ends the evaluation if it needs too much memory; call it before training.

        Args:
            needed: bytes.

        Raises:
            CandidateFailure: with reason ``limit:memory``.
        """
        limit = self.limits.memory_mb
        if limit is not None and needed > limit * 2**20:
            raise CandidateFailure("limit:memory", f"needs {needed / 2**20:.0f} MB, more than {limit:g} MB")


_test_data_open: contextvars.ContextVar[bool] = contextvars.ContextVar("test_data_open", default=False)


class TestData(Generic[T]):
    """Test data behind a guard that only a retraining lets through."""

    __test__ = False  # not a test class

    def __init__(self, value: T) -> None:
        self._value = value

    def read(self) -> T:
        """Returns the data.

        Raises:
            TestDataError: outside :func:`open_test_data`.
        """
        if not _test_data_open.get():
            raise TestDataError("test data was read outside a retraining")
        return self._value


@contextlib.contextmanager
def open_test_data() -> Iterator[None]:
    """Lets test data be read inside the ``with`` block; only the retraining driver uses it."""
    token = _test_data_open.set(True)
    try:
        yield
    finally:
        _test_data_open.reset(token)
