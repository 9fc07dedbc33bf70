"""Training of the generator whose weights all genotypes share, for one-shot search (AutoGAN, Gong et al. 2019)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from nichenas.core.context import Context
from nichenas.core.data.images import Images
from nichenas.core.sharing.one_shot import SharedTraining
from nichenas.core.space import Architecture
from nichenas.domains.gan.adversaries import Adversaries
from nichenas.domains.gan.adversaries import RealBatches
from nichenas.domains.gan.adversaries import generated
from nichenas.domains.gan.adversaries import measured_normalisation
from nichenas.domains.gan.adversaries import noise
from nichenas.domains.gan.extractors import Extractor
from nichenas.domains.gan.settings import AdversarialSettings
from nichenas.domains.gan.space import genotype_of
from nichenas.domains.gan.statistics import RealStatistics
from nichenas.domains.gan.statistics import measure

SCORED = 256  # images in a batch of scoring


class SharedGan(SharedTraining):
    """Shared generator and growing discriminator.

    Args:
        make: returns fresh adversaries for a context.
        images: returns the training images of a stage, at its resolution.
        real: returns the statistics of the validation images of a stage.
    """

    losses = ("discriminator", "generator")
    gated_loss = "generator"

    def __init__(
        self,
        make: Callable[[Context], Adversaries],
        images: Callable[[int], Images],
        real: Callable[[int], RealStatistics],
        extractor: Extractor,
        settings: AdversarialSettings,
        context: Context,
    ) -> None:
        self._make, self._images, self._real = make, images, real
        self._extractor, self._settings = extractor, settings
        self.adversaries = make(context)
        self._count = 0
        self._enter(0)

    def _enter(self, stage: int) -> None:
        self.adversaries.stage = self._stage = stage
        self._train_images, self._statistics = self._images(stage), self._real(stage)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the discriminator in one pass over the training images."""
        return max(1, len(self._train_images) // self._settings.batch)

    def begin_stage(self, stage: int) -> None:
        """Goes on to images of twice the size, with one more cell and block."""
        self._enter(stage)

    def begin_training(self, context: Context) -> None:
        """Orders real images and noise for the steps that follow."""
        device = self.adversaries.device
        self._batches = RealBatches(
            self._train_images, self._settings.batch, device=device, seed=context.seed, purpose=f"real {context.trial}"
        )
        self._draws = context.torch("shared noise", device=device)
        self.adversaries.train()

    def step(self, architectures: Sequence[Architecture], progress: float) -> Mapping[str, float]:
        """Takes a step of the discriminator and, every ``critic_steps``-th time, one of the generator.

        Every architecture makes an equal part of the generated images, if there are enough.
        """
        genotypes = [genotype_of(one) for one in architectures]
        both, settings = self.adversaries, self._settings
        latent = both.generator.latent
        real = self._batches.next()
        loss = both.discriminator_step(real, noise(len(real), latent, self._draws, both.device), genotypes)
        losses = {"discriminator": float(loss)}
        if self._count % settings.critic_steps == 0:
            z = noise(settings.generator_batch, latent, self._draws, both.device)
            losses["generator"] = float(both.generator_step(z, genotypes))
        self._count += 1
        return losses

    def score(self, architecture: Architecture, context: Context) -> Mapping[str, float]:
        """Returns IS and FID of images that the genotype makes with the shared weights."""
        genotype = genotype_of(architecture)
        settings, generator, device = self._settings, self.adversaries.generator, self.adversaries.device
        draws = context.torch("scoring noise", device=device)
        with contextlib.ExitStack() as stack:
            if settings.bn_recalibration:
                batch = max(settings.generator_batch, SCORED)
                stack.enter_context(measured_normalisation(generator, genotype, draws, batch, device))
            images = generated(generator, settings.samples, SCORED, draws, device, genotype)
            return measure(images, settings.samples, self._extractor, self._statistics, settings.splits)

    def reinitialise(self, context: Context) -> None:
        """Reinitialises both networks and their optimizers."""
        self.adversaries = self._make(context)
        self.adversaries.stage = self._stage
        self.adversaries.train()

    def state(self) -> dict[str, Any]:
        """Returns networks, optimizers, and how many steps there were."""
        return {"count": self._count, "adversaries": self.adversaries.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state` returned."""
        self._count = int(state["count"])
        self.adversaries.load_state_dict(state["adversaries"])
