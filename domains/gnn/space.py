"""AGNN's search space: six action classes a layer (Zhou et al. 2019, section on the search space).

The order of the classes and their options follow the paper as far as it is known; the sizes are those of the
paper: 11,760 strings a layer, 138,297,600 for two layers.

The operations themselves come as published, or ``repaired``, which is ours and deviates from the paper where its
operations do not train; see :mod:`nichenas.domains.gnn.model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import Option
from nichenas.core.space import SearchSpace

HIDDEN = (4, 8, 16, 32, 64, 128, 256)
ATTENTIONS = ("const", "gcn", "gat", "sym-gat", "cos", "linear", "gene-linear")
HEADS = (1, 2, 4, 8, 16)
AGGREGATORS = ("sum", "mean", "max")
COMBINERS = ("identity", "mlp")
ACTIVATIONS = ("sigmoid", "tanh", "relu", "linear", "softplus", "leaky_relu", "relu6", "elu")

Operations = Literal["published", "repaired"]
FIXED_ATTENTIONS = ("const", "gcn")  # without parameters; the others are soft-maxed over the neighbourhood

CLASSES: dict[str, tuple[int | str, ...]] = {
    "hidden": HIDDEN,
    "attention": ATTENTIONS,
    "heads": HEADS,
    "aggregate": AGGREGATORS,
    "combine": COMBINERS,
    "activation": ACTIVATIONS,
}


@dataclass(frozen=True)
class LayerSpec:
    """One layer of an architecture, with the sizes that follow from its place.

    Attributes:
        inputs: width of the input.
        outputs: width of one head.
        heads: number of heads; concatenated, or averaged in the last layer.
        last: whether this is the output layer.
        operations: how its aggregation and combiner compute.
    """

    inputs: int
    outputs: int
    heads: int
    attention: str
    aggregate: str
    combine: str
    activation: str
    last: bool
    operations: Operations = "published"

    @property
    def width(self) -> int:
        """Width of the output."""
        return self.outputs if self.last else self.outputs * self.heads


def agnn_space(layers: int, operations: Operations = "published") -> SearchSpace:
    """Returns AGNN's space: choices ``layer1.hidden`` ... ``layerN.activation``, grouped by action class.

    Args:
        operations: how aggregations and combiners compute, which decides what architectures are the same network.
    """

    def canonical(architecture: Architecture) -> Architecture:
        # The output layer is as wide as there are classes: its own width is not read.
        values = {**architecture, f"layer{layers}.hidden": HIDDEN[0]}
        for layer in range(1, layers + 1) if operations == "repaired" else ():
            # Soft-maxed coefficients sum to 1: the sum that they weight is the weighted mean.
            if (
                values[f"layer{layer}.aggregate"] == "mean"
                and values[f"layer{layer}.attention"] not in FIXED_ATTENTIONS
            ):
                values[f"layer{layer}.aggregate"] = "sum"
        return Architecture(values)

    choices = [
        Choice(f"layer{layer}.{name}", options, group=name)
        for layer in range(1, layers + 1)
        for name, options in CLASSES.items()
    ]
    return SearchSpace(choices, canonical)


def known_agnn(layers: int) -> Mapping[str, Architecture]:
    """Returns networks of AGNN's space that people use: GAT at the paper's sizes for citation graphs, and GCN's."""

    def stack(attention: str, hidden: int, heads: int, activation: str) -> Architecture:
        inner: list[Option] = [hidden, attention, heads, "sum", "identity", activation]
        last: list[Option] = [HIDDEN[0], attention, 1, "sum", "identity", "linear"]
        values: dict[str, Option] = {}
        for layer in range(1, layers + 1):
            own = zip(CLASSES, inner if layer < layers else last, strict=True)
            values.update((f"layer{layer}.{name}", value) for name, value in own)
        return Architecture(values)

    return {"GAT": stack("gat", 8, 8, "elu"), "GCN": stack("gcn", 16, 1, "relu")}


def reduced_width(hidden: int, share: float) -> int:
    """Returns a share of the units of a hidden layer's head, at least one."""
    return max(1, round(hidden * share))


def layer_specs(
    architecture: Architecture,
    features: int,
    outputs: int,
    share: float = 1.0,
    operations: Operations = "published",
) -> list[LayerSpec]:
    """Returns the layers of an architecture for inputs of width ``features`` and outputs of width ``outputs``.

    Args:
        share: of the hidden layers' widths.
        operations: how aggregations and combiners compute.
    """
    layers = len(architecture) // len(CLASSES)
    specs: list[LayerSpec] = []
    width = features
    for layer in range(1, layers + 1):
        value = {name: architecture[f"layer{layer}.{name}"] for name in CLASSES}
        last = layer == layers
        spec = LayerSpec(
            inputs=width,
            outputs=outputs if last else reduced_width(int(str(value["hidden"])), share),
            heads=int(str(value["heads"])),
            attention=str(value["attention"]),
            aggregate=str(value["aggregate"]),
            combine=str(value["combine"]),
            activation=str(value["activation"]),
            last=last,
            operations=operations,
        )
        specs.append(spec)
        width = spec.width
    return specs
