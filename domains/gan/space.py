"""AutoGAN's search space: 36, 72 and 144 choices of the three cells, 373,248 genotypes (Gong et al. 2019)."""

from __future__ import annotations

from functools import lru_cache

from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.domains.gan.genotypes import BLOCKS
from nichenas.domains.gan.genotypes import NORMS
from nichenas.domains.gan.genotypes import UPS
from nichenas.domains.gan.genotypes import CellGenotype
from nichenas.domains.gan.genotypes import Genotype
from nichenas.domains.gan.genotypes import SkipPosition
from nichenas.domains.gan.genotypes import skip_value
from nichenas.domains.gan.genotypes import sources


def gan_space(cells: int, skip_position: SkipPosition = "last") -> SearchSpace:
    """Returns the space of generators with so many cells.

    Args:
        skip_position: where the skip token stands among those of a cell; it is the order of deciding.
    """
    choices: list[Choice] = []
    for index in range(cells):
        name = f"cell{index + 1}"
        own = [
            Choice(f"{name}.block", BLOCKS),
            Choice(f"{name}.norm", NORMS),
            Choice(f"{name}.up", UPS),
            Choice(f"{name}.shortcut", (False, True)),
        ]
        if index > 0:
            own.insert(len(own) if skip_position == "last" else 0, Choice(f"{name}.skip", tuple(range(2**index))))
        choices += own
    return SearchSpace(choices)


def stage_ends(cells: int) -> tuple[int, ...]:
    """Returns how many choices are made after each cell."""
    return tuple(4 + 5 * index for index in range(cells))


@lru_cache(maxsize=4096)
def genotype_of(architecture: Architecture) -> Genotype:
    """Returns the genotype of an architecture, or of one that has its first cells only."""
    cells: list[CellGenotype] = []
    while f"cell{len(cells) + 1}.block" in architecture:
        name = f"cell{len(cells) + 1}"
        skip = architecture.get(f"{name}.skip", 0)
        assert isinstance(skip, int)
        cells.append(
            CellGenotype(
                architecture[f"{name}.block"],  # type: ignore[arg-type]
                architecture[f"{name}.norm"],  # type: ignore[arg-type]
                up=architecture[f"{name}.up"],  # type: ignore[arg-type]
                shortcut=bool(architecture[f"{name}.shortcut"]),
                skips=sources(skip, len(cells)),
            )
        )
    return Genotype(tuple(cells))


def architecture_of(genotype: Genotype, space: SearchSpace) -> Architecture:
    """Returns the architecture of a genotype, the inverse of :func:`genotype_of`."""
    values: dict[str, str | int | float | bool | None] = {}
    for index, cell in enumerate(genotype.cells):
        name = f"cell{index + 1}"
        values.update(
            {
                f"{name}.block": cell.block,
                f"{name}.norm": cell.norm,
                f"{name}.up": cell.up,
                f"{name}.shortcut": cell.shortcut,
            }
        )
        if index > 0:
            values[f"{name}.skip"] = skip_value(cell.skips, index)
    return space.architecture(values)
