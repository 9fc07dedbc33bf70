"""Node classification with graph neural networks from AGNN's space, as a domain of the core."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar
from typing import Literal

import torch
from pydantic import Field
from pydantic import field_validator

from nichenas.core.capabilities.baselines import Baselines
from nichenas.core.capabilities.batching import BatchedEvaluation
from nichenas.core.capabilities.datasets import NamedDatasets
from nichenas.core.capabilities.fidelity import ReducedFidelity
from nichenas.core.capabilities.inheritance import ShareKey
from nichenas.core.capabilities.inheritance import WeightInheritance
from nichenas.core.capabilities.probing import Probe
from nichenas.core.capabilities.probing import Probing
from nichenas.core.context import Context
from nichenas.core.data.splits import stratified
from nichenas.core.domain import Domain
from nichenas.core.errors import CandidateFailure
from nichenas.core.fidelity import FULL
from nichenas.core.fidelity import Fidelity
from nichenas.core.objectives import Objective
from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace
from nichenas.core.training.loop import History
from nichenas.core.training.loop import Part
from nichenas.core.training.loop import train
from nichenas.core.training.loop import train_together
from nichenas.core.training.loop import units
from nichenas.core.trial import Drawing
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Retrained
from nichenas.core.trial import as_failure
from nichenas.domains.gnn.baselines import PlainTraining
from nichenas.domains.gnn.baselines import evaluate_plain
from nichenas.domains.gnn.baselines import make_baseline
from nichenas.domains.gnn.data import KNOWN
from nichenas.domains.gnn.data import LabelledNodes
from nichenas.domains.gnn.data import NodeTask
from nichenas.domains.gnn.data import load_task
from nichenas.domains.gnn.features import DenseFeatures
from nichenas.domains.gnn.features import features_of
from nichenas.domains.gnn.model import AGNN
from nichenas.domains.gnn.model import MLP_HIDDEN
from nichenas.domains.gnn.model import Noise
from nichenas.domains.gnn.space import HIDDEN
from nichenas.domains.gnn.space import LayerSpec
from nichenas.domains.gnn.space import agnn_space
from nichenas.domains.gnn.space import layer_specs
from nichenas.domains.gnn.space import reduced_width
from nichenas.domains.gnn.training import AGNNTraining
from nichenas.domains.gnn.training import Piece
from nichenas.domains.gnn.training import TrainSettings
from nichenas.domains.gnn.training import advance_together
from nichenas.domains.gnn.training import evaluate
from nichenas.domains.gnn.training import node_loss


class GNNSettings(TrainSettings):
    """The ``domain`` section of a configuration, beside the training settings.

    Attributes:
        dataset: a name of :data:`~nichenas.domains.gnn.data.KNOWN` or the dotted name of a PyG ``InMemoryDataset``.
        dataset_options: further arguments of that class.
        layers: depth of the networks; 2 for citation graphs, 3 for PPI in AGNN.
        objectives: ``score`` is accuracy, or micro-F1 where nodes have several labels.
        normalize: scale the features of every node to sum 1; by default for citation graphs only.
        batch_norm: normalise after hidden layers.
        skip: linear skip connections around hidden layers.
        warm_epochs: epochs of a candidate that inherits weights (AGNN's warm-up; its lengths are not known for
            certain, 20 is what is recalled for citation graphs).
    """

    dataset: str
    dataset_options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    layers: int = Field(2, ge=1, le=8)
    objectives: tuple[Literal["score", "parameters"], ...] = ("score",)
    normalize: bool | None = None
    batch_norm: bool = False
    skip: bool = False
    warm_epochs: int = Field(20, ge=1)

    @field_validator("objectives")
    @classmethod
    def _score_comes_first(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or value[0] != "score" or len(set(value)) != len(value):
            raise ValueError("must begin with 'score' and name nothing twice")
        return value


class GNNDomain(Domain, ReducedFidelity, WeightInheritance, BatchedEvaluation, Baselines, Probing, NamedDatasets):
    """Searches node classifiers; see :mod:`nichenas.domains.gnn.model` for what a layer computes."""

    Settings = GNNSettings
    factors = ("epochs", "samples", "channels")
    resumable = True
    # AGNN, section on parameter sharing; GraphNAS's keys leave the activation out (and its aggregator in).
    sharing_rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "homogeneous": ("attention", "activation", "heads"),
        "graphnas": ("attention", "aggregate", "heads"),
    }
    baselines = ("GCN", "GAT", "GraphSAGE")
    settings: GNNSettings

    @classmethod
    def datasets(cls) -> Mapping[str, str]:
        """Returns the data sets that are known by name."""
        return KNOWN

    def prepare(self) -> None:
        """Loads the data and builds what all candidates share."""
        _ = self.task, self._train, self._validation

    @cached_property
    def task(self) -> NodeTask:
        """The data set."""
        s = self.settings
        return load_task(s.dataset, s.dataset_options, s.normalize, self.environment)

    @cached_property
    def _train(self) -> list[Piece]:
        return self.pieces(self.task.train)

    def _reduced_train(self, share: float) -> list[Piece]:
        """Returns a share of the labelled training nodes, every class in proportion, the same in every run's trials."""
        if share >= 1:
            return self._train
        if share not in self._reduced:
            parts = []
            for part in self.task.train:
                # Nodes with several labels have no classes to be drawn in proportion.
                classes = torch.zeros(len(part.nodes)) if self.task.multilabel else part.labels
                draws = Context(self.environment.seed).numpy("fidelity samples")
                chosen = stratified(classes, share, draws)[1]
                if len(chosen):
                    parts.append(dataclasses.replace(part, nodes=part.nodes[chosen], labels=part.labels[chosen]))
            self._reduced[share] = self.pieces(parts or self.task.train)
        return self._reduced[share]

    @cached_property
    def _reduced(self) -> dict[float, list[Piece]]:
        return {}

    @cached_property
    def _validation(self) -> list[Piece]:
        return self.pieces(self.task.validation)

    def pieces(self, parts: Sequence[LabelledNodes]) -> list[Piece]:
        """Returns labelled nodes ready for networks of this domain's depth."""
        result = []
        for part in parts:
            field = part.graph.receptive_field(part.nodes, self.settings.layers, prune=not self.settings.batch_norm)
            result.append(Piece(field, features_of(part.x, field.inputs), part.labels))
        return result

    @cached_property
    def space(self) -> SearchSpace:
        """AGNN's space of this depth."""
        return agnn_space(self.settings.layers)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Accuracy or micro-F1 on validation nodes, and the number of parameters if wanted."""
        known = {
            "score": Objective("micro_f1" if self.task.multilabel else "accuracy"),
            "parameters": Objective("parameters", "minimize"),
        }
        return tuple(known[name] for name in self.settings.objectives)

    def specs(self, architecture: Architecture, share: float = 1.0) -> list[LayerSpec]:
        """Returns the layers of an architecture on this data set, with a share of their hidden units."""
        return layer_specs(architecture, self.task.features, self.task.outputs, share)

    def network(self, architecture: Architecture, context: Context, share: float = 1.0) -> AGNN:
        """Returns a freshly initialised network on the context's device; inherited tensors replace their own.

        Args:
            share: of the hidden layers' widths.
        """
        s = self.settings
        network = AGNN(self.specs(architecture, share), context.torch("weights"), s.batch_norm, s.skip)
        network.load_state_dict({**network.state_dict(), **context.inherited})
        return network.to(context.device)

    def resolve_fidelity(self, fidelity: Fidelity) -> Mapping[str, int]:
        """Returns the most epochs, labelled training nodes, and the widest head of a hidden layer."""
        return {
            "epochs": units(self.settings.epochs, fidelity["epochs"]),
            "samples": max(1, round(sum(len(part.nodes) for part in self.task.train) * fidelity["samples"])),
            "channels": reduced_width(max(HIDDEN), fidelity["channels"]),
        }

    def evaluate(self, proposal: Proposal, context: Context) -> Measurement:
        """Trains one network and returns its best validation score."""
        result = self._alone(proposal, context)
        if isinstance(result, CandidateFailure):
            raise result
        return result

    def evaluate_many(
        self, proposals: Sequence[Proposal], contexts: Sequence[Context]
    ) -> list[Measurement | CandidateFailure]:
        """Trains networks side by side; see :func:`nichenas.domains.gnn.training.advance_together`."""
        results: dict[int, Measurement | CandidateFailure] = {}
        needed: dict[int, int] = {}
        for index, (proposal, context) in enumerate(zip(proposals, contexts, strict=True)):
            needed[index] = self.memory(proposal.architecture, proposal.fidelity["channels"])
            try:
                context.check_memory(needed[index])
            except CandidateFailure as failure:
                results[index] = failure
        alike: dict[tuple[Part, float, int], list[int]] = {}
        for index in needed:
            if index not in results:
                proposal, context = proposals[index], contexts[index]
                part = Part.of(proposal, self.settings.warm_epochs if context.inherited else self.settings.epochs)
                in_parts = context.checkpoint_in is not None or context.checkpoint_out is not None
                alike.setdefault((part, proposal.fidelity["samples"], index if in_parts else -1), []).append(index)
        for (part, *_), group in alike.items():
            began = time.perf_counter()
            for i in group:
                contexts[i].started = began
            try:
                trainings = [
                    self._training(proposals[i].architecture, contexts[i], proposals[i].fidelity) for i in group
                ]
                outcomes = train_together(trainings, [contexts[i] for i in group], part, advance_together)
            except Exception as error:
                # Memory may suffice for each alone, and whichever broke must not cost the others their measurement.
                for i in group:
                    alone = len(group) == 1
                    results[i] = as_failure(error) if alone else self._alone(proposals[i], contexts[i])
                continue
            for i, training, outcome in zip(group, trainings, outcomes, strict=True):
                results[i] = outcome if isinstance(outcome, CandidateFailure) else self._measured(training, needed[i])
        return [results[index] for index in range(len(proposals))]

    def _alone(self, proposal: Proposal, context: Context) -> Measurement | CandidateFailure:
        (result,) = self.evaluate_many([proposal], [context])
        return result

    def _measured(self, training: AGNNTraining, needed: int) -> Measurement:
        history, values = training.history, training.history.values
        parameters = sum(parameter.numel() for parameter in training.network.parameters())
        return Measurement(
            values={self.objectives[0].name: values["score"], "loss": values["loss"], "parameters": float(parameters)},
            curve=tuple(history.curves["score"]),
            peak_memory=needed,
            diagnostics={"best_epoch": history.unit, "epochs": history.validated},
            epochs=history.trained,
            weights=history.weights,
        )

    def _training(
        self, architecture: Architecture, context: Context, fidelity: Fidelity = FULL, *, keep_best: bool = False
    ) -> AGNNTraining:
        # Feature masks come from the run alone, not from the trial: candidates that are trained together can
        # then share one sparse product, and come out as they would alone.
        features = context.torch("feature dropout", trial=0, device=context.device)
        inner = context.torch("inner dropout", device=context.device)
        return AGNNTraining(
            self.network(architecture, context, fidelity["channels"]),
            self._reduced_train(fidelity["samples"]),
            self._validation,
            self.settings,
            noise=Noise(p=self.settings.dropout, features=features, inner=inner),
            keep_best=keep_best or context.keep_weights,
        )

    def probe(self, architecture: Architecture, context: Context) -> Probe:
        """Returns a fresh network without dropout with the first training graph; samples are its input nodes."""
        network, piece = self.network(architecture, context), self._train[0]
        features = self.task.train[0].x[piece.field.inputs]
        # Products with weights of every node, and one for every edge and channel; of the whole graph.
        macs = 0
        for spec, block in zip(self.specs(architecture), piece.field.blocks, strict=True):
            macs += spec.heads * spec.outputs * (spec.inputs * block.pattern.columns + block.pattern.entries)
        return Probe(
            network,
            features,
            forward=lambda x: network(piece.field, DenseFeatures(x)),
            loss=lambda outputs: node_loss(outputs, piece.labels),
            macs=macs,
        )

    def memory(self, architecture: Architecture, share: float = 1.0) -> int:
        """Returns an estimate of the bytes that training a network takes at its peak.

        Four copies of the weights (themselves, gradient, two Adam moments), six node-wise tensors a layer
        in the larger receptive field, and what gene-linear attention keeps for every edge.
        """
        numbers = 0
        pieces = [*self._train, *self._validation]
        for position, spec in enumerate(self.specs(architecture, share)):
            sources = max(piece.field.blocks[position].pattern.columns for piece in pieces)
            edges = max(piece.field.blocks[position].pattern.entries for piece in pieces)
            wide = spec.heads * spec.outputs
            numbers += 4 * spec.inputs * wide + 6 * sources * wide + 8 * edges * spec.heads
            if spec.attention == "gene-linear":
                numbers += 2 * edges * wide
            if spec.combine == "mlp":
                numbers += 4 * sources * spec.heads * MLP_HIDDEN
        return 4 * numbers

    def retrain(self, architecture: Architecture, context: Context) -> Retrained:
        """Trains a network and measures it at its best validation epoch."""
        training = self._training(architecture, context, keep_best=True)
        history = train(training, context, Part.whole(self.settings.epochs))
        training.network.load_state_dict(history.weights)
        test = evaluate(training.network, self.pieces(self.task.test.read()))
        return self._retrained(history, test, context)

    def train_baseline(self, name: str, context: Context) -> Retrained:
        """Trains GCN, GAT or GraphSAGE from PyG's layers; see :mod:`nichenas.domains.gnn.baselines`."""
        task = self.task
        with context.seeded("baseline"):  # PyG's layers draw from the global generator
            network, settings = make_baseline(name, task.features, task.outputs, self.settings)
            network = network.to(context.device)
            training = PlainTraining(network, task.train, task.validation, settings, keep_best=True)
            history = train(training, context, Part.whole(settings.epochs))
        network.load_state_dict(history.weights)
        return self._retrained(history, evaluate_plain(network, task.test.read()), context)

    def _retrained(self, history: History, test: tuple[float, float], context: Context) -> Retrained:
        name = self.objectives[0].name
        return Retrained(
            validation={name: history.values["score"], "loss": history.values["loss"]},
            test={name: test[0], "loss": test[1]},
            weights=history.weights if context.keep_weights else {},
        )

    def share_keys(self, architecture: Architecture) -> Mapping[str, ShareKey]:
        """Returns the key of every tensor; roles are the names within a layer, such as ``attention.left``."""
        specs = self.specs(architecture)
        keys: dict[str, ShareKey] = {}
        for name, tensor in self.network(architecture, Context(seed=0)).state_dict().items():
            _, layer, role = name.split(".", 2)
            spec = specs[int(layer)]
            attributes = {
                "attention": spec.attention,
                "activation": spec.activation,
                "aggregate": spec.aggregate,
                "combine": spec.combine,
                "heads": str(spec.heads),
            }
            keys[name] = ShareKey(int(layer), role, tuple(tensor.shape), attributes)
        return keys

    def draw(self, architecture: Architecture) -> Drawing:
        """Returns the chain of layers with what each does."""
        nodes = {"input": f"features\n{self.task.features}"}
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
        nodes["output"] = f"classes\n{self.task.outputs}"
        edges.append((previous, "output", f"{self.task.outputs}"))
        return Drawing(nodes, edges)
