"""What a domain offers so that one-shot methods can drive it: weights shared by all architectures, and their training.

The method decides which architectures are trained and scored, and when the weights are reinitialised; the domain
decides what a step is. A search may go in stages, in each of which more of the leading choices are made (multi-level
search, AutoGAN): then the shared network grows, and keeps the weights that it has.
"""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import ClassVar

from pydantic import Field
from pydantic import field_validator
from pydantic import model_validator

from nichenas.core.capabilities.base import Capability
from nichenas.core.context import Context
from nichenas.core.errors import unknown_name_message
from nichenas.core.objectives import Objective
from nichenas.core.settings import Settings
from nichenas.core.sharing.reset import ResetSettings
from nichenas.core.sharing.samplers import SAMPLERS
from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace


class OneShotOptions(Settings):
    """``search.one_shot``; defaults are those of AutoGAN's search script unless they say otherwise.

    Attributes:
        iterations: of every stage; each trains shared weights, then scores architectures and tells the strategy.
        shared_epochs: over the training data in an iteration.
        shared_steps: in an iteration; given instead of ``shared_epochs``.
        sampler: of the architectures that shared weights are trained with: ``uniform`` or ``fair``
            (:mod:`nichenas.core.sharing.samplers`); none for the strategy's own, such as a controller's policy.
        paths: architectures in a step, all trained on the same batch.
        scored: architectures that are scored and told in an iteration.
        candidates: that are scored when a stage ends.
        beam: how many of them the next stage extends; of the last stage, the outcome of the search.
        confirm: how many of the last beam are trained alone and measured, as a trial search does with each of its
            candidates; the best of these is the outcome. 0 for none: shared weights have the last word.
        distinct: whether the beam holds different architectures only; AutoGAN's code lets them repeat.
        reset: when shared weights are reinitialised; if None, never.
        reset_before_controller: whether weights that have collapsed are reinitialised at once and the iteration's
            training begins again; AutoGAN's code scores with the collapsed weights first.
        checkpoint_every: iterations between checkpoints.
    """

    iterations: tuple[int, ...] = (15, 20, 30)
    shared_epochs: float | None = Field(None, gt=0)
    shared_steps: int | None = Field(None, ge=1)
    sampler: str | None = None
    paths: int = Field(1, ge=1)
    scored: int = Field(30, ge=1)
    candidates: int = Field(10, ge=1)
    beam: int = Field(5, ge=1)
    confirm: int = Field(0, ge=0)
    distinct: bool = True
    reset: ResetSettings | None = ResetSettings()
    reset_before_controller: bool = True
    checkpoint_every: int = Field(1, ge=1)

    @field_validator("iterations")
    @classmethod
    def _every_stage_has_some(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or min(value) < 1:
            raise ValueError("give at least one iteration a stage")
        return value

    @field_validator("sampler")
    @classmethod
    def _is_known(cls, value: str | None) -> str | None:
        if value is not None and value not in SAMPLERS:
            raise ValueError(unknown_name_message("sampler", value, SAMPLERS))
        return value

    @model_validator(mode="after")
    def _sizes_agree(self) -> OneShotOptions:
        if self.beam > self.candidates:
            raise ValueError(f"beam: {self.beam} of {self.candidates} candidates cannot be kept")
        if self.confirm > self.beam:
            raise ValueError(f"confirm: {self.confirm} of a beam of {self.beam} cannot be measured")
        if (self.shared_epochs is None) == (self.shared_steps is None):
            raise ValueError("give either shared_epochs or shared_steps")
        return self

    @property
    def trials(self) -> int:
        """How many architectures are scored or measured in the whole search, if no weights collapse."""
        return sum(self.iterations) * self.scored + len(self.iterations) * self.candidates + self.confirm


class SharedTraining(ABC):
    """Weights shared by all architectures of a space, with all that their training needs.

    Attributes:
        losses: names of what :meth:`step` returns.
        gated_loss: the loss that is computed least often.
    """

    losses: tuple[str, ...]
    gated_loss: str

    @property
    @abstractmethod
    def steps_per_epoch(self) -> int:
        """Steps of one pass over the training data."""

    @abstractmethod
    def begin_stage(self, stage: int) -> None:
        """Grows the network; weights that were there before stay bit by bit as they are."""

    @abstractmethod
    def begin_training(self, context: Context) -> None:
        """Called before the steps of an iteration; all they draw comes from this context."""

    @abstractmethod
    def step(self, architectures: Sequence[Architecture], progress: float) -> Mapping[str, float]:
        """Trains the weights that some architectures use on one batch, and returns the losses that it computed.

        Args:
            architectures: at least one; the loss is the mean of theirs.
            progress: the share of the whole search's steps that came before, in [0, 1), for schedules.
        """

    @abstractmethod
    def score(self, architecture: Architecture, context: Context) -> Mapping[str, float]:
        """Measures an architecture with the shared weights, which do not change.

        Returns:
            The domain's :attr:`SharedWeights.shared_objectives` by name, and what else is worth keeping.

        Raises:
            CandidateFailure: when it cannot be measured.
        """

    @abstractmethod
    def reinitialise(self, context: Context) -> None:
        """Reinitialises weights and optimizers; only the draws differ."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Returns tensors, numbers and containers of them from which the training continues exactly."""

    @abstractmethod
    def load(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state` returned; the stage has been begun."""


class SharedWeights(Capability):
    """A domain with weights that all architectures share."""

    offers: ClassVar[str] = "shared weights"

    @property
    @abstractmethod
    def space(self) -> SearchSpace:
        """The domain's space."""

    @property
    @abstractmethod
    def objectives(self) -> tuple[Objective, ...]:
        """The domain's objectives."""

    @property
    def stages(self) -> tuple[int, ...]:
        """How many of the space's leading choices are made after each stage; by default all in one."""
        return (len(self.space.choices),)

    @property
    def shared_objectives(self) -> tuple[Objective, ...]:
        """What is measured with shared weights, the reward first; by default what the domain measures anyway."""
        return self.objectives

    @abstractmethod
    def shared_training(self, context: Context) -> SharedTraining:
        """Returns fresh shared weights on the context's device, in the first stage."""
