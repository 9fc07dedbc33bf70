"""Names of proxy settings, and the fidelities that they are for a domain (EcoNAS, Zhou et al. 2020).

A setting such as ``c4r4s0e60`` is named by the levels of channels, resolution and samples, 0 for no reduction, and
by its epochs; a domain with factors of its own has further letters, as in ``c0r0s0t2e10``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from nichenas.core.capabilities.fidelity import factors_of
from nichenas.core.capabilities.fidelity import honoured
from nichenas.core.capabilities.fidelity import sizes
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.fidelity import FULL
from nichenas.core.fidelity import STANDARD_FACTORS
from nichenas.core.fidelity import Fidelity

_NAME = re.compile(r"((?:[a-df-z]\d+)*)e(\d+)")
_ALWAYS = ("channels", "resolution", "samples")  # in every name, reduced or not, as EcoNAS writes them


def _fall_from_one(value: tuple[float, ...]) -> tuple[float, ...]:
    if not value or value[0] != 1 or any(b >= a for a, b in itertools.pairwise(value)) or value[-1] <= 0:
        raise ValueError("must begin with 1 and fall, all above 0")
    return value


LevelShares = Annotated[tuple[float, ...], AfterValidator(_fall_from_one)]
Levels = Mapping[str, tuple[float, ...]]  # shares of the full setting by level, by factor; by default its own


@dataclass(frozen=True)
class ProxySetting:
    """Levels by the letter of their factor, and how many epochs are trained.

    Attributes:
        levels: 0 for no reduction.
        epochs: in whole units of the domain, not a level.
    """

    levels: Mapping[str, int]
    epochs: int

    def __str__(self) -> str:
        levels = {**{STANDARD_FACTORS[name].letter: 0 for name in _ALWAYS}, **self.levels}
        return "".join(f"{letter}{level}" for letter, level in levels.items()) + f"e{self.epochs}"

    @classmethod
    def parse(cls, name: str) -> ProxySetting:
        """Returns the setting of a name.

        Raises:
            ConfigError: when it is none.
        """
        found = _NAME.fullmatch(name)
        parts = re.findall(r"([a-z])(\d+)", found[1]) if found else []
        setting = cls({letter: int(level) for letter, level in parts}, int(found[2])) if found else None
        if setting is None or setting.epochs < 1 or str(setting) != name:
            raise ConfigError(
                f"'{name}' is not the name of a setting; it has levels of channels, resolution and samples, and "
                "epochs, such as c2r0s0e10"
            )
        return setting


def full_epochs(domain: Domain) -> int:
    """Returns the epochs of an evaluation at the full setting.

    Raises:
        ConfigError: when the domain does not count epochs.
    """
    setting = sizes(domain, FULL)
    if "epochs" not in setting:
        raise ConfigError("the domain does not say how many epochs a training takes, so it has no reduced settings")
    return setting["epochs"]


def fidelity_of(name: str, levels: Levels, domain: Domain) -> Fidelity:
    """Returns the fidelity that a setting is for a domain.

    Args:
        levels: in place of the factors' own, by factor.

    Raises:
        ConfigError: when it is no name, a level is not there, it has more epochs than the full setting, or it reduces
            a factor that the domain lacks.
    """
    setting = ProxySetting.parse(name)
    most = full_epochs(domain)
    if setting.epochs > most:
        raise ConfigError(f"'{name}' has more epochs than the full setting of this domain, {most}")
    shares = {"epochs": setting.epochs / most}
    factors = {factor.letter: factor for factor in factors_of(domain).values()}
    for letter, level in setting.levels.items():
        if letter not in factors:
            has = ", ".join(f"{one.letter} ({one.name})" for one in factors.values())
            raise ConfigError(f"'{name}': no factor has the letter '{letter}'; allowed: {has}")
        factor = factors[letter]
        known = levels.get(factor.name, factor.levels)
        if level >= len(known):
            raise ConfigError(f"'{name}': there is no level {level} of {factor.name}; allowed: 0 to {len(known) - 1}")
        shares[factor.name] = known[level]
    fidelity = Fidelity(**shares)
    check_fidelity(fidelity, domain, name)
    return fidelity


def check_fidelity(fidelity: Fidelity, domain: Domain, name: str) -> None:
    """Refuses a fidelity that reduces what the domain does not.

    Raises:
        ConfigError: naming the factors.
    """
    lacking = sorted(fidelity.keys() - honoured(domain))
    if lacking:
        has = ", ".join(sorted(honoured(domain))) or "none"
        raise ConfigError(f"'{name}' reduces {' and '.join(lacking)}, which the domain does not; it reduces: {has}")
