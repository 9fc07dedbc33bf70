"""What is trained, unit by unit, and the loop around it; see :mod:`nichenas.core.training`."""

from __future__ import annotations

import math
from abc import ABC
from abc import abstractmethod
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import ClassVar
from typing import SupportsFloat
from typing import TypeVar

import torch
from torch import Tensor

from nichenas.core.checkpoint import read_checkpoint
from nichenas.core.checkpoint import write_checkpoint
from nichenas.core.context import Context
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import RunFolderError
from nichenas.core.trial import Proposal

VERSION = 1  # of checkpoints

T = TypeVar("T", bound="Training")


def units(full: int, share: float) -> int:
    """Returns a share of the units of a full training, at least one."""
    return max(1, round(full * share))


@dataclass(frozen=True)
class Part:
    """A part of a training, in units such as epochs.

    Attributes:
        end: how many are done at its end, those of earlier parts too.
        total: of the training in one go; the schedule of the learning rate is laid out for these.
    """

    end: int
    total: int

    @classmethod
    def whole(cls, total: int) -> Part:
        """Returns a training in one go."""
        return cls(total, total)

    @classmethod
    def of(cls, proposal: Proposal, full: int) -> Part:
        """Returns the part that a proposal wants, of ``full`` units at the full setting."""
        share, horizon = proposal.fidelity["epochs"], proposal.horizon
        return cls(units(full, share), units(full, share if horizon is None else horizon))


@dataclass
class History:
    """What came out of a training so far.

    Attributes:
        curves: (unit, value) of every figure, by name.
        validated: unit of the last validation.
        unit: of the validation that counts.
        values: its figures.
        weights: that were kept of it.
        trained: units trained in this part; set by the loop when the part ends.
        stopped: whether the training stopped early, since it was behind others.
    """

    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    validated: int = 0
    unit: int = 0
    values: dict[str, float] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    trained: int = 0
    stopped: bool = False


class Training(ABC):
    """The training of one candidate, between two of its units.

    Args:
        name: of its file among the checkpoints of a context, where a domain trains several networks.
        validate_every: units between validations; the last unit is followed by one too.
        checkpoint_every: units after which a training that was interrupted can be continued; if None, it starts again.

    Attributes:
        unit: what is counted, for messages.
        done: units so far, those of earlier parts too; counted by the loop.
    """

    unit: ClassVar[str] = "epoch"

    def __init__(self, *, name: str = "training", validate_every: int = 1, checkpoint_every: int | None = None) -> None:
        self.name, self.validate_every, self.checkpoint_every = name, validate_every, checkpoint_every
        self.done = 0
        self.history = History()

    @abstractmethod
    def advance(self) -> None:
        """Trains one unit; ``done`` is the number of units before it."""

    @abstractmethod
    def validate(self) -> Mapping[str, SupportsFloat]:
        """Returns figures on validation data; the candidate has diverged where one is not finite."""

    @abstractmethod
    def stateful(self) -> Mapping[str, Any]:
        """Returns all that training continues from, by name: generators of torch, and whatever has a ``state_dict``."""

    def better(self, figures: Mapping[str, float], best: Mapping[str, float]) -> bool:
        """Returns whether a validation counts in place of the best one before; by default the last one does."""
        return True

    def weights(self) -> Mapping[str, Tensor]:
        """Returns copies of the weights that were just validated as the best, to be kept; by default none."""
        return {}

    def stops(self) -> bool:
        """Returns whether the training ends before its last unit; asked when it is loaded and after every unit."""
        return False

    def progress(self) -> float | None:
        """Returns the best value of the primary objective so far, turned so that larger is better.

        None, as by default, for a training that never stops early.
        """
        return None

    def record(self, unit: int, figures: Mapping[str, SupportsFloat]) -> dict[str, float]:
        """Adds figures to the curves and returns them as numbers; the loop does so with those of validations.

        Raises:
            CandidateFailure: with reason ``diverged`` where one is not finite.
        """
        values = {name: float(value) for name, value in figures.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise CandidateFailure("diverged", f"{name} is {value} at {self.unit} {unit}")
            self.history.curves.setdefault(name, []).append((unit, value))
        return values

    def look(self) -> None:
        """Validates what is trained so far, and keeps what came out if it counts in place of what was best before."""
        values, history = self.record(self.done, self.validate()), self.history
        history.validated = self.done
        if not history.values or self.better(values, history.values):
            history.unit, history.values, history.weights = self.done, values, dict(self.weights())

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint holds."""
        states = {
            name: held.get_state() if isinstance(held, torch.Generator) else held.state_dict()
            for name, held in self.stateful().items()
        }
        return {"version": VERSION, "done": self.done, "history": vars(self.history), "states": states}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continues from what :meth:`state` returned."""
        for name, held in self.stateful().items():
            if isinstance(held, torch.Generator):
                held.set_state(state["states"][name].cpu())
            else:
                held.load_state_dict(state["states"][name])
        self.done, self.history = state["done"], History(**state["history"])


def train(training: Training, context: Context, part: Part) -> History:
    """Trains a candidate until the end of a part and returns what came out.

    Raises:
        CandidateFailure: when a figure is not finite, or a limit is reached.
        RunFolderError: when the checkpoint of the parent cannot be used.
    """
    (outcome,) = train_together([training], [context], part, lambda active: active[0].advance())
    if isinstance(outcome, CandidateFailure):
        raise outcome
    return outcome


def train_together(
    trainings: Sequence[T], contexts: Sequence[Context], part: Part, advance: Callable[[list[T]], None]
) -> list[History | CandidateFailure]:
    """Trains several candidates in step; each ends, or fails, on its own.

    Args:
        contexts: one a candidate; each may take as long as its limit says times the number of candidates.
        advance: trains those that are handed to it for one unit; what it raises ends all of them.
    """
    runs = [_Run(*pair, part, len(trainings)) for pair in zip(trainings, contexts, strict=True)]
    while active := [index for index, run in enumerate(runs) if not run.over]:
        advance([trainings[index] for index in active])
        for index in active:
            runs[index].end_unit()
    return [run.end_part() for run in runs]


class _Run:
    """One candidate on its way through a part."""

    def __init__(self, training: Training, context: Context, part: Part, together: int) -> None:
        self.training, self.context, self.part, self.together = training, context, part, together
        self.file: Path | None = None
        if training.checkpoint_every is not None and context.checkpoints is not None:
            self.file = context.checkpoints / f"{training.name}.pt"
        self._resume()
        self.before = training.done
        self.looks = [look for look in context.stop_below if look[0] > training.done]
        self.failure: CandidateFailure | None = None
        self.over = training.done >= part.end or training.stops()

    def _resume(self) -> None:
        """Continues from the training's own checkpoint, or else from that of its parent."""
        for file in (self.file, self.context.checkpoint_in):
            own = file is self.file
            if file is None or (own and not file.exists()):
                continue
            try:
                held = read_checkpoint(file, self.context.device)
                if held.get("version") != VERSION:
                    raise RunFolderError(f"{file}: a training's checkpoint of another version, not {VERSION}")
            except RunFolderError:
                if own:  # it only saves time: without it, the training starts again
                    continue
                raise
            try:
                return self.training.load(held)
            except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
                why = f"{type(error).__name__}: {error}".splitlines()[0]
                if own:  # half loaded: the same command starts this training again
                    file.unlink(missing_ok=True)
                raise RunFolderError(f"{file}: not a checkpoint of this training ({why})") from error

    def end_unit(self) -> None:
        """Counts a unit, validates where it is time to, and checks the limit, after the last unit too."""
        training = self.training
        training.done += 1
        try:
            if training.done % training.validate_every == 0 or training.done == self.part.total:
                training.look()
                training.history.stopped = self._is_behind()
            self.context.check_seconds(self.together)
        except CandidateFailure as failure:
            self.failure, self.over = failure, True
            return
        self.over = training.done >= self.part.end or training.history.stopped or training.stops()
        if self.file is not None and not self.over and training.done % (training.checkpoint_every or 1) == 0:
            write_checkpoint(self.file, training.state())

    def end_part(self) -> History | CandidateFailure:
        """Leaves a checkpoint for the next part, and makes sure that the last unit is validated."""
        training, file = self.training, self.context.checkpoint_out
        training.history.trained = training.done - self.before
        if self.failure is not None:
            return self.failure
        if file is not None:
            write_checkpoint(file, training.state())
        if training.history.validated != training.done:
            # A training in one go is not validated here, so the checkpoint was written first.
            try:
                training.look()
            except CandidateFailure as failure:
                if file is not None:
                    file.unlink()
                return failure
        return training.history

    def _is_behind(self) -> bool:
        """Returns whether the training is behind others at an epoch where they are compared."""
        due = [least for epoch, least in self.looks if epoch <= self.training.done]
        self.looks = [look for look in self.looks if look[0] > self.training.done]
        progress = self.training.progress() if due else None
        return progress is not None and progress < max(due)
