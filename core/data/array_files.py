"""Arrays from files, checked before anything uses them: a damaged file is an error that names it, never a crash."""

from __future__ import annotations

import contextlib
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from nichenas.core.errors import DataError

Array = NDArray[Any]


def reason_of(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type where it has none."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if "allow_pickle" in str(error):  # numpy advises to load it all the same
        return "it holds Python objects, which are not read; text must be of a string type, such as .astype(str)"
    lines = str(error).splitlines()
    return lines[0] if lines and lines[0].strip() else type(error).__name__


def load_npz(file: Path, names: Sequence[str] | None = None, optional: Sequence[str] = ()) -> dict[str, Array]:
    """Returns arrays of an ``.npz`` file; no pickled objects are read.

    Args:
        names: of the arrays; all by default.
        optional: names of further ones, which may be missing.

    Raises:
        DataError: when the file cannot be read, or lacks one of them.
    """
    try:
        if file.is_file() and not zipfile.is_zipfile(file):
            raise ValueError("it is no archive of arrays")
        with np.load(file, allow_pickle=False) as held:
            missing = [name for name in names or () if name not in held.files]
            wanted = held.files if names is None else [*names, *(name for name in optional if name in held.files)]
            arrays = {} if missing else {name: _with_valid_text(held[name]) for name in wanted}
    except Exception as error:  # a damaged archive can raise nearly anything
        raise DataError(f"{file}: cannot be read as .npz ({reason_of(error)})") from None
    if missing:
        raise DataError(f"{file}: holds no '{missing[0]}'; wanted: {', '.join(names or ())}")
    return arrays


def _with_valid_text(array: Array) -> Array:
    """Returns an array; its strings must be such that Python can make them."""
    if array.dtype.kind == "U":
        codes = np.frombuffer(array.astype(array.dtype.newbyteorder("=")).tobytes(), dtype=np.uint32)
        if (codes > sys.maxunicode).any() or ((codes >= 0xD800) & (codes < 0xE000)).any():
            raise ValueError("strings that are not Unicode")
    return array


def load_npy(file: Path) -> Array:
    """Returns the array of an ``.npy`` file; no pickled objects are read.

    Raises:
        DataError: when the file cannot be read.
    """
    try:
        held = np.load(file, allow_pickle=False)
        if not isinstance(held, np.ndarray):
            raise ValueError("several arrays")
    except Exception as error:
        raise DataError(f"{file}: cannot be read as .npy ({reason_of(error)})") from None
    return held


def cached_arrays(file: Path) -> dict[str, Array] | None:
    """Returns the arrays of a derived ``.npz`` file; none where it is missing or damaged, so that it is made again."""
    with contextlib.suppress(DataError):
        return load_npz(file)
    return None


def csr_from_parts(data: Any, indices: Any, indptr: Any, shape: Any) -> csr_matrix[Any]:
    """Returns a sparse matrix whose parts come from a file.

    scipy trusts the parts: with indices outside the matrix its conversions write outside their memory.

    Args:
        data: stored values, ``(stored,)``.
        indices: their columns, ``(stored,)``.
        indptr: row starts, ``(rows + 1,)``.
        shape: rows and columns.

    Raises:
        ValueError: with the first thing that does not fit.
    """
    sizes = [int(size) for size in np.asarray(shape).tolist()]
    if len(sizes) != 2 or min(sizes) < 0:
        raise ValueError(f"a shape of {sizes}")
    parts = {"data": np.asarray(data), "indices": np.asarray(indices), "indptr": np.asarray(indptr)}
    for name, part in parts.items():
        if part.ndim != 1 or part.dtype.kind not in ("biuf" if name == "data" else "iu"):
            raise ValueError(f"{name} of {part.dtype} {part.shape}")
    stored, (rows, columns) = len(parts["indices"]), sizes
    starts, places = parts["indptr"].astype(np.int64), parts["indices"].astype(np.int64)
    if len(starts) != rows + 1 or starts[0] != 0 or starts[-1] != stored or (np.diff(starts) < 0).any():
        raise ValueError(f"row starts that do not divide {stored} values among {rows} rows")
    if len(parts["data"]) != stored:
        raise ValueError(f"{len(parts['data'])} values for {stored} columns")
    if stored and not 0 <= places.min() <= places.max() < columns:
        raise ValueError(f"columns from {places.min()} to {places.max()}, of {columns}")
    matrix = csr_matrix((parts["data"], parts["indices"], parts["indptr"]), shape=(rows, columns))
    matrix.check_format(full_check=True)
    return matrix


def check_sparse_parts(file: Path) -> None:
    """Checks the sparse matrices in an ``.npz`` file: ``<name>_data``, ``_indices``, ``_indptr`` and ``_shape``.

    Raises:
        DataError: when the file cannot be read, or the parts of one do not fit together.
    """
    try:
        with np.load(file, allow_pickle=False) as held:
            keys = list(held.files)
    except Exception as error:
        raise DataError(f"{file}: cannot be read as .npz ({reason_of(error)})") from None
    for name in [key.removesuffix("_indptr") for key in keys if key.endswith("_indptr")]:
        parts = [f"{name}_{part}" for part in ("data", "indices", "indptr", "shape")]
        if not set(parts) <= set(keys):
            continue
        arrays = load_npz(file, parts)
        try:
            csr_from_parts(*(arrays[part] for part in parts))
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(f"{file}: {name}: damaged ({reason_of(error)})") from None
