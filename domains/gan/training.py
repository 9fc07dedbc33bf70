"""Full training of one generator: moving average of its weights, best validation FID kept, checkpoints, pictures."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nichenas.core.checkpoint import read_checkpoint
from nichenas.core.checkpoint import write_checkpoint
from nichenas.core.context import Context
from nichenas.core.data.images import Images
from nichenas.core.errors import CandidateFailure
from nichenas.domains.gan.adversaries import Adversaries
from nichenas.domains.gan.adversaries import RealBatches
from nichenas.domains.gan.adversaries import generated
from nichenas.domains.gan.adversaries import measured_normalisation
from nichenas.domains.gan.adversaries import noise
from nichenas.domains.gan.extractors import Extractor
from nichenas.domains.gan.generator import Generator
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

CHECKPOINT = "training.pt"
SCORED = 256  # images in a batch of scoring


@dataclass
class Trained:
    """What a training came to.

    Attributes:
        generator: with the averaged weights of the step that was best on validation data.
        step: that one.
        values: its figures on validation data.
        curves: figures over the steps.
    """

    generator: Generator
    step: int
    values: dict[str, float]
    curves: dict[str, list[tuple[int, float]]]


class GanTraining:
    """A training between steps of the generator.

    Args:
        adversaries: fresh.
        images: real ones for training.
        real: statistics of the validation images.
    """

    def __init__(
        self,
        adversaries: Adversaries,
        images: Images,
        real: RealStatistics,
        extractor: Extractor,
        settings: TrainSettings,
        context: Context,
    ) -> None:
        self.adversaries, self.settings, self.context = adversaries, settings, context
        self.real, self.extractor = real, extractor
        device = adversaries.device
        self.average = copy.deepcopy(adversaries.generator).requires_grad_(False)
        self.batches = RealBatches(images, settings.batch, device, context.seed, "training real")
        self.draws = context.torch("training noise", device=device)
        self.step = 0
        self.trained = 0  # steps taken here, not before a checkpoint
        self.best_step = 0
        self.best: dict[str, Tensor] = {}
        self.values: dict[str, float] = {}
        self.curves: dict[str, list[tuple[int, float]]] = {}

    def run(self) -> Trained:
        """Trains to the end, from the checkpoint if there is one, or from that of the trial that is continued.

        Raises:
            CandidateFailure: when a loss is not finite, or a limit is reached.
        """
        settings, folder = self.settings, self.context.checkpoints
        if folder is not None and (folder / CHECKPOINT).exists():
            self.load(read_checkpoint(folder / CHECKPOINT, self.adversaries.device))
        elif self.context.checkpoint_in is not None:
            self.load(read_checkpoint(self.context.checkpoint_in, self.adversaries.device))
        before = self.step
        while self.step < settings.steps:
            self.adversaries.train()
            self._step()
            last = self.step == settings.steps
            if self.step % settings.show_every == 0 and not last:
                self._show(f"samples-{self.step:06d}.png")
            if self.step % settings.validate_every == 0 or last:
                self._validate()
                self.context.check_seconds()
                if folder is not None and not last:
                    write_checkpoint(folder / CHECKPOINT, self.state())
        self.trained = self.step - before
        if self.context.checkpoint_out is not None:
            write_checkpoint(self.context.checkpoint_out, self.state())
        self.average.load_state_dict(self.best)
        self._leave()
        return Trained(self.average, self.best_step, self.values, self.curves)

    def _step(self) -> None:
        both, settings = self.adversaries, self.settings
        latent = both.generator.latent
        losses: dict[str, Tensor] = {}
        for _ in range(settings.critic_steps):
            real = self.batches.next()
            z = noise(len(real), latent, self.draws, both.device)
            losses["loss of the discriminator"] = both.discriminator_step(real, z)
        z = noise(settings.generator_batch, latent, self.draws, both.device)
        losses["loss of the generator"] = both.generator_step(z)
        self._follow()
        self.step += 1
        if self.step % max(1, settings.steps // 100) == 0:
            for name, loss in losses.items():
                value = float(loss)
                if not math.isfinite(value):
                    raise CandidateFailure("diverged", f"{name} is {value} at step {self.step}")
                self.curves.setdefault(name, []).append((self.step, value))

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

    def _validate(self) -> None:
        with contextlib.ExitStack() as stack:
            if self.settings.bn_recalibration:
                device = self.adversaries.device
                draws = self.context.torch("normalisation noise", device=device)
                stack.enter_context(measured_normalisation(self.average, None, draws, SCORED, device))
            values = self.measure(self.real, "validation noise")
            state = {name: tensor.clone() for name, tensor in self.average.state_dict().items()}
        for name, value in values.items():
            self.curves.setdefault(name, []).append((self.step, value))
        distance = named(self.extractor, "FID")
        if not self.values or values[distance] < self.values[distance]:
            self.best, self.values, self.best_step = state, values, self.step

    def _show(self, name: str) -> None:
        if self.context.artifacts is not None:
            device = self.adversaries.device
            z = noise(math.prod(GRID), self.average.latent, self.context.torch("shown noise"), device)
            self.average.eval()
            write_png(self.context.artifacts / name, sample_grid(self.average, z))

    def _leave(self) -> None:
        """Leaves the final pictures, of the weights that are kept, and the curves."""
        if self.context.artifacts is None:
            return
        self._show("samples.png")
        ends = noise(2 * STRIP[0], self.average.latent, self.context.torch("shown ends"), self.adversaries.device)
        strip = interpolation_strip(self.average, ends.view(STRIP[0], 2, -1))
        write_png(self.context.artifacts / "interpolation.png", strip)
        figures = {name: self.curves[name] for name in self.values}
        write_curves(self.context.artifacts / "curves.json", {**figures, **self.curves})

    def state(self) -> dict[str, Any]:
        """Returns everything that the training goes on from."""
        return {
            "step": self.step,
            "best_step": self.best_step,
            "best": self.best,
            "values": self.values,
            "curves": self.curves,
            "average": self.average.state_dict(),
            "adversaries": self.adversaries.state(),
            "draws": self.draws.get_state(),
            "batches": [self.batches.epoch, self.batches.position],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes in what :meth:`state` returned."""
        self.step, self.best_step = int(state["step"]), int(state["best_step"])
        self.best, self.values = dict(state["best"]), dict(state["values"])
        self.curves = {name: [(int(s), float(v)) for s, v in points] for name, points in state["curves"].items()}
        self.average.load_state_dict(state["average"])
        self.adversaries.load(state["adversaries"])
        self.draws.set_state(state["draws"].cpu())
        self.batches.go_to(*state["batches"])
