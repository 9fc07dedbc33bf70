"""Sparse products in C++ against torch's, on the adjacency and the features of a graph, one thread.

    python benchmarks/sparse_products.py [--dataset digits-knn] [--data-root DIR] [--widths 7 16 32] [--repeats 400]

Prints microseconds, the best of all repeats, and the ratio of torch's to those in C++. Both are given the same int32
indices, which spares torch a conversion at every call.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from nichenas.core.context import Environment
from nichenas.core.data.root import cache_folder
from nichenas.core.data.root import data_root
from nichenas.domains.gnn import native
from nichenas.domains.gnn.data import load_task
from nichenas.domains.gnn.features import SparseFeatures
from nichenas.domains.gnn.features import features_of
from nichenas.domains.gnn.patterns import Pattern


def best(call: Callable[[], object], repeats: int) -> float:
    """Returns the shortest time of a call in microseconds."""
    shortest = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        shortest = min(shortest, time.perf_counter() - began)
    return 1e6 * shortest


def cell(pattern: Pattern, values: Tensor, width: int, repeats: int, *, transposed: bool = False) -> str:
    """Returns both times and their ratio."""
    matrix = pattern.transposed(values) if transposed else pattern.matrix(values)
    dense = torch.randn(matrix.shape[1], width, generator=torch.Generator().manual_seed(0))
    crow, col = matrix.crow_indices(), matrix.col_indices()
    order = pattern.t_order if transposed else None
    times = best(lambda: matrix @ dense, repeats)
    own = best(lambda: native.csr_times_dense(crow, col, values, dense, order=order), repeats)
    return f"{times:7.0f} {own:7.0f} {times / own:5.1f}x"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits-knn")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--widths", type=int, nargs="+", default=[7, 16, 32, 64, 128])
    parser.add_argument("--repeats", type=int, default=400)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if native.product() is None:
        raise SystemExit("no C++ compiler here, or NICHENAS_NATIVE=0")
    task = load_task(arguments.dataset, {}, None, Environment(data_root(arguments.data_root), cache_folder()))
    (part, *_) = task.train
    adjacency = part.graph.whole
    products = {"adjacency": (adjacency.pattern, adjacency.gcn, False)}
    features = features_of(part.x, torch.arange(len(part.x)))
    if isinstance(features, SparseFeatures):
        products["features"] = (features.pattern, features.values, False)
        products["features, transposed"] = (features.pattern, features.values, True)
    for name, (pattern, values, transposed) in products.items():
        print(f"{name}: {pattern.rows:,} x {pattern.columns:,}, {pattern.entries:,} entries")
        for width in arguments.widths:
            print(
                f"{width:5d} columns {cell(pattern, values, width, arguments.repeats, transposed=transposed)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
