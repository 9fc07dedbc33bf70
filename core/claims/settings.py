"""A study as its file has it: arms, controls and claims, written down before anything is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from typing import Any

from pydantic import Field
from pydantic import model_validator

from nichenas.core.config_files import merged
from nichenas.core.errors import unknown_name_message
from nichenas.core.settings import Settings

WRITTEN = "study.yaml"  # in the folder of a study: what may not change any more
GATE = "gate"  # folder of the gate, so no arm can have the name
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class GateSettings(Settings):
    """Whether the setting can rank at all, asked before anything is compared.

    Attributes:
        architectures: random ones that are trained twice, as found networks are.
        correlation: Spearman's, of the two trainings' validation values, that is needed.
    """

    architectures: int = Field(8, ge=4)
    correlation: float = Field(0.7, gt=0, lt=1)


class ControlSettings(Settings):
    """Random architectures, one for every one that an arm found, trained alike.

    Attributes:
        of: the arm.
        redraw: groups of choices that are drawn at random while the others stay as they were found; all by default.
        cost: of the domain's costs, what the random architecture must have in common with the found one.
        within: by what share of it they may differ.
    """

    of: str
    redraw: tuple[str, ...] | None = Field(None, min_length=1)
    cost: str | None = None
    within: float = Field(0.05, gt=0, lt=1)


class ClaimSettings(Settings):
    """That one arm is better than another.

    Attributes:
        arm: an arm or a control.
        against: likewise.
        says: the claim in words, with its source.
    """

    arm: str
    against: str
    says: str = ""


class StudyFile(Settings):
    """A whole study.

    Attributes:
        base: configuration that every arm is a change of: shipped, or a file beside this one.
        seeds: searches of every arm; they count up from the configuration's seed.
        gate: none where nothing is asked.
        arms: changes of the base configuration, by name.
        controls: by name.
        claims: the first is the primary one; the others are corrected for their number.
    """

    name: Name
    base: str
    seeds: int = Field(5, ge=1)
    gate: GateSettings | None = GateSettings()
    arms: dict[Name, dict[str, Any]] = Field(min_length=1)
    controls: dict[Name, ControlSettings] = Field(default_factory=dict)
    claims: tuple[ClaimSettings, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_known(self) -> StudyFile:
        names = [*self.arms, *self.controls]
        if len(set(names)) != len(names) or GATE in names:
            raise ValueError(f"arms and controls need names of their own, and not '{GATE}'")
        for name, control in self.controls.items():
            if control.of not in self.arms:
                raise ValueError(f"controls.{name}.of: {unknown_name_message('arm', control.of, self.arms)}")
        pairs = set()
        for place, claim in enumerate(self.claims):
            for part, name in (("arm", claim.arm), ("against", claim.against)):
                if name not in names:
                    known = unknown_name_message("arm or control", name, names)
                    raise ValueError(f"claims.{place}.{part}: {known}")
            pair = frozenset((claim.arm, claim.against))
            if len(pair) < 2 or pair in pairs:
                raise ValueError(f"claims.{place}: needs two arms, and no pair twice")
            pairs.add(pair)
        for name, changes in self.arms.items():
            if "seed" in changes or "name" in changes or "base" in changes:
                raise ValueError(f"arms.{name}: changes sections such as domain and search, not name, seed or base")
        return self

    def design(self) -> Mapping[str, Any]:
        """Returns what may not change once the study has begun: all but the number of seeds."""
        return {key: value for key, value in self.model_dump(mode="json").items() if key != "seeds"}

    def changes(self, arm: str) -> Mapping[str, Any]:
        """Returns an arm as a configuration on top of the base."""
        return merged({"base": self.base}, self.arms[arm])
