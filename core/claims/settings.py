"""A study as its file has it: arms, controls and claims, written down before anything is run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from nichenas.core.errors import ConfigError
from nichenas.core.errors import shortened
from nichenas.core.errors import unknown_name_message
from nichenas.core.settings import Settings
from nichenas.core.validation import validated

WRITTEN = "study.yaml"  # in the folder of a study: what may not change any more
GATE = "gate"  # folders of gates begin so, and no arm's name does
WITHIN = 0.05  # share of a cost
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
OWN = ("name", "seed", "base", "run", "proxies")  # keys of a configuration that are the same for all arms


class GateSettings(Settings):
    """Whether the setting can rank at all, asked before anything is compared.

    Attributes:
        architectures: random ones that are trained twice.
        correlation: that is needed of means of as many trainings as a run's figure is of; see
            :class:`~nichenas.core.claims.summary.GateResult`.
        arms: in whose settings, each on its own; by default those of the first.
    """

    architectures: int = Field(8, ge=6)
    correlation: float = Field(0.7, gt=0, lt=1)
    arms: tuple[str, ...] = ()


class ControlSettings(Settings):
    """Random architectures, one for every one that an arm found, trained alike.

    Attributes:
        of: the arm.
        redraw: groups of choices that are drawn at random while the others stay as they were found; all by default.
        cost: of the domain's costs, what the random architecture must have in common with the found one.
        within: by what share of it they may differ; :data:`WITHIN` by default.
    """

    of: str
    redraw: tuple[str, ...] | None = Field(None, min_length=1)
    cost: str | None = None
    within: float | None = Field(None, gt=0, lt=1)


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
    """A whole study; :func:`read_design` makes it.

    Attributes:
        base: configuration that every arm is a change of: shipped, or a file beside this one.
        seeds: searches of every arm; they count up from the configuration's seed.
        figure: of trainings, that decides: the domain's primary objective by default, or its criterion.
        gate: none where nothing is asked.
        arms: changes of the base configuration, by name.
        controls: by name.
        claims: the first is the primary one; the others are corrected for their number.
    """

    name: str
    base: str
    seeds: int = Field(6, ge=1)
    figure: str | None = None
    gate: GateSettings | None = GateSettings()
    arms: dict[str, dict[str, Any]] = Field(min_length=1)
    controls: dict[str, ControlSettings] = Field(default_factory=dict)
    claims: tuple[ClaimSettings, ...] = Field(min_length=1)

    @property
    def first(self) -> str:
        """The first arm."""
        return next(iter(self.arms))

    @property
    def gated(self) -> tuple[str, ...]:
        """The arms in whose settings a gate is asked."""
        return () if self.gate is None else self.gate.arms or (self.first,)

    def arm_of(self, name: str) -> str:
        """Returns the arm of that name, or that a control belongs to."""
        return self.controls[name].of if name in self.controls else name


def gate_folder(arm: str) -> str:
    """Returns the folder of an arm's gate, within that of the study."""
    return f"{GATE}-{arm}"


def read_design(values: Mapping[str, Any]) -> StudyFile:
    """Returns a study that holds together.

    Raises:
        ConfigError: for the first thing that is wrong, with its key.
    """
    study = validated(StudyFile, values)
    names = [*study.arms, *study.controls]
    for key, given in (("name", [study.name]), ("arms", list(study.arms)), ("controls", list(study.controls))):
        _check_names(key, given)
    for name in study.controls:
        if name in study.arms:
            raise ConfigError(f"there is an arm '{name}' too; give it another name", "controls")
    _check_gate(study)
    for name, control in study.controls.items():
        _check_control(f"controls.{name}", control, study)
    pairs = set()
    for place, claim in enumerate(study.claims):
        for part, name in (("arm", claim.arm), ("against", claim.against)):
            if name not in names:
                message = unknown_name_message("arm or control", name, names)
                raise ConfigError(message, f"claims.{place}.{part}")
        pair = frozenset((claim.arm, claim.against))
        if len(pair) < 2 or pair in pairs:
            raise ConfigError("a claim needs two arms, and no pair can be claimed twice", f"claims.{place}")
        pairs.add(pair)
    for name, changes in study.arms.items():
        for key in changes:
            if key in OWN:
                raise ConfigError("is the same for all arms; allowed: domain, search, retrain", f"arms.{name}.{key}")
    return study


def _check_names(key: str, names: list[str]) -> None:
    for name in names:
        if not NAME.fullmatch(name):
            allowed = "letters, digits, '.', '_' and '-', beginning with one of the first two"
            raise ConfigError(f"'{shortened(name)}' is no name; allowed: {allowed}", key)
        if key != "name" and name.startswith(GATE):
            raise ConfigError(f"'{name}': names that begin with '{GATE}' are the gates'", key)


def _check_gate(study: StudyFile) -> None:
    for name in study.gate.arms if study.gate is not None else ():
        if name not in study.arms:
            raise ConfigError(unknown_name_message("arm", name, study.arms), "gate.arms")


def _check_control(key: str, control: ControlSettings, study: StudyFile) -> None:
    if control.of not in study.arms:
        raise ConfigError(unknown_name_message("arm", control.of, study.arms), f"{key}.of")
    if control.within is not None and control.cost is None:
        raise ConfigError("is of a cost, and none is named", f"{key}.within")
    if len(set(control.redraw or ())) < len(control.redraw or ()):
        raise ConfigError("names a group twice", f"{key}.redraw")
