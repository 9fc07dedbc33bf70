"""Numbers that change over a search, such as the temperature."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field
from pydantic import model_validator

from nichenas.core.settings import Settings


class Annealing(Settings):
    """A value over the course of a search.

    Attributes:
        kind: how it goes from ``start`` to ``end``; ``constant`` stays at ``start``.
        start: at the beginning.
        end: at the end; by default as at the start.
    """

    kind: Literal["constant", "linear", "exponential", "cosine"] = "constant"
    start: float = Field(1.0, gt=0)
    end: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _has_an_end(self) -> Annealing:
        if self.kind != "constant" and self.end is None:
            raise ValueError(f"a schedule of kind '{self.kind}' needs an end")
        if self.kind == "constant" and self.end not in (None, self.start):
            raise ValueError("a constant schedule has no other end; kinds: linear, exponential, cosine")
        return self

    def at(self, progress: float) -> float:
        """Returns the value at a share of the search, in [0, 1]."""
        end = self.start if self.end is None else self.end
        if self.kind == "linear":
            return self.start + (end - self.start) * progress
        if self.kind == "exponential":
            return self.start * (end / self.start) ** progress
        if self.kind == "cosine":
            return end + (self.start - end) * (1 + math.cos(math.pi * progress)) / 2
        return self.start
