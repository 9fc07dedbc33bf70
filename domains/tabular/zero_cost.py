"""NAS-Bench-Suite-Zero (Krishnakumar et al. 2022): scores of untrained NAS-Bench-201 cells, and their seconds."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nichenas.core.data.array_files import reason_of
from nichenas.core.errors import DataError
from nichenas.domains.tabular.nas_bench_201 import EDGES
from nichenas.domains.tabular.table import Table

# The suite writes a cell as numbers of operations on edges in the order of their sources.
SUITE_OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
SUITE_EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))  # (from, to)
ACCURACY = "val_accuracy"
SCORES = (
    "epe_nas", "fisher", "flops", "grad_norm", "grasp", "jacov", "l2_norm", "nwot", "params", "plain", "snip", "synflow"
)  # fmt: skip


def cell_of(name: str) -> str:
    """Returns NAS-Bench-201's name of a cell that the suite names as ``(0, 2, 3, 2, 3, 1)``.

    Raises:
        ValueError: when it is no such name.
    """
    numbers = ast.literal_eval(name)
    if not (isinstance(numbers, tuple) and len(numbers) == 6 and set(numbers) <= set(range(5))):
        raise ValueError(f"'{name}' is no cell")
    by_edge = {edge: SUITE_OPERATIONS[number] for edge, number in zip(SUITE_EDGES, numbers, strict=True)}
    nodes = []
    for target in (1, 2, 3):
        parts = [f"{by_edge[source, to]}~{source}" for to, source in EDGES if to == target]
        nodes.append("|" + "|".join(parts) + "|")
    return "+".join(nodes)


def read_scores(file: Path, dataset: str) -> Table:
    """Returns the accuracies of a data set, with scores and their seconds.

    Raises:
        DataError: when the file is damaged or another.
    """
    try:
        held = json.loads(file.read_text(encoding="utf-8"))[dataset]
        rows = {cell_of(name): index for index, name in enumerate(held)}
        accuracy = np.array([float(row[ACCURACY]) for row in held.values()]) / 100
        scores = {name: _column(held, name, "score") for name in SCORES}
        seconds = {name: _column(held, name, "time") for name in SCORES}
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except Exception as error:  # names of cells are parsed as Python, which can fail in many ways
        raise DataError(f"{file}: not the suite's scores ({reason_of(error)})") from None
    return Table(rows, {"accuracy": accuracy}, {}, {}, scores=scores, score_seconds=seconds)


def _column(held: Mapping[str, Any], name: str, part: str) -> NDArray[np.float64]:
    """Returns a score, or its seconds, of every cell; nan where the suite has none or one that is not finite."""
    values = np.array([float(row[name][part]) if name in row else np.nan for row in held.values()])
    return np.where(np.isfinite(values), values, np.nan)
