"""Seconds and memory of a few epochs on a large graph: a made one of ogbn-arxiv's size, or a user's own.

    python benchmarks/large_graph.py [--nodes N] [--edges N] [--graph FILE] [--epochs N] [--networks NAME ...]

The first training of a network builds what further ones of its layout share; an epoch is timed in a second one.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.seeds import numpy_generator
from nichenas.core.trial import Proposal
from nichenas.domains.gnn import GNNDomain
from nichenas.domains.gnn.settings import GNNSettings

FEATURES, CLASSES = 128, 40


def resident_gib() -> float:
    """Returns the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _made(folder: Path, nodes: int, edges: int) -> Path:
    rng = numpy_generator(0, "large graph")
    pairs = rng.integers(0, nodes, (2, edges))
    x = rng.standard_normal((nodes, FEATURES), np.float32)
    np.savez(folder / "graph.npz", edge_index=pairs, x=x, y=rng.integers(0, CLASSES, nodes))
    return folder / "graph.npz"


def main() -> None:
    """Prints a line a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=169_343)
    parser.add_argument("--edges", type=int, default=1_166_243)
    parser.add_argument("--graph", type=Path, help="in place of a made one")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    names = ["SGC", "GCN", "GraphSAGE", "APPNP", "GAT", "GCN, 12 layers"]
    parser.add_argument("--networks", nargs="+", default=names, help="well-known networks of the wide space")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        file = arguments.graph or _made(Path(folder), arguments.nodes, arguments.edges)
        settings = {"dataset": str(file), "space": "wide", "epochs": arguments.epochs, "patience": None}
        began = time.perf_counter()
        domain = GNNDomain(GNNSettings.model_validate(settings), Environment(Path(folder), Path(folder)))
        domain.prepare()
        print(f"loading: {time.perf_counter() - began:.1f} s, {resident_gib():.2f} GiB", flush=True)
    for name in arguments.networks:
        seconds = []
        for _ in range(2):
            began = time.perf_counter()
            domain.evaluate(Proposal(domain.known[name]), Context(0))
            seconds.append(time.perf_counter() - began)
        first, epoch = seconds[0], seconds[1] / arguments.epochs
        epochs = f"{arguments.epochs} epochs and set-up {first:.1f} s, then {epoch:.3f} s an epoch"
        print(f"{name}: {epochs}, {resident_gib():.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
