"""The settings that a study compares with the full one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence

from nichenas.core.capabilities.fidelity import factors_of
from nichenas.core.capabilities.fidelity import honoured
from nichenas.core.capabilities.fidelity import sizes
from nichenas.core.domain import Domain
from nichenas.core.fidelity import FULL
from nichenas.core.fidelity import STANDARD_FACTORS
from nichenas.core.fidelity import Factor
from nichenas.core.fidelity import Fidelity
from nichenas.core.proxies.factors import Levels
from nichenas.core.proxies.factors import ProxySetting
from nichenas.core.proxies.factors import fidelity_of
from nichenas.core.proxies.factors import full_epochs

REPEATED = "full repeated"  # the second full training, with other randomness
QUARTER = 0.25  # of the full setting's cost


def study_settings(
    domain: Domain, names: Sequence[str] | None, levels: Levels, repeat_full: bool
) -> dict[str, Fidelity]:
    """Returns the settings of a study by name, the full one first.

    Those that have the same sizes as an earlier one are left out.

    Args:
        names: of the reduced settings; none for the default ones.
        levels: that the names stand for, by factor.
        repeat_full: whether the full training is repeated.

    Raises:
        ConfigError: for a setting that the domain does not have.
    """
    seen = [sizes(domain, FULL)]
    full = str(ProxySetting({}, full_epochs(domain))) if "epochs" in seen[0] else "full"
    found = {full: FULL}
    for name in default_settings(domain) if names is None else names:
        fidelity = fidelity_of(name, levels, domain)
        if sizes(domain, fidelity) not in seen:
            found[name] = fidelity
            seen.append(sizes(domain, fidelity))
    if repeat_full:
        found[REPEATED] = FULL
    return found


def default_settings(domain: Domain) -> tuple[str, ...]:
    """Returns names of settings: every factor that the domain has alone, at a quarter of the cost, and combinations.

    Combined are the standard factors: a quarter of the epochs with the width, with the resolution, and with both.
    """
    if "epochs" not in sizes(domain, FULL):
        return ()
    epochs = full_epochs(domain)
    short = max(1, round(epochs / 4)) if "epochs" in honoured(domain) else epochs
    factors = {name: factor for name, factor in factors_of(domain).items() if name in honoured(domain)}
    level = {factor.letter: quarter_level(factor) for name, factor in factors.items() if name != "epochs"}
    # The standard factors first, as they are written in names.
    letters = [STANDARD_FACTORS[name].letter for name in ("channels", "resolution", "samples")]
    letters += [factor.letter for name, factor in factors.items() if name not in STANDARD_FACTORS]
    wanted = [_setting(level, letter, epochs) for letter in letters]
    wanted += [_setting(level, combined, short) for combined in ("", "c", "r", "cr")]
    names = dict.fromkeys(map(str, wanted))
    names.pop(str(ProxySetting({}, epochs)), None)
    return tuple(names)


def quarter_level(factor: Factor) -> int:
    """Returns the level of a factor that costs about a quarter of the full setting; the lower one of two as near."""

    def distance(level: int) -> float:
        return abs(factor.cost_exponent * math.log(factor.levels[level]) - math.log(QUARTER))

    return min(range(len(factor.levels)), key=lambda level: (round(distance(level), 9), level))


def _setting(level: Mapping[str, int], letters: str, epochs: int) -> ProxySetting:
    """Returns the setting that reduces some factors; those that the domain does not have are left at full."""
    return ProxySetting({letter: level[letter] for letter in letters if level.get(letter)}, epochs)
