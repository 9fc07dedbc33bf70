"""Which epoch of a training should count, and which figure of it ranks networks? On one data set of the GNN domain.

    python benchmarks/epoch_choice.py --data-root DIR [--dataset Cora] [--networks NAME ...] [--mutants 3] [--seeds 3]

Well-known networks of the wide space and mutants of each are trained with several seeds. For every figure of a training
(validation accuracy at the lowest validation loss, means around that epoch, the highest accuracy, the loss): its
deviation over seeds, and Spearman's correlation with itself under other seeds, with the test accuracy of the other
seeds, and of the means over seeds. Then the test accuracy of the well-known networks at the epochs of the lowest loss,
of the lowest calibrated loss and of the highest accuracy. Without mutants there is this table alone. Of several splits
every seed has its own, in turn. Test data are read here, to judge rules, never networks.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from graph_curves import Curves
from graph_curves import tested_domain
from scipy.stats import spearmanr

from nichenas.core.seeds import numpy_generator

BASE = ("GPRGNN", "DAGNN", "APPNP", "SSGC", "GAT", "GCN")
MUTATIONS = 2


def around(run: Curves, radius: int) -> float:
    """Returns the mean validation accuracy within so many epochs of the lowest loss."""
    lowest = run.lowest_loss
    return float(run.scores[max(0, lowest - radius) : lowest + radius + 1].mean())


def rank(runs: Sequence[Sequence[Curves]], least: float) -> dict[str, Any]:
    """Prints the table of figures that rank networks, of those whose mean test score is high enough.

    Args:
        runs: a row of seeds each.
    """
    seeds = len(runs[0])
    test = np.array([[run.test[run.lowest_loss] for run in row] for row in runs])
    good = test.mean(1) >= least
    print(f"{len(runs)} networks, {int(good.sum())} of them ranked; points or Spearman's correlation")
    figures: dict[str, Callable[[Curves], float]] = {
        "accuracy at the lowest loss": lambda run: around(run, 0),
        "mean of 11 epochs around": lambda run: around(run, 5),
        "mean of 31 epochs around": lambda run: around(run, 15),
        "highest accuracy": lambda run: float(run.scores.max()),
        "lowest loss, negative": lambda run: -float(run.losses.min()),
        "calibrated loss, negative": lambda run: -float(run.calibrated.min()),
    }
    rows: dict[str, Any] = {}
    pairs = list(itertools.combinations(range(seeds), 2))
    print(f"{'figure':30s} deviation  itself  test, one seed  test, means")
    for name, figure in figures.items():
        values = np.array([[figure(run) for run in row] for row in runs])[good]
        others = [np.delete(test[good], seed, 1).mean(1) for seed in range(seeds)]
        rows[name] = {
            "deviation": 100 * float(values.std(1, ddof=1).mean()),
            "itself": float(np.mean([spearmanr(values[:, a], values[:, b])[0] for a, b in pairs])),
            "one_seed": float(np.mean([spearmanr(values[:, s], others[s])[0] for s in range(seeds)])),
            "means": float(spearmanr(values.mean(1), test[good].mean(1))[0]),
        }
        print("{:30s} {deviation:9.2f}  {itself:6.2f}  {one_seed:14.2f}  {means:11.2f}".format(name, **rows[name]))
    itself = float(np.mean([spearmanr(test[good][:, a], test[good][:, b])[0] for a, b in pairs]))
    print(f"test accuracy with itself, other seeds: {itself:.2f}")
    return {"figures": rows, "test_with_itself": itself}


def main() -> None:
    """Prints both tables and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="Cora")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--networks", nargs="+", default=BASE, metavar="NAME", help="well-known ones")
    parser.add_argument("--mutants", type=int, default=3, help="of every well-known network")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--patience", type=int, default=60)
    parser.add_argument("--least", type=float, default=0.78, help="mean test score of the networks that are ranked")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    domain = tested_domain(arguments.dataset, arguments.data_root, arguments.epochs, arguments.patience)
    rng = numpy_generator(0, "epoch choice")
    architectures = []
    for name in arguments.networks:
        architectures.append(domain.known[name])
        architectures += [domain.space.mutate(domain.known[name], rng, MUTATIONS) for _ in range(arguments.mutants)]
    runs = [[domain.curves(one, seed) for seed in range(arguments.seeds)] for one in architectures]
    result = rank(runs, arguments.least) if arguments.mutants else {}
    result["epochs"] = {}
    print(f"{'test accuracy at':22s} {'lowest loss':>16s}  {'calibrated loss':>16s}  {'highest accuracy':>16s}")
    for name, row in zip(arguments.networks, runs[:: 1 + arguments.mutants], strict=True):
        chosen = {
            "loss": [run.test[run.lowest_loss] for run in row],
            "calibrated_loss": [run.test[run.lowest_calibrated_loss] for run in row],
            "score": [run.test[run.highest_score] for run in row],
        }
        result["epochs"][name] = {rule: [100 * value for value in values] for rule, values in chosen.items()}
        cells = [f"{np.mean(v):7.2f} ± {np.std(v, ddof=1):.2f}" for v in result["epochs"][name].values()]
        print(f"{name:22s} " + "  ".join(f"{cell:>16s}" for cell in cells), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
