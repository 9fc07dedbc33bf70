"""What a table of trained architectures holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field

import numpy as np
from numpy.typing import NDArray

Columns = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Table:
    """Figures of architectures.

    Attributes:
        rows: row of every key.
        validation: figures that may drive a search, by name; the first is the accuracy.
        test: figures that are only reported.
        further: what else is known of an architecture, such as its latency.
        scores: of untrained networks, by name; more is meant to be better.
        score_seconds: that computing each of them took.
        curves: the first validation figure after every epoch, ``(rows, epochs)``; none where only the last is known.
        seconds: that training took, ``(rows,)``; none where that is not known.
    """

    rows: Mapping[str, int]
    validation: Columns
    test: Columns
    further: Columns
    scores: Columns = field(default_factory=dict)
    score_seconds: Columns = field(default_factory=dict)
    curves: NDArray[np.float64] | None = None
    seconds: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.rows)
