"""AGNN's space as the domain uses it: networks, receptive fields, costs and drawings."""

from __future__ import annotations

from collections.abc import Hashable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch

from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace
from nichenas.core.trial import Drawing
from nichenas.domains.gnn.data import LabelledNodes
from nichenas.domains.gnn.extents import Extent
from nichenas.domains.gnn.extents import field_extent
from nichenas.domains.gnn.families import Family
from nichenas.domains.gnn.features import feature_bytes
from nichenas.domains.gnn.features import features_of
from nichenas.domains.gnn.graph import ReceptiveField
from nichenas.domains.gnn.model import AGNN
from nichenas.domains.gnn.model import MLP_HIDDEN
from nichenas.domains.gnn.space import LayerSpec
from nichenas.domains.gnn.space import agnn_space
from nichenas.domains.gnn.space import known_agnn
from nichenas.domains.gnn.space import layer_specs
from nichenas.domains.gnn.training import Piece


class AGNNFamily(Family):
    """The networks of AGNN's space."""

    @cached_property
    def space(self) -> SearchSpace:
        """AGNN's space of the depth that the settings say."""
        return agnn_space(self.settings.layers, self.settings.operations)

    @property
    def known(self) -> Mapping[str, Architecture]:
        """Networks of the space that people use."""
        return known_agnn(self.settings.layers)

    def specs(self, architecture: Architecture, share: float = 1.0) -> list[LayerSpec]:
        """Returns the layers of an architecture, with a share of their hidden units."""
        return layer_specs(architecture, self.features, self.outputs, share, self.settings.operations)

    def network(self, architecture: Architecture, generator: torch.Generator, share: float = 1.0) -> AGNN:
        """Returns a freshly initialised network."""
        s = self.settings
        return AGNN(self.specs(architecture, share), generator, s.batch_norm, s.skip)

    def layout(self, architecture: Architecture) -> Hashable:
        """Returns nothing: all architectures are of one depth."""
        return None

    def piece(self, part: LabelledNodes, architecture: Architecture) -> Piece:
        """Returns labelled nodes with their receptive field."""
        field = part.graph.receptive_field(part.nodes, self.settings.layers, prune=not self.settings.batch_norm)
        return Piece(field, features_of(part.x, field.inputs), part.labels)

    def extent(self, part: LabelledNodes, architecture: Architecture) -> Extent:
        """Returns how large the receptive field is."""
        prune = not self.settings.batch_norm
        found = field_extent(part.graph, part.nodes, self.settings.layers, prune)
        return replace(found, feature_bytes=feature_bytes(part.density, found.inputs, self.features))

    def memory(self, architecture: Architecture, extents: Sequence[Extent], share: float = 1.0) -> int:
        """Returns an estimate of the bytes that training takes at its peak, beside the pieces themselves.

        Four copies of the weights (themselves, gradient, two Adam moments), six node-wise tensors a layer
        in the larger receptive field, and what gene-linear attention keeps for every edge.
        """
        numbers = 0
        for position, spec in enumerate(self.specs(architecture, share)):
            sources = max(extent.layers[position].columns for extent in extents)
            edges = max(extent.layers[position].entries for extent in extents)
            wide = spec.heads * spec.outputs
            numbers += 4 * spec.inputs * wide + 6 * sources * wide + 8 * edges * spec.heads
            if spec.attention == "gene-linear":
                numbers += 2 * edges * wide
            if spec.combine == "mlp":
                numbers += 4 * sources * spec.heads * MLP_HIDDEN
        return 4 * numbers

    def macs(self, architecture: Architecture, field: ReceptiveField) -> int:
        """Returns products with weights of every node, and one for every edge and channel."""
        macs = 0
        for spec, block in zip(self.specs(architecture), field.blocks, strict=True):
            macs += spec.heads * spec.outputs * (spec.inputs * block.pattern.columns + block.pattern.entries)
        return macs

    def attributes(self, architecture: Architecture, tensor: str) -> tuple[int, str, Mapping[str, str]]:
        """Returns layer, role and attributes; roles are the names within a layer, such as ``attention.left``."""
        _, layer, role = tensor.split(".", 2)
        spec = self.specs(architecture)[int(layer)]
        attributes = {
            "attention": spec.attention,
            "activation": spec.activation,
            "aggregate": spec.aggregate,
            "combine": spec.combine,
            "heads": str(spec.heads),
        }
        return int(layer), role, attributes

    def draw(self, architecture: Architecture) -> Drawing:
        """Returns the chain of layers with what each does."""
        nodes = {"input": f"features\n{self.features}"}
        edges = []
        previous = "input"
        for position, spec in enumerate(self.specs(architecture), 1):
            name = f"layer{position}"
            heads = f"{spec.heads} x {spec.outputs}" if spec.heads > 1 else f"{spec.outputs}"
            joined = "averaged" if spec.last and spec.heads > 1 else ""
            nodes[name] = (
                f"layer {position}: {heads} {joined}\n{spec.attention} attention, {spec.aggregate}\n"
                f"combine {spec.combine}, {spec.activation}"
            )
            edges.append((previous, name, f"{spec.inputs}"))
            previous = name
        nodes["output"] = f"classes\n{self.outputs}"
        edges.append((previous, "output", f"{self.outputs}"))
        return Drawing(nodes, edges)
