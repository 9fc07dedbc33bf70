"""A one-shot domain without networks, for tests of the loop: weights are running estimates of options' qualities."""

from __future__ import annotations

import time
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field

from nichenas.core.context import Context
from nichenas.core.objectives import Objective
from nichenas.core.sharing.one_shot import SharedTraining
from nichenas.core.sharing.one_shot import SharedWeights
from nichenas.core.space import Architecture
from nichenas.core.testing.toy import ToyDomain
from nichenas.core.testing.toy import ToySettings


class ToyOneShotSettings(ToySettings):
    """The ``domain`` section.

    Attributes:
        collapse: step of a training at which both losses become constant; none for never. Reinitialised weights
            collapse likewise, unless ``recovers``.
        recovers: whether reinitialised weights train well.
        broken: whether a loss is not a number from the first step.
        step_seconds: that a step takes.
        stage_ends: choices made after each stage; by default all in one.
    """

    collapse: int | None = Field(None, ge=1)
    recovers: bool = False
    broken: bool = False
    step_seconds: float = Field(0.0, ge=0)
    stage_ends: tuple[int, ...] = ()


class ToyOneShotDomain(ToyDomain, SharedWeights):
    """Quality is the share of choices at their best option, as far as the weights have learned it."""

    Settings = ToyOneShotSettings
    settings: ToyOneShotSettings

    @property
    def stages(self) -> tuple[int, ...]:
        """As the settings say."""
        return self.settings.stage_ends or super().stages

    @property
    def shared_objectives(self) -> tuple[Objective, ...]:
        """Quality, with its own name."""
        return (Objective("quality"),)

    def shared_training(self, context: Context) -> ToyShared:
        """Returns estimates that are all 0."""
        return ToyShared(self, context)


class ToyShared(SharedTraining):
    """One number an option of a choice, which moves towards the truth whenever it is trained."""

    losses = ("a", "b")
    gated_loss = "b"

    def __init__(self, domain: ToyOneShotDomain, context: Context) -> None:
        self.domain = domain
        self.stage, self.steps = 0, 0
        self.reinitialised = False
        self._start(context)

    def _start(self, context: Context) -> None:
        self.weights = torch.randn(len(self.domain.space.choices), 4, generator=context.torch("weights")) * 0.01
        self.steps = 0

    @property
    def steps_per_epoch(self) -> int:
        """Ten."""
        return 10

    def begin_stage(self, stage: int) -> None:
        """Remembers the stage."""
        self.stage = stage

    def begin_training(self, context: Context) -> None:
        """Makes the generator of the steps."""
        self._draws = context.torch("steps")

    def step(self, architectures: Sequence[Architecture], progress: float) -> Mapping[str, float]:
        """Moves the numbers of the architectures' options."""
        settings = self.domain.settings
        time.sleep(settings.step_seconds)
        noise = float(torch.rand((), generator=self._draws))
        for architecture in architectures:
            for index, choice in enumerate(self.domain.space.choices):
                if choice.name in architecture:
                    option = choice.index(architecture[choice.name])
                    truth = float(option == (7 * index + 2) % 4)
                    self.weights[index, option] += 0.1 * (truth + 0.1 * (noise - 0.5) - self.weights[index, option])
        self.steps += 1
        if settings.broken:
            noise = float("nan")
        if settings.collapse is not None and self.steps > settings.collapse:
            noise = 0.0 if not (self.reinitialised and settings.recovers) else noise
        return {"a": noise, "b": noise} if self.steps % 2 == 0 else {"a": noise}

    def score(self, architecture: Architecture, context: Context) -> Mapping[str, float]:
        """Returns the mean estimate of an architecture's options, with noise."""
        found = [
            float(self.weights[index, choice.index(architecture[choice.name])])
            for index, choice in enumerate(self.domain.space.choices)
            if choice.name in architecture
        ]
        noise = self.domain.settings.noise * float(torch.randn((), generator=context.torch("noise")))
        return {"quality": sum(found) / len(found) + noise, "steps": float(self.steps)}

    def reinitialise(self, context: Context) -> None:
        """Draws the estimates again."""
        self.reinitialised = True
        self._start(context)

    def state(self) -> dict[str, Any]:
        """Returns weights and counts; the names are those that checkpoints have had from the beginning."""
        return {"weights": self.weights, "steps": self.steps, "renewed": self.reinitialised}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continues from what :meth:`state` returned."""
        self.weights, self.steps, self.reinitialised = state["weights"].clone(), state["steps"], state["renewed"]
