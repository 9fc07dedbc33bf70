"""Node classification with graph neural networks, as a domain of the core."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from collections.abc import Mapping
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from nichenas.core.capabilities.baselines import Baselines
from nichenas.core.capabilities.criterion import RankingCriterion
from nichenas.core.capabilities.datasets import NamedDatasets
from nichenas.core.capabilities.fidelity import ReducedFidelity
from nichenas.core.capabilities.inheritance import ShareKey
from nichenas.core.capabilities.inheritance import WeightInheritance
from nichenas.core.capabilities.known import KnownArchitectures
from nichenas.core.capabilities.notes import DataNotes
from nichenas.core.capabilities.predicting import Predicting
from nichenas.core.capabilities.predicting import Predictions
from nichenas.core.capabilities.probing import Probe
from nichenas.core.capabilities.probing import Probing
from nichenas.core.context import Context
from nichenas.core.data.splits import stratified
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.fidelity import FULL
from nichenas.core.fidelity import Fidelity
from nichenas.core.objectives import Objective
from nichenas.core.space import Architecture
from nichenas.core.space import Option
from nichenas.core.space import SearchSpace
from nichenas.core.training.calibration import calibrated_brier
from nichenas.core.training.loop import History
from nichenas.core.training.loop import Part
from nichenas.core.training.loop import train
from nichenas.core.training.loop import units
from nichenas.core.trial import Drawing
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Retrained
from nichenas.domains.gnn import native
from nichenas.domains.gnn.agnn import AGNNFamily
from nichenas.domains.gnn.baselines import PlainTraining
from nichenas.domains.gnn.baselines import evaluate_plain
from nichenas.domains.gnn.baselines import make_baseline
from nichenas.domains.gnn.data import KNOWN
from nichenas.domains.gnn.data import LabelledNodes
from nichenas.domains.gnn.data import NodeTask
from nichenas.domains.gnn.data import load_task
from nichenas.domains.gnn.extents import Extent
from nichenas.domains.gnn.families import Family
from nichenas.domains.gnn.features import DenseFeatures
from nichenas.domains.gnn.network import Noise
from nichenas.domains.gnn.pieces import KEPT_BYTES
from nichenas.domains.gnn.pieces import KeptPieces
from nichenas.domains.gnn.prediction import node_predictions
from nichenas.domains.gnn.settings import GNNSettings
from nichenas.domains.gnn.space import HIDDEN
from nichenas.domains.gnn.space import reduced_width
from nichenas.domains.gnn.split_training import SplitsTraining
from nichenas.domains.gnn.split_training import keys_of_members
from nichenas.domains.gnn.split_training import of_member
from nichenas.domains.gnn.training import CALIBRATED
from nichenas.domains.gnn.training import NodeTraining
from nichenas.domains.gnn.training import Piece
from nichenas.domains.gnn.training import SpaceTraining
from nichenas.domains.gnn.training import evaluate
from nichenas.domains.gnn.training import node_loss
from nichenas.domains.gnn.wide import WideFamily
from nichenas.domains.gnn.wide_space import TRAINING

BRIER = "calibrated_brier"
FAMILIES: Mapping[str, type[Family]] = {"agnn": AGNNFamily, "wide": WideFamily}


class GNNDomain(
    Domain,
    ReducedFidelity,
    WeightInheritance,
    KnownArchitectures,
    RankingCriterion,
    Baselines,
    Probing,
    NamedDatasets,
    DataNotes,
    Predicting,
):
    """Searches node classifiers, in one of several spaces."""

    Settings = GNNSettings
    factors = ("epochs", "samples", "channels")
    resumable = True
    # AGNN, section on parameter sharing; GraphNAS's keys leave the activation out (and its aggregator in).
    sharing_rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "homogeneous": ("attention", "activation", "heads"),
        "graphnas": ("attention", "aggregate", "heads"),
    }
    settings: GNNSettings

    @property
    def baselines(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those that the settings name."""
        return self.settings.baselines

    def baseline_choices(self, name: str) -> Mapping[str, Sequence[Option]]:
        """Returns the structure of a baseline in the wide space, where only its training is left to be chosen.

        Networks of the space equal those of PyG's layers, and are trained faster.
        """
        known: Mapping[str, Option] = self.family.known.get(name, {}) if self.settings.space == "wide" else {}
        return {choice: (option,) for choice, option in known.items() if choice not in TRAINING}

    @classmethod
    def datasets(cls) -> Mapping[str, str]:
        """Returns the data sets that are known by name."""
        return KNOWN

    def prepare(self) -> None:
        """Loads the data, and builds the kernels, so that no candidate is charged for it.

        Raises:
            ConfigError: for a metric that the labels do not have.
        """
        task, metric = self.task, self.settings.metric
        if metric == "roc_auc" and (task.multilabel or task.outputs != 2):
            kind = "labels" if task.multilabel else "classes"
            raise ConfigError(f"domain.metric: roc_auc needs two classes, not {task.outputs} {kind}")
        if metric == "roc_auc":
            for number, split in enumerate(task.splits):
                if len(torch.cat([part.labels for part in split.validation]).unique()) < 2:
                    raise ConfigError(f"domain.metric: roc_auc needs both classes in validation nodes (split {number})")
        if metric not in (None, "roc_auc", task.metric):
            raise ConfigError(f"domain.metric: '{metric}' is not for these labels; allowed: {task.metric}")
        if self.settings.search_splits > len(task.splits):
            wanted, held = self.settings.search_splits, len(task.splits)
            raise ConfigError(f"domain.search_splits: {wanted}, but the data have {held} split{'s' * (held > 1)}")
        native.product()

    @cached_property
    def family(self) -> Family:
        """The networks of the space that is searched."""
        return FAMILIES[self.settings.space](self.task.features, self.task.outputs, self.settings)

    @cached_property
    def baseline_family(self) -> Family:
        """The networks that baselines are of."""
        wide = self.settings.space == "wide"
        return self.family if wide else WideFamily(self.task.features, self.task.outputs, self.settings)

    @cached_property
    def task(self) -> NodeTask:
        """The data set."""
        s = self.settings
        return load_task(s.dataset, s.dataset_options, s.normalize, self.environment)

    def split(self, context: Context) -> int:
        """Returns the split of the data that a full training uses, each in turn."""
        return context.repeat % len(self.task.splits)

    def _labelled(self, part: str, share: float, split: int) -> Sequence[LabelledNodes]:
        """Returns ``train`` or ``validation`` nodes; of the former a share of every class, the same in all trials."""
        held = self.task.splits[split]
        if part == "validation":
            return held.validation
        if share >= 1:
            return held.train
        parts = []
        for graph in held.train:
            # Nodes with several labels have no classes to be drawn in proportion.
            classes = torch.zeros(len(graph.nodes)) if self.task.multilabel else graph.labels
            draws = Context(self.environment.seed).numpy("fidelity samples")
            chosen = stratified(classes, share, draws)[1]
            if len(chosen):
                parts.append(dataclasses.replace(graph, nodes=graph.nodes[chosen], labels=graph.labels[chosen]))
        return parts or held.train

    def pieces(
        self,
        architecture: Architecture,
        part: str,
        share: float = 1.0,
        *,
        split: int = 0,
        family: Family | None = None,
    ) -> list[Piece]:
        """Returns a share of ``train`` nodes, or ``validation`` nodes, ready for an architecture's network.

        Args:
            family: of the architecture; by default the one that is searched.
        """
        family = family or self.family
        key = part, share if part == "train" else 1.0, split, type(family), family.layout(architecture)
        return self._pieces.get(
            key, lambda: [family.piece(graph, architecture) for graph in self._labelled(part, share, split)]
        )

    @cached_property
    def _pieces(self) -> KeptPieces:
        return KeptPieces(in_use=2 * len(self._searched))

    @cached_property
    def _extents(self) -> dict[Hashable, list[Extent]]:
        return {}

    @property
    def space(self) -> SearchSpace:
        """The space of the family."""
        return self.family.space

    @property
    def known(self) -> Mapping[str, Architecture]:
        """Networks of the space that people use."""
        return self.family.known

    @property
    def metric(self) -> str:
        """What the score is."""
        return self.settings.metric or self.task.metric

    @property
    def notes(self) -> Sequence[str]:
        """What users should know of their data as they are used."""
        used, held = self.settings.search_splits, len(self.task.splits)
        if held == 1:
            return self.task.notes
        which = f"{used} of {held}" if used > 1 else f"the first of {held}"
        return (*self.task.notes, f"candidates are trained on {which} splits (domain.search_splits)")

    @property
    def data_identity(self) -> str:
        """Changes with features, edges, labels and splits."""
        return self.task.identity

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The score on validation nodes, and the number of parameters if wanted."""
        known = {
            "score": Objective(self.metric),
            "parameters": Objective("parameters", "minimize"),
        }
        return tuple(known[name] for name in self.settings.objectives)

    @property
    def criterion(self) -> Objective | None:
        """The calibrated Brier score on validation nodes, if it is wanted."""
        wanted = self.settings.criterion == BRIER and self.metric != "roc_auc"
        return Objective(BRIER, "minimize") if wanted else None

    def resolve_fidelity(self, fidelity: Fidelity) -> Mapping[str, int]:
        """Returns the most epochs, labelled training nodes, and the widest head of a hidden layer."""
        return {
            "epochs": units(self.settings.epochs, fidelity["epochs"]),
            "samples": max(1, round(sum(len(part.nodes) for part in self.task.train) * fidelity["samples"])),
            "channels": reduced_width(max(HIDDEN), fidelity["channels"]),
        }

    def evaluate(self, proposal: Proposal, context: Context) -> Measurement:
        """Trains one network, or one a split, and returns the validation figures of the epoch that counts."""
        architecture, fidelity = proposal.architecture, proposal.fidelity
        needed = self.memory(architecture, fidelity["channels"])
        context.check_memory(needed)
        members = [self._training(architecture, context, fidelity, split=n, member=n) for n in self._searched]
        training = SplitsTraining(members) if self._several else members[0]
        warm = members[0].network.first_weight in self._inherited(context, 0)
        history = train(
            training, context, Part.of(proposal, self.settings.warm_epochs if warm else self.settings.epochs)
        )
        parameters = sum(parameter.numel() for parameter in members[0].network.parameters())
        if self.criterion is not None:
            for member in members:
                member.network.load_state_dict(member.history.weights or member.network.state_dict())
        values = {**self._named(history.values), "parameters": float(parameters)}
        return Measurement(
            values={**values, **self._criterion_of(members)},
            curve=tuple(training.curve),
            peak_memory=needed,
            diagnostics={
                "best_epoch": round(sum(member.history.unit for member in members) / len(members)),
                "epochs": history.validated,
            },
            epochs=history.trained,
            weights=history.weights if context.keep_weights else {},
            stopped=history.stopped,
        )

    @property
    def _searched(self) -> range:
        """The splits that a candidate is trained on."""
        return range(self.settings.search_splits)

    @property
    def _several(self) -> bool:
        return len(self._searched) > 1

    def _inherited(self, context: Context, member: int) -> Mapping[str, Tensor]:
        return of_member(context.inherited, member) if self._several else context.inherited

    def _training(
        self,
        architecture: Architecture,
        context: Context,
        fidelity: Fidelity = FULL,
        *,
        keep_best: bool = False,
        family: Family | None = None,
        split: int = 0,
        member: int = 0,
    ) -> SpaceTraining:
        """Returns the training on a split; the several members of one candidate draw differently."""
        family, other = family or self.family, f", member {member}" if member else ""
        network = family.network(architecture, context.torch(f"weights{other}"), fidelity["channels"])
        network.load_state_dict({**network.state_dict(), **self._inherited(context, member)})
        features = context.torch(f"feature dropout{other}", device=context.device)
        inner = context.torch(f"inner dropout{other}", device=context.device)
        return SpaceTraining(
            network.to(context.device),
            Noise(p=self.settings.dropout, features=features, inner=inner),
            self.pieces(architecture, "train", fidelity["samples"], split=split, family=family),
            self.pieces(architecture, "validation", split=split, family=family),
            family.train_settings(architecture),
            metric=self.metric,
            keep_best=keep_best or context.keep_weights or self.criterion is not None,
            consistency=family.consistency(architecture),
        )

    def probe(self, architecture: Architecture, context: Context) -> Probe:
        """Returns a fresh network without dropout with the first training graph; samples are its input nodes."""
        network = self.family.network(architecture, context.torch("weights")).to(context.device)
        piece = self.pieces(architecture, "train")[0]
        return Probe(
            network,
            piece.features.dense(),
            forward=lambda x: network(piece.field, DenseFeatures(x)),
            loss=lambda outputs: node_loss(outputs, piece.labels),
            macs=self.family.macs(architecture, piece.field),
        )

    def memory(self, architecture: Architecture, share: float = 1.0) -> int:
        """Returns an estimate of the bytes that training a network takes at its peak; nothing is built for it.

        Receptive fields and features are shared by candidates, as the data are, and counted where they take more than
        what is kept of them anyway.
        """
        key = self.family.layout(architecture)
        if key not in self._extents:
            splits = [self.task.splits[number] for number in self._searched]
            parts = [part for split in splits for part in (*split.train, *split.validation)]
            self._extents[key] = [self.family.extent(part, architecture) for part in parts]
        extents = self._extents[key]
        shared = self.family.shared_memory(architecture, extents)
        others = 0
        if self._several:  # weights, the best ones, gradient and two moments of the networks of further splits
            with torch.device("meta"):
                network = self.family.network(architecture, torch.Generator(), share)
            weights = sum(parameter.nbytes for parameter in network.parameters())
            others = 5 * weights * (len(self._searched) - 1)
        return self.family.memory(architecture, extents, share) + others + max(0, shared - KEPT_BYTES)

    def retrain(self, architecture: Architecture, context: Context) -> Retrained:
        """Trains a network and measures it at the epoch that validation data chose."""
        return self._trained_in_full(architecture, context, self.family)

    def _trained_in_full(self, architecture: Architecture, context: Context, family: Family) -> Retrained:
        split = self.split(context)
        training = self._training(architecture, context, keep_best=True, family=family, split=split)
        history = train(training, context, Part.whole(self.settings.epochs))
        training.network.load_state_dict(history.weights)
        nodes = self.task.splits[split].test.read()
        test = evaluate(training.network, [family.piece(part, architecture) for part in nodes], self.metric)
        return self._retrained(history, test, context, self._criterion_of([training]))

    def _criterion_of(self, trainings: Sequence[NodeTraining]) -> dict[str, float]:
        """Returns the mean over splits of the criterion, if there is one, for networks as they are."""
        if self.criterion is None:
            return {}
        found = [calibrated_brier(training.outputs()) for training in trainings]
        return {self.criterion.name: sum(found) / len(found)}

    def train_baseline(self, name: str, context: Context) -> Retrained:
        """Trains a well-known network; see :mod:`nichenas.domains.gnn.baselines` for those of PyG's layers."""
        if not self.settings.pyg_baselines or self.baseline_family.consistency(self.baseline_family.known[name]):
            return self._trained_in_full(self.baseline_family.known[name], context, self.baseline_family)
        task, split = self.task, self.task.splits[self.split(context)]
        with context.seeded("baseline"):  # PyG's layers draw from the global generator
            network, settings = make_baseline(name, task.features, task.outputs, self.settings)
            network = network.to(context.device)
            parts = (network, split.train, split.validation, settings)
            training = PlainTraining(*parts, metric=self.metric, keep_best=True)
            history = train(training, context, Part.whole(settings.epochs))
        network.load_state_dict(history.weights)
        test = evaluate_plain(network, split.test.read(), self.metric)
        return self._retrained(history, test, context, self._criterion_of([training]))

    def _retrained(
        self,
        history: History,
        test: tuple[float, float],
        context: Context,
        further: Mapping[str, float] | None = None,
    ) -> Retrained:
        return Retrained(
            validation={**self._named(history.values), **(further or {})},
            test=self._named({"score": test[0], "loss": test[1]}),
            weights=history.weights if context.keep_weights else {},
        )

    def _named(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Returns figures with the metric's name for the score."""
        names = {"score": self.objectives[0].name, "loss": "loss", CALIBRATED: CALIBRATED}
        return {names[name]: value for name, value in figures.items() if name in names}

    def predict(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> Predictions:
        """Returns what a network predicts for every node of the graph; data of several graphs are refused."""
        held = self.pieces(architecture, "validation")
        return node_predictions(self.task, self.family, architecture, weights, held)

    def share_keys(self, architecture: Architecture) -> Mapping[str, ShareKey]:
        """Returns the key of every tensor; roles are the names within a layer, such as ``attention.left``."""
        with torch.device("meta"):
            network = self.family.network(architecture, torch.Generator())
        keys: dict[str, ShareKey] = {}
        for name, tensor in network.state_dict().items():
            layer, role, attributes = self.family.attributes(architecture, name)
            keys[name] = ShareKey(layer, role, tuple(tensor.shape), attributes)
        return keys_of_members(keys, len(self._searched)) if self._several else keys

    def draw(self, architecture: Architecture) -> Drawing:
        """Returns the network with what each part does."""
        return self.family.draw(architecture)
