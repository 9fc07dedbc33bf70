"""What validation nodes can distinguish: differences between networks beside their standard errors over nodes.

    python benchmarks/validation_nodes.py --data-root DIR [--dataset Cora] [--seeds 3]

Well-known networks of the wide space are trained with several seeds. The squared error of every validation node
(calibrated, mean over seeds) is compared with GRAND's, node by node: the mean difference, its standard error over
nodes, and the difference in test accuracy beside it. Test data are read here, to judge validation data, never networks.
"""

from __future__ import annotations

import argparse

import numpy as np
from graph_curves import tested_domain
from numpy.typing import NDArray
from ranking_criteria import predictions
from torch.nn.functional import one_hot

from nichenas.core.training.calibration import temperature_of
from nichenas.domains.gnn import GNNDomain

FIRST = "GRAND"
OTHERS = ("GRAND, 2 steps", "DAGNN", "GPRGNN", "APPNP", "GAT", "GCN")


def node_errors(domain: GNNDomain, name: str, seeds: int) -> tuple[NDArray[np.float64], float]:
    """Returns the squared error of every validation node, ``(nodes,)``, and test accuracy, both means over seeds."""
    errors, accuracies = [], []
    for seed in range(seeds):
        logits, labels, accuracy = predictions(domain, domain.known[name], seed)
        predicted = (logits.double() / temperature_of([(logits, labels)])).softmax(1)
        errors.append((predicted - one_hot(labels, logits.shape[1])).square().sum(1).numpy())
        accuracies.append(accuracy)
    return np.mean(errors, axis=0), float(np.mean(accuracies))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="Cora")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--patience", type=int, default=100)
    arguments = parser.parse_args()
    domain = tested_domain(arguments.dataset, arguments.data_root, arguments.epochs, arguments.patience)
    first, test = node_errors(domain, FIRST, arguments.seeds)
    print(f"{len(first)} validation nodes, {arguments.seeds} seeds; {FIRST}: {first.mean():.4f}, test {100 * test:.1f}")
    print(f"{'less ' + FIRST + ':':16s} calibrated Brier score  its standard error  test accuracy")
    for name in OTHERS:
        found, accuracy = node_errors(domain, name, arguments.seeds)
        difference = found - first
        error = difference.std(ddof=1) / np.sqrt(len(difference))
        print(f"{name:16s} {difference.mean():22.4f}  {error:18.4f}  {100 * (accuracy - test):13.1f}", flush=True)


if __name__ == "__main__":
    main()
