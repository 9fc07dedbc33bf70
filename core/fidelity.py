"""Fidelity: how much of the full setting a measurement uses, by factors that domains declare."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass

_SQRT = (1.0, 0.5**0.5, 0.5, 0.5**1.5, 0.25)
_HALVES = (1.0, 0.5, 0.25, 0.125, 0.0625)


@dataclass(frozen=True)
class Factor:
    """Something that a domain can reduce to make a training cheaper.

    EcoNAS (Zhou et al. 2020) fixes two points of channels and resolution: level 0, and level 4, a quarter (36 to 9
    channels, 32 to 8 pixels). The levels between, a factor of 1/sqrt(2) each so that every level halves the arithmetic,
    and those of samples, halves, are not from the paper.

    Attributes:
        name: such as ``channels``, or ``tokens``.
        letter: of its levels in names of proxy settings; one lower-case letter.
        cost_exponent: the power with which it enters the arithmetic of a training (EcoNAS: 2 for widths and sides).
        levels: shares of the full setting by level, falling from 1; ``proxies.levels`` replaces them.
    """

    name: str
    letter: str
    cost_exponent: float = 1.0
    levels: tuple[float, ...] = _HALVES

    def __post_init__(self) -> None:
        if len(self.letter) != 1 or not self.letter.isalpha() or not self.letter.islower():
            raise ValueError(f"factor '{self.name}': its letter must be one lower-case letter, not '{self.letter}'")


# EcoNAS's c, r, s and e; other factors are a domain's own. Epochs have no levels: names give them in whole units.
STANDARD_FACTORS: Mapping[str, Factor] = {
    "channels": Factor("channels", "c", 2.0, _SQRT),
    "resolution": Factor("resolution", "r", 2.0, _SQRT),
    "samples": Factor("samples", "s"),
    "epochs": Factor("epochs", "e", 1.0, (1.0,)),
}


class Fidelity(Mapping[str, float]):
    """Shares of the full setting by factor; a factor that is not named is 1, full.

    Immutable and hashable. Iterating gives the factors below 1.

    Raises:
        ValueError: for a share outside (0, 1].
    """

    __slots__ = ("_cost", "_hash", "_shares")

    def __init__(self, **shares: float) -> None:
        for name, share in shares.items():
            if not 0 < share <= 1:
                raise ValueError(f"the share of {name} must be in (0, 1], not {share}")
        self._shares = {name: float(share) for name, share in sorted(shares.items()) if share != 1}
        self._hash = hash(tuple(self._shares.items()))
        self._cost = relative_cost(self._shares, STANDARD_FACTORS)

    def __getitem__(self, factor: str) -> float:
        return self._shares.get(factor, 1.0)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shares)

    def __len__(self) -> int:
        return len(self._shares)

    def __contains__(self, factor: object) -> bool:
        return factor in self._shares

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fidelity) and self._shares == other._shares

    def __repr__(self) -> str:
        return f"Fidelity({', '.join(f'{name}={share:g}' for name, share in self._shares.items())})"

    def __reduce__(self) -> tuple[object, tuple[dict[str, float]]]:
        return _rebuilt, (self._shares,)

    def replace(self, **shares: float) -> Fidelity:
        """Returns the fidelity with other shares of some factors."""
        return Fidelity(**{**self._shares, **shares})

    @property
    def cost(self) -> float:
        """Nominal arithmetic of a training as a share of the full setting's (EcoNAS); unknown factors have exponent 1.

        It rises with every factor, so measurements are ordered by it; what a domain's trainings really cost is
        :meth:`~nichenas.core.capabilities.fidelity.ReducedFidelity.relative_cost`.
        """
        return self._cost


def relative_cost(shares: Mapping[str, float], factors: Mapping[str, Factor]) -> float:
    """Returns the product of the shares, each to the power with which its factor costs."""
    cost = 1.0
    for name, share in shares.items():
        cost *= share ** (factors[name].cost_exponent if name in factors else 1.0)
    return cost


def _rebuilt(shares: Mapping[str, float]) -> Fidelity:
    return Fidelity(**shares)


FULL = Fidelity()
