"""Objectives of a search: direction and unit, one score for single-objective methods, Pareto ranking."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Objective:
    """One figure of merit, measured on validation data.

    Attributes:
        name: as it stands in measurements and reports.
        direction: whether more or less of it is better.
        unit: for axis labels; empty for a plain ratio.
        source: of what networks: empty for those that are trained alone, ``supernet`` for shared weights.
    """

    name: str
    direction: Literal["maximize", "minimize"] = "maximize"
    unit: str = ""
    source: str = ""

    @property
    def sign(self) -> float:
        """+1 where more is better, -1 where less is."""
        return 1.0 if self.direction == "maximize" else -1.0

    def of_supernet(self) -> Objective:
        """Returns the objective as it is measured with shared weights, and named so: ``x[supernet]``."""
        plain, bracket, rest = self.name.partition("[")
        name = f"{plain}[{rest[:-1]}, supernet]" if bracket else f"{plain}[supernet]"
        return Objective(name, self.direction, self.unit, "supernet")


def score(
    objectives: Sequence[Objective],
    values: Mapping[str, float],
    weights: Mapping[str, float] | None = None,
) -> float:
    """Returns one number, larger is better: the weighted sum of the values, each with its sign.

    Args:
        objectives: the first one is the primary objective.
        values: at least one value an objective.
        weights: by objective; without them the primary objective counts 1 and the others 0.
    """
    weights = weights or {objectives[0].name: 1.0}
    return sum(weights.get(o.name, 0.0) * o.sign * values[o.name] for o in objectives)


def pareto_ranks(objectives: Sequence[Objective], rows: Sequence[Mapping[str, float]]) -> NDArray[np.int64]:
    """Returns the front of every row, ``(rows,)``: 0 for the non-dominated, 1 once these are removed, and so on.

    This is the non-dominated sorting of NSGA-II (Deb et al. 2002, section III.A), vectorised over pairs.
    """
    ranks = np.zeros(len(rows), dtype=np.int64)
    if not rows:
        return ranks
    table = np.array([[o.sign * row[o.name] for o in objectives] for row in rows])
    ahead = (table[:, None] >= table[None]).all(-1) & (table[:, None] > table[None]).any(-1)
    left = np.ones(len(rows), dtype=bool)
    rank = 0
    while left.any():
        front = left & ~(ahead & left[:, None]).any(0)
        ranks[front] = rank
        left &= ~front
        rank += 1
    return ranks
