"""Full training of one generator: moving average of its weights, best validation FID kept, checkpoints, pictures."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nichenas.core.context import Context
from nichenas.core.data.images import Images
from nichenas.core.training.loop import Training
from nichenas.domains.gan.adversaries import Adversaries
from nichenas.domains.gan.adversaries import RealBatches
from nichenas.domains.gan.adversaries import generated
from nichenas.domains.gan.adversaries import measured_normalisation
from nichenas.domains.gan.adversaries import noise
from nichenas.domains.gan.extractors import Extractor
from nichenas.domains.gan.pictures import GRID
from nichenas.domains.gan.pictures import STRIP
from nichenas.domains.gan.pictures import interpolation_strip
from nichenas.domains.gan.pictures import sample_grid
from nichenas.domains.gan.pictures import write_curves
from nichenas.domains.gan.pictures import write_png
from nichenas.domains.gan.settings import TrainSettings
from nichenas.domains.gan.statistics import RealStatistics
from nichenas.domains.gan.statistics import measure
from nichenas.domains.gan.statistics import named

SCORED = 256  # images in a batch of scoring


class GanTraining(Training):
    """The training of one generator, by its steps; the step with the best FID counts.

    Args:
        adversaries: fresh.
        images: real ones for training.
        real: statistics of the validation images.
    """

    unit = "step"

    def __init__(
        self,
        adversaries: Adversaries,
        images: Images,
        real: RealStatistics,
        extractor: Extractor,
        *,
        settings: TrainSettings,
        context: Context,
    ) -> None:
        super().__init__(validate_every=settings.validate_every, checkpoint_every=settings.validate_every)
        self.adversaries, self.settings, self.context = adversaries, settings, context
        self.real, self.extractor = real, extractor
        device = adversaries.device
        self.average = copy.deepcopy(adversaries.generator).requires_grad_(False)
        self.batches = RealBatches(images, settings.batch, device=device, seed=context.seed, purpose="training real")
        self.draws = context.torch("training noise", device=device)
        self._validated: dict[str, Tensor] = {}

    def advance(self) -> None:
        """Trains the discriminator for some steps and the generator for one."""
        both, settings, step = self.adversaries, self.settings, self.done + 1
        both.train()
        latent = both.generator.latent
        losses: dict[str, Tensor] = {}
        for _ in range(settings.critic_steps):
            real = self.batches.next()
            z = noise(len(real), latent, self.draws, both.device)
            losses["loss of the discriminator"] = both.discriminator_step(real, z)
        z = noise(settings.generator_batch, latent, self.draws, both.device)
        losses["loss of the generator"] = both.generator_step(z)
        self._follow()
        if step % max(1, settings.steps // 100) == 0:
            self.record(step, losses)
        if step % settings.show_every == 0 and step < settings.steps:
            self._show(f"samples-{step:06d}.png")

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the average towards the generator; running statistics are the generator's own."""
        averages: list[Tensor] = list(self.average.parameters())
        live: list[Tensor] = list(self.adversaries.generator.parameters())
        torch._foreach_lerp_(averages, live, 1 - self.settings.ema)
        for average, buffer in zip(self.average.buffers(), self.adversaries.generator.buffers(), strict=True):
            average.copy_(buffer)

    def measure(self, real: RealStatistics, purpose: str, kernel: bool = False, suffix: str = "") -> dict[str, float]:
        """Returns figures of the averaged generator against real images."""
        settings, device = self.settings, self.adversaries.device
        draws = self.context.torch(purpose, device=device)
        images = generated(self.average, settings.samples, SCORED, draws, device)
        return measure(images, settings.samples, self.extractor, real, settings.splits, kernel, suffix)

    def validate(self) -> dict[str, float]:
        """Returns figures of the averaged generator on validation data."""
        with contextlib.ExitStack() as stack:
            if self.settings.bn_recalibration:
                device = self.adversaries.device
                draws = self.context.torch("normalisation noise", device=device)
                stack.enter_context(measured_normalisation(self.average, None, draws, SCORED, device))
            values = self.measure(self.real, "validation noise")
            self._validated = {name: tensor.clone() for name, tensor in self.average.state_dict().items()}
        return values

    def better(self, figures: Mapping[str, float], best: Mapping[str, float]) -> bool:
        """Compares FID."""
        distance = named(self.extractor, "FID")
        return figures[distance] < best[distance]

    def progress(self) -> float:
        """Returns minus the best FID so far."""
        return -min(value for _, value in self.history.curves[named(self.extractor, "FID")])

    def weights(self) -> Mapping[str, Tensor]:
        """Returns the averaged weights, with the statistics that they were validated with."""
        return self._validated

    def finish(self) -> None:
        """Puts the weights that count into the averaged generator; leaves pictures of it, and the curves."""
        self.average.load_state_dict(self.history.weights)
        if self.context.artifacts is None:
            return
        self._show("samples.png")
        ends = noise(2 * STRIP[0], self.average.latent, self.context.torch("shown ends"), self.adversaries.device)
        strip = interpolation_strip(self.average, ends.view(STRIP[0], 2, -1))
        write_png(self.context.artifacts / "interpolation.png", strip)
        curves = self.history.curves
        figures = {name: curves[name] for name in self.history.values}
        write_curves(self.context.artifacts / "curves.json", {**figures, **curves})

    def _show(self, name: str) -> None:
        if self.context.artifacts is not None:
            device = self.adversaries.device
            z = noise(math.prod(GRID), self.average.latent, self.context.torch("shown noise"), device)
            self.average.eval()
            write_png(self.context.artifacts / name, sample_grid(self.average, z))

    def stateful(self) -> dict[str, Any]:
        """Returns everything that the training continues from."""
        return {
            "average": self.average,
            "adversaries": self.adversaries,
            "draws": self.draws,
            "batches": self.batches,
        }
