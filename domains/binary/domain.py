"""The binary domain: image classifiers with 1-bit weights and activations."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nichenas.core.capabilities.baselines import Baselines
from nichenas.core.capabilities.costing import Costing
from nichenas.core.capabilities.criterion import RankingCriterion
from nichenas.core.capabilities.exporting import ExportedNetwork
from nichenas.core.capabilities.exporting import Exporting
from nichenas.core.capabilities.fidelity import ReducedFidelity
from nichenas.core.capabilities.probing import Probe
from nichenas.core.capabilities.probing import Probing
from nichenas.core.context import Context
from nichenas.core.costs.latency import median_seconds
from nichenas.core.data.images import Images
from nichenas.core.data.images import resize
from nichenas.core.data.images import subsample
from nichenas.core.fidelity import Fidelity
from nichenas.core.objectives import Objective
from nichenas.core.sharing.one_shot import SharedWeights
from nichenas.core.space import Architecture
from nichenas.core.training.calibration import calibrated_brier
from nichenas.core.training.calibration import calibrated_loss
from nichenas.core.training.loop import History
from nichenas.core.training.loop import Part
from nichenas.core.training.loop import train
from nichenas.core.training.loop import units
from nichenas.core.trial import Drawing
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Retrained
from nichenas.domains.binary.building import BinaryNetworks
from nichenas.domains.binary.convolution import binarize
from nichenas.domains.binary.drawing import draw_genotype
from nichenas.domains.binary.genotypes import PUBLISHED
from nichenas.domains.binary.genotypes import Genotype
from nichenas.domains.binary.handmade import REACT
from nichenas.domains.binary.model import CellNetwork
from nichenas.domains.binary.model import Classifier
from nichenas.domains.binary.packed import pack
from nichenas.domains.binary.packed_file import packed_contents
from nichenas.domains.binary.settings import BinarySettings
from nichenas.domains.binary.shared import SharedCells
from nichenas.domains.binary.training import Figure
from nichenas.domains.binary.training import StagedTraining
from nichenas.domains.binary.training import TrainSettings
from nichenas.domains.binary.training import evaluate


class BinaryDomain(
    BinaryNetworks, SharedWeights, ReducedFidelity, Baselines, Probing, Exporting, Costing, RankingCriterion
):
    """Searches the cells of binary image classifiers; BATS's space and its neighbours."""

    factors = ("epochs", "samples", "channels", "resolution")
    cost_names = ("parameters", "macs", "binary_macs")
    resumable = True

    @property
    def criterion(self) -> Objective | None:
        """A figure of validation images that is finer than accuracy, if candidates are ranked by one."""
        name = self.settings.criterion
        return None if name == "accuracy" else Objective(name, "minimize")

    @property
    def _figures(self) -> dict[str, Figure]:
        """What is computed for the criterion alone."""
        known: dict[str, Figure] = {"calibrated_loss": calibrated_loss, "calibrated_brier": calibrated_brier}
        return {name: figure for name, figure in known.items() if name == self.settings.criterion}

    @property
    def shared_objectives(self) -> tuple[Objective, ...]:
        """The criterion, where there is one, in place of accuracy."""
        return self.objectives if self.criterion is None else (self.criterion, *self.objectives[1:])

    def shared_training(self, context: Context) -> SharedCells:
        """Returns the search network; in its cells normalisations use the batch, when architectures are scored too."""
        shared = self.settings.shared
        return SharedCells(
            self.supernet,
            self.batches(self.task.train, shared.batch, context, augmented=True),
            self.scored_batches(context, shared.scored_images),
            shared,
            self._figures,
            self.architecture_costs if len(self.objectives) > 1 else None,
            context,
        )

    def architecture_costs(self, architecture: Architecture) -> Mapping[str, float]:
        """Returns parameters and multiply-adds of the network that is trained in full, as it is used."""
        return self._binary_costs(self.deployed_network(architecture))

    def deployment_costs(self, architecture: Architecture) -> Mapping[str, float]:
        """Returns bytes of the packed network, and milliseconds of one image with one thread.

        Nothing for networks that are not packed.
        """
        network = self.deployed_network(architecture)
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
        figures = {}
        if self._figures:
            figures = evaluate(network, self.batches(images[1], settings.batch, context), self._figures)
        return Measurement(
            values={**history.values, **figures, **costs},
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
        batches = self.batches(self.task.train, self._evaluation.batch, context)
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
            return self._full(lambda purpose: self.made_by_hand(context, purpose), context)
        return self._full(self._cells(PUBLISHED[name], context), context)

    def _cells(self, genotype: Genotype, context: Context) -> Callable[[str], Classifier]:
        return lambda purpose: self.network(genotype, context, full=True, purpose=purpose)

    def _full(self, build: Callable[[str], Classifier], context: Context) -> Retrained:
        settings = self.settings.training
        whole = Part.whole(settings.epochs)
        parts = {
            "validation": self.batches(self.task.validation, settings.batch, context),
            "test": self.batches(self.task.test.read(), settings.batch, context),
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
            metrics[part] = evaluate(network, batches, self._figures)
            if twin is not None:
                real = evaluate(twin, batches)["accuracy"]
                gap = real - metrics[part]["accuracy"]
                metrics[part].update({"accuracy[real twin]": real, "gap[real twin]": gap})
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
            batches=self.batches(train_images, settings.batch, context, augmented=True),
            validation=self.batches(validation, settings.batch, context),
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
