"""What aggregations by maximum cost beside those by sum, on a made graph; both sides in turn, on the same work.

    python benchmarks/aggregations.py [--nodes N] [--edges N] [--widths N ...] [--repeats N] [--output FILE]

For every width and attention: forward and backward pass of the aggregation alone (coefficients included), and a
training step of a two-layer network of AGNN's space whose hidden layer is that wide and whose layers both aggregate so,
with dropout. Medians of repeats, after one to warm up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nichenas.core.execution.allocator import keep_freed_memory
from nichenas.core.seeds import torch_generator
from nichenas.domains.gnn.features import features_of
from nichenas.domains.gnn.graph import Graph
from nichenas.domains.gnn.graph import ReceptiveField
from nichenas.domains.gnn.model import AGNN
from nichenas.domains.gnn.model import AGNNLayer
from nichenas.domains.gnn.network import Noise
from nichenas.domains.gnn.space import LayerSpec
from nichenas.domains.gnn.training import node_loss

FEATURES, CLASSES = 128, 10
SIDES = ("sum", "max")
CASES = (("const", 1), ("gcn", 1), ("gat", 1), ("gat", 8), ("gene-linear", 1))  # attention and heads


def made_graph(nodes: int, edges: int) -> Graph:
    """Returns a graph of drawn edges, each used both ways, with self loops."""
    drawn = torch.randint(0, nodes, (2, edges), generator=torch_generator(0, "edges"))
    return Graph(torch.cat([drawn, drawn.flip(0)], 1), nodes)


def made_network(aggregate: str, attention: str, heads: int, width: int) -> AGNN:
    """Returns two layers, the first of ``width`` units."""
    parts: dict[str, Any] = {"attention": attention, "aggregate": aggregate, "combine": "identity"}
    hidden = LayerSpec(FEATURES, width // heads, heads, activation="relu", last=False, **parts)
    last = LayerSpec(width, CLASSES, heads, activation="linear", last=True, **parts)
    return AGNN([hidden, last], torch_generator(0, "weights"))


def operator(network: AGNN, field: ReceptiveField, z: Tensor) -> Callable[[], None]:
    """Returns what runs the hidden layer forward and backward on features that are mapped already."""
    layer = network.layers[0]
    assert isinstance(layer, AGNNLayer)
    direction = torch.randn(field.blocks[0].pattern.rows, z.shape[1], generator=torch_generator(0, "direction"))

    def run() -> None:
        z.grad = None
        (layer(z, field.blocks[0], None, None) * direction).sum().backward()

    return run


def step(network: AGNN, field: ReceptiveField, x: Tensor, labels: Tensor) -> Callable[[], None]:
    """Returns what trains the network by a step."""
    optimiser = torch.optim.Adam(network.parameters(), 0.005, fused=True)
    features = features_of(x, field.inputs)
    noise = Noise(0.6, torch_generator(0, "features"), torch_generator(0, "inner"))

    def run() -> None:
        optimiser.zero_grad(set_to_none=True)
        node_loss(network(field, features, noise), labels).backward()
        optimiser.step()

    return run


def medians(sides: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Returns the median seconds of every side, measured in turn."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        for name, run in sides.items():
            began = time.perf_counter()
            run()
            if repeat:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Prints a line for every width and attention, and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--edges", type=int, default=100_000, help="undirected")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256], help="multiples of 8")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    graph = made_graph(arguments.nodes, arguments.edges)
    field = graph.receptive_field(torch.arange(arguments.nodes), 2)
    drawn = torch_generator(0, "features")
    x = torch.randn(arguments.nodes, FEATURES, generator=drawn)
    labels = torch.randint(0, CLASSES, (arguments.nodes,), generator=drawn)
    rows = []
    print(f"{'width':>5s} {'attention':15s}  aggregation: sum, max, ratio   training step: sum, max, ratio")
    for width in arguments.widths:
        for attention, heads in CASES:
            row: dict[str, Any] = {"width": width, "attention": attention, "heads": heads}
            networks = {side: made_network(side, attention, heads, width) for side in SIDES}
            z = torch.randn(arguments.nodes, width, generator=drawn).requires_grad_()
            measured = {
                "aggregation": {side: operator(networks[side], field, z) for side in SIDES},
                "step": {side: step(networks[side], field, x, labels) for side in SIDES},
            }
            for part, sides in measured.items():
                found = medians(sides, arguments.repeats)
                row[part] = {**found, "ratio": found["max"] / found["sum"]}
            rows.append(row)
            figures = "   ".join(
                "{:8.1f} ms {:8.1f} ms {:6.2f}x".format(1e3 * part["sum"], 1e3 * part["max"], part["ratio"])
                for part in (row["aggregation"], row["step"])
            )
            print(f"{width:5d} {attention + ' x ' + str(heads):15s} {figures}", flush=True)
    if arguments.output:
        graphs = {"nodes": arguments.nodes, "undirected_edges": arguments.edges, "threads": arguments.threads}
        arguments.output.write_text(json.dumps({**graphs, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
