"""Pickled arrays and tables, read without executing anything that stands in them.

Only the classes that such files need are known, and even these are not numpy's and scipy's own: their states are taken
apart and checked here, since numpy trusts a pickled type, and scipy the indices of a sparse matrix.
"""

from __future__ import annotations

import pickle
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from nichenas.core.data.array_files import csr_from_parts

_TYPES = re.compile(r"[<>|=]?[fiub][1248]")


class _Type:
    """Stands for ``numpy.dtype``; numbers and booleans only."""

    def __init__(self, code: str, *_: Any) -> None:
        if not isinstance(code, str) or not _TYPES.fullmatch(code):
            raise pickle.UnpicklingError(f"numbers of type '{code}'")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("numbers of a type of its own")
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


def _bytes(raw: Any) -> bytes:
    if isinstance(raw, str):  # Python 2 had no bytes
        raw = raw.encode("latin1")
    if not isinstance(raw, bytes):
        raise pickle.UnpicklingError(f"{type(raw).__name__} in place of numbers")
    return raw


class _Array:
    """Stands for ``numpy.ndarray``."""

    value: NDArray[Any]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, held, columns_first, raw = state[-4:]
        if not isinstance(held, _Type):
            raise pickle.UnpicklingError("an array without a type")
        flat = np.frombuffer(_bytes(raw), dtype=held.dtype)
        order = "F" if columns_first else "C"
        if any(size < 0 for size in shape):
            raise pickle.UnpicklingError(f"an array of shape {shape}")
        self.value = flat.reshape(shape, order=order).astype(held.dtype.newbyteorder("="))  # type: ignore[call-overload]


class _Sparse:
    """Stands for ``scipy.sparse.csr_matrix``."""

    value: csr_matrix[Any]

    def __setstate__(self, state: dict[str, Any]) -> None:
        data, indices, indptr = (state[name] for name in ("data", "indices", "indptr"))
        if not all(isinstance(part, _Array) for part in (data, indices, indptr)):
            raise pickle.UnpicklingError("a sparse matrix of something else than arrays")
        self.value = csr_from_parts(data.value, indices.value, indptr.value, state["_shape"])


def _scalar(held: _Type, raw: Any) -> int | float | bool:
    (value,) = np.frombuffer(_bytes(raw), dtype=held.dtype).tolist()
    found: int | float | bool = value
    return found


def _encode(text: str, codec: str) -> bytes:
    """Returns the bytes that Python 3 writes as text in old protocols."""
    if codec != "latin1":
        raise pickle.UnpicklingError(f"bytes by way of {codec}")
    return text.encode("latin1")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("scipy.sparse.csr", "csr_matrix"): _Sparse,
    ("scipy.sparse._csr", "csr_matrix"): _Sparse,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("collections", "defaultdict"): defaultdict,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "list"): list,
    ("builtins", "list"): list,
}
for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _KNOWN[module, "_reconstruct"] = _reconstruct
    _KNOWN[module, "scalar"] = _scalar


class _Unpickler(pickle._Unpickler):
    """The one written in Python: the other allocates whatever memory a damaged file asks for."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which does not belong in it") from None


def load_pickle(file: Path) -> Any:
    """Returns what a pickle holds: numbers, strings, containers of these, or one array or sparse matrix.

    Pickles of Python 2 are read too.

    Raises:
        OSError: when the file cannot be read.
        Exception: of nearly any type when it is damaged, or names any class that such a file does not need.
    """
    with file.open("rb") as stream:
        value = _Unpickler(stream, encoding="latin1").load()
    return value.value if isinstance(value, (_Array, _Sparse)) else value
