"""The products in C++ equal torch's, for every width, with and without what may be added."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from nichenas.domains.gnn import native
from nichenas.domains.gnn.patterns import FixedMatrix
from nichenas.domains.gnn.patterns import Pattern
from nichenas.domains.gnn.patterns import row_starts

ROWS, COLUMNS = 60, 45
needs_kernels = pytest.mark.skipif(native.product() is None, reason="no C++ compiler")


@pytest.fixture(scope="module")
def pattern() -> Pattern:
    """Rows without entries at both ends, one of many entries, a column without any."""
    rng = np.random.default_rng(0)
    taken = rng.random((ROWS, COLUMNS)) < 0.1
    taken[[0, 7, ROWS - 1]] = False
    taken[3], taken[:, 5] = True, False
    row, col = torch.from_numpy(taken).nonzero(as_tuple=True)
    return Pattern(row_starts(row, ROWS), col, COLUMNS)


def draws(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@needs_kernels
@pytest.mark.parametrize("width", [16, 17, 21, 24, 31, 32, 40, 48, 56, 63, 64, 65, 77, 128, 135, 200])
@pytest.mark.parametrize("threads", [1, 3])
def test_products_equal_torch(width: int, threads: int, pattern: Pattern) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        values, fixed = draws(pattern.entries), draws(pattern.entries)
        for dense, added, times, matrix in (
            (draws(COLUMNS, width), draws(ROWS, width), pattern.times, pattern.matrix(values)),
            (draws(ROWS, width), draws(COLUMNS, width), pattern.transposed_times, pattern.transposed(values)),
        ):
            assert native.usable(values, dense)
            product = matrix.to_dense().double() @ dense.double()
            torch.testing.assert_close(times(values, dense).double(), product, rtol=1e-5, atol=1e-5)
            found = times(values, dense, added=added, factor=0.3)
            torch.testing.assert_close(found.double(), added.double() + 0.3 * product, rtol=1e-5, atol=1e-5)
            assert torch.equal(times(values, dense.t().contiguous().t()), times(values, dense))
        assert FixedMatrix(pattern, fixed).times(draws(COLUMNS, width)).shape == (ROWS, width)
    finally:
        torch.set_num_threads(before)


@needs_kernels
def test_gradients_of_fixed_products_equal_torch(pattern: Pattern) -> None:
    square = Pattern(pattern.crow[: COLUMNS + 1], pattern.col[: int(pattern.crow[COLUMNS])], COLUMNS)
    values = draws(square.entries) / 5
    fixed, matrix = FixedMatrix(square, values), square.matrix(values).to_dense()
    one, other = (draws(COLUMNS, 20).requires_grad_() for _ in range(2))
    expected = other
    for _ in range(4):
        expected = 0.2 * other + 0.8 * matrix @ expected
    expected = matrix @ expected
    found = fixed @ fixed.recurrence(one, 4, 0.2, 0.8)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    weight = draws(COLUMNS, 20)
    gradients = (
        torch.autograd.grad((product * weight).sum(), x)[0] for product, x in ((found, one), (expected, other))
    )
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_what_the_kernels_do_not_take_goes_to_torch(pattern: Pattern) -> None:
    values, dense = draws(pattern.entries), draws(COLUMNS, 32)
    assert not native.usable(values, dense[:, : native.NARROWEST - 1])
    assert not native.usable(values.double(), dense.double())
    found = pattern.times(values.double(), dense.double(), added=torch.ones(ROWS, 32, dtype=torch.float64), factor=2.0)
    torch.testing.assert_close(found, 1 + 2 * pattern.matrix(values.double()).to_dense() @ dense.double())


def test_operands_of_other_sizes_are_refused(pattern: Pattern) -> None:
    values = draws(pattern.entries)
    for dense, added in ((draws(COLUMNS - 1, 32), None), (draws(COLUMNS, 32), draws(1, 32))):
        with pytest.raises(ValueError, match=f"a product of {COLUMNS} rows to {ROWS}"):
            pattern.times(values, dense, added=added)
    with pytest.raises(ValueError, match=f"a product of {ROWS} rows to {COLUMNS}"):
        pattern.transposed_times(values, draws(COLUMNS, 32))


def test_without_kernels_torch_is_used() -> None:
    code = "import torch; from nichenas.domains.gnn import native; print(native.usable(*2 * [torch.ones(99, 99)]))"
    done = subprocess.run([sys.executable, "-c", code], env={"NICHENAS_NATIVE": "0"}, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
