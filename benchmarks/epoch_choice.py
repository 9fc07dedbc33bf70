"""Which epoch of a training should count, and which figure of it ranks networks? On one data set of the GNN domain.

    python benchmarks/epoch_choice.py --data-root DIR [--dataset Cora] [--mutants 3] [--seeds 3] [--output FILE]

Well-known networks of the wide space and mutants of each are trained with several seeds. For every figure of a training
(validation accuracy at the lowest validation loss, means around that epoch, the highest accuracy, the loss): its
deviation over seeds, and Spearman's correlation with itself under other seeds, with the test accuracy of the other
seeds, and of the means over seeds. Then the test accuracy of the well-known networks at both epochs. Test data are read
here, to judge rules, never networks.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
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


def main() -> None:
    """Prints both tables and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="Cora")
    parser.add_argument("--data-root", default=None)
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
    for name in BASE:
        architectures.append(domain.known[name])
        architectures += [domain.space.mutate(domain.known[name], rng, MUTATIONS) for _ in range(arguments.mutants)]
    runs = [[domain.curves(one, seed) for seed in range(arguments.seeds)] for one in architectures]
    test = np.array([[run.test[run.lowest_loss] for run in row] for row in runs])
    good = test.mean(1) >= arguments.least
    print(f"{len(architectures)} networks, {int(good.sum())} of them ranked; points or Spearman's correlation")
    figures: dict[str, Callable[[Curves], float]] = {
        "accuracy at the lowest loss": lambda run: around(run, 0),
        "mean of 11 epochs around": lambda run: around(run, 5),
        "mean of 31 epochs around": lambda run: around(run, 15),
        "highest accuracy": lambda run: float(run.scores.max()),
        "lowest loss, negative": lambda run: -float(run.losses.min()),
    }
    rows: dict[str, Any] = {}
    pairs = list(itertools.combinations(range(arguments.seeds), 2))
    print(f"{'figure':30s} deviation  itself  test, one seed  test, means")
    for name, figure in figures.items():
        values = np.array([[figure(run) for run in row] for row in runs])[good]
        others = [np.delete(test[good], seed, 1).mean(1) for seed in range(arguments.seeds)]
        rows[name] = {
            "deviation": 100 * float(values.std(1, ddof=1).mean()),
            "itself": float(np.mean([spearmanr(values[:, a], values[:, b])[0] for a, b in pairs])),
            "one_seed": float(np.mean([spearmanr(values[:, s], others[s])[0] for s in range(arguments.seeds)])),
            "means": float(spearmanr(values.mean(1), test[good].mean(1))[0]),
        }
        print("{:30s} {deviation:9.2f}  {itself:6.2f}  {one_seed:14.2f}  {means:11.2f}".format(name, **rows[name]))
    itself = float(np.mean([spearmanr(test[good][:, a], test[good][:, b])[0] for a, b in pairs]))
    print(f"test accuracy with itself, other seeds: {itself:.2f}")
    epochs: dict[str, Any] = {}
    for index, name in enumerate(BASE):
        row = index * (1 + arguments.mutants)
        by_loss = 100 * test[row]
        by_score = 100 * np.array([run.test[run.highest_score] for run in runs[row]])
        epochs[name] = {"loss": by_loss.tolist(), "score": by_score.tolist()}
        shown = " against ".join(f"{values.mean():.2f} ± {values.std(ddof=1):.2f}" for values in (by_loss, by_score))
        print(f"{name}: test {shown}, at the lowest loss and the highest accuracy", flush=True)
    if arguments.output:
        result = {"figures": rows, "test_with_itself": itself, "epochs": epochs}
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
