"""Reading pickled tables of numbers without executing anything that stands in them."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

from nichenas.core.errors import DataError


class _Double:
    """Stands for numpy's type of float64, the only one that is known here."""

    def __init__(self, code: str, *_: Any) -> None:
        if code != "f8":
            raise pickle.UnpicklingError(f"numbers of type '{code}'")

    def __setstate__(self, _: Any) -> None:
        """Takes the byte order and other details, which do not matter."""


def _scalar(_: _Double, raw: bytes) -> float:
    return float(struct.unpack("<d", raw)[0])


class _TableUnpickler(pickle.Unpickler):
    """Knows the two names that a table of numpy's numbers needs, and no others."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns what a name stands for.

        Raises:
            UnpicklingError: for any name but those of numpy's scalars.
        """
        if (module, name) in (("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar")):
            return _scalar
        if (module, name) == ("numpy", "dtype"):
            return _Double
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def load_table(file: Path) -> dict[int, dict[str, float]]:
    """Returns a pickled mapping from whole numbers to named numbers.

    Raises:
        DataError: when it is missing, damaged, or holds anything else.
    """
    try:
        with file.open("rb") as stream:
            held = _TableUnpickler(stream).load()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except Exception as error:
        raise DataError(f"{file}: not a table of numbers ({error})") from None
    good = isinstance(held, dict) and all(
        isinstance(key, int) and isinstance(row, dict) and all(isinstance(v, (int, float)) for v in row.values())
        for key, row in held.items()
    )
    if not good or not held:
        raise DataError(f"{file}: not a table of numbers by whole numbers")
    return {key: {str(name): float(value) for name, value in row.items()} for key, row in held.items()}
