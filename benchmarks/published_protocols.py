"""How much the rule by which a test accuracy is reported adds to it, for well-known networks of the wide space.

    python benchmarks/published_protocols.py --data-root DIR [--datasets Cora CiteSeer] [--seeds 10] [--output FILE]

Every network is trained once a seed, and its test accuracy reported by four rules: that of the epoch with the lowest
validation loss; of the epoch with the highest validation accuracy; the best of the epochs at which the validation loss
improved, as ``run_model`` of GraphNAS reports it; and the best of all epochs, which nobody should report. The last two
choose by test data. Test data are read here, to judge rules, never networks.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from graph_curves import Curves
from graph_curves import tested_domain

from nichenas.core.execution.allocator import keep_freed_memory

NETWORKS = ("GCN", "GAT", "APPNP", "GPRGNN", "GCNII", "DAGNN", "SSGC")
RULES: Mapping[str, Callable[[Curves], float]] = {
    "lowest loss": lambda curves: curves.test[curves.lowest_loss],
    "highest accuracy": lambda curves: curves.test[curves.highest_score],
    "GraphNAS": lambda curves: curves.test[curves.improvements].max(),
    "best of all": lambda curves: curves.test.max(),
}


def main() -> None:
    """Prints a table a data set and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["Cora", "CiteSeer"])
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="well-known ones of the wide space")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--patience", type=int, default=100)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    keep_freed_memory()
    result: dict[str, Any] = {}
    for dataset in arguments.datasets:
        domain = tested_domain(dataset, arguments.data_root, arguments.epochs, arguments.patience)
        print(f"{dataset}, {arguments.seeds} seeds: test accuracy, mean ± standard deviation, by the rule", flush=True)
        print(f"{'network':12s}" + "".join(f"{rule:>18s}" for rule in RULES) + "  seconds a training")
        result[dataset] = {}
        for name in arguments.networks:
            began = time.perf_counter()
            runs = [domain.curves(domain.known[name], seed) for seed in range(arguments.seeds)]
            seconds = (time.perf_counter() - began) / len(runs)
            reported = {rule: 100 * np.array([read(run) for run in runs]) for rule, read in RULES.items()}
            shown = (f"{values.mean():.2f} ± {values.std(ddof=1):.2f}" for values in reported.values())
            print(f"{name:12s}" + "".join(f"{one:>18s}" for one in shown) + f"  {seconds:18.1f}", flush=True)
            result[dataset][name] = {rule: values.tolist() for rule, values in reported.items()}
        for rule in list(RULES)[1:]:
            added = [np.mean(rows[rule]) - np.mean(rows["lowest loss"]) for rows in result[dataset].values()]
            ends = f"{min(added):+.2f} to {max(added):+.2f}"
            print(f"{rule}: {np.mean(added):+.2f} over the lowest loss in the mean ({ends})")
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
