"""Arrays and pickles from files: what is not as it should be is an error, before numpy or scipy trust it."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from nichenas.core.data.array_files import cached_arrays
from nichenas.core.data.array_files import check_sparse_parts
from nichenas.core.data.array_files import csr_from_parts
from nichenas.core.data.array_files import load_npy
from nichenas.core.data.array_files import load_npz
from nichenas.core.data.pickles import load_pickle
from nichenas.core.errors import DataError


def parts(**changes: Any) -> tuple[Any, Any, Any, Any]:
    """A matrix of 3 x 4 with 3 values in parts."""
    held = {"data": np.ones(3), "indices": np.array([0, 3, 1]), "indptr": np.array([0, 2, 2, 3]), "shape": (3, 4)}
    held.update(changes)
    return held["data"], held["indices"], held["indptr"], held["shape"]


def test_parts_that_fit_are_the_matrix() -> None:
    found = csr_from_parts(*parts())
    assert found.toarray().tolist() == [[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert csr_from_parts(*parts(indices=np.array([0, 3, 1], dtype=np.uint8))).nnz == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"indices": np.array([0, 4, 1])}, "columns from 0 to 4, of 4"),
        ({"indices": np.array([0, -1, 1])}, "columns from -1 to 1, of 4"),
        ({"indices": np.array([0, 2**64 - 1, 1], dtype=np.uint64)}, "columns from -1"),
        ({"indices": np.array([0.0, 3.0, 1.0])}, "indices of float64"),
        ({"indices": np.array([[0, 3, 1]])}, r"indices of int64 \(1, 3\)"),
        ({"indices": np.array([0, 3])}, "row starts that do not divide 2 values"),
        ({"indptr": np.array([0, 2, 1, 3])}, "row starts that do not divide 3 values among 3 rows"),
        ({"indptr": np.array([1, 2, 2, 3])}, "row starts"),
        ({"indptr": np.array([0, 2, 2, 4])}, "row starts"),
        ({"indptr": np.array([0, 2, 3])}, "row starts"),
        ({"indptr": np.array([0, 2, 2, 2**63 - 1])}, "row starts"),
        ({"data": np.ones(2)}, "2 values for 3 columns"),
        ({"data": np.array([None, None, None])}, "data of object"),
        ({"shape": (2, 4)}, "row starts"),
        ({"shape": (3, 3)}, "columns from 0 to 3, of 3"),
        ({"shape": (3, -4)}, "a shape of"),
        ({"shape": (3,)}, "a shape of"),
        ({"shape": (3, 2**62)}, None),
    ],
)
def test_parts_that_do_not_fit(changes: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert csr_from_parts(*parts(**changes)).nnz == 3
        return
    with pytest.raises(ValueError, match=message):
        csr_from_parts(*parts(**changes))


def test_archives(tmp_path: Path) -> None:
    file = tmp_path / "graph.npz"
    data, indices, indptr, shape = parts()
    arrays = {"x_data": data, "x_indices": indices, "x_indptr": indptr, "x_shape": np.array(shape), "y": np.ones(3)}
    np.savez(file, **arrays)
    check_sparse_parts(file)
    assert load_npz(file, ("y",), ("x_data", "z")).keys() == {"y", "x_data"}
    with pytest.raises(DataError, match=r"graph.npz: holds no 'z'; wanted: y, z"):
        load_npz(file, ("y", "z"))
    np.savez(file, **{**arrays, "x_indices": indices + 10**6})
    with pytest.raises(DataError, match=r"graph.npz: x: damaged \(columns from 1000000 to 1000003, of 4\)"):
        check_sparse_parts(file)
    np.savez(file, y=np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"graph.npz: cannot be read as .npz \(it holds Python objects, .*\)"):
        load_npz(file)
    broken = np.frombuffer(struct.pack("<2I", 65, 0x7FFFFFFF), "<U1")
    np.savez(file, names=broken)
    with pytest.raises(DataError, match="strings that are not Unicode"):
        load_npz(file)
    assert cached_arrays(file) is None
    assert cached_arrays(tmp_path / "none.npz") is None
    np.save(tmp_path / "a.npy", np.ones(3))
    assert load_npy(tmp_path / "a.npy").tolist() == [1, 1, 1]
    for load in (load_npz, check_sparse_parts):
        with pytest.raises(DataError, match=r"a.npy: cannot be read as .npz"):
            load(tmp_path / "a.npy")
    with pytest.raises(DataError, match=r"graph.npz: cannot be read as .npy \(several arrays\)"):
        load_npy(file)


MATRIX = scipy.sparse.csr_matrix(np.eye(3, 5, dtype=np.float32))
VALUES = [
    np.arange(6, dtype=np.int32).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(3, dtype=">i4"),
    np.zeros((1, 3), dtype=bool),
    {0: [1, 2], 1: []},
    {1: {"a": np.float64(0.25), "b": 3}},
    [np.int64(7), np.float32(0.5), np.True_],
]


@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_pickles_hold_what_was_written(value: Any, protocol: int, tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_bytes(pickle.dumps(value, protocol=protocol))
    found = load_pickle(file)
    if not isinstance(value, np.ndarray):
        assert found == value
        return
    assert found.dtype == value.dtype.newbyteorder("=")
    assert found.flags.writeable
    assert np.array_equal(found, value)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_sparse_matrices_in_pickles(protocol: int, tmp_path: Path) -> None:
    file = tmp_path / "matrix"
    file.write_bytes(pickle.dumps(MATRIX, protocol=protocol))
    found = load_pickle(file)
    assert (found != MATRIX).nnz == 0
    assert found.dtype == MATRIX.dtype
    broken = MATRIX.copy()
    broken.indices[1] = 2**30
    file.write_bytes(pickle.dumps(broken, protocol=protocol))
    with pytest.raises(ValueError, match="columns from 0 to 1073741824, of 5"):
        load_pickle(file)


class Named:
    """Pickles as a call of whatever it is given."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Named(Path.touch, (Path("never"),)), "which does not belong in it"),
        (np.array([{}], dtype=object), "numbers of type 'O8'"),
        (np.array(["a"]), "numbers of type 'U1'"),
        (np.zeros(2, dtype=[("a", "i4"), ("b", "f8")]), "numbers of type '[|]?V12'"),
        (Named(np.dtype, ("f8", False, True), (3, "<", None, None, None, -1, -1, 63)), None),
        (Named(np.dtype, ("f8", False, True), (3, "<", None, ("a",), {"a": 1}, 8, 8, 0)), "a type of its own"),
        (Named(np.dtype, ("f8", False, True), (3, "?", None, None, None, -1, -1, 0)), "a type of its own"),
    ],
    ids=["function", "objects", "strings", "structured", "plain", "fields", "unknown order"],
)
def test_pickles_of_anything_else(value: Any, message: str | None, tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_bytes(pickle.dumps(value, protocol=2))
    if message is None:  # flags that would make numpy follow its numbers as addresses say nothing here
        load_pickle(file)
        return
    with pytest.raises(pickle.UnpicklingError, match=message):
        load_pickle(file)


def test_a_pickle_asks_for_no_memory(tmp_path: Path) -> None:
    """A damaged index of the memo makes Python's other unpickler fill gigabytes."""
    file = tmp_path / "value"
    file.write_bytes(b"\x80\x02]r" + struct.pack("<I", 2**32 - 1) + b".")
    assert load_pickle(file) == []
    file.write_bytes(b"\x80\x02X" + struct.pack("<I", 2**31) + b"abc.")
    with pytest.raises(EOFError):
        load_pickle(file)
