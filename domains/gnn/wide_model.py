"""Networks of the wide space, computed on receptive fields with sparse products.

Each propagation is that of its paper: GCN (Kipf and Welling 2017), GAT (Velickovic et al. 2018), GraphSAGE with mean
aggregation (Hamilton et al. 2017), GCNII (Chen et al. 2020), SGC (Wu et al. 2019), SSGC (Zhu and Koniusz 2021), APPNP
(Gasteiger et al. 2019), GPRGNN (Chien et al. 2021), DAGNN (Liu et al. 2020), GRAND (Feng et al. 2020); equal to PyG's
layers where it has them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch import nn

from nichenas.domains.gnn.features import Features
from nichenas.domains.gnn.graph import Block
from nichenas.domains.gnn.graph import ReceptiveField
from nichenas.domains.gnn.model import ACTIVATION
from nichenas.domains.gnn.network import NodeNetwork
from nichenas.domains.gnn.network import Noise
from nichenas.domains.gnn.network import glorot
from nichenas.domains.gnn.operations import dropout
from nichenas.domains.gnn.operations import keep_mask
from nichenas.domains.gnn.wide_layers import Affine
from nichenas.domains.gnn.wide_layers import Convolution
from nichenas.domains.gnn.wide_layers import norm_of
from nichenas.domains.gnn.wide_layers import propagate
from nichenas.domains.gnn.wide_space import WideSpec


class WideNetwork(NodeNetwork):
    """A network of the wide space.

    Args:
        features: width of the node features.
        outputs: number of classes or labels.
        generator: draws the initial weights, on the CPU whatever the device, so that they are the same on all.
        convolution_decay: weight decay of the matrices inside GCNII's convolutions.
    """

    def __init__(
        self, spec: WideSpec, features: int, outputs: int, generator: torch.Generator, convolution_decay: float = 0.0
    ) -> None:
        super().__init__()
        self.spec, self.convolution_decay = spec, convolution_decay
        self.in_features, self.out_features = features, outputs
        hidden = spec.hidden
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        self.head: Affine | None = None
        if spec.linear:
            self.input = Affine(features, outputs, generator)
        elif spec.propagation == "gcnii":
            self.input = Affine(features, hidden, generator)
            self.matrices = nn.ParameterList(glorot(generator, hidden, hidden) for _ in range(spec.layers))
            self.norms.extend(norm_of(spec.norm, hidden) for _ in range(spec.layers))
            self.head = Affine(hidden, outputs, generator)
        elif spec.interleaved:
            self._build_layers(features, outputs, generator)
        else:
            self._build_decoupled(features, outputs, generator)

    def _build_layers(self, features: int, outputs: int, generator: torch.Generator) -> None:
        spec = self.spec
        direct = spec.readout == "convolution"
        if spec.residual == "initial":
            self.input = Affine(features, spec.hidden, generator)
        for layer in range(spec.layers):
            last = direct and layer == spec.layers - 1
            convolution = Convolution(
                spec.propagation,
                features if layer == 0 else spec.hidden,
                outputs if last else spec.hidden,
                generator,
                heads=1 if last else spec.heads,
                residual=spec.residual == "linear" and not last,
            )
            self.convolutions.append(convolution)
            if not last:
                self.norms.append(norm_of(spec.norm, spec.hidden))
        if not direct:
            width = spec.hidden * (spec.layers if spec.readout == "concat" else 1)
            self.head = Affine(width, outputs, generator)

    def _build_decoupled(self, features: int, outputs: int, generator: torch.Generator) -> None:
        spec = self.spec
        widths = [features, *[spec.hidden] * (spec.perceptron - 1), outputs]
        maps = [Affine(a, b, generator) for a, b in itertools.pairwise(widths)]
        self.input, self.inner = maps[0], nn.ModuleList(maps[1:])
        if spec.propagation == "gpr":  # personalised PageRank's weights to begin with
            powers = [spec.teleport * (1 - spec.teleport) ** k for k in range(spec.steps)]
            self.gammas = nn.Parameter(torch.tensor([*powers, (1 - spec.teleport) ** spec.steps]))
        if spec.propagation == "dagnn":
            self.gate = Affine(outputs, 1, generator)

    @property
    def first_weight(self) -> str:  # type: ignore[override]
        """Name of the tensor that multiplies the node features."""
        layered = self.spec.interleaved and self.spec.propagation != "gcnii"
        return "convolutions.0.weight" if layered else "input.weight"

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Returns a group for every weight decay; norms and GPRGNN's gammas have none."""
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            first = name.split(".")[0]
            decay = {"matrices": self.convolution_decay, "norms": 0.0, "gammas": 0.0}.get(first, weight_decay)
            groups.setdefault(decay, []).append(parameter)
        return [{"params": parameters, "weight_decay": decay} for decay, parameters in groups.items()]

    def forward(self, field: ReceptiveField, features: Features, noise: Noise | None = None) -> Tensor:
        """Returns the outputs at the targets of the field, ``(targets, outputs)``.

        With several augmentations, which only decoupled networks have, ``(targets, augmentations, outputs)``.

        Args:
            field: nodes and edges; of a linear network the targets alone.
            features: of ``field.inputs``; of a linear network, those that propagation made of them.
            noise: of dropout; none in evaluation.
        """
        spec = self.spec
        if spec.linear:
            return self._mapped_input(features, noise)
        if spec.propagation == "gcnii":
            return self._gcnii(field, features, noise)
        if spec.interleaved:
            return self._layers(field, features, noise)
        return self._decoupled(field, features, noise)

    def _project(self, weight: Tensor, features: Features, noise: Noise | None) -> Tensor:
        return features.project(weight, self.spec.feature_dropout, noise.features if noise else None)

    def _mapped_input(self, features: Features, noise: Noise | None) -> Tensor:
        return self._project(self.input.weight, features, noise) + self.input.bias

    def _drop(self, x: Tensor, noise: Noise | None) -> Tensor:
        return x if noise is None else dropout(x, self.spec.dropout, noise.inner)

    def _layers(self, field: ReceptiveField, features: Features, noise: Noise | None) -> Tensor:
        spec, kept = self.spec, list[Tensor]()
        initial: Tensor | None = None
        weights = [layer.weight for layer in self.own_convolutions()]
        if spec.residual == "initial":
            both = self._project(torch.cat([weights[0], self.input.weight], 1), features, noise)
            mapped, initial = both.split([weights[0].shape[1], spec.hidden], 1)
            initial = initial + self.input.bias
        else:
            mapped = self._project(weights[0], features, noise)
        x = mapped
        for index, (layer, block) in enumerate(zip(self.own_convolutions(), field.blocks, strict=True)):
            x = layer(mapped if index == 0 else self._drop(x, noise) @ weights[index], block, spec, noise)
            if index == len(self.norms):  # the last convolution gives the outputs
                return x
            if initial is not None:
                initial = block.at_destinations(initial)
                x = x + initial
            x = ACTIVATION[spec.activation](self.norms[index](x))
            if spec.readout in ("sum", "max", "concat"):
                kept = [*(block.at_destinations(one) for one in kept), x]
        if spec.readout == "concat":
            x = torch.cat([_at_targets(one, field) for one in kept], 1)
        elif kept:
            stacked = torch.stack([_at_targets(one, field) for one in kept])
            x = stacked.sum(0) if spec.readout == "sum" else stacked.amax(0)
        assert self.head is not None
        return self.head(self._drop(_at_targets(x, field), noise))

    def own_convolutions(self) -> Iterator[Convolution]:
        """Yields the layers of a GCN, GAT or GraphSAGE."""
        for layer in self.convolutions:
            assert isinstance(layer, Convolution)
            yield layer

    def _gcnii(self, field: ReceptiveField, features: Features, noise: Noise | None) -> Tensor:
        """Equation 5 of Chen et al. 2020, with beta = log(lambda / layer + 1)."""
        spec = self.spec
        x = initial = torch.relu(self._mapped_input(features, noise))
        for index, (matrix, norm, block) in enumerate(zip(self.matrices, self.norms, field.blocks, strict=True), 1):
            beta = math.log(spec.gcnii_lambda / index + 1)
            x = propagate(block, "gcn", self._drop(x, noise), spec.edge_dropout, noise)
            initial = block.at_destinations(initial)
            x = torch.lerp(x, initial, spec.teleport)
            x = torch.relu(norm(torch.addmm(x, x, matrix, beta=1 - beta, alpha=beta)))
        assert self.head is not None
        return self.head(self._drop(_at_targets(x, field), noise))

    def _decoupled(self, field: ReceptiveField, features: Features, noise: Noise | None) -> Tensor:
        """Augmentations lie side by side, ``(nodes, augmentations * width)``: one product propagates them all.

        They share the edges that are dropped.
        """
        spec, (block,), targets = self.spec, field.blocks, field.targets
        copies = 1 if noise is None else noise.augmentations

        def step(x: Tensor) -> Tensor:
            return propagate(block, "gcn", x, spec.edge_dropout, noise)

        def perceptron(x: Tensor) -> Tensor:
            x = (x.view(-1, spec.hidden) + self.input.bias).relu()
            for index, layer in enumerate(self.inner):
                x = layer(self._drop(x if index == 0 else x.relu(), noise))
            return x.view(-1, copies * self.out_features)

        mapped = [self._mapped_nodes(features, noise) for _ in range(copies)]
        x = mapped[0] if copies == 1 else torch.cat(mapped, 1)
        if spec.propagation == "grand":
            total = self._personalised(block, x, 1.0, 1.0, step) / (spec.steps + 1)
            result = perceptron(total.index_select(0, targets))
        elif spec.propagation == "appnp":
            x = self._personalised(block, perceptron(x), spec.teleport, 1 - spec.teleport, step)
            result = x.index_select(0, targets)
        else:
            result = self._hops(perceptron(x), step, targets, noise)
        return result if copies == 1 else result.view(-1, copies, self.out_features)

    def _mapped_nodes(self, features: Features, noise: Noise | None) -> Tensor:
        """Returns the features times the input's weight, a share of the nodes dropped; in evaluation, its mean.

        As in GRAND's code, where the paper (section 3.1) scales the nodes that are left while training. Weights are
        larger under the same decay then; weight decay and learning rate of the paper belong to this form.
        """
        mapped = self._project(self.input.weight, features, noise)
        rate = self.spec.node_dropout
        if rate == 0:
            return mapped
        if noise is None:
            return mapped * (1 - rate)
        mask, _ = keep_mask((len(mapped), 1), rate, noise.features)
        return mapped * mask.to(mapped.dtype)

    def _personalised(
        self, block: Block, x: Tensor, start: float, share: float, step: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Returns ``z`` after all steps ``z = start * x + share * step(z)``, from ``z = x``."""
        if self.spec.edge_dropout == 0:
            return block.recurrence("gcn", x, self.spec.steps, start, share)
        z = x
        for _ in range(self.spec.steps):
            z = torch.add(start * x, step(z), alpha=share)
        return z

    def _hops(self, x: Tensor, step: Callable[[Tensor], Tensor], targets: Tensor, noise: Noise | None) -> Tensor:
        """Returns what GPRGNN or DAGNN make of the perceptron's outputs, at the targets."""
        spec = self.spec
        if spec.propagation == "gpr":
            x = self._drop(x, noise)
        hops = [x.index_select(0, targets)]
        for _ in range(spec.steps):
            x = step(x)
            hops.append(x.index_select(0, targets))
        stacked = torch.stack(hops)
        if spec.propagation == "gpr":
            return (stacked * self.gammas[:, None, None]).sum(0)
        stacked = stacked.view(len(hops), -1, self.out_features)
        scores = torch.sigmoid(stacked @ self.gate.weight + self.gate.bias)
        return (stacked * scores).sum(0).view(len(targets), -1)


def _at_targets(x: Tensor, field: ReceptiveField) -> Tensor:
    """Returns the rows of the targets, where the last block has all nodes."""
    return x if len(x) == field.targets.numel() else x.index_select(0, field.targets)
