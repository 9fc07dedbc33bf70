"""The base of every part's own section of a configuration."""

from __future__ import annotations

from typing import Any
from typing import get_args

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import ValidationInfo
from pydantic import field_validator


class Settings(BaseModel):
    """A section of a configuration: unknown keys are errors, values are checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        allowed = {annotation, *get_args(annotation)}
        if isinstance(value, bool) and bool not in allowed and allowed & {int, float}:
            raise ValueError("input should be a number")
        return value
