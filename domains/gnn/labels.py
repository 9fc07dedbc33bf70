"""Labels of nodes as people write them: numbers, names, columns of 0 and 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nichenas.core.errors import DataError

UNLABELLED = -1
NO_LABEL = ("", "nan", "na", "none", "null", "?", "-1")  # names that stand for none, in any case


def labels_of(where: str, given: NDArray[Any]) -> tuple[torch.Tensor, list[str]]:
    """Returns classes ``(nodes,)`` int64, from 0 without a gap, or 0/1 labels ``(nodes, labels)`` float32; and names.

    A node without a label (negative, not finite, or a name that stands for none) has the class -1. Columns of 0 and 1
    with a single 1 in a row at most are classes, and rows without any have no label.

    Raises:
        DataError: where labels are neither, or there are fewer than two classes.
    """
    y = given[:, 0] if given.ndim == 2 and given.shape[1] == 1 else given
    if y.ndim == 2:
        if y.dtype.kind not in "biuf" or not np.isin(y, (0, 1)).all():
            raise DataError(f"{where}: labels of {y.shape} must be 0 or 1, a column each")
        if y.shape[1] < 2 or (y.sum(1) > 1).any():
            return torch.from_numpy(y.astype(np.float32)), [str(column) for column in range(y.shape[1])]
        y = np.where(y.any(1), y.argmax(1), UNLABELLED)
    if y.ndim != 1 or y.dtype.kind not in "biufUS":
        raise DataError(f"{where}: labels are {y.dtype} {y.shape}; wanted: a class for every node")
    if y.dtype.kind in "US":
        y = _from_text(y)
    if y.dtype.kind == "f":
        known = np.isfinite(y)
        if (y[known] != np.round(y[known])).any():
            raise DataError(f"{where}: labels are not whole numbers; only classification is supported, not regression")
    elif y.dtype.kind == "U":
        known = ~np.isin(np.char.lower(y), NO_LABEL)
    else:
        known = np.ones(len(y), bool)
    if y.dtype.kind in "if":
        known &= np.where(known, y, 0) >= 0
    classes, positions = np.unique(y[known], return_inverse=True)
    if len(classes) < 2:
        what = "no node has a label" if not len(classes) else "all labelled nodes have the same class"
        raise DataError(f"{where}: {what}; there is nothing to learn")
    found = np.full(len(y), UNLABELLED, np.int64)
    found[known] = positions
    whole = classes.dtype.kind == "f"  # of numbers in text, or with missing ones
    return torch.from_numpy(found), [str(int(name)) if whole else str(name) for name in classes]


def _from_text(y: NDArray[Any]) -> NDArray[Any]:
    """Returns numbers where all that is not empty is one, else the names."""
    names = y.astype(str)
    absent = np.isin(np.char.lower(names), NO_LABEL)
    try:
        numbers = np.full(len(names), np.nan)
        numbers[~absent] = names[~absent].astype(np.float64)
    except ValueError:
        return names
    return numbers
