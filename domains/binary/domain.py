"""The binary domain: image classifiers with 1-bit weights and activations."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nichenas.core.capabilities.baselines import Baselines
from nichenas.core.capabilities.costing import Costing
from nichenas.core.capabilities.datasets import NamedDatasets
from nichenas.core.capabilities.exporting import ExportedNetwork
from nichenas.core.capabilities.exporting import Exporting
from nichenas.core.capabilities.fidelity import ReducedFidelity
from nichenas.core.capabilities.notes import DataNotes
from nichenas.core.capabilities.probing import Probe
from nichenas.core.capabilities.probing import Probing
from nichenas.core.context import Context
from nichenas.core.costs.latency import median_seconds
from nichenas.core.costs.macs import NetworkCosts
from nichenas.core.costs.macs import count_costs
from nichenas.core.data.image_sources import KNOWN
from nichenas.core.data.image_sources import load_images
from nichenas.core.data.images import Batches
from nichenas.core.data.images import Images
from nichenas.core.data.images import ImageTask
from nichenas.core.data.images import resize
from nichenas.core.data.images import subsample
from nichenas.core.data.splits import stratified
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.fidelity import Fidelity
from nichenas.core.gradient.supernet import DifferentiableSupernet
from nichenas.core.gradient.supernet import Kept
from nichenas.core.gradient.supernet import ResourceTable
from nichenas.core.gradient.supernet import SearchData
from nichenas.core.objectives import Objective
from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace
from nichenas.core.training.loop import History
from nichenas.core.training.loop import Part
from nichenas.core.training.loop import train
from nichenas.core.training.loop import units
from nichenas.core.trial import Drawing
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Retrained
from nichenas.domains.binary.convolution import binarize
from nichenas.domains.binary.drawing import draw_genotype
from nichenas.domains.binary.genotypes import PUBLISHED
from nichenas.domains.binary.genotypes import Genotype
from nichenas.domains.binary.handmade import REACT
from nichenas.domains.binary.handmade import ReActNetwork
from nichenas.domains.binary.handmade import width_for
from nichenas.domains.binary.model import AUXILIARY_FROM
from nichenas.domains.binary.model import CellNetwork
from nichenas.domains.binary.model import Classifier
from nichenas.domains.binary.operations import FAMILIES
from nichenas.domains.binary.operations import NONE
from nichenas.domains.binary.operations import Family
from nichenas.domains.binary.packed import pack
from nichenas.domains.binary.packed_file import packed_contents
from nichenas.domains.binary.resources import resource_tables
from nichenas.domains.binary.settings import BinarySettings
from nichenas.domains.binary.space import KINDS
from nichenas.domains.binary.space import architecture_of_kept
from nichenas.domains.binary.space import cell_names
from nichenas.domains.binary.space import cell_space
from nichenas.domains.binary.space import genotype_of
from nichenas.domains.binary.supernet import BinarisationStage
from nichenas.domains.binary.supernet import CellSupernet
from nichenas.domains.binary.training import StagedTraining
from nichenas.domains.binary.training import TrainSettings
from nichenas.domains.binary.training import evaluate

BASELINE = "DARTS_V2"  # the published cell, with this space's operations


class BinaryDomain(
    Domain, DifferentiableSupernet, ReducedFidelity, Baselines, Probing, Exporting, NamedDatasets, Costing, DataNotes
):
    """Searches the cells of binary image classifiers; BATS's space and its neighbours."""

    cost_names = ("parameters", "macs", "binary_macs")
    Settings = BinarySettings
    factors = ("epochs", "samples", "channels", "resolution")
    resumable = True
    settings: BinarySettings

    def __init__(self, settings: Any, environment: Any) -> None:
        super().__init__(settings, environment)
        in_space = settings.space != "bnas" and settings.nodes == 4 and settings.operations is None
        by_hand = settings.space != "darts-real" and settings.stem == "cifar"
        self.baselines = (*((REACT,) if by_hand else ()), *((BASELINE,) if in_space else ()))

    @classmethod
    def datasets(cls) -> Mapping[str, str]:
        """Returns the data sets that are known by name."""
        return KNOWN

    def prepare(self) -> None:
        """Loads the data.

        Raises:
            ConfigError: when the images are too small for the network.
        """
        # ImageNet's stem halves three times, odd sizes to the larger half.
        size = -(-self.task.size // 8) if self.settings.stem == "imagenet" else self.task.size
        if size < 4:
            raise ConfigError(
                f"domain.upsample: images of {self.task.size} pixels are too small for two reductions; enlarge them"
            )
        if size % 4:
            raise ConfigError(
                f"domain.dataset: images of {self.task.size} pixels cannot be halved twice"
                f"{' after the stem' if self.settings.stem == 'imagenet' else ''}; enlarge them to a multiple of "
                f"{4 * (8 if self.settings.stem == 'imagenet' else 1)} (domain.image_size, domain.upsample)"
            )
        if self.settings.training.auxiliary and size // 4 != AUXILIARY_FROM:
            raise ConfigError(
                "domain.training.auxiliary: the auxiliary classifier needs images of 32 pixels; set it to 0"
            )

    @cached_property
    def task(self) -> ImageTask:
        """The data set."""
        s = self.settings
        return load_images(s.dataset, self.environment, s.validation, s.upsample, s.image_size, s.limit)

    @property
    def notes(self) -> Sequence[str]:
        """What is done to the images, where they are not used as they are."""
        return self.task.notes

    @property
    def data_identity(self) -> str:
        """What changes when an image or a label does."""
        return self.task.identity

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The candidate operations."""
        return self.settings.operations or FAMILIES[self.settings.space].operations

    @cached_property
    def space(self) -> SearchSpace:
        """Pairs of inputs and operations of every node of both cells."""
        keeps_none = FAMILIES[self.settings.space].keeps_none
        return cell_space([n for n in self.names if n != NONE or keeps_none], self.settings.nodes, self.kinds)

    @property
    def any_architecture(self) -> Architecture:
        """An architecture of the space, the same at every call."""
        return self.space.sample(np.random.default_rng(0))

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the cells that are searched."""
        return cell_names(self.settings.cells) if self.settings.per_cell else KINDS

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Accuracy, and costs if wanted."""
        known = {
            "accuracy": Objective("accuracy"),
            "macs": Objective("macs", "minimize"),
            "binary_macs": Objective("binary_macs", "minimize"),
            "parameters": Objective("parameters", "minimize"),
        }
        return tuple(known[name] for name in self.settings.objectives)

    # Networks

    def family(self, affine: bool) -> Family:
        """Returns how operations are built, with or without weights of normalisations."""
        s = self.settings
        signs: dict[str, Any] = {"scale": s.scale, "scale_start": s.scale_start, "estimator": s.estimator}
        return FAMILIES[s.space](affine=affine, groups=s.groups, **signs)

    def genotype(self, architecture: Architecture) -> Genotype:
        """Returns the cells of an architecture."""
        return genotype_of(architecture, self.settings.nodes, self.kinds)

    def network(
        self, genotype: Genotype, context: Context, full: bool, purpose: str = "weights", channels: int | None = None
    ) -> CellNetwork:
        """Returns a fresh network on the context's device.

        Args:
            full: of the size that is trained in full; else of the search's.
            channels: another width than that.
        """
        s = self.settings
        with context.seeded(purpose):
            network = CellNetwork(
                self.family(affine=True),
                genotype,
                channels=channels or (s.channels if full else s.search_channels),
                cells=s.cells if full else s.search_cells,
                classes=len(self.task.classes),
                channels_in=self.task.channels,
                auxiliary=full and s.training.auxiliary > 0,
                stem=s.stem,
            )
        return network.to(context.device)

    def supernet(self, context: Context, activation_checkpointing: bool = False) -> CellSupernet:
        """Returns the search network."""
        s = self.settings
        stages = [BinarisationStage(stage.until, stage.activations, stage.weights) for stage in s.while_searching]
        with context.seeded("supernet"):
            supernet = CellSupernet(
                self.family(affine=False),
                s.search_channels,
                cells=s.search_cells,
                classes=len(self.task.classes),
                channels_in=self.task.channels,
                operations=self.names,
                nodes=s.nodes,
                stages=stages,
                per_cell=s.per_cell,
                activation_checkpointing=activation_checkpointing,
                clip_weights=s.training.clip_weights,
                stem=s.stem,
            )
        return supernet.to(context.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def search_data(self, context: Context, batch: int, held_out: float) -> SearchData:
        """Returns training images in two parts, every class in proportion, and the validation images."""
        train_images, second = self.task.train, None
        if held_out > 0:
            rest, chosen = stratified(train_images.labels, held_out, context.numpy("held-out split"))
            train_images, second = self.task.train.subset(rest), self.task.train.subset(chosen)
        return SearchData(
            self._batches(train_images, batch, context, augmented=True),
            None if second is None else self._batches(second, batch, context, augmented=True),
            self._batches(self.task.validation, batch, context),
        )

    def derived(self, kept: Kept) -> Architecture:
        """Returns the architecture of the edges and operations that are kept."""
        return architecture_of_kept(kept, self._groups, self.space, self.kinds)

    def resources(self) -> Mapping[str, ResourceTable]:
        """Returns the costs of operations in the network that is trained in full."""
        s = self.settings
        genotype = self.genotype(self.any_architecture)  # what it does not spend is the rest
        size = -(-self.task.size // 8) if s.stem == "imagenet" else self.task.size
        whole = self.costs(self.network(genotype, Context(0), full=True).eval())
        return resource_tables(
            self.family(affine=True), self._groups, s.channels, s.cells, size, whole, genotype, s.per_cell
        )

    @cached_property
    def _groups(self) -> Any:
        return self.supernet(Context(0)).groups

    def _batches(self, images: Images, batch: int, context: Context, augmented: bool = False) -> Batches:
        augmentation = self.settings.augmentation.make() if augmented else None
        return Batches(
            images, batch, mean=self.task.mean, std=self.task.std, augmentation=augmentation, device=context.device
        )

    # Measuring

    def costs(self, network: Classifier, size: int | None = None) -> NetworkCosts:
        """Returns parameters and multiply-adds of a network on images of ``size`` pixels a side, or the data set's."""
        size = size or self.task.size
        return count_costs(network, (self.task.channels, size, size))

    def architecture_costs(self, architecture: Architecture) -> Mapping[str, float]:
        """Returns parameters and multiply-adds of the network that is trained in full, as it is used."""
        return self._binary_costs(self._deployed(architecture))

    def deployment_costs(self, architecture: Architecture) -> Mapping[str, float]:
        """Returns bytes of the packed network, and milliseconds of one image with one thread.

        Nothing for networks that are not packed.
        """
        network = self._deployed(architecture)
        last = self.settings.training.stages[-1]
        if not (last.activations and last.weights) or self.settings.space == "darts-real":
            return {}
        binarize(network, True, 1.0)
        packed = pack(network)
        image = torch.zeros(1, self.task.channels, self.task.size, self.task.size)
        state = packed.state_dict().values()
        return {
            "packed_bytes": float(sum(tensor.numel() * tensor.element_size() for tensor in state)),
            "milliseconds": 1000 * median_seconds(packed, image.contiguous(memory_format=torch.channels_last)),
        }

    def _deployed(self, architecture: Architecture) -> CellNetwork:
        """Returns an untrained network in the form in which trained ones are used."""
        network = self.network(self.genotype(architecture), Context(0), full=True).eval()
        network.auxiliary = None
        return network

    def resolve_fidelity(self, fidelity: Fidelity) -> Mapping[str, int]:
        """Returns epochs, images, width and pixels; sizes are such as networks can be built for."""
        step = self.family(affine=True).width_step
        least = 4 * (8 if self.settings.stem == "imagenet" else 1)  # halved twice
        width, size = self.settings.search_channels, self.task.size
        if fidelity["channels"] < 1:
            width = max(step, step * round(width * fidelity["channels"] / step))
        if fidelity["resolution"] < 1:
            size = max(least, least * round(size * fidelity["resolution"] / least))
        return {
            "epochs": units(self._evaluation.epochs, fidelity["epochs"]),
            "samples": max(1, round(len(self.task.train) * fidelity["samples"])),
            "channels": width,
            "resolution": size,
        }

    @classmethod
    def final_training_settings(cls, settings: BinarySettings) -> BinarySettings:
        """Returns settings whose candidates are as wide and deep as full networks, and trained as long."""
        wanted = {"evaluation": None, "search_channels": settings.channels, "search_cells": settings.cells}
        return settings.model_copy(update=wanted)

    @property
    def _evaluation(self) -> TrainSettings:
        return self.settings.evaluation or self.settings.training

    def evaluate(self, proposal: Proposal, context: Context) -> Measurement:
        """Trains a network of the search's size, or one reduced from it, and returns its validation accuracy."""
        fidelity = proposal.fidelity
        setting = self.resolve_fidelity(fidelity)
        part = Part.of(proposal, self._evaluation.epochs)
        settings = self._evaluation.scaled(part.total)
        network = self.network(self.genotype(proposal.architecture), context, full=False, channels=setting["channels"])
        costs = self._binary_costs(network, setting["resolution"])
        draws = context.numpy("fidelity samples", trial=0)
        size = setting["resolution"]
        images = subsample(self.task.train, fidelity["samples"], size, draws), resize(self.task.validation, size)
        history = self._train(network, settings, context, part, images=images)
        return Measurement(
            values={**history.values, **costs},
            curve=tuple(history.curves["accuracy"]),
            epochs=history.trained,
            stopped=history.stopped,
        )

    def probe(self, architecture: Architecture, context: Context) -> Probe:
        """Returns a fresh network with a batch of training images, in double precision.

        It is binary as at the end of a training.
        """
        network = self.network(self.genotype(architecture), context, full=False).double()
        last = self.settings.training.stages[-1]
        binarize(network, last.activations, float(last.weights))
        batches = self._batches(self.task.train, self._evaluation.batch, context)
        images, labels = next(batches.train_batches(context.numpy("probe", trial=0)))
        costs = self.costs(network)
        macs = costs.macs + costs.binary_macs
        return Probe(
            network, images.double(), forward=network, loss=lambda logits: F.cross_entropy(logits, labels), macs=macs
        )

    def _binary_costs(self, network: Classifier, size: int | None = None) -> dict[str, float]:
        last = self.settings.training.stages[-1]
        binarize(network, last.activations, float(last.weights))
        costs = self.costs(network, size)
        return {
            "parameters": float(costs.parameters),
            "macs": float(costs.macs),
            "binary_macs": float(costs.binary_macs),
        }

    def retrain(self, architecture: Architecture, context: Context) -> Retrained:
        """Trains a network in full, and its real-valued twin, and measures both on test data."""
        return self._full(self._cells(self.genotype(architecture), context), context)

    def train_baseline(self, name: str, context: Context) -> Retrained:
        """Trains a baseline as an architecture is trained.

        Either DARTS's published cell with this space's operations, or a network made by hand of ReActNet's blocks, of
        that width which has about as many binary multiply-adds.
        """
        if name == REACT:
            return self._full(lambda purpose: self._by_hand(context, purpose), context)
        return self._full(self._cells(PUBLISHED[name], context), context)

    def _cells(self, genotype: Genotype, context: Context) -> Callable[[str], Classifier]:
        return lambda purpose: self.network(genotype, context, full=True, purpose=purpose)

    def _by_hand(self, context: Context, purpose: str = "weights") -> ReActNetwork:
        # BNAS has no published cell here; any of its space says what costs as much.
        cells = PUBLISHED[BASELINE] if BASELINE in self.baselines else self.genotype(self.any_architecture)
        like = self.network(cells, Context(0), full=True)
        binarize(like, True, 1.0)
        width = width_for(self.costs(like).binary_macs, self.task.size)
        with context.seeded(purpose):
            network = ReActNetwork(self.family(affine=True), width, len(self.task.classes), self.task.channels)
        return network.to(context.device)

    def _full(self, build: Callable[[str], Classifier], context: Context) -> Retrained:
        settings = self.settings.training
        whole = Part.whole(settings.epochs)
        parts = {
            "validation": self._batches(self.task.validation, settings.batch, context),
            "test": self._batches(self.task.test.read(), settings.batch, context),
        }
        metrics: dict[str, dict[str, float]] = {part: {} for part in parts}
        twin: Classifier | None = None
        if (settings.real_twin or settings.teacher) and self.settings.space != "darts-real":
            twin = build("real twin weights")
            self._train(twin, settings.real(), context, whole, purpose="real twin")
        network = build("weights")
        costs = self._binary_costs(network)
        self._train(network, settings, context, whole, teacher=twin if settings.teacher else None)
        for part, batches in parts.items():
            accuracy, loss = evaluate(network, batches)
            metrics[part] = {"accuracy": accuracy, "loss": loss}
            if twin is not None:
                real, _ = evaluate(twin, batches)
                metrics[part].update({"accuracy[real twin]": real, "gap[real twin]": real - accuracy})
        metrics["validation"].update(costs)
        return Retrained(
            metrics["validation"],
            metrics["test"],
            {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
            if context.keep_weights
            else {},
        )

    def _train(
        self,
        network: Classifier,
        settings: TrainSettings,
        context: Context,
        part: Part,
        *,
        images: tuple[Images, Images] | None = None,
        purpose: str = "training",
        teacher: Classifier | None = None,
    ) -> History:
        train_images, validation = images or (self.task.train, self.task.validation)
        training = StagedTraining(
            network,
            settings,
            batches=self._batches(train_images, settings.batch, context, augmented=True),
            validation=self._batches(validation, settings.batch, context),
            context=context,
            purpose=purpose,
            teacher=teacher,
        )
        return train(training, context, part)

    def export(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> ExportedNetwork:
        """Returns the fully trained network, everything binary that its last stage made so."""
        network = self.network(self.genotype(architecture), Context(0), full=True)
        network.load_state_dict(dict(weights))
        last = self.settings.training.stages[-1]
        binarize(network, last.activations, float(last.weights))
        return ExportedNetwork(network.eval(), torch.zeros(2, self.task.channels, self.task.size, self.task.size))

    def packed(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> Mapping[str, Any] | None:
        """Returns the network as bits, for :func:`~nichenas.domains.binary.packed_file.load_packed`.

        None where its last stage leaves activations or kernels real.
        """
        s, last = self.settings, self.settings.training.stages[-1]
        if not (last.activations and last.weights) or s.space == "darts-real":
            return None
        network = self.export(architecture, weights).network
        assert isinstance(network, CellNetwork)
        network.auxiliary = None
        built = {
            "family": s.space,
            **{name: getattr(s, name) for name in ("groups", "scale", "channels", "cells", "stem")},
            "activations": last.activations,
            "weights": last.weights,
        }
        image = [self.task.channels, self.task.size, self.task.size]
        task = {"classes": list(self.task.classes), "image": image, "mean": self.task.mean, "std": self.task.std}
        return packed_contents(network, self.genotype(architecture), built, task)

    def draw(self, architecture: Architecture) -> Drawing:
        """Returns both cells side by side."""
        return draw_genotype(self.genotype(architecture))
