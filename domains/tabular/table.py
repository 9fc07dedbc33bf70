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

    def check(self) -> None:
        """Checks that every column has a figure for every row, and that accuracies are some.

        Raises:
            ValueError: with the first thing that does not fit.
        """
        count = len(self.rows)
        if count == 0:
            raise ValueError("no rows")
        single = {"seconds": self.seconds} if self.seconds is not None else {}
        for figures, missing in (
            (self.validation, False),
            (self.test, False),
            (self.further, False),
            (single, False),
            (self.scores, True),
            (self.score_seconds, True),
        ):
            for name, column in figures.items():
                if column.shape != (count,):
                    raise ValueError(f"{name} of shape {column.shape} for {count} different rows")
                if not missing and not np.isfinite(column).all():
                    raise ValueError(f"{name} that is not finite")
        for name, column in (*self.validation.items(), *self.test.items()):
            if name.startswith("accuracy") and not ((column >= 0) & (column <= 1)).all():
                raise ValueError(f"{name} from {column.min():g} to {column.max():g}")
