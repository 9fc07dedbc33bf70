"""What the binary domain builds: data, space, networks of a genotype, the search network, the baseline made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from nichenas.core.capabilities.datasets import NamedDatasets
from nichenas.core.capabilities.notes import DataNotes
from nichenas.core.context import Context
from nichenas.core.costs.macs import NetworkCosts
from nichenas.core.costs.macs import count_costs
from nichenas.core.data.image_sources import KNOWN
from nichenas.core.data.image_sources import load_images
from nichenas.core.data.images import Batches
from nichenas.core.data.images import Images
from nichenas.core.data.images import ImageTask
from nichenas.core.data.splits import stratified
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.gradient.supernet import DifferentiableSupernet
from nichenas.core.gradient.supernet import Kept
from nichenas.core.gradient.supernet import ResourceTable
from nichenas.core.gradient.supernet import SearchData
from nichenas.core.objectives import Objective
from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace
from nichenas.domains.binary.convolution import binarize
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
from nichenas.domains.binary.resources import resource_tables
from nichenas.domains.binary.settings import BinarySettings
from nichenas.domains.binary.space import KINDS
from nichenas.domains.binary.space import architecture_of_kept
from nichenas.domains.binary.space import cell_names
from nichenas.domains.binary.space import cell_space
from nichenas.domains.binary.space import genotype_of
from nichenas.domains.binary.space import kept_of
from nichenas.domains.binary.supernet import BinarisationStage
from nichenas.domains.binary.supernet import CellSupernet

SCORED = 256  # images in a batch at most, where normalisations use the batch
USUAL = 15  # random cells that say what cells of a space cost
BASELINE = "DARTS_V2"  # the published cell, with this space's operations


class BinaryNetworks(Domain, DifferentiableSupernet, NamedDatasets, DataNotes):
    """Data, space and networks of the binary domain, the search network too."""

    Settings = BinarySettings
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
        height, width = self.task.train.pixels.shape[-2:]
        if height != width:
            raise ConfigError(
                f"domain.image_size: images of {width} x {height} pixels are not square; give the size that they are "
                "brought to, cropped at the centre"
            )
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
            self.batches(train_images, batch, context, augmented=True),
            None if second is None else self.batches(second, batch, context, augmented=True),
            self.scored_batches(context),
        )

    def scored_batches(self, context: Context, most: int | None = None) -> Batches:
        """Returns validation images for networks whose normalisations use the batch.

        They are in random order, since images of a folder come class by class, and in large batches of about equal
        size.

        Args:
            most: images; all by default.
        """
        order = context.numpy("order of validation images", trial=0).permutation(len(self.task.validation))[:most]
        images = self.task.validation.subset(torch.from_numpy(order))
        parts = -(-len(images) // SCORED)
        return self.batches(images, -(-len(images) // parts), context)

    def derived(self, kept: Kept) -> Architecture:
        """Returns the architecture of the edges and operations that are kept."""
        return architecture_of_kept(kept, self._groups, self.space, self.kinds)

    def kept(self, architecture: Architecture) -> Kept:
        """Returns the edges and operations of an architecture."""
        return kept_of(architecture, self._groups)

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

    def batches(self, images: Images, batch: int, context: Context, augmented: bool = False) -> Batches:
        """Returns images in batches on the context's device, normalised; augmented as in trainings if wanted."""
        augmentation = self.settings.augmentation.make() if augmented else None
        return Batches(
            images, batch, mean=self.task.mean, std=self.task.std, augmentation=augmentation, device=context.device
        )

    def deployed_network(self, architecture: Architecture) -> CellNetwork:
        """Returns an untrained network in the form in which trained ones are used."""
        network = self.network(self.genotype(architecture), Context(0), full=True).eval()
        network.auxiliary = None
        return network

    def made_by_hand(self, context: Context, purpose: str = "weights") -> ReActNetwork:
        """Returns the baseline that is no cell, of about as many binary multiply-adds as cells of the space."""
        width = width_for(self.usual_binary_macs, self.task.size)
        with context.seeded(purpose):
            network = ReActNetwork(self.family(affine=True), width, len(self.task.classes), self.task.channels)
        return network.to(context.device)

    @cached_property
    def usual_binary_macs(self) -> float:
        """The median of the binary multiply-adds of networks of random cells, everything binary."""
        rng, found = np.random.default_rng(0), []
        for _ in range(USUAL):
            network = self.network(self.genotype(self.space.sample(rng)), Context(0), full=True)
            binarize(network, True, 1.0)
            found.append(self.costs(network).binary_macs)
        return float(np.median(found))

    def costs(self, network: Classifier, size: int | None = None) -> NetworkCosts:
        """Returns parameters and multiply-adds of a network on images of ``size`` pixels a side, or the data set's."""
        size = size or self.task.size
        return count_costs(network, (self.task.channels, size, size))
