"""Reading pickled tables of numbers without executing anything that stands in them."""

from __future__ import annotations

import math
from pathlib import Path

from nichenas.core.data.array_files import reason_of
from nichenas.core.data.pickles import load_pickle
from nichenas.core.errors import DataError


def load_table(file: Path) -> dict[int, dict[str, float]]:
    """Returns a pickled mapping from whole numbers to named numbers.

    Raises:
        DataError: when it is missing, damaged, or holds anything else.
    """
    try:
        held = load_pickle(file)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except Exception as error:
        raise DataError(f"{file}: not a table of numbers ({reason_of(error)})") from None
    good = isinstance(held, dict) and all(
        isinstance(key, int) and isinstance(row, dict) and all(_is_finite(value) for value in row.values())
        for key, row in held.items()
    )
    if not good or not held:
        raise DataError(f"{file}: not a table of numbers by whole numbers, all finite")
    return {key: {str(name): float(value) for name, value in row.items()} for key, row in held.items()}


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False
