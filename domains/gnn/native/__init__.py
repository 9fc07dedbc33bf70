"""Sparse products in C++ where there is a compiler, in about half of torch's time; without one, torch's are used."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nichenas.core.native import FLAGS
from nichenas.core.native import build

NARROWEST = 16  # columns of a dense matrix from which on torch's products were slower


@functools.cache
def product() -> Any:
    """Returns the function of :func:`csr_times_dense`, or None where it cannot be built."""
    path = build("gnn", Path(__file__).with_name("kernels.cpp"), flags=(*FLAGS, "-fopenmp"), extension=False)
    if path is None:
        return None
    found = ctypes.CDLL(str(path)).csr_times_dense
    found.argtypes = [*[ctypes.c_void_p] * 7, ctypes.c_int64, ctypes.c_int64, ctypes.c_float, ctypes.c_int32]
    found.restype = None
    return found


def usable(values: Tensor, dense: Tensor) -> bool:
    """Whether a product can be taken here: float32 on the CPU, of columns enough to pay."""
    return (
        dense.dtype == values.dtype == torch.float32
        and dense.device.type == values.device.type == "cpu"
        and dense.shape[1] >= NARROWEST
        and len(values) < 2**31
        and product() is not None
    )


def csr_times_dense(
    crow: Tensor,
    col: Tensor,
    values: Tensor,
    dense: Tensor,
    *,
    order: Tensor | None = None,
    added: Tensor | None = None,
    factor: float = 1.0,
) -> Tensor:
    """Returns ``added + factor * (matrix @ dense)``, ``(rows, width)``; see :func:`usable`.

    Args:
        crow: row starts, ``(rows + 1,)``, int32.
        col: columns, ``(E,)``, int32, all below ``len(dense)``, which is not checked.
        values: ``(E,)``.
        dense: ``(columns, width)``.
        order: where the value of every entry stands, ``(E,)``, int32; none where they stand in order.
        added: ``(rows, width)``, or none for 0.
    """
    rows, width = len(crow) - 1, dense.shape[1]
    out = dense.new_empty(rows, width)
    # Copies, where these are needed, must outlive the call.
    added = None if added is None else added.contiguous()
    tensors = [crow, col, values.contiguous(), order, dense.contiguous(), added]
    pointers = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
    product()(*pointers, out.data_ptr(), rows, width, factor, torch.get_num_threads())
    return out
