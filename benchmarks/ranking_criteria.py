"""By which validation figure should networks be ranked? On one data set of the GNN domain.

    python benchmarks/ranking_criteria.py --data-root DIR [--dataset Cora] [--mutants 5] [--seeds 2] [--output FILE]

Well-known networks of the wide space and mutants of each are trained with several seeds; the epoch of the lowest
validation loss counts. For every figure of the validation predictions: Spearman's correlation with itself under
another seed, with the test accuracy of other seeds, and of the means over seeds; and the mean test accuracy of the five
networks that it puts first. Test data are read here, to judge figures, never networks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from graph_curves import tested_domain
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from nichenas.core.context import Context
from nichenas.core.context import open_test_data
from nichenas.core.seeds import numpy_generator
from nichenas.core.space import Architecture
from nichenas.core.training.calibration import calibrated_brier
from nichenas.core.training.calibration import temperature_of
from nichenas.core.training.loop import Part
from nichenas.core.training.loop import train
from nichenas.domains.gnn import GNNDomain
from nichenas.domains.gnn.training import evaluate
from nichenas.domains.gnn.training import node_loss

BASE = ("GRAND", "DAGNN", "GPRGNN", "APPNP", "SSGC", "GAT", "GCN", "GraphSAGE", "SGC")
FIRST = 5


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


def _likelihood(logits: Tensor, labels: Tensor) -> float:
    return -float(node_loss(logits, labels))


def _calibrated_likelihood(logits: Tensor, labels: Tensor) -> float:
    return _likelihood(logits.double() / temperature_of([(logits, labels)]), labels)


FIGURES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "accuracy": _accuracy,
    "loss, negative": _likelihood,
    "calibrated loss, negative": _calibrated_likelihood,
    "calibrated Brier score, negative": lambda logits, labels: -calibrated_brier([(logits, labels)]),
}


def sample(domain: GNNDomain, mutants: int) -> list[Architecture]:
    """Returns well-known networks, and mutants of each by one to three changes, none of them deep."""
    rng = numpy_generator(0, "criteria")
    found = []
    for name in BASE:
        known = domain.known[name]
        found.append(known)
        for index in range(mutants):
            mutant = known
            for _ in range(1 + index % 3):
                mutant = domain.space.mutate(mutant, rng)
            while mutant["propagation"] == "gcnii" or mutant.get("layers", 2) not in (2, 3):
                mutant = domain.space.mutate(known, rng)
            found.append(mutant)
    return found


def predictions(domain: GNNDomain, architecture: Architecture, seed: int) -> tuple[Tensor, Tensor, float]:
    """Returns a training's logits of validation nodes, their labels, and its test accuracy."""
    context = Context(seed)
    training = domain._training(architecture, context, keep_best=True)
    history = train(training, context, Part.whole(domain.settings.epochs))
    training.network.load_state_dict(history.weights)
    training.network.eval()
    (piece,) = domain.pieces(architecture, "validation")
    with torch.no_grad():
        logits = training.network(piece.field, piece.features)
    with open_test_data():
        tested = [domain.family.piece(part, architecture) for part in domain.task.test.read()]
    return logits, piece.labels, evaluate(training.network, tested)[0]


def measured(domain: GNNDomain, architecture: Architecture, seed: int) -> tuple[list[float], float]:
    """Returns the figures of a training's validation predictions, and its test accuracy."""
    logits, labels, test = predictions(domain, architecture, seed)
    return [figure(logits, labels) for figure in FIGURES.values()], test


def agreement(values: NDArray[np.float64], test: NDArray[np.float64]) -> dict[str, float]:
    """Returns how well a figure agrees with itself and with test accuracy, both ``(networks, seeds)``."""
    seeds = range(values.shape[1])
    pairs = [(one, other) for one in seeds for other in seeds if one < other]
    others = [np.delete(test, seed, 1).mean(1) for seed in seeds]
    first = np.argsort(-values.mean(1))[:FIRST]
    return {
        "itself": float(np.mean([spearmanr(values[:, one], values[:, other])[0] for one, other in pairs])),
        "one_seed": float(np.mean([spearmanr(values[:, seed], others[seed])[0] for seed in seeds])),
        "means": float(spearmanr(values.mean(1), test.mean(1))[0]),
        "first": 100 * float(test[first].mean()),
    }


def main() -> None:
    """Prints the table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="Cora")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--mutants", type=int, default=5, help="of every well-known network")
    parser.add_argument("--seeds", type=int, default=2, help="at least 2")
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--patience", type=int, default=100)
    parser.add_argument("--least", type=float, default=0.78, help="mean test score of the networks that are ranked")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    domain = tested_domain(arguments.dataset, arguments.data_root, arguments.epochs, arguments.patience)
    architectures = sample(domain, arguments.mutants)
    found = [[measured(domain, one, seed) for seed in range(arguments.seeds)] for one in architectures]
    test = np.array([[score for _, score in row] for row in found])
    good = test.mean(1) >= arguments.least
    print(f"{len(architectures)} networks, {int(good.sum())} of them ranked; Spearman's correlation, per cent")
    print(f"{'figure':34s} itself  test, one seed  test, means  test of the first {FIRST}")
    rows: dict[str, Any] = {}
    for index, name in enumerate(FIGURES):
        values = np.array([[figures[index] for figures, _ in row] for row in found])
        rows[name] = agreement(values[good], test[good])
        print("{:34s} {itself:6.2f}  {one_seed:14.2f}  {means:11.2f}  {first:19.2f}".format(name, **rows[name]))
    itself = agreement(test[good], test[good])["itself"]
    print(f"test accuracy with itself, other seeds: {itself:.2f}", flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps({"figures": rows, "test_with_itself": itself}, indent=2) + "\n")


if __name__ == "__main__":
    main()
