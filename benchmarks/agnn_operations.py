"""Do the operations of AGNN's space train? A GAT with each of them, as published and repaired.

    python benchmarks/agnn_operations.py --data-root DIR [--dataset Cora] [--seeds 5] [--output FILE]

The space's GAT (8 heads of 8) is trained with every aggregation and every combiner in both of its layers, published and
repaired, with the same seeds and initial weights. Validation and test accuracy are those of the epoch that validation
data choose. Test data are read here, to judge operations, never networks.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.context import open_test_data
from nichenas.core.data.root import cache_folder
from nichenas.core.data.root import data_root
from nichenas.core.space import Architecture
from nichenas.domains.gnn import GNNDomain
from nichenas.domains.gnn.settings import GNNSettings
from nichenas.domains.gnn.space import AGGREGATORS
from nichenas.domains.gnn.space import COMBINERS

SIDES = ("published", "repaired")


def with_operations(gat: Architecture, aggregate: str, combine: str) -> Architecture:
    """Returns an architecture with one aggregation and one combiner in all of its layers."""
    own = {"aggregate": aggregate, "combine": combine}
    return Architecture({name: own.get(name.split(".")[1], value) for name, value in gat.items()})


def trained(domain: GNNDomain, architecture: Architecture, seeds: int) -> dict[str, list[float]]:
    """Returns validation and test scores in per cent, one a seed."""
    score = domain.objectives[0].name
    with open_test_data():
        results = [domain.retrain(architecture, Context(seed)) for seed in range(seeds)]
    return {
        "validation": [100 * result.validation[score] for result in results],
        "test": [100 * result.test[score] for result in results],
    }


def shown(values: list[float]) -> str:
    """Returns mean and standard deviation."""
    return f"{np.mean(values):5.1f} ± {np.std(values, ddof=1):4.1f}"


def main() -> None:
    """Prints a line a network and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="Cora")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    environment = Environment(data_root(arguments.data_root), cache_folder())
    domains = {}
    for side in SIDES:
        settings = {"dataset": arguments.dataset, "operations": side, "epochs": arguments.epochs}
        domains[side] = GNNDomain(GNNSettings.model_validate(settings), environment)
    rows: list[dict[str, Any]] = []
    print(f"{'aggregate':9s} {'combine':8s}" + "".join(f"  {side + ': validation, test':29s}" for side in SIDES))
    for aggregate in AGGREGATORS:
        for combine in COMBINERS:
            row: dict[str, Any] = {"aggregate": aggregate, "combine": combine}
            for side in SIDES:
                architecture = with_operations(domains[side].known["GAT"], aggregate, combine)
                row[side] = trained(domains[side], architecture, arguments.seeds)
            rows.append(row)
            figures = "".join(f"  {shown(row[side]['validation'])}, {shown(row[side]['test']):15s}" for side in SIDES)
            print(f"{aggregate:9s} {combine:8s}{figures}", flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps({"dataset": arguments.dataset, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
