"""The GAN domain: generators of images, searched cell by cell."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nichenas.core.capabilities.baselines import Baselines
from nichenas.core.capabilities.datasets import NamedDatasets
from nichenas.core.capabilities.exporting import ExportedNetwork
from nichenas.core.capabilities.exporting import Exporting
from nichenas.core.capabilities.fidelity import ReducedFidelity
from nichenas.core.capabilities.notes import DataNotes
from nichenas.core.capabilities.probing import Probe
from nichenas.core.capabilities.probing import Probing
from nichenas.core.context import Context
from nichenas.core.costs.macs import count_costs
from nichenas.core.data.image_sources import KNOWN
from nichenas.core.data.image_sources import load_images
from nichenas.core.data.images import Images
from nichenas.core.data.images import ImageTask
from nichenas.core.data.images import resize
from nichenas.core.data.images import subsample
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.fidelity import Fidelity
from nichenas.core.objectives import Objective
from nichenas.core.seeds import numpy_generator
from nichenas.core.sharing.one_shot import SharedWeights
from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace
from nichenas.core.training.loop import Part
from nichenas.core.training.loop import train
from nichenas.core.training.loop import units
from nichenas.core.trial import Drawing
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Retrained
from nichenas.domains.gan.adversaries import Adversaries
from nichenas.domains.gan.discriminator import Discriminator
from nichenas.domains.gan.discriminator import hinge_generator
from nichenas.domains.gan.drawing import draw_genotype
from nichenas.domains.gan.extractors import ClassifierExtractor
from nichenas.domains.gan.extractors import Extractor
from nichenas.domains.gan.extractors import InceptionExtractor
from nichenas.domains.gan.extractors import find_inception
from nichenas.domains.gan.extractors import load_classifier
from nichenas.domains.gan.generator import Generator
from nichenas.domains.gan.generator import initialise
from nichenas.domains.gan.genotypes import CellGenotype
from nichenas.domains.gan.genotypes import Genotype
from nichenas.domains.gan.genotypes import parse
from nichenas.domains.gan.settings import RANDOM
from nichenas.domains.gan.settings import AdversarialSettings
from nichenas.domains.gan.settings import GanSettings
from nichenas.domains.gan.settings import TrainSettings
from nichenas.domains.gan.shared import SharedGan
from nichenas.domains.gan.space import gan_space
from nichenas.domains.gan.space import genotype_of
from nichenas.domains.gan.space import stage_ends
from nichenas.domains.gan.statistics import RealStatistics
from nichenas.domains.gan.statistics import named
from nichenas.domains.gan.statistics import real_statistics
from nichenas.domains.gan.training import GanTraining

SNGAN = CellGenotype("pre", "batch", "nearest", True)  # a cell of SN-GAN's generator (Miyato et al. 2018)


class GanDomain(Domain, SharedWeights, ReducedFidelity, Baselines, Probing, Exporting, NamedDatasets, DataNotes):
    """Searches the generator of an unconditional GAN; the discriminator is fixed and grows with it."""

    Settings = GanSettings
    factors = ("epochs", "samples", "channels", "resolution")
    resumable = True
    settings: GanSettings

    def __init__(self, settings: Any, environment: Any) -> None:
        super().__init__(settings, environment)
        self._baselines = _baselines(settings)
        self.baselines = tuple(self._baselines)

    @classmethod
    def datasets(cls) -> Mapping[str, str]:
        """Returns the data sets that are known by name."""
        return KNOWN

    def prepare(self) -> None:
        """Loads the data, and the network that images are judged by.

        Raises:
            ConfigError: when a classifier is wanted and there are no labels.
            DataError: when data or Inception's weights are missing.
        """
        if self.settings.extractor == "inception":
            find_inception(self.settings.inception_weights)  # before anything is loaded
        elif self.settings.unlabelled:
            raise ConfigError(
                "domain.unlabelled: a classifier cannot be trained on images without labels; set it to false"
            )
        self._real(self.settings.cells - 1, "validation")

    @cached_property
    def task(self) -> ImageTask:
        """The data set.

        Its split is the same for every run: extractor and statistics belong to it, and runs of several seeds must be
        judged alike.
        """
        s = self.settings
        environment = dataclasses.replace(self.environment, seed=0)
        known = s.dataset.lower() in {name.lower() for name in KNOWN}
        labelled = not s.unlabelled and (known or s.extractor == "classifier")
        return load_images(s.dataset, environment, s.validation, 1, s.image_size, s.limit, labelled)

    @property
    def notes(self) -> Sequence[str]:
        """What is done to the images, where they are not used as they are."""
        return self.task.notes

    @property
    def data_identity(self) -> str:
        """What changes when an image or a label does."""
        return self.task.identity

    @cached_property
    def extractor(self) -> Extractor:
        """The network that images are judged by."""
        s = self.settings
        device = self.environment.device
        if s.extractor == "inception":
            return InceptionExtractor(s.inception_weights, device)
        train, held_out = resize(self.task.train, s.size), resize(self.task.validation, s.size)
        name = self.task.name.split(" ")[0].lower()
        if s.limit is not None:
            name += f"-{s.limit}"
        return load_classifier(f"{name}-cnn", train, held_out, len(self.task.classes), self.environment.cache, device)

    @cached_property
    def space(self) -> SearchSpace:
        """The tokens of every cell."""
        return gan_space(self.settings.cells, self.settings.skip_position)

    @property
    def stages(self) -> tuple[int, ...]:
        """A cell a stage."""
        return stage_ends(self.settings.cells)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """FID first: checkpoints and architectures are chosen by it."""
        return (
            Objective(named(self.extractor, "FID"), "minimize"),
            Objective(named(self.extractor, "IS")),
        )

    @property
    def shared_objectives(self) -> tuple[Objective, ...]:
        """The reward first."""
        distance, score = self.objectives
        return (score, distance) if self.settings.reward == "IS" else (distance, score)

    # Data and networks

    def _images(self, images: Images, stage: int, bottom: int | None = None) -> Images:
        return resize(images, (bottom or self.settings.bottom_width) * 2 ** (stage + 1))

    def _real(self, stage: int, part: str, bottom: int | None = None) -> RealStatistics:
        """Returns the statistics of real images of one split at a stage's resolution."""
        if part == "test":
            images = self.task.test.read()
        else:
            images = self.task.train if part == "train" else self.task.validation
        splits = self.settings.training.splits
        real = self._images(images, stage, bottom)
        return real_statistics(real, self.extractor, splits, self.environment.cache)

    def generator(
        self, genotype: Genotype | None, channels: int, plain: bool = False, bottom: int | None = None
    ) -> Generator:
        """Returns a generator with torch's own initial weights; shared where no genotype is given."""
        s = self.settings
        bottom = bottom or s.bottom_width
        return Generator(
            s.cells,
            channels,
            latent=s.latent,
            bottom=bottom,
            image_channels=self.task.channels,
            genotype=genotype,
            tap=s.skip_tap,
            plain=plain,
        )

    def adversaries(
        self, genotype: Genotype | None, settings: AdversarialSettings, context: Context, bottom: int | None = None
    ) -> Adversaries:
        """Returns fresh networks and optimizers; of all genotypes where none is given."""
        with context.seeded("networks"):
            generator = self.generator(genotype, settings.channels, bottom=bottom)
            initialise(generator)
            discriminator = Discriminator(self.settings.cells, settings.discriminator_channels, self.task.channels)
        half = isinstance(settings, TrainSettings) and settings.mixed_precision
        return Adversaries(
            generator, discriminator, settings=settings, device=context.device, stage=self.settings.cells - 1, half=half
        )

    def shared_training(self, context: Context) -> SharedGan:
        """Returns the shared generator with its discriminator, in the first stage."""
        settings = self.settings.shared
        return SharedGan(
            lambda context: self.adversaries(None, settings, context),
            lambda stage: self._images(self.task.train, stage),
            real=lambda stage: self._real(stage, "validation"),
            extractor=self.extractor,
            settings=settings,
            context=context,
        )

    # Measuring

    def _train(
        self,
        genotype: Genotype,
        settings: TrainSettings,
        context: Context,
        images: Images,
        *,
        end: int | None = None,
        bottom: int | None = None,
    ) -> GanTraining:
        last = self.settings.cells - 1
        adversaries = self.adversaries(genotype, settings, context, bottom)
        images, real = self._images(images, last, bottom), self._real(last, "validation", bottom)
        training = GanTraining(adversaries, images, real, self.extractor, settings=settings, context=context)
        train(training, context, Part(end or settings.steps, settings.steps))
        training.finish()
        return training

    def resolve_fidelity(self, fidelity: Fidelity) -> Mapping[str, int]:
        """Returns the generator's steps as epochs, images, its width, and pixels a side.

        The first features keep 2 pixels: an instance normalisation of a single one says nothing.
        """
        settings = self._evaluation
        bottom = max(2, round(self.settings.bottom_width * fidelity["resolution"]))
        return {
            "epochs": units(settings.steps, fidelity["epochs"]),
            "samples": max(1, round(len(self.task.train) * fidelity["samples"])),
            "channels": max(1, round(settings.channels * fidelity["channels"])),
            "resolution": bottom * 2**self.settings.cells,
        }

    def relative_cost(self, fidelity: Fidelity) -> float:
        """Returns a training's arithmetic as a share; a smaller part of the images does not make steps fewer."""
        return super().relative_cost(fidelity.replace(samples=1.0))

    @classmethod
    def final_training_settings(cls, settings: GanSettings) -> GanSettings:
        """Returns settings whose candidates are trained as long as full trainings."""
        return settings.model_copy(update={"evaluation": settings.training})

    @property
    def _evaluation(self) -> TrainSettings:
        return self.settings.evaluation or self.settings.training.scaled(0.05)

    def evaluate(self, proposal: Proposal, context: Context) -> Measurement:
        """Trains a generator alone for a while, or a reduced one, and measures it on validation data.

        Both networks are made narrower; images are smaller by as much as the generator's first features are. Figures
        at a reduced resolution are against real images of that resolution.
        """
        fidelity = proposal.fidelity
        setting = self.resolve_fidelity(fidelity)
        full = self._evaluation
        part = Part.of(proposal, full.steps)
        narrow = max(1, round(full.discriminator_channels * fidelity["channels"]))
        widths = {"channels": setting["channels"], "discriminator_channels": narrow}
        settings = full.model_copy(update={"steps": part.total, **widths})
        draws = context.numpy("fidelity samples", trial=0)
        images = subsample(self.task.train, fidelity["samples"], setting["resolution"], draws)
        bottom = setting["resolution"] // 2**self.settings.cells
        genotype = genotype_of(proposal.architecture)
        history = self._train(genotype, settings, context, images, end=part.end, bottom=bottom).history
        curve = history.curves[self.objectives[0].name]
        return Measurement(values=history.values, curve=tuple(curve), epochs=history.trained, stopped=history.stopped)

    def probe(self, architecture: Architecture, context: Context) -> Probe:
        """Returns a fresh generator with a batch of noise; the loss is its own, by a fresh discriminator."""
        settings = self._evaluation
        both = self.adversaries(genotype_of(architecture), settings, context)
        generator, discriminator = both.generator.double(), both.discriminator.double().requires_grad_(False)
        draws = context.torch("probe", trial=0)
        noise = torch.randn(settings.generator_batch, self.settings.latent, generator=draws, dtype=torch.float64)

        def loss(images: Tensor) -> Tensor:
            return hinge_generator(discriminator(images, both.stage))

        macs = count_costs(generator, (self.settings.latent,)).macs
        return Probe(generator, noise.to(context.device), forward=generator, loss=loss, macs=macs)

    def retrain(self, architecture: Architecture, context: Context) -> Retrained:
        """Trains a generator in full and measures it against validation, training and test images."""
        return self._full(genotype_of(architecture), context)

    def train_baseline(self, name: str, context: Context) -> Retrained:
        """Trains a genotype that was not searched, as an architecture is trained."""
        return self._full(self._baselines[name], context)

    def _full(self, genotype: Genotype, context: Context) -> Retrained:
        s = self.settings
        test = self._real(s.cells - 1, "test")  # read first: no training for nothing where it may not be
        training = self._train(genotype, s.training, context, self.task.train)
        plain = self.generator(genotype, s.training.channels, plain=True)
        costs = count_costs(plain, (s.latent,))
        validation = {
            **training.measure(self._real(s.cells - 1, "validation"), "final noise", kernel=True),
            "parameters": float(costs.parameters),
            "macs": float(costs.macs),
            "step": float(training.history.unit),
        }
        against_train = training.measure(self._real(s.cells - 1, "train"), "test noise", suffix="training images")
        validation.update({name: value for name, value in against_train.items() if "training images" in name})
        if isinstance(self.extractor, ClassifierExtractor):
            validation[f"accuracy of {self.extractor.name}"] = self.extractor.accuracy
        weights = {}
        if context.keep_weights:
            weights = {name: tensor.detach().cpu() for name, tensor in training.average.state_dict().items()}
        return Retrained(
            validation,
            training.measure(test, "test noise", kernel=True),
            weights,
        )

    def export(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> ExportedNetwork:
        """Returns the trained generator; its input is noise."""
        generator = self.generator(genotype_of(architecture), self.settings.training.channels)
        generator.load_state_dict(dict(weights))
        return ExportedNetwork(generator.eval(), torch.zeros(2, self.settings.latent))

    def draw(self, architecture: Architecture) -> Drawing:
        """Returns the cells with the skips between them."""
        return draw_genotype(genotype_of(architecture), self.settings.bottom_width)


def _baselines(settings: GanSettings) -> dict[str, Genotype]:
    """Returns the genotypes of the baselines by name.

    Raises:
        ConfigError: when one has not as many cells as the space.
    """
    found: dict[str, Genotype] = {}
    for name in settings.baselines:
        if name in ("default", "sngan"):
            cell = SNGAN if name == "sngan" else CellGenotype()
            found[name] = Genotype((cell,) * settings.cells)
        elif name.startswith(RANDOM):
            space = gan_space(settings.cells, settings.skip_position)
            rng = numpy_generator(0, "random baselines")
            count = int(name.removeprefix(RANDOM))
            found.update({f"random {i + 1}": genotype_of(space.sample(rng)) for i in range(count)})
        else:
            found[name] = parse(name, settings.skip_position)
            if len(found[name].cells) != settings.cells:
                raise ConfigError(
                    f"domain.baselines: '{name}' has {len(found[name].cells)} cells; the space has {settings.cells}"
                )
    return found
