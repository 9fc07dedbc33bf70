"""Architectures as rows of numbers for models that predict their scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace


class ChoiceEncoding:
    """The choices of a space as columns for trees.

    A choice whose options are numbers is one column with their ranks, so that one split can separate the small from
    the large; -1 where it is inactive. Any other choice has a column of 0 and 1 for each option.

    Attributes:
        width: how many columns there are.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._columns: dict[str, dict[str, tuple[int, float]]] = {}  # column and value, by choice and option
        self._ranked: list[int] = []
        column = 0
        for choice in space.choices:
            options = choice.options
            numbers = [o for o in options if isinstance(o, (int, float)) and not isinstance(o, bool)]
            if len(numbers) == len(options) > 2:
                order = {repr(option): rank for rank, option in enumerate(sorted(numbers))}
                self._columns[choice.name] = {repr(option): (column, float(order[repr(option)])) for option in options}
                self._ranked.append(column)
                column += 1
            else:
                self._columns[choice.name] = {repr(o): (column + i, 1.0) for i, o in enumerate(options)}
                column += len(options)
        self.width = column

    def encode(self, architecture: Architecture) -> NDArray[np.float32]:
        """Returns the row of an architecture of the space, ``(width,)``."""
        row = np.zeros(self.width, dtype=np.float32)
        row[self._ranked] = -1.0
        for name, option in architecture.items():
            column, value = self._columns[name][repr(option)]
            row[column] = value
        return row
