"""The wide space as the domain uses it: networks, receptive fields, costs and drawings."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace
from nichenas.core.trial import Drawing
from nichenas.domains.gnn.consistency import Consistency
from nichenas.domains.gnn.data import LabelledNodes
from nichenas.domains.gnn.extents import Extent
from nichenas.domains.gnn.extents import field_extent
from nichenas.domains.gnn.extents import whole_extent
from nichenas.domains.gnn.families import Family
from nichenas.domains.gnn.features import DenseFeatures
from nichenas.domains.gnn.features import feature_bytes
from nichenas.domains.gnn.features import features_of
from nichenas.domains.gnn.graph import ReceptiveField
from nichenas.domains.gnn.training import Piece
from nichenas.domains.gnn.training import TrainSettings
from nichenas.domains.gnn.wide_model import WideNetwork
from nichenas.domains.gnn.wide_space import WideSpec
from nichenas.domains.gnn.wide_space import known_wide
from nichenas.domains.gnn.wide_space import wide_consistency
from nichenas.domains.gnn.wide_space import wide_rates
from nichenas.domains.gnn.wide_space import wide_space
from nichenas.domains.gnn.wide_space import wide_spec


class WideFamily(Family):
    """The networks of the wide space."""

    _kept: tuple[Hashable, Tensor, Tensor] | None = None

    @cached_property
    def space(self) -> SearchSpace:
        """The wide space."""
        return wide_space()

    @cached_property
    def known(self) -> Mapping[str, Architecture]:
        """Networks of the space that people use."""
        return known_wide()

    def network(self, architecture: Architecture, generator: torch.Generator, share: float = 1.0) -> WideNetwork:
        """Returns a freshly initialised network."""
        decay = wide_rates(architecture).convolution_decay
        return WideNetwork(wide_spec(architecture, share), self.features, self.outputs, generator, decay)

    def train_settings(self, architecture: Architecture) -> TrainSettings:
        """Returns the settings with the architecture's learning rate and weight decay."""
        rates = wide_rates(architecture)
        settings: TrainSettings = self.settings
        return settings.model_copy(update={"learning_rate": rates.learning_rate, "weight_decay": rates.weight_decay})

    def consistency(self, architecture: Architecture) -> Consistency | None:
        """Returns how predictions are made consistent, if they are."""
        return wide_consistency(architecture)

    def layout(self, architecture: Architecture) -> Hashable:
        """Returns depth and pruning of interleaved networks, and what a linear one propagates."""
        spec = wide_spec(architecture)
        if spec.interleaved:
            return "interleaved", spec.layers, spec.norm == "batch", spec.readout == "convolution"
        return (spec.propagation, spec.steps, spec.teleport) if spec.linear else "decoupled"

    def piece(self, part: LabelledNodes, architecture: Architecture) -> Piece:
        """Returns labelled nodes with their receptive field; for a linear network with propagated features."""
        spec, graph = wide_spec(architecture), part.graph
        if spec.linear:
            x = self._propagated(part, spec)
            return Piece(ReceptiveField(part.nodes, [], part.nodes), DenseFeatures(x[part.nodes]), part.labels)
        if spec.norm == "batch" and spec.readout != "convolution":  # the last layer is normalised over all nodes too
            whole = graph.whole_field(part.nodes)
            field = ReceptiveField(whole.inputs, whole.blocks * spec.layers, whole.targets)
        elif spec.interleaved:
            field = graph.receptive_field(part.nodes, spec.layers, prune=spec.norm != "batch")
        else:
            field = graph.whole_field(part.nodes)
        return Piece(field, features_of(part.x, field.inputs), part.labels)

    def _propagated(self, part: LabelledNodes, spec: WideSpec) -> Tensor:
        """Returns the propagated features of a graph; the last ones are kept for its other labelled nodes and seeds."""
        key = (id(part.x), spec.propagation, spec.steps, spec.teleport)
        if self._kept is None or self._kept[0] != key:
            # The features are held too, so that no other ones can get their identity.
            self._kept = key, part.x, propagated(part, spec.propagation, spec.steps, spec.teleport)
        return self._kept[2]

    def extent(self, part: LabelledNodes, architecture: Architecture) -> Extent:
        """Returns how large the receptive field is; of a linear network, the whole graph that is propagated over."""
        spec, graph = wide_spec(architecture), part.graph
        if spec.linear:
            return whole_extent(graph, part.nodes, layers=0)
        if spec.norm == "batch" and spec.readout != "convolution":
            found = whole_extent(graph, part.nodes, spec.layers)
        elif spec.interleaved:
            found = field_extent(graph, part.nodes, spec.layers, prune=spec.norm != "batch")
        else:
            found = whole_extent(graph, part.nodes)
        return replace(found, feature_bytes=feature_bytes(part.density, found.inputs, self.features))

    def memory(self, architecture: Architecture, extents: Sequence[Extent], share: float = 1.0) -> int:
        """Returns an estimate of the bytes that training takes at its peak, beside the pieces themselves.

        Four copies of the weights (themselves, gradient, two Adam moments), six node-wise tensors a layer (four a step
        of propagation), and what attention keeps for every edge.
        """
        spec = wide_spec(architecture, share)
        with torch.device("meta"):
            network = self.network(architecture, torch.Generator(), share)
        numbers = 4 * sum(parameter.numel() for parameter in network.parameters())
        if spec.linear:
            return 4 * (numbers + max(extent.targets for extent in extents) * (self.features + self.outputs))
        largest = 0
        for extent in extents:
            nodes = [layer.columns for layer in extent.layers]
            edges = [layer.entries for layer in extent.layers]
            if spec.interleaved:
                edge_wise = 8 * spec.heads if spec.propagation == "gat" else 2 * (spec.edge_dropout > 0)
                own = 6 * spec.hidden * sum(nodes) + edge_wise * sum(edges)
            else:
                consistency = self.consistency(architecture)
                copies = consistency.augmentations if consistency else 1
                hidden = spec.hidden * (spec.perceptron - 1)
                width = spec.hidden if spec.propagation == "grand" else self.outputs
                kept = spec.steps if spec.edge_dropout or spec.propagation in ("gpr", "dagnn") else 1
                own = copies * nodes[0] * (6 * hidden + 4 * kept * width)
                own += 2 * (spec.edge_dropout > 0) * spec.steps * edges[0]
            largest = max(largest, own)
        return 4 * (numbers + largest)

    def shared_memory(self, architecture: Architecture, extents: Sequence[Extent]) -> int:
        """Returns the bytes of the pieces; of a linear network, what its propagation takes at its peak."""
        shared = super().shared_memory(architecture, extents)
        if wide_spec(architecture).linear:  # dense features after this step and the one before, and their sum so far
            shared += 3 * 4 * self.features * max(extent.inputs for extent in extents)
        return shared

    def macs(self, architecture: Architecture, field: ReceptiveField) -> int:
        """Returns products with weights of every node, and one for every edge and channel."""
        spec, targets = wide_spec(architecture), field.targets.numel()
        with torch.device("meta"):
            network = self.network(architecture, torch.Generator())
        maps = {name: tensor.numel() for name, tensor in network.named_parameters() if tensor.dim() == 2}
        if spec.linear:
            return targets * maps["input.weight"]
        nodes = field.blocks[0].pattern.columns
        if not spec.interleaved:
            width = spec.hidden if spec.propagation == "grand" else self.outputs
            steps = spec.steps * width * field.blocks[0].pattern.entries
            gate = targets * (spec.steps + 1) * maps.pop("gate.weight", 0)
            return nodes * sum(maps.values()) + steps + gate
        macs = nodes * maps.get("input.weight", 0) + targets * maps.get("head.weight", 0)
        for index, block in enumerate(field.blocks):
            if spec.propagation == "gcnii":
                width = spec.hidden
                macs += block.pattern.rows * maps[f"matrices.{index}"]
            else:
                last = spec.readout == "convolution" and index == spec.layers - 1
                width = self.outputs if last else spec.hidden
                macs += block.pattern.columns * maps[f"convolutions.{index}.weight"]
            macs += block.pattern.entries * width
        return macs

    def attributes(self, architecture: Architecture, tensor: str) -> tuple[int, str, Mapping[str, str]]:
        """Returns layer, role and attributes, under the names of AGNN's classes that the sharing rules have."""
        parts = tensor.split(".")
        layer = next((int(part) for part in parts if part.isdigit()), 0)
        role = ".".join(part for part in parts if not part.isdigit())
        spec = wide_spec(architecture)
        attributes = {
            "attention": spec.propagation,
            "activation": spec.activation,
            "aggregate": f"{spec.residual} {spec.readout}",
            "heads": str(spec.heads),
        }
        return layer, role, attributes

    def draw(self, architecture: Architecture) -> Drawing:
        """Returns the stages of the network with what each does."""
        spec, rates = wide_spec(architecture), wide_rates(architecture)
        stages = [f"features\n{self.features}, dropout {spec.feature_dropout:g}"]
        if spec.interleaved:
            parts = [f"{spec.layers} x {spec.propagation}, {spec.hidden} wide"]
            if spec.propagation == "gcnii":
                parts.append(f"teleport {spec.teleport:g}, lambda {spec.gcnii_lambda:g}")
            else:
                heads = f"{spec.heads} heads, " if spec.propagation == "gat" else ""
                parts.append(f"{heads}residual {spec.residual}, {spec.activation}")
            stages += ["\n".join([*parts, f"norm {spec.norm}, dropout {spec.dropout:g}"]), f"readout {spec.readout}"]
        else:
            teleport = f"\nteleport {spec.teleport:g}" if spec.teleport else ""
            steps = f"{spec.steps} steps of {spec.propagation}{teleport}"
            perceptron = f"perceptron, {spec.perceptron} layers\n{spec.hidden} wide, dropout {spec.dropout:g}"
            if spec.linear:
                stages += [steps, "linear map"]
            else:
                stages += [steps, perceptron] if spec.propagation == "grand" else [perceptron, steps]
        trained = f"learning rate {rates.learning_rate:g}, weight decay {rates.weight_decay:g}"
        if consistency := self.consistency(architecture):
            trained += f"\n{consistency.augmentations} augmentations, consistency {consistency.weight:g}"
        stages.append(f"classes\n{self.outputs}\n{trained}")
        names = [f"stage{index}" for index in range(len(stages))]
        edges = [(one, other, "") for one, other in itertools.pairwise(names)]
        return Drawing(dict(zip(names, stages, strict=True)), edges)


def propagated(part: LabelledNodes, kind: str, steps: int, teleport: float) -> Tensor:
    """Returns the features of all nodes after propagation, ``(nodes, features)``.

    SGC takes the last of the steps; SSGC their mean, with a share of the features themselves (equation 7 of Zhu and
    Koniusz 2021).
    """
    x, block = part.x, part.graph.whole
    if kind == "sgc":
        for _ in range(steps):
            x = block.product("gcn", x)
        return x
    total = torch.zeros_like(x)
    for _ in range(steps):
        x = block.product("gcn", x)
        total += x
    return total.div_(steps).lerp_(part.x, teleport)  # in place: it is as large as all dense features
