"""Dynamic reset: when shared weights have collapsed, they are reinitialised (AutoGAN, Gong et al. 2019, section 3).

A training that has collapsed shows losses that hardly change: a discriminator that has won for good has a hinge loss
of 0, a generator stuck on one mode has a constant one. So the variance of each loss in a moving window is watched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from nichenas.core.settings import Settings


class ResetSettings(Settings):
    """When shared weights count as collapsed; defaults are those of AutoGAN's code.

    Attributes:
        window: how many values of a loss are looked at.
        variance: a loss whose population variance in the window is below this has collapsed. The paper speaks of the
            standard deviation, its code tests the variance.
    """

    window: int = Field(500, ge=2)
    variance: float = Field(1e-3, ge=0)


class LossWindow:
    """The last values of one loss."""

    def __init__(self, length: int) -> None:
        self.length = length
        self._values = np.zeros(length)
        self._count = 0

    @property
    def full(self) -> bool:
        """Whether as many values were pushed as it holds."""
        return self._count >= self.length

    def push(self, value: float) -> None:
        """Records a value; the oldest one leaves."""
        self._values[self._count % self.length] = value
        self._count += 1

    def variance(self) -> float:
        """Returns the population variance of what it holds."""
        return float(self._values[: min(self._count, self.length)].var())

    def clear(self) -> None:
        """Forgets all values."""
        self._count = 0

    def state(self) -> list[float]:
        """Returns the values, oldest first."""
        start = self._count - min(self._count, self.length)
        return [float(self._values[i % self.length]) for i in range(start, self._count)]

    def load(self, values: list[float]) -> None:
        """Restores what :meth:`state` returned."""
        self.clear()
        for value in values:
            self.push(value)


class CollapseMonitor:
    """Watches the losses of a training step by step.

    It fires once the window of ``gated_loss`` is full and the variance of any full window is below the limit, or at
    once when a loss is not finite. Then all windows are empty again; nothing else ever clears them.

    Args:
        losses: their names.
        gated_loss: the loss that is computed least often.
    """

    def __init__(self, settings: ResetSettings, losses: tuple[str, ...], gated_loss: str) -> None:
        self.settings = settings
        self.gated_loss = gated_loss
        self.windows = {name: LossWindow(settings.window) for name in losses}

    def push(self, losses: Mapping[str, float]) -> str | None:
        """Records the losses that a step computed; returns why it fires, or none."""
        reason = None
        for name, value in losses.items():
            self.windows[name].push(value)
            if not math.isfinite(value):
                reason = f"{name} is not finite"
        if reason is None and self.windows[self.gated_loss].full:
            for name, window in self.windows.items():
                if window.full and window.variance() < self.settings.variance:
                    reason = f"{name} hardly changes"
                    break
        if reason is not None:
            for window in self.windows.values():
                window.clear()
        return reason

    def state(self) -> dict[str, Any]:
        """Returns the windows, for a checkpoint."""
        return {name: window.state() for name, window in self.windows.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state` returned."""
        for name, values in state.items():
            self.windows[name].load(values)
