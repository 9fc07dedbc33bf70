"""Reduction factors and the names of reduced settings (EcoNAS, Zhou et al. 2020).

A setting such as ``c4r4s0e60`` is named by the levels of channels, resolution and samples, 0 for no reduction, and
by its epochs. EcoNAS fixes two points: level 0, and level 4 of channels and of resolution, a quarter of each
(36 to 9 channels, 32 to 8 pixels). The levels between, a factor of 1/sqrt(2) each so that every level halves the
arithmetic, and those of samples, halves, are ours.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from nichenas.core.domain import FULL
from nichenas.core.domain import Domain
from nichenas.core.domain import Fidelity
from nichenas.core.domain import Settings
from nichenas.core.errors import ConfigError
from pydantic import field_validator

_NAME = re.compile(r"c(\d+)r(\d+)s(\d+)e(\d+)")
_SQRT = (1.0, 0.5**0.5, 0.5, 0.5**1.5, 0.25)


class Levels(Settings):
    """What the levels of the factors stand for: shares of the full setting, falling from 1.

    Attributes:
        channels: of the width.
        resolution: of the pixels a side.
        samples: of the training samples.
    """

    channels: tuple[float, ...] = _SQRT
    resolution: tuple[float, ...] = _SQRT
    samples: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125, 0.0625)

    @field_validator("*")
    @classmethod
    def _fall_from_one(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or value[0] != 1 or any(b >= a for a, b in itertools.pairwise(value)) or value[-1] <= 0:
            raise ValueError("must begin with 1 and fall, all above 0")
        return value


@dataclass(frozen=True, order=True)
class ReducedSetting:
    """Levels of channels, resolution and samples, and how many epochs are trained.

    Attributes:
        epochs: in whole units of the domain, not a level.
    """

    channels: int
    resolution: int
    samples: int
    epochs: int

    def __str__(self) -> str:
        return f"c{self.channels}r{self.resolution}s{self.samples}e{self.epochs}"

    @classmethod
    def parse(cls, name: str) -> ReducedSetting:
        """Returns the setting of a name.

        Raises:
            ConfigError: when it is none.
        """
        found = _NAME.fullmatch(name)
        if found is None or int(found[4]) < 1:
            raise ConfigError(
                f"'{name}' is not the name of a setting; it has levels of channels, resolution and samples, and "
                "epochs, such as c2r0s0e10"
            )
        return cls(*(int(part) for part in found.groups()))


def full_epochs(domain: Domain) -> int:
    """Returns the epochs of an evaluation at the full setting.

    Raises:
        ConfigError: when the domain does not count epochs.
    """
    setting = domain.setting(FULL)
    if "epochs" not in setting:
        raise ConfigError("the domain does not say how many epochs a training takes, so it has no reduced settings")
    return setting["epochs"]


def fidelity_of(name: str, levels: Levels, domain: Domain) -> Fidelity:
    """Returns the fidelity that a setting is for a domain.

    Raises:
        ConfigError: when it is no name, a level is not there, it has more epochs than the full setting, or it reduces
            a factor that the domain lacks.
    """
    setting = ReducedSetting.parse(name)
    most = full_epochs(domain)
    if setting.epochs > most:
        raise ConfigError(f"'{name}' has more epochs than the full setting of this domain, {most}")
    shares = {"epochs": setting.epochs / most}
    for factor in ("channels", "resolution", "samples"):
        level, known = getattr(setting, factor), getattr(levels, factor)
        if level >= len(known):
            raise ConfigError(f"'{name}': there is no level {level} of {factor}; allowed: 0 to {len(known) - 1}")
        shares[factor] = known[level]
    fidelity = Fidelity(**shares)
    check_fidelity(fidelity, domain, name)
    return fidelity


def check_fidelity(fidelity: Fidelity, domain: Domain, name: str) -> None:
    """Refuses a fidelity that reduces what the domain does not.

    Raises:
        ConfigError: naming the factors.
    """
    lacking = sorted(fidelity.reduced() - domain.reductions)
    if lacking:
        has = ", ".join(sorted(domain.reductions)) or "none"
        raise ConfigError(f"'{name}' reduces {' and '.join(lacking)}, which the domain does not; it reduces: {has}")
