"""Planetoid's raw files, checked one by one before PyG reads them.

Seven of the eight files are Python-2 pickles, which could execute anything; they are read here first by an
unpickler that knows only the classes these files need. This also tells a damaged file by its name.
"""

from __future__ import annotations

import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import multiarray
from scipy.sparse import csr_matrix

from nichenas.core.errors import DataError

PLANETOID = {"Cora": "cora", "CiteSeer": "citeseer", "PubMed": "pubmed"}
PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")

_ALLOWED: dict[tuple[str, str], Any] = {
    ("scipy.sparse.csr", "csr_matrix"): csr_matrix,
    ("scipy.sparse._csr", "csr_matrix"): csr_matrix,
    ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy.core.multiarray", "scalar"): multiarray.scalar,
    ("numpy._core.multiarray", "_reconstruct"): multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy._core.multiarray", "scalar"): multiarray.scalar,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "defaultdict"): defaultdict,
    ("__builtin__", "list"): list,
    ("builtins", "list"): list,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which does not belong in it") from None


def planetoid_files(folder: Path, name: str) -> list[Path]:
    """Returns the paths of the eight raw files of a Planetoid data set.

    Args:
        folder: the data set's ``raw`` folder.
        name: ``Cora``, ``CiteSeer`` or ``PubMed``.
    """
    return [folder / f"ind.{PLANETOID[name]}.{part}" for part in PARTS]


def check_planetoid(folder: Path, name: str) -> None:
    """Checks that the raw files are there, safe to read, and fit together.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    files = dict(zip(PARTS, planetoid_files(folder, name), strict=True))
    missing = [file.name for file in files.values() if not file.is_file()]
    if missing:
        raise DataError(f"{name}: missing in {folder}: {', '.join(missing)}")
    rows = {part: _rows(file, part) for part, file in files.items()}
    for features, labels in (("x", "y"), ("tx", "ty"), ("allx", "ally")):
        if rows[features] != rows[labels]:
            raise DataError(
                f"{name}: {files[features].name} has {rows[features]} rows but {files[labels].name} has "
                f"{rows[labels]}; replace both with the original files in {folder}"
            )


def _rows(file: Path, part: str) -> int:
    try:
        if part == "test.index":
            return len([int(line) for line in file.read_text().split()])
        with file.open("rb") as stream:
            value = _Unpickler(stream, encoding="latin1").load()
        if part == "graph":
            if not isinstance(value, dict):
                raise TypeError("not a dictionary of neighbours")
            return len(value)
        if not isinstance(value, (csr_matrix, np.ndarray)) or len(value.shape) != 2:
            raise TypeError("not a matrix")
        return int(value.shape[0])
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file}: damaged ({reason}); replace it with the original file") from None
