"""The wide space: what the strongest hand-made networks for node classification use, as choices.

A network interleaves propagation with weights (GCN, GAT, GraphSAGE, GCNII), maps every node by a perceptron and then
propagates (APPNP, GPRGNN, DAGNN), or propagates first (SGC, SSGC, GRAND). Residual connections, jumping knowledge,
normalisation and depth follow "Classic GNNs are strong baselines" (Luo et al. 2024). How a network is trained is
searched with it, consistency training (Feng et al. 2020) included.
Every choice is conditional on what reads it, so that two architectures that differ are two networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import Option
from nichenas.core.space import SearchSpace
from nichenas.domains.gnn.consistency import Consistency

LAYERED = ("gcn", "gat", "sage")  # propagation and weights interleaved
LINEAR = ("sgc", "ssgc")  # no hidden layer, so that propagation is done once for all trainings
DECOUPLED = ("appnp", "gpr", "dagnn", "grand")  # propagation at one place of a perceptron: its end; GRAND's first layer
NONLINEAR = (*LAYERED, "gcnii", *DECOUPLED)
INTERLEAVED = (*LAYERED, "gcnii")

CHOICES = (
    Choice("propagation", (*INTERLEAVED, *LINEAR, *DECOUPLED)),
    # Depth and width.
    Choice("hidden", (16, 32, 64, 128, 256, 512), {"propagation": NONLINEAR}),
    Choice("layers", (2, 3, 4, 5, 6, 9, 12, 15), {"propagation": LAYERED}),
    Choice("depth", (4, 8, 16, 32, 64), {"propagation": ("gcnii",)}),
    Choice("perceptron", (2, 3), {"propagation": DECOUPLED}),
    Choice("steps", (2, 3, 5, 8, 10, 12, 16, 20), {"propagation": (*LINEAR, *DECOUPLED)}),
    # How signals are mixed.
    Choice("teleport", (0.05, 0.1, 0.2, 0.5), {"propagation": ("ssgc", "appnp", "gpr", "gcnii")}),
    Choice("gcnii_lambda", (0.4, 0.5, 0.6, 1.0, 1.5), {"propagation": ("gcnii",)}),
    Choice("heads", (1, 2, 4, 8), {"propagation": ("gat",)}),
    Choice("residual", ("none", "linear", "initial"), {"propagation": LAYERED}),
    Choice("readout", ("convolution", "linear", "sum", "max", "concat"), {"propagation": LAYERED}),
    Choice("norm", ("none", "layer", "batch"), {"propagation": INTERLEAVED}),
    Choice("activation", ("relu", "elu"), {"propagation": LAYERED}),
    # Training.
    Choice("feature_dropout", (0.0, 0.2, 0.5, 0.6, 0.8)),
    Choice("dropout", (0.0, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8), {"propagation": NONLINEAR}),
    Choice("node_dropout", (0.0, 0.2, 0.5), {"propagation": DECOUPLED}),
    Choice("edge_dropout", (0.0, 0.2, 0.5), {"propagation": ("gcn", "sage", "gcnii", *DECOUPLED)}),
    Choice("attention_dropout", (0.0, 0.3, 0.6), {"propagation": ("gat",)}),
    Choice("learning_rate", (0.001, 0.005, 0.01, 0.02), {"propagation": NONLINEAR}),
    Choice("linear_learning_rate", (0.05, 0.1, 0.2, 0.5), {"propagation": LINEAR}),
    Choice("weight_decay", (0.0, 5e-5, 5e-4, 1e-3, 2e-3, 5e-3, 0.01)),
    Choice("convolution_decay", (0.0, 5e-4, 5e-3, 0.01), {"propagation": ("gcnii",)}),
    Choice("augmentations", (1, 2, 4), {"propagation": DECOUPLED}),
    Choice("consistency", (0.5, 0.7, 1.0), {"augmentations": (2, 4)}),
    Choice("temperature", (0.2, 0.3, 0.5), {"augmentations": (2, 4)}),
)

# What a baseline is tuned over. Whether it is trained for consistency at all belongs to what a network is known as.
TRAINING = frozenset({
    *("feature_dropout", "dropout", "node_dropout", "edge_dropout", "attention_dropout"),
    *("learning_rate", "linear_learning_rate", "weight_decay", "convolution_decay"),
    *("consistency", "temperature"),
})  # fmt: skip


@dataclass(frozen=True)
class WideSpec:
    """A network of the wide space; what its propagation does not read has no meaning.

    Attributes:
        layers: with propagation, in interleaved networks.
        perceptron: layers of the perceptron of a decoupled network.
        steps: of propagation, in decoupled and linear networks.
        teleport: share of the start in every step (alpha of APPNP, SSGC, GCNII; of GPRGNN's initial weights).
        gcnii_lambda: how fast convolutions of GCNII approach the identity with depth.
        readout: what gives the outputs: the last convolution, a linear map after it, or one of all layers together.
        node_dropout: probability that a node's features are dropped as a whole.
    """

    propagation: str
    hidden: int = 0
    layers: int = 0
    perceptron: int = 0
    steps: int = 0
    teleport: float = 0.0
    gcnii_lambda: float = 0.0
    heads: int = 1
    residual: str = "none"
    readout: str = "linear"
    norm: str = "none"
    activation: str = "relu"
    feature_dropout: float = 0.0
    dropout: float = 0.0
    node_dropout: float = 0.0
    edge_dropout: float = 0.0
    attention_dropout: float = 0.0

    @property
    def interleaved(self) -> bool:
        """Whether propagation and weights take turns."""
        return self.propagation in INTERLEAVED

    @property
    def linear(self) -> bool:
        """Whether propagation comes before everything that is trained."""
        return self.propagation in LINEAR


@dataclass(frozen=True)
class Rates:
    """How a network of the wide space is trained.

    Attributes:
        convolution_decay: of the weights inside GCNII's convolutions; the others have ``weight_decay``.
    """

    learning_rate: float
    weight_decay: float
    convolution_decay: float


def wide_space() -> SearchSpace:
    """Returns the space."""
    return SearchSpace(CHOICES)


def wide_spec(architecture: Architecture, share: float = 1.0) -> WideSpec:
    """Returns the network of an architecture.

    Args:
        share: of the hidden units.
    """
    values = {name: value for name, value in architecture.items() if name in WideSpec.__dataclass_fields__}
    if "depth" in architecture:
        values["layers"] = architecture["depth"]
    if "hidden" in values:
        heads = int(str(values.get("heads", 1)))
        values["hidden"] = heads * max(1, round(int(str(values["hidden"])) * share / heads))
    return WideSpec(**values)  # type: ignore[arg-type]  # options have the types of the fields


def wide_rates(architecture: Architecture) -> Rates:
    """Returns how an architecture's network is trained."""

    def rate(*names: str) -> float:
        return next((float(str(architecture[name])) for name in names if name in architecture), 0.0)

    return Rates(rate("learning_rate", "linear_learning_rate"), rate("weight_decay"), rate("convolution_decay"))


def wide_consistency(architecture: Architecture) -> Consistency | None:
    """Returns the consistency training of an architecture, if it has any."""
    augmentations = int(str(architecture.get("augmentations", 1)))
    if augmentations == 1:
        return None
    return Consistency(augmentations, float(str(architecture["consistency"])), float(str(architecture["temperature"])))


def _known(propagation: str, **values: Option) -> Architecture:
    defaults: dict[str, Option] = {
        "residual": "none",
        "readout": "convolution",
        "norm": "none",
        "activation": "relu",
        "feature_dropout": 0.5,
        "dropout": 0.5,
        "node_dropout": 0.0,
        "edge_dropout": 0.0,
        "augmentations": 1,
        "attention_dropout": 0.0,
        "learning_rate": 0.01,
        "weight_decay": 5e-4,
        "perceptron": 2,
        "hidden": 64,
        "layers": 2,
    }
    wanted = {**defaults, "propagation": propagation, **values}

    def missing(choice: Choice) -> Option:
        raise KeyError(f"{propagation} has no value for '{choice.name}'")

    return wide_space().complete(wanted, missing)


def known_wide() -> Mapping[str, Architecture]:
    """Returns networks that people use, by the name that they are known by, roughly the strongest first.

    A search that measures would-be incumbents again then does so for few of them.
    Values are those of each paper for citation graphs, as far as the space has them; where a paper's own value is not
    an option, the nearest. The last five are networks of "Classic GNNs are strong baselines": of Cora (half as
    wide, for the memory limits of the shipped configurations), of Amazon Computers, of filtered Chameleon and of
    Minesweeper (two). Its code adds self loops before GraphSAGE's mean, decays
    the weights of normalisations, and starts linear maps as torch does; those here do not.
    """
    deep = {"feature_dropout": 0.0, "dropout": 0.2, "weight_decay": 0.0, "hidden": 64}
    plain: dict[str, Option] = {"readout": "linear", "feature_dropout": 0.0}
    return {
        "GRAND": _known(
            "grand", steps=8, hidden=32, node_dropout=0.5, augmentations=4, consistency=1.0, temperature=0.5
        ),
        "GRAND, 2 steps": _known(  # the paper's settings for CiteSeer, where those above are for Cora
            "grand",
            steps=2,
            hidden=32,
            feature_dropout=0.0,
            dropout=0.2,
            node_dropout=0.5,
            augmentations=2,
            consistency=0.7,
            temperature=0.3,
        ),
        "GCNII": _known(
            "gcnii",
            depth=16,
            teleport=0.1,
            gcnii_lambda=0.5,
            feature_dropout=0.6,
            dropout=0.6,
            convolution_decay=0.01,
        ),
        "DAGNN": _known("dagnn", steps=10, feature_dropout=0.8, dropout=0.8, weight_decay=5e-3),
        "GPRGNN": _known("gpr", steps=10, teleport=0.1),
        "APPNP": _known("appnp", steps=10, teleport=0.1),
        "SSGC": _known(
            "ssgc", steps=16, teleport=0.05, feature_dropout=0.0, linear_learning_rate=0.2, weight_decay=5e-5
        ),
        "GAT": _known(
            "gat",
            heads=8,
            activation="elu",
            feature_dropout=0.6,
            dropout=0.6,
            attention_dropout=0.6,
            learning_rate=0.005,
        ),
        "GCN": _known("gcn", hidden=16),
        "GraphSAGE": _known("sage"),
        "SGC": _known("sgc", steps=2, feature_dropout=0.0, linear_learning_rate=0.2, weight_decay=5e-5),
        "GCN, 3 layers, wide": _known("gcn", hidden=256, layers=3, dropout=0.7, learning_rate=0.001, **plain),
        "GCN, 3 layers, layer norm": _known(  # of Amazon Computers, as the next one is of filtered Chameleon
            "gcn", hidden=512, layers=3, norm="layer", learning_rate=0.001, weight_decay=5e-5, **plain
        ),
        "GCN, 5 layers, wide": _known(
            "gcn", hidden=512, layers=5, dropout=0.2, learning_rate=0.005, weight_decay=1e-3, **plain
        ),
        "GCN, 12 layers": _known("gcn", layers=12, readout="linear", residual="linear", norm="batch", **deep),
        "GraphSAGE, 15 layers": _known("sage", layers=15, readout="linear", residual="linear", norm="batch", **deep),
    }
