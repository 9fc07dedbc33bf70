"""Seconds per candidate: this project's evaluation against the same networks built from PyG message passing.

Draws architectures from one of the spaces and trains each twice with the same settings and epochs, without early
stopping: by the domain, and by a plain loop over PyG layers on the whole graph with dense features. Both sides look
at validation data as often. Prints a table and writes JSON.

Example:
    python benchmarks/gnn_evaluation.py --data-root DIR --architectures 20 --epochs 20
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.data.root import cache_folder
from nichenas.core.data.root import data_root
from nichenas.core.execution.allocator import keep_freed_memory
from nichenas.core.execution.provenance import provenance
from nichenas.core.seeds import numpy_generator
from nichenas.core.training.loop import Part
from nichenas.core.training.loop import train
from nichenas.core.trial import Proposal
from nichenas.domains.gnn import GNNDomain
from nichenas.domains.gnn.baselines import PlainTraining
from nichenas.domains.gnn.model import AGNN
from nichenas.domains.gnn.reference import ReferenceAGNN
from nichenas.domains.gnn.settings import GNNSettings
from nichenas.domains.gnn.wide_model import WideNetwork
from nichenas.domains.gnn.wide_reference import ReferenceWide


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default=None, help="Cora where it is under the data root, else digits-knn")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--architectures", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--space", choices=("agnn", "wide"), default="agnn")
    parser.add_argument("--memory-mb", type=float, default=None, help="leave out networks estimated to need more")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="where to write JSON")
    arguments = parser.parse_args()
    keep_freed_memory()
    root = data_root(arguments.data_root)
    dataset = arguments.dataset or ("Cora" if (root / "Cora").is_dir() else "digits-knn")
    settings = GNNSettings(dataset=dataset, epochs=arguments.epochs, patience=None, space=arguments.space)
    domain = GNNDomain(settings, Environment(root, cache_folder()))
    domain.prepare()
    rng = numpy_generator(arguments.seed, "benchmark")
    most = float("inf") if arguments.memory_mb is None else arguments.memory_mb * 2**20
    drawn = (domain.space.sample(rng) for _ in itertools.count())
    small = (architecture for architecture in drawn if domain.memory(architecture) <= most)
    architectures = list(itertools.islice(small, arguments.architectures))
    rows: list[dict[str, Any]] = []
    for number, architecture in enumerate(architectures):
        fast, fast_score = _fast(domain, Proposal(architecture), number)
        plain, plain_score = _plain(domain, Proposal(architecture), number)
        rows.append(
            {
                "architecture": dict(architecture),
                "seconds": fast,
                "seconds_pyg": plain,
                "ratio": plain / fast,
                "score": fast_score,
                "score_pyg": plain_score,
            }
        )
        print(f"{number + 1}/{len(architectures)}: {plain / fast:.1f} x", flush=True)
    ratios = np.array([row["ratio"] for row in rows])
    scores = np.array([[row["score"], row["score_pyg"]] for row in rows])
    summary = {
        "dataset": dataset,
        "space": arguments.space,
        "epochs": arguments.epochs,
        "architectures": len(rows),
        "median_ratio": float(np.median(ratios)),
        "smallest_ratio": float(ratios.min()),
        "largest_ratio": float(ratios.max()),
        "total_seconds": sum(row["seconds"] for row in rows),
        "total_seconds_pyg": sum(row["seconds_pyg"] for row in rows),
        "mean_score": float(scores[:, 0].mean()),
        "mean_score_pyg": float(scores[:, 1].mean()),
        "mean_difference": float((scores[:, 0] - scores[:, 1]).mean()),
        "std_difference": float((scores[:, 0] - scores[:, 1]).std(ddof=1)) if len(rows) > 1 else 0.0,
        "environment": provenance(arguments.seed, torch.device("cpu")),
        "rows": rows,
    }
    _show(summary)
    if arguments.out:
        arguments.out.write_text(json.dumps(summary, indent=2) + "\n")


def _fast(domain: GNNDomain, proposal: Proposal, number: int) -> tuple[float, float]:
    context = Context(0, number)
    started = time.perf_counter()
    measurement = domain.evaluate(proposal, context)
    return time.perf_counter() - started, measurement.values[domain.objectives[0].name]


def _plain(domain: GNNDomain, proposal: Proposal, number: int) -> tuple[float, float]:
    network = domain.family.network(proposal.architecture, Context(0, number).torch("weights"))
    reference: torch.nn.Module
    if isinstance(network, AGNN):
        reference = ReferenceAGNN(network, domain.settings.dropout)
    else:
        assert isinstance(network, WideNetwork)
        reference = ReferenceWide(network)
    settings = domain.family.train_settings(proposal.architecture)
    torch.manual_seed(number)  # PyG's dropout draws from the global generator
    started = time.perf_counter()
    training = PlainTraining(reference, domain.task.train, domain.task.validation, settings)
    history = train(training, Context(0, number), Part.whole(domain.settings.epochs))
    return time.perf_counter() - started, history.values["score"]


def _show(summary: dict[str, object]) -> None:
    table = Table(title=f"{summary['dataset']}, {summary['epochs']} epochs, seconds a candidate", title_justify="left")
    for column in ("architecture", "this", "PyG", "ratio", "score", "score PyG"):
        table.add_column(column, justify="left" if column == "architecture" else "right")
    rows = summary["rows"]
    assert isinstance(rows, list)
    for row in rows:
        name = " ".join(str(value) for value in row["architecture"].values())
        figures = (f"{row['seconds']:.3f}", f"{row['seconds_pyg']:.3f}", f"{row['ratio']:.1f}")
        table.add_row(name, *figures, f"{row['score']:.4f}", f"{row['score_pyg']:.4f}")
    console = Console()
    console.print(table)
    for key, value in summary.items():
        if isinstance(value, float):
            console.print(f"{key}: {value:.4g}", highlight=False)


if __name__ == "__main__":
    main()
