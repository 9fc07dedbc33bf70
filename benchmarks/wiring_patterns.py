"""The wiring patterns of differentiable search, on the smallest cells that have an inner edge.

"Understanding the wiring evolution in differentiable neural architecture search" (Xie et al. 2021) finds that bi-level
searches drop all edges, that single-level ones keep them, and that sampled ones drop the edge between nodes rather than
those from inputs. Here with one cell of two nodes on small images: cross-entropy minus entropy, which edges are paid
with, is larger on the data of the architecture parameters than on those of the weights. Ends with 1 if a pattern is
not found.

    python benchmarks/wiring_patterns.py [--images FILE] [--seeds N] [--steps N] [--output FILE]

FILE is an ``.npz`` with ``x_train`` ``(n, height, width, 3)`` and ``y_train``; images are averaged down to 8 pixels.
Without it, scikit-learn's digits are taken.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.execution.provenance import device_name
from nichenas.core.gradient.options import GradientOptions
from nichenas.core.gradient.supernet import Kept
from nichenas.core.gradient.supernet import SearchData
from nichenas.core.methods.gradient_loop import GradientLoop
from nichenas.core.seeds import numpy_generator
from nichenas.core.session.session import Session
from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.core.testing.toy_supernet import Points
from nichenas.core.testing.toy_supernet import ToySupernetDomain
from nichenas.core.testing.toy_supernet import ToySupernetSettings
from nichenas.domains.binary.operations import FAMILIES
from nichenas.domains.binary.supernet import CellSupernet

OPERATIONS = ("none", "skip_connect", "max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "dil_conv_3x3")
EDGES = ("0→2", "1→2", "0→3", "1→3", "2→3")
INNER = 4  # the edge between nodes
SIZE, WIDTH, IMAGES, BATCH = 8, 6, 1200, 32
MODES: dict[str, dict[str, Any]] = {
    "DARTS, bi-level": {"step": "first-order", "relaxation": "softmax"},
    "DARTS, single-level": {"step": "single-level", "relaxation": "softmax"},
    "DSNAS, single-level": {"step": "single-level", "relaxation": "single-path"},
    "DSNAS, bi-level": {"step": "first-order", "relaxation": "single-path"},
}


@dataclass(frozen=True)
class Outcome:
    """How a search ended.

    Attributes:
        none: probability of ``none`` on every edge.
        dead: edges on which ``none`` is the most probable.
        train: mean cross-entropy minus entropy on the data of the weights, over all epochs.
        held_out: on those of the architecture parameters.
    """

    none: list[float]
    dead: int
    train: float
    held_out: float
    seconds: float


class MinimalCell(ToySupernetDomain):
    """One cell of two nodes; half of the images are for the architecture parameters where the search is bi-level."""

    images: Tensor
    labels: Tensor
    seed: int

    @property
    def space(self) -> SearchSpace:
        """The operation of every edge."""
        return SearchSpace([Choice(edge, OPERATIONS) for edge in EDGES])

    def supernet(self, context: Context, activation_checkpointing: bool = False) -> Any:
        """Returns the cell; a classifier without bias, as the paper's identities want it."""
        with context.seeded("supernet"):
            family, channels = FAMILIES["darts-real"](affine=False), self.images.shape[1]
            classes = int(self.labels.max()) + 1
            return CellSupernet(
                family, WIDTH, 1, classes, channels, OPERATIONS, nodes=2, reductions=(), classifier_bias=False
            )

    def search_data(self, context: Context, batch: int, held_out: float) -> SearchData:
        """Returns both halves, and the first again to look at."""
        order = torch.from_numpy(numpy_generator(self.seed, "images").permutation(len(self.labels)))
        half = len(order) // 2
        first, second = (Points(self.images[part], self.labels[part], batch) for part in (order[:half], order[half:]))
        return SearchData(first, second if held_out > 0 else None, second)

    def derived(self, kept: Kept) -> Architecture:
        """Returns what is kept; all edges that are not are ``none``."""
        (pairs,) = kept.values()
        return self.space.architecture({**dict.fromkeys(EDGES, "none"), **{EDGES[e]: name for e, name in pairs}})


def load(file: Path | None) -> tuple[Tensor, Tensor]:
    """Returns normalised images ``(n, channels, 8, 8)`` and labels."""
    if file is None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images, labels = torch.from_numpy(digits.images).float()[:, None], torch.from_numpy(digits.target)
    else:
        with np.load(file, allow_pickle=False) as held:
            images = torch.from_numpy(held["x_train"]).float().permute(0, 3, 1, 2)
            labels = torch.from_numpy(held["y_train"]).reshape(-1).long()
    images, labels = F.adaptive_avg_pool2d(images[:IMAGES], SIZE), labels[:IMAGES].long()
    return (images - images.mean((0, 2, 3), keepdim=True)) / images.std((0, 2, 3), keepdim=True), labels


def search(mode: dict[str, Any], seed: int, steps: int, images: Tensor, labels: Tensor) -> Outcome:
    """Runs one search; architecture parameters learn a hundred times as fast as in the paper, to save time."""
    domain = MinimalCell(ToySupernetSettings(), Environment(Path("none"), Path("none")))
    domain.prepare()
    domain.images, domain.labels, domain.seed = images, labels, seed
    options = GradientOptions.model_validate({
        "batch": BATCH,
        "weights": {"kind": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 3e-4, "clip": 5.0},
        "architecture": {"lr": 3e-2},
        "discretise": {"rule": "all-edges"},
        "effect": {"random": 0},
        **mode,
    })  # fmt: skip
    session = Session(domain=domain, seed=seed)
    began = time.perf_counter()
    GradientLoop(session, options, max(1, round(steps / -(-len(labels) // 2 // BATCH)))).run()
    epochs = [trial.measurement.diagnostics for trial in session.journal.trials() if trial.measurement is not None]
    table = np.array(epochs[-1]["mixture"]["normal"])

    def mean(split: str) -> float:
        found = [epoch["wiring"]["samples"][split]["all"]["difference"] for epoch in epochs
                 if split in epoch["wiring"]["samples"]]  # fmt: skip
        return float(np.mean(found)) if found else float("nan")

    none = [float(row[0]) for row in table]
    dead = int((table.argmax(1) == 0).sum())
    return Outcome(none, dead, mean("train"), mean("held-out"), time.perf_counter() - began)


def patterns(found: dict[str, list[Outcome]]) -> dict[str, bool]:
    """Returns the patterns of the paper, and whether each was found."""

    def none_mass(mode: str) -> float:
        return float(np.mean([outcome.none for outcome in found[mode]]))

    bi, single, sampled = "DARTS, bi-level", "DARTS, single-level", "DSNAS, single-level"
    inner = np.mean([outcome.none[INNER] for outcome in found[sampled]])
    outer = np.mean([np.mean(outcome.none[:INNER]) for outcome in found[sampled]])
    return {
        "bi-level search drops edges that single-level search keeps": none_mass(single) < 0.1 and none_mass(bi) > 0.5,
        "sampled single-level search drops the inner edge rather than those from inputs": bool(inner > outer),
        "sampled bi-level search drops at least four of five edges": min(o.dead for o in found["DSNAS, bi-level"]) >= 4,
        "edges cost more on held-out data than on those of the weights": all(
            outcome.held_out > outcome.train for outcome in found[bi]
        ),
    }


def main() -> int:
    """Runs all searches, prints a table and the patterns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    images, labels = load(arguments.images)
    found: dict[str, list[Outcome]] = {}
    print(f"{'search':<22}{'seed':>5}  {'  '.join(EDGES)}  dead  train  held-out  seconds")
    for name, mode in MODES.items():
        for seed in range(arguments.seeds):
            outcome = search(mode, seed, arguments.steps, images, labels)
            found.setdefault(name, []).append(outcome)
            row = "  ".join(f"{value:.2f}" for value in outcome.none)
            print(
                f"{name:<22}{seed:>5}  {row}  {outcome.dead:>4}  {outcome.train:+.2f}  {outcome.held_out:+8.2f}"
                f"  {outcome.seconds:7.0f}",
                flush=True,
            )
    held = patterns(found)
    for statement, holds in held.items():
        print(f"{'found' if holds else 'NOT FOUND'}: {statement}")
    if arguments.output is not None:
        rows = {name: [vars(outcome) for outcome in outcomes] for name, outcomes in found.items()}
        held_rows = {"device": device_name(torch.device("cpu")), "searches": rows, "patterns": held}
        arguments.output.write_text(json.dumps(held_rows, indent=1), encoding="utf-8")
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
