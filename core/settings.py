"""The base of every part's own section of a configuration."""

from __future__ import annotations

from pydantic import BaseModel
from pydantic import ConfigDict


class Settings(BaseModel):
    """A section of a configuration: unknown keys are errors, values are checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
