"""A domain without training, for tests of everything else: a known function with noise, failures on request."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field

from nichenas.core.capabilities.baselines import Baselines
from nichenas.core.capabilities.costing import Costing
from nichenas.core.capabilities.fidelity import ReducedFidelity
from nichenas.core.capabilities.inheritance import ShareKey
from nichenas.core.capabilities.inheritance import WeightInheritance
from nichenas.core.checkpoint import read_checkpoint
from nichenas.core.checkpoint import write_checkpoint
from nichenas.core.context import Context
from nichenas.core.context import TestData
from nichenas.core.domain import Domain
from nichenas.core.errors import CandidateFailure
from nichenas.core.fidelity import Fidelity
from nichenas.core.objectives import Objective
from nichenas.core.settings import Settings
from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Retrained


class ToySettings(Settings):
    """The ``domain`` section.

    Attributes:
        choices: number of unconditional choices, four options each, in two groups.
        noise: standard deviation of the measured quality.
        sleep: seconds an evaluation takes.
        fail: share of architectures that fail.
        epochs: of a complete evaluation. Before its end the quality is lower, the more so for good architectures.
        misbehave: what architectures with ``c0=3`` do: nothing special, end their process, hang, read test data,
            raise an error, or diverge.
    """

    choices: int = Field(4, ge=1)
    noise: float = Field(0.01, ge=0)
    sleep: float = Field(0.0, ge=0)
    fail: float = Field(0.0, ge=0, le=1)
    epochs: int = Field(12, ge=1)
    misbehave: str = ""
    size_objective: bool = False


class ToyDomain(Domain, ReducedFidelity, WeightInheritance, Baselines, Costing):
    """Quality is the share of choices that stand at their best option."""

    Settings = ToySettings
    factors = ("epochs",)
    resumable = True
    sharing_rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"homogeneous": ("option",)}
    baselines = ("middle",)
    cost_names = ("size",)
    settings: ToySettings

    def prepare(self) -> None:
        """Hides the offset that test values have."""
        self._test = TestData(-0.05)

    @property
    def space(self) -> SearchSpace:
        """Choices ``c0`` ..., and ``extra`` where ``c0`` is 0."""
        plain = [Choice(f"c{i}", (0, 1, 2, 3), group="even" if i % 2 == 0 else "odd") for i in range(self._count)]
        return SearchSpace([*plain, Choice("extra", ("a", "b"), when={"c0": (0,)}, group="extra")])

    @property
    def _count(self) -> int:
        return self.settings.choices

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Quality, and size if wanted."""
        quality = Objective("quality")
        return (quality, Objective("size", "minimize")) if self.settings.size_objective else (quality,)

    def evaluate(self, proposal: Proposal, context: Context) -> Measurement:
        """Returns the known quality with noise from the context."""
        architecture = proposal.architecture
        generator = context.torch("noise")
        if architecture["c0"] == 3:
            self._misbehave()
        if context.numpy("failure").random() < self.settings.fail:
            raise CandidateFailure("diverged", "on request")
        deadline = time.perf_counter() + self.settings.sleep
        while time.perf_counter() < deadline:
            context.check_seconds()
            time.sleep(min(0.01, self.settings.sleep))
        inherited = float(sum(tensor.sum() for tensor in context.inherited.values()))
        epochs = self.resolve_fidelity(proposal.fidelity)["epochs"]
        before, drift = self._continued(context)
        for epoch in range(before, epochs):
            drift = 0.5 * drift + 1e-4 * float(torch.randn((), generator=context.torch(f"epoch {epoch}")))
        if context.checkpoint_out is not None:
            write_checkpoint(context.checkpoint_out, {"epochs": epochs, "drift": drift})
        quality = self._quality(architecture) * (0.5 + 0.5 * epochs / self.settings.epochs) + drift
        quality += self.settings.noise * float(torch.randn((), generator=generator))
        values = {"quality": quality + 1e-3 * math.tanh(inherited), "size": float(sum(self._numbers(architecture)))}
        weights = {}
        if context.keep_weights:
            weights = {name: torch.full(key.shape, quality) for name, key in self.share_keys(architecture).items()}
        return Measurement(values, ((epochs, quality),), weights=weights, epochs=epochs - before)

    def resolve_fidelity(self, fidelity: Fidelity) -> Mapping[str, int]:
        """Returns the epochs."""
        return {"epochs": max(1, round(self.settings.epochs * fidelity["epochs"]))}

    def _continued(self, context: Context) -> tuple[int, float]:
        """Returns epochs and drift of the trial that is continued; what is measured depends on both."""
        if context.checkpoint_in is None:
            return 0, 0.0
        held = read_checkpoint(context.checkpoint_in)
        return int(held["epochs"]), float(held["drift"])

    def _misbehave(self) -> None:
        how = self.settings.misbehave
        if how == "die":
            os._exit(7)
        if how == "hang":
            time.sleep(3600)
        if how == "test":
            self._test.read()
        if how == "error":
            raise ValueError("a <b>bug</b>")
        if how == "diverge":
            raise FloatingPointError("nan")

    def _numbers(self, architecture: Architecture) -> list[int]:
        return [int(str(value)) for name, value in architecture.items() if name != "extra"]

    def _quality(self, architecture: Architecture) -> float:
        best = [(7 * i + 2) % 4 for i in range(self._count)]
        return sum(a == b for a, b in zip(self._numbers(architecture), best, strict=True)) / self._count

    def retrain(self, architecture: Architecture, context: Context) -> Retrained:
        """Returns validation and test values with noise from the context."""
        noise = self.settings.noise * float(torch.randn((), generator=context.torch("noise")))
        value = self._quality(architecture) + noise
        weights = {"w": torch.tensor([value])} if context.keep_weights else {}
        return Retrained({"quality": value}, {"quality": value + self._test.read()}, weights=weights)

    def train_baseline(self, name: str, context: Context) -> Retrained:
        """Returns the values of the architecture with every choice at 1."""
        values: dict[str, str | int | float | bool | None] = {f"c{i}": 1 for i in range(self._count)}
        return self.retrain(self.space.architecture(values), context)

    def architecture_costs(self, architecture: Architecture) -> Mapping[str, float]:
        """Returns the sum of the choices."""
        return {"size": float(sum(self._numbers(architecture)))}

    def deployment_costs(self, architecture: Architecture) -> Mapping[str, float]:
        """Returns the bytes of the choices as text."""
        return {"bytes": float(len(architecture.to_json()))}

    def share_keys(self, architecture: Architecture) -> Mapping[str, ShareKey]:
        """Returns one tensor a choice, shared where the option agrees, and one that never is."""
        keys = {
            f"layer{i}.weight": ShareKey(i, "weight", (2,), {"option": str(value)})
            for i, value in enumerate(self._numbers(architecture))
        }
        return {**keys, "layer0.batch_norm.mean": ShareKey(0, "batch_norm.mean", (2,), {"option": "0"})}
